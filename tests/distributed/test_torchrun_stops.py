"""Ranks that fail, die or are stopped: one message, nothing half written, and the run goes on."""

import json
import re
from pathlib import Path

import pytest

from tests.distributed.torchrun import (
    PROBLEM,
    differences,
    left,
    lla,
    message,
    messages,
    numbers,
    problem,
)

pytestmark = pytest.mark.long

COMMAND = ("analyze", "m.pt", "--no-html", "-q")
AGAIN = "torchrun --nproc-per-node 2 -m lla_cli analyze m.pt --no-html -q"
PARTS = "m.lla.h5.parts"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The numbers of a run that nothing disturbs."""
    folder = problem(tmp_path_factory.mktemp("whole"))
    done = lla(1, folder, *COMMAND)
    assert done.code == 0, done.err
    return numbers(folder / "m.lla.h5")


def goes_on(folder: Path, ranks: int, taken: list[str], whole: dict) -> None:
    """The same command on so many ranks takes what was done, and gives the whole."""
    done = lla(ranks, folder, *COMMAND[:-1])
    assert done.code == 0, done.err
    told = re.findall(r"^ +(\w+): taken from an earlier run$", done.err, re.MULTILINE)
    assert told == taken
    assert differences(numbers(folder / "m.lla.h5"), whole, relative=1e-10) == []
    assert left(folder) == sorted([*PROBLEM, "m.lla.h5"])


@pytest.mark.parametrize(
    ("rank", "word", "code", "reason"),
    [
        (1, "raise", 70, "rank 1 of 2 (counted from 0) stopped: the analysis 'spectrum' failed: "
         "ValueError: the network does not like this; no report was written; 1 of 6 analyses"),
        (0, "raise", 70, "the analysis 'spectrum' failed: ValueError: the network does not like "
         "this; no report was written; 1 of 6 analyses is done and kept in m.lla.h5.parts"),
        (1, "leave", 2, "rank 1 of 2 (counted from 0) ran code that ended the program: "
         "sys.exit(3); no report was written; 1 of 6 analyses is done"),
        (1, "kill", -9, "rank 1 of 2 (counted from 0) has died without a word: it was killed"),
        (0, "kill", -9, "rank 0 of 2 (counted from 0) has died without a word: it was killed"),
    ],
)  # fmt: skip
def test_a_rank_that_fails_stops_all_with_one_message(
    rank: int, word: str, code: int, reason: str, tmp_path: Path, whole: dict
) -> None:
    done = lla(2, problem(tmp_path), *COMMAND, disturb=f"{rank} 200 {word}")
    told = message(done)
    assert told.startswith(f"lla: {reason}")
    assert f"go on with: {AGAIN}\n" in told
    assert done.codes[rank] == code
    assert done.codes[1 - rank] in (2, 70)
    assert left(tmp_path) == sorted([*PROBLEM, PARTS])
    goes_on(tmp_path, 2, ["baseline"], whole)


@pytest.mark.parametrize(
    ("word", "before", "after"), [("SIGINT", 2, 1), ("SIGTERM", 1, 2), ("SIGINT", 2, 3)]
)
def test_a_run_that_is_stopped_goes_on_with_other_ranks(
    word: str, before: int, after: int, tmp_path: Path, whole: dict
) -> None:
    done = lla(before, problem(tmp_path), *COMMAND, disturb=f"0 {1500 // before} {word}")
    assert done.code != 0
    finishing, told = messages(done)
    assert finishing.startswith("lla: finishing the product in hand")
    words = {"SIGINT": "interrupted", "SIGTERM": "terminated"}
    number = re.fullmatch(
        rf"lla: {words[word]}; no report was written; (\d) of 6 analyses are done and kept in "
        rf"{PARTS}\n     go on with: .*lla.* analyze m.pt --no-html -q\n",
        told,
    )
    assert number, told
    kept = ["baseline", "spectrum", "stability", "sharpness", "landscape"][: int(number[1])]
    assert {path.name.split("-")[1] for path in (tmp_path / PARTS).glob("stage*")} == set(kept)
    goes_on(tmp_path, after, kept, whole)


MISTAKES = [
    (["analyze", "no.pt"], 5, "lla: there is no file no.pt\n     look for it: ls .\n"),
    (["analyze", "m.pt", "--recipe=no.toml"], 5, "lla: the recipe no.toml cannot be read"),
    (["analyze", "m.pt", "--set=spectrum.stepz=3"], 2, "lla: command line: unknown key 'stepz'"),
    (["analyze", "m.pt", "-o", "no/x.h5"], 5, "lla: there is no folder no for the report"),
    (["analyze", "m.pt", "--data=no.npz"], 5, "lla: there is no data file no.npz"),
    (["analyze", "m.pt", "--device=cuda:99"], 2, "lla: there is no device 'cuda:99'"),
    (["show", "m.lla.h5"], 5, "lla: there is no report m.lla.h5\n     make one: lla analyze"),
    (["analyse", "m.pt"], 2, "Usage: lla [OPTIONS] COMMAND"),
    (["analyze", "m.pt", "--lre=1"], 2, "Usage: lla analyze [OPTIONS]"),
]


@pytest.mark.parametrize(("words", "code", "told"), MISTAKES)
def test_plain_mistakes_are_told_once(
    words: list[str], code: int, told: str, tmp_path: Path
) -> None:
    done = lla(2, problem(tmp_path), *words)
    assert done.out == ""
    assert done.told.count(told) == 1, done.err
    assert done.told.count("lla: ") + done.told.count("Usage: ") == 1, done.err
    assert code in done.codes.values(), done.codes
    assert done.code == 1
    assert left(tmp_path) == PROBLEM


def test_a_mistake_of_one_rank_before_they_have_met(tmp_path: Path) -> None:
    """The first waits for it and knows nothing; so it speaks itself, once the first has not."""
    (tmp_path / "main.py").write_text(
        "import os, sys\nfrom lla_cli import main, ranks\nranks._PATIENCE = 3\n"
        "if os.environ['RANK'] == '1':\n    sys.argv[2] = 'no.pt'\nmain.main()\n"
    )
    done = lla(2, problem(tmp_path), *COMMAND, program=["main.py"])
    assert "lla: there is no file no.pt\n     look for it: ls .\n     (rank 1, counted" in done.told
    assert done.codes[1] == 5


def test_other_commands_are_one_rank_s(tmp_path: Path) -> None:
    problem(tmp_path)
    done = lla(2, tmp_path, "analyze", "m.pt", "--only=baseline", "--no-html", "--json", "-q")
    assert json.loads(done.out)["schema"] == "lla-report/1"
    assert done.told == ""
    shown, alone = (lla(size, tmp_path, "show", "m.lla.h5") for size in (2, 1))
    assert shown.code == 0
    assert shown.out == alone.out
    batch = lla(2, tmp_path, "batch", "m.pt", "-o", "out", "--only=baseline")
    assert batch.code == 0
    assert "ranks share nothing of 'batch'" in batch.told
    assert batch.told.count("done in") == 1
