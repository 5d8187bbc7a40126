"""Which checkpoints a command line and a manifest mean, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lla.batch.manifest import read_manifest
from lla.batch.wanted import Wanted, meant_by, names_of, without_repetitions
from lla.errors import ConfigurationError, LlaError, SettingsFileError


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of three epochs each, and files that are no checkpoints."""
    for run in ("a", "b"):
        (tmp_path / "runs" / run / "deep").mkdir(parents=True)
        for epoch in (1, 2, 10):
            (tmp_path / "runs" / run / f"epoch-{epoch}.pt").write_bytes(b"\x80\x02 of no matter")
        (tmp_path / "runs" / run / "deep" / "last.pt").write_bytes(b"\x80\x02 of no matter")
        (tmp_path / "runs" / run / "log.txt").write_text("no checkpoint")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def paths(wanted: list[Wanted]) -> list[str]:
    return [one.checkpoint for one in wanted]


def test_patterns_and_folders_in_natural_order(runs: Path) -> None:
    a = [f"runs/a/epoch-{n}.pt" for n in (1, 2, 10)]
    assert paths(meant_by(["runs/a/epoch-*.pt"])) == a
    assert paths(meant_by(["runs/a"])) == a
    assert paths(meant_by(["runs/a/epoch-2.pt", "hf:org/net"])) == [a[1], "hf:org/net"]
    everything = paths(meant_by(["runs/**/*.pt"]))
    assert len(everything) == 8
    assert {Path(path).suffix for path in everything} == {".pt"}
    with pytest.raises(ConfigurationError, match="no file matches 'runs/c"):
        meant_by(["runs/a", "runs/c/*.pt"])
    with pytest.raises(ConfigurationError, match="holds no checkpoint"):
        meant_by(["runs"])


def test_named_twice_counts_once(runs: Path) -> None:
    twice = meant_by(["runs/a/epoch-1.pt", "runs/a/*.pt", os.path.abspath("runs/a/epoch-1.pt")])
    found, more = without_repetitions(twice)
    assert paths(found) == [f"runs/a/epoch-{n}.pt" for n in (1, 2, 10)]
    assert more == 2
    other = Wanted("runs/a/epoch-1.pt", values={"run": {"seed": 1}})
    assert without_repetitions([*found, other]) == ([*found, other], 0), "other settings, other job"


def test_names_are_short_and_tell_apart(runs: Path) -> None:
    names = names_of(meant_by(["runs/a/epoch-1.pt", "runs/b/epoch-1.pt", "runs/b/epoch-2.pt"]))
    assert names == ["a-epoch-1", "b-epoch-1", "epoch-2"]


@pytest.mark.parametrize(
    "checkpoints",
    [
        ["x/m.pt", "x/m.pth", "x/m.safetensors"],
        ["a/b-c.pt", "a-b/c.pt", "c.pt", "b/c.pt"],
        ["M.pt", "m.pt"],
        ["index.pt", "jobs.pt", "Index.pt"],
        ["hf:org/net", "hf:other/net", "timm:net"],
        ["...", "..pt", "-o.pt", "ü.pt", "a b.pt", "a_b.pt"],
        ["x/m.pt", "y/x/m.pt"],
    ],
)
def test_names_are_unique_and_those_of_files(checkpoints: list[str]) -> None:
    """Also where letters' case counts for nothing; nothing hides, and nothing is an option."""
    names = names_of([Wanted(path) for path in checkpoints])
    assert len({name.casefold() for name in names}) == len(checkpoints)
    for name in names:
        assert name
        assert Path(name).name == name
        assert name[0] not in ".-"
        assert name.casefold() not in ("index", "jobs")


@pytest.mark.parametrize("names", [("x", "x"), ("x", "X"), ("a/b", ""), ("index", ""), ("..", "")])
def test_names_that_cannot_be_given(names: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        names_of([Wanted(f"{n}.pt", name=name, origin="line 3") for n, name in enumerate(names)])


def test_a_given_name_stays_and_others_make_way() -> None:
    assert names_of([Wanted("x/m.pt"), Wanted("y/n.pt", name="m")]) == ["m-2", "m"]


MANIFESTS = {
    "m.toml": """
schema = 1
[[checkpoint]]
path = "runs/a/epoch-*.pt"
run.seed = 3
data = {source = "d.npz", limit = 7}
[[checkpoint]]
path = "runs/b/epoch-1.pt"
name = "best"
recipe = "other.toml"
"spectrum.steps" = 50
""",
    "m.csv": """path,name,recipe,run.seed,data.source,data.limit,spectrum.steps
runs/a/epoch-*.pt,,,3,d.npz,7,
runs/b/epoch-1.pt,best,other.toml,,,,50
""",
    "m.jsonl": """
{"path": "runs/a/epoch-*.pt", "run.seed": 3, "data": {"source": "d.npz", "limit": 7}}

{"path": "runs/b/epoch-1.pt", "name": "best", "recipe": "other.toml", "spectrum": {"steps": 50}}
""",
}


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_manifests_say_the_same_in_each_format(
    runs: Path, name: str, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are relative to the manifest, wherever the command is given."""
    Path(name).write_text(MANIFESTS[name])
    up = ""
    if elsewhere:
        monkeypatch.chdir(runs / "a" / "deep")
        up = "../../../"
    found = read_manifest(Path(f"{up}{name}"))
    files = [*(runs / "a" / f"epoch-{n}.pt" for n in (1, 2, 10)), runs / "b" / "epoch-1.pt"]
    assert paths(found) == [os.path.relpath(file) for file in files]
    for one in found[:3]:
        assert one.values == {"run": {"seed": 3}, "data": {"source": f"{up}d.npz", "limit": 7}}
        assert (one.name, one.recipe) == ("", None)
    assert found[3].name == "best"
    assert found[3].values == {"spectrum": {"steps": 50}}
    assert found[3].recipe == f"{up}other.toml"


def mistakes() -> list[tuple[str, str, str]]:
    """Name, content, and what the message says: the place first."""
    jsonl, table = '{"path": "runs/a/epoch-1.pt"', '[[checkpoint]]\npath = "runs/a/epoch-1.pt"\n'
    return [
        (
            "m.csv",
            "path,run.sede\nruns/a/epoch-1.pt,3\n",
            "m.csv, line 2.*unknown key 'sede'.*seed",
        ),
        ("m.csv", "path,run.seed\nruns/a/epoch-1.pt,1\n\nruns/b,x\n", "m.csv, line 4.*'x'"),
        ("m.csv", "path,run.seed\nruns/a/epoch-1.pt\n", "m.csv, line 2.*number of cells"),
        ("m.csv", "path\nruns/a/epoch-1.pt,4\n", "m.csv, line 2.*number of cells"),
        ("m.csv", 'path\n"runs/a\n', "m.csv.*not valid CSV"),
        ("m.csv", "path,seed\nruns/a/epoch-1.pt,3\n", "m.csv, line 2: 'seed'"),
        ("m.csv", "path,name\nruns/a/epoch-*.pt,x\n", "m.csv, line 2.*one name, and 3"),
        ("m.csv", "path\nruns/a/epoch-7*.pt\n", "m.csv, line 2: no file matches"),
        ("m.csv", "file\nruns/a/epoch-1.pt\n", "m.csv, line 2"),
        ("m.csv", "path\n", "m.csv names no checkpoint"),
        ("m.jsonl", f"{jsonl}}}\n{jsonl}\n", "m.jsonl, line 2 is not valid JSON"),
        ("m.jsonl", f'{jsonl}, "run": 3}}\n', "m.jsonl, line 1: 'run'"),
        ("m.jsonl", f'{jsonl}, "path": 3}}\n', "m.jsonl, line 1: its path is no text"),
        ("m.jsonl", "[1]\n", "m.jsonl, line 1 is no table"),
        ("m.jsonl", f'{jsonl}, "run.seed": -1}}\n', "m.jsonl, line 1.*seed = -1 is not valid"),
        ("m.toml", f"{table}run.seed = \n", "m.toml is not valid TOML.*line 3"),
        ("m.toml", f"{table}nothing.here = 1\n", "m.toml, checkpoint 1.*no section .nothing"),
        ("m.toml", f"schema = 2\n{table}", "schema 2"),
        ("m.toml", "[run]\nseed = 1\n", "'run' stands where only entries do"),
        ("m.txt", "runs/a/epoch-1.pt\n", "no known format"),
    ]


@pytest.mark.parametrize(("name", "content", "said"), mistakes())
def test_a_mistake_in_a_manifest_is_told_with_its_place(
    runs: Path, name: str, content: str, said: str
) -> None:
    Path(name).write_text(content)
    with pytest.raises(LlaError, match=said) as told:
        read_manifest(Path(name))
    assert told.value.exit_code == 2
    assert told.value.remedy


def test_a_manifest_that_is_not_there(runs: Path) -> None:
    with pytest.raises(SettingsFileError, match=r"m\.csv cannot be read"):
        read_manifest(Path("m.csv"))
    Path("m.csv").write_bytes(b"path\n\xff\xfe\n")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_manifest(Path("m.csv"))


def test_a_manifest_from_a_spreadsheet(runs: Path) -> None:
    """With a byte order mark, lines ended as on Windows, and spaces behind commas."""
    Path("m.csv").write_bytes(b"\xef\xbb\xbfpath, run.seed\r\nruns/a/epoch-1.pt, 3\r\n")
    (one,) = read_manifest(Path("m.csv"))
    assert one.values == {"run": {"seed": 3}}
