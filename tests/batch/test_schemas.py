"""The shipped schemas are those of the declarations, and hold for batches that were run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from jsonschema import Draft202012Validator

from lla.batch.batch import Batch, Terms
from lla.batch.documents import batch_document, index_document
from lla.batch.index import write_index
from lla.batch.reading import read_index
from lla.batch.schemas import NAMES, made, shipped
from lla.batch.wanted import meant_by
from lla.report.contents import contents
from tests.batch.epochs import entries
from tests.conftest import SAMPLES


def mistakes(name: str, value: object) -> list[str]:
    validator = Draft202012Validator(shipped(name))
    plain = json.loads(json.dumps(value, allow_nan=False))
    return [f"{list(item.absolute_path)}: {item.message}" for item in validator.iter_errors(plain)]


def contents_of(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return json.loads(json.dumps(contents(file), allow_nan=False))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shipped_is_what_is_declared(name: str) -> None:
    assert shipped(name) == made(name), "run: make docs"
    Draft202012Validator.check_schema(shipped(name))


def test_an_index_with_everything_in_it(place: Path) -> None:
    """Numbers, words, missing values, what is not comparable, failures, trends and outliers."""
    written = write_index(entries(), place)
    assert not mistakes("contents", contents_of(written.hdf5))
    found = index_document(read_index(written.hdf5))
    assert not mistakes("index", found)
    assert found["trends"]
    assert found["outliers"]
    assert {row["status"] for row in found["checkpoints"]} == {"done", "failed", "unreadable"}


def test_an_index_of_nothing_and_of_several_runs(place: Path) -> None:
    for chosen in (entries()[-1:], [*entries()[:2], *entries()[-1:]], entries()[:1]):
        written = write_index(chosen, place)
        assert not mistakes("contents", contents_of(written.hdf5))
        assert not mistakes("index", index_document(read_index(written.hdf5)))


BREAKING = {
    "no names": ("groups/index/groups/checkpoints/datasets", "name"),
    "no verdicts of trends": ("groups/index/groups/trends/datasets", "verdict"),
    "a metric without its interval": ("groups/hessian/groups/lambda_max/datasets", "low"),
    "a metric without its errors": ("groups/hessian/groups/lambda_max/datasets", "value_errors"),
    "a plot without a signal": ("groups/hessian/groups/lambda_max/attributes", "signal"),
    "words without words": ("groups/hessian/groups/type/datasets", "value"),
    "no version": ("attributes", "lla_schema"),
}


@pytest.mark.parametrize("what", BREAKING)
def test_the_schema_of_the_contents_is_strict(what: str, place: Path) -> None:
    found = contents_of(write_index(entries(), place).hdf5)
    path, name = BREAKING[what]
    where = found
    for part in path.split("/"):
        where = where[part]
    del where[name]
    assert mistakes("contents", found)


def test_the_schemas_of_the_documents_are_strict(place: Path) -> None:
    good = index_document(read_index(write_index(entries(), place).hdf5))
    for change in (
        lambda it: it.update(more=1),
        lambda it: it["checkpoints"][0].pop("sha256"),
        lambda it: it["trends"][0].update(verdict="perhaps"),
        lambda it: it["outliers"][0].pop("name"),
        lambda it: it["metrics"]["loss/value"]["values"][0].pop("apart"),
    ):
        wrong = deepcopy(good)
        change(wrong)
        assert mistakes("index", wrong)


def folder_of(tmp_path: Path) -> None:
    for name in ("models.py", "digits.npz"):
        shutil.copy(SAMPLES / name, tmp_path / name)
    shutil.copy(SAMPLES / "digits_mlp.toml", tmp_path / "lla.toml")
    for epoch in (1, 2):
        shutil.copy(SAMPLES / "digits_mlp.pt", tmp_path / f"epoch_{epoch}.pt")
    (tmp_path / "notes.pt").write_text("no checkpoint")


def test_a_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    batch = Batch.foreseen(meant_by(["*.pt"]), Path("out"), Terms({}, {}))
    found = batch_document(batch, None)
    assert not mistakes("batch", found)
    assert found["index"] is None
    assert [job["state"] for job in found["jobs"]] == ["waiting", "waiting", "failed"]
    found["jobs"][0]["state"] = "lost"
    assert mistakes("batch", found)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_what_the_commands_print(tmp_path: Path) -> None:
    folder_of(tmp_path)

    def printed(*arguments: str) -> tuple[int, Any]:
        command = [sys.executable, "-c", "from lla_cli.main import main; main()", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
        return done.returncode, json.loads(done.stdout)

    options = ("--only", "spectrum", "--set", "data.limit=64", "-o", "out", "--json", "-q")
    for states in (["done", "done", "failed"], ["skipped", "skipped", "failed"]):
        code, found = printed("batch", "*.pt", *options)
        assert code == 5
        assert not mistakes("batch", found)
        assert [job["state"] for job in found["jobs"]] == states
    code, found = printed("show", "--json", "--verify", found["index"]["hdf5"])
    assert code == 0
    assert not mistakes("index", found)
    # The file's own epoch, before that of its name.
    epoch = torch.load(SAMPLES / "digits_mlp.pt", weights_only=True)["epoch"]
    assert [row["epoch"] for row in found["checkpoints"]] == [epoch, epoch, None]
    assert found["metrics"]["hessian/lambda_max"]["values"][2]["value"] is None
    assert not mistakes("contents", contents_of(tmp_path / "out/index.h5"))
