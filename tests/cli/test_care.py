"""Files that are not ours stay, and code of the user's neither ends nor garbles the program."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lla_cli.main import app
from torch import nn
from typer.testing import CliRunner, Result

NETS = """
import argparse
import sys

import torch
from torch import nn

print("the user's module speaks")
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=3)
epochs = parser.parse_args().epochs

def net(width=3):
    print("so does the factory")
    return nn.Linear(4, width)

def quits():
    sys.exit(0)

def meta():
    with torch.device("meta"):
        return net()

def frozen():
    return net().requires_grad_(False)

def loss(output, target):
    print("and the loss")
    return nn.functional.cross_entropy(output, target)

def loss_quits(output, target):
    sys.exit(1)

def uneven():
    return torch.zeros(3, 4), torch.zeros(5)

def nothing():
    return []

def words():
    return ["a", "b"]

def data_quits():
    sys.exit("no data")
"""
RUN = ("--only=baseline", "-q")


def lla(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(item) for item in arguments])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lla", "analyze", "--no-such-option"])
    Path("nets.py").write_text(NETS)
    torch.manual_seed(0)
    torch.save(nn.Linear(4, 3).state_dict(), "m.pt")
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.normal(size=(9, 4)).astype(np.float32), y=np.arange(9) % 3)
    Path("lla.toml").write_text(
        'schema = 1\n[model]\nfactory = "nets.py:net"\n[data]\nsource = "d.npz"\n'
    )


def test_one_document_whatever_the_users_code_prints() -> None:
    done = lla("analyze", "m.pt", "--loss=nets.py:loss", "--json", "--no-html", *RUN)
    assert done.exit_code == 0, done.stderr
    assert "loss/value" in json.loads(done.stdout)["metrics"]
    for words in ("user's module", "factory", "the loss"):
        assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model=ends.py:net"], "importing ends.py for the model factory ended the program"),
        (
            ["--model=nets.py:quits"],
            "factory nets.py:quits ended the program: sys.exit(0",
        ),
        (["--loss=ends.py:loss"], "importing ends.py for the loss ended the program"),
        (["--loss=nets.py:loss_quits"], "(nets.py:loss_quits) ended the program: sys.exit(1)"),
        (["--data=factory:nets.py:data_quits"], "ended the program: sys.exit(no data)"),
        (["--data=factory:nets.py:uneven"], "3 inputs and 5 targets"),
        (["--data=factory:nets.py:nothing"], "has no batches"),
        (["--data=factory:nets.py:words"], "holds str, not numbers"),
        (["--model=nets.py:meta"], "makes weight on the meta device"),
        (["--model=nets.py:frozen"], "all of the model's 2 parameters are frozen"),
        (["--loss=nets.py:los"], "mean 'loss'"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_code_of_no_use(arguments: list[str], words: str) -> None:
    Path("ends.py").write_text("import sys\nsys.exit()\n")
    before = sys.argv
    done = lla("analyze", "m.pt", *arguments, *RUN)
    assert done.exit_code == 2, done.stderr
    reason, remedy = done.stderr.strip().split("\n")[-2:]
    assert words in reason
    assert remedy.startswith("     ")
    assert done.stdout == ""
    assert sys.argv is before
    assert not list(Path().glob("*.lla.h5"))


def test_only_frozen_parameters_match() -> None:
    Path("half.py").write_text(
        "from torch import nn\n\ndef net():\n    module = nn.Linear(4, 3)\n"
        "    module.bias.requires_grad_(False)\n    return module\n"
    )
    done = lla("analyze", "m.pt", "--model=half.py:net", "--params=b*", *RUN)
    assert done.exit_code == 2
    assert "that match b* are all frozen" in done.stderr


def test_a_loss_is_suggested_not_a_factory() -> None:
    assert (
        "functions: loss, loss_quits\n" in lla("analyze", "m.pt", "--loss=nets.py:l", *RUN).stderr
    )


def test_arguments_from_both_kinds_of_flags() -> None:
    flags = ("--set=model.args={ width = 5, a = 1 }", "--model-arg=width=3")
    found = json.loads(lla("config", "m.pt", *flags, "--json").stdout)
    assert found["model.args"]["value"] == {"width": 3, "a": 1}
    flags = ("--set=loss.args={ ignore_index = 1 }", "--loss=cross_entropy?label_smoothing=0.1")
    found = json.loads(lla("config", "m.pt", *flags, "--json").stdout)
    assert found["loss.args"]["value"] == {"ignore_index": 1, "label_smoothing": 0.1}


def test_pages_replace_pages_only() -> None:
    assert lla("analyze", "m.pt", *RUN).exit_code == 0
    assert lla("analyze", "m.pt", *RUN).exit_code == 0  # our own are made anew
    assert lla("report", "m.lla.h5").exit_code == 0
    Path("keep.py").write_text("kept")
    Path("notes.html").write_text("<title>notes</title>")
    kept = {name: Path(name).read_bytes() for name in ("keep.py", "notes.html", "d.npz", "m.pt")}
    for name in kept:
        done = lla("report", "m.lla.h5", "-o", name)
        assert done.exit_code == 5
        assert f"{name} is there already, and no page of a report" in done.stderr
    done = lla("analyze", "m.pt", "-o", "notes.h5", *RUN)
    assert done.exit_code == 5
    assert "notes.html is there already" in done.stderr
    assert not Path("notes.h5").exists()
    assert lla("analyze", "m.pt", "-o", "notes.h5", "--no-html", *RUN).exit_code == 0
    assert {name: Path(name).read_bytes() for name in kept} == kept


def test_force_replaces_recipes_only() -> None:
    Path("models.py").write_text("x = 3\n")
    Path("m.toml").write_text("schema = 1\n")
    done = lla("init", "m.pt", "-o", "models.py", "--force")
    assert done.exit_code == 5
    assert "models.py is no recipe" in done.stderr
    assert Path("models.py").read_text() == "x = 3\n"
    assert lla("init", "m.pt").exit_code == 2
    assert lla("init", "m.pt", "--force").exit_code == 0


def test_an_unfilled_recipe_is_named() -> None:
    os.mkdir("other")
    torch.save(nn.Linear(4, 3).state_dict(), "other/n.pt")
    assert lla("init", "other/n.pt").exit_code == 0
    done = lla("analyze", "other/n.pt", *RUN)
    assert done.exit_code == 2
    assert "fill in model.factory in other/n.toml" in done.stderr
    done = lla("analyze", "other/n.pt", "--model=nets.py:net", *RUN)
    assert "fill in data.source in other/n.toml" in done.stderr


def test_init_lists_plain_functions_after_annotated_ones() -> None:
    Path("nets.py").write_text(
        "def plain(width=3):\n    return width\n\ndef needs(x):\n    return x\n\n"
        "def main():\n    print(1)\n\ndef count() -> int:\n    return 1\n\n"
        "def one() -> 'nn.Module':\n    return None\n\ndef two() -> 'nn.Module':\n    return None\n"
        "raise RuntimeError('not run')\n"
    )
    assert lla("init", "m.pt").exit_code == 0
    text = Path("m.toml").read_text()
    assert "# found beside the checkpoint: nets.py:one, nets.py:two, nets.py:plain\n" in text
    assert '# factory = "nets.py:one"' in text


def test_checkpoints_of_one_stem_keep_their_reports() -> None:
    torch.manual_seed(1)
    torch.save(nn.Linear(4, 3).state_dict(), "m.pth")
    os.mkdir("sub")
    torch.save(nn.Linear(4, 3).state_dict(), "sub/m.pth")
    Path("sub/lla.toml").write_text(
        'schema = 1\n[model]\nfactory = "../nets.py:net"\n[data]\nsource = "../d.npz"\n'
    )
    for checkpoint in ("m.pt", "m.pth", "./m.pt", "m.pth"):
        done = lla("analyze", checkpoint, "--no-html", *RUN)
        assert done.exit_code == 0, done.stderr
    assert sorted(map(str, Path().glob("*.lla.h5"))) == ["m.lla.h5", "m.pth.lla.h5"]
    done = lla("analyze", "sub/m.pth", "--no-html", *RUN)
    assert done.exit_code == 5
    assert "m.pth.lla.h5 is the report of another checkpoint, m.pth: it is not repl" in done.stderr
    # The same bytes elsewhere are the same checkpoint.
    Path("sub/m.pth").write_bytes(Path("m.pth").read_bytes())
    assert lla("analyze", "sub/m.pth", "--no-html", *RUN).exit_code == 0


def test_damaged_archives_are_told_without_numpys_words() -> None:
    Path("junk.npz").write_bytes(b"junk" * 9)
    done = lla("analyze", "m.pt", "--data=junk.npz", *RUN)
    assert done.exit_code == 5
    assert "junk.npz cannot be read: it is damaged" in done.stderr
    assert "allow_pickle" not in done.stderr
