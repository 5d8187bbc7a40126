"""What sizes, strides and places in a file say, against the bytes that are there."""

import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lla import checkpoint
from lla.checkpoint.formats.pickles import scan
from lla.checkpoint.inspection import inspect
from lla.errors import CheckpointError, ConfigurationError
from tests.checkpoint.making import distributed, exported, network, rezipped, saved, with_json
from tests.checkpoint.test_hostile import claims, set_size, table_with
from tests.checkpoint.watching import bounded

WEIGHTS = "data/weights/model_weights_config.json"


def norms(path: Path) -> dict[str, float | None]:
    return {item.name: item.norm for item in inspect(path).tensors}


def described(**values: object) -> Callable[[dict[str, bytes]], None]:
    return with_json(WEIGHTS, lambda c: c["config"]["0.bias"]["tensor_meta"].update(values))


@pytest.mark.parametrize(
    "edit",
    [
        described(strides=[{"as_int": 1 << 30}]),
        described(storage_offset={"as_int": 1 << 40}),
        described(storage_offset={"as_int": -4}),
        described(sizes=[{"as_int": 1}, {"as_int": 2}]),
        described(sizes=[{"as_int": "abc"}]),
        described(sizes=[{"as_int": []}]),
        described(dtype=[7]),
        described(strides=[{"as_int": "x"}]),
        with_json(WEIGHTS, lambda c: c["config"]["0.bias"]["tensor_meta"].pop("strides")),
        with_json(WEIGHTS, lambda c: c["config"]["0.bias"]["tensor_meta"].pop("storage_offset")),
    ],
)
def test_descriptions_in_exported_programs(
    tmp_path: Path, edit: Callable[[dict[str, bytes]], None]
) -> None:
    path = tmp_path / "m.pt2"
    exported(path)
    rezipped(path, edit)
    for action in (checkpoint.load, inspect):
        told = bounded(lambda action=action: action(path))  # type: ignore[misc]
        assert told.startswith("CheckpointError"), told


@pytest.mark.parametrize("text", ["*".join(f"(s{k}+s{k + 1}+1)" for k in range(90)), "(" * 900])
def test_sizes_that_take_for_ever_to_work_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.pt2"
    exported(path)
    rezipped(path, with_json("models/model.json", lambda m: set_size(m, text)))
    assert "no part of an exported network" in bounded(lambda: checkpoint.load(path))


def test_damaged_programs_say_the_cause_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.pt2"
    exported(path)
    rezipped(path, with_json("models/model.json", lambda m: set_size(m, "5(3)")))
    capfd.readouterr()
    with pytest.raises(CheckpointError, match=r"exported program: .*parse_expr"):
        checkpoint.load(path)
    assert capfd.readouterr() == ("", "")
    nest = b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"
    rezipped(path, lambda m: m.update({"models/model.json": nest}))
    with pytest.raises(CheckpointError, match="nests more than"):
        checkpoint.load(path)


def test_compressed_and_swapped_numbers_are_measured(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    whole = torch.randn(300, 200)
    tensors = {"w": whole.t(), "v": whole[3:5], "b": whole.bfloat16(), "i": torch.arange(9)}
    saved(path, tensors)
    expected = norms(path)
    for name, tensor in tensors.items():
        assert expected[name] == pytest.approx(float(tensor.double().norm()), rel=1e-12)
    rezipped(path, lambda m: None, compression=zipfile.ZIP_DEFLATED)
    assert bounded(lambda: norms(path)) == str(expected)
    values = np.arange(1.0, 7.0, dtype=">f4")
    saved(path, {"w": torch.zeros(6)})
    rezipped(path, lambda m: m.update({"byteorder": b"big", "data/0": values.tobytes()}))
    assert checkpoint.load(path).tensors["w"].tolist() == [1, 2, 3, 4, 5, 6]
    assert norms(path)["w"] == pytest.approx(91**0.5)


def test_storages_of_a_legacy_file_end_where_the_next_begins(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    saved(path, {"a": torch.ones(4), "b": torch.ones(1 << 16)}, legacy=True)
    assert norms(path) == {"a": 2.0, "b": 256.0}
    whole = path.read_bytes()
    # The size of "a", (4,), is the first tuple of one small number.
    assert whole.count(b"K\x04\x85") == 1
    path.write_bytes(whole.replace(b"K\x04\x85", b"K\x40\x85"))
    for action in (checkpoint.load, inspect):
        with pytest.raises(CheckpointError, match=r"tensor a claims 256 bytes .* has 16"):
            action(path)


def test_a_legacy_file_with_an_archive_behind_it(tmp_path: Path) -> None:
    """torch reads the beginning, Python's zipfile the end: what is scanned is what is read."""
    path, other = tmp_path / "m.pt", tmp_path / "o.pt"
    saved(path, {"first": torch.ones(3)}, legacy=True)
    saved(other, {"second": torch.ones(3)})
    path.write_bytes(path.read_bytes() + other.read_bytes())
    assert checkpoint.load(path).tensors.keys() == {"first"}
    assert [item.name for item in inspect(path).tensors] == ["first"]


def test_many_tensors_over_few_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    saved(path, {f"w{k}": torch.zeros(1).expand((1 << 24) - k) for k in range(40)})
    assert "and others claim" in bounded(lambda: checkpoint.load(path))
    # One of them is read in pieces: a byte that stands for 2**26 is no 2**26 doubles.
    saved(path, {"w": torch.zeros(1, dtype=torch.uint8).expand(1 << 13, 1 << 13)})
    assert bounded(lambda: norms(path), mebibytes=200) == "{'w': 0.0}"


@pytest.mark.parametrize("size", [10**6000, (1 << 64) + 1], ids=["digits", "bits"])
def test_numbers_of_very_many_digits(tmp_path: Path, size: int) -> None:
    path = tmp_path / "m.pt"
    claims(path, (size,), (1,))
    with pytest.raises(CheckpointError, match="claims"):
        checkpoint.load(path)

    def change(table: Any) -> None:
        object.__setattr__(table.state_dict_metadata["model.0.weight"], "size", (size, 2))

    table_with(tmp_path / "a", change)
    with pytest.raises(CheckpointError, match="incomplete"):
        checkpoint.load(tmp_path / "a")


@pytest.mark.parametrize("keys", [tuple(f"k{k}" for k in range(2000)), ([1], {}), ((),)])
def test_paths_in_a_distributed_table(tmp_path: Path, keys: tuple[object, ...]) -> None:
    def change(table: Any) -> None:
        table.planner_data[next(iter(table.planner_data))] = keys

    table_with(tmp_path / "a", change)
    with pytest.raises(CheckpointError, match="no path of keys"):
        checkpoint.load(tmp_path / "a")


@pytest.mark.parametrize("name", ["a\0b", ".", "", "a" * 6000], ids=["NUL", "dot", "none", "long"])
def test_names_of_pieces(tmp_path: Path, name: str) -> None:
    def change(table: Any) -> None:
        for place in table.storage_data.values():
            object.__setattr__(place, "relative_path", name)

    table_with(tmp_path / "a", change)
    with pytest.raises(CheckpointError, match="no file in it") as seen:
        checkpoint.load(tmp_path / "a")
    assert len(seen.value.reason) < 1000


def test_many_names_for_one_piece(tmp_path: Path) -> None:
    def change(table: Any) -> None:
        index = next(key for key in table.storage_data if key.fqn == "model.0.weight")
        for k in range(5000):
            table.storage_data[replace(index, fqn=f"x{k}", offset=None)] = table.storage_data[index]

    table_with(tmp_path / "a", change)
    told = bounded(lambda: len(checkpoint.load(tmp_path / "a").tensors), seconds=5)
    assert told == str(len(network().state_dict()))


@pytest.mark.parametrize("kind", ["pipe", "endless"])
@pytest.mark.parametrize("name", [".metadata", "model.safetensors", "m.safetensors.index.json", ""])
def test_pipes_and_devices(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / (name or "m.pt")
    if name == ".metadata":
        distributed(tmp_path)
        path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    place = tmp_path if name in (".metadata", "model.safetensors") else path
    for action in (checkpoint.load, inspect):
        told = bounded(lambda action=action: action(place), seconds=5)  # type: ignore[misc]
        assert "a pipe or a device where a file should be" in told


def nested_tables() -> object:
    table: object = dict(network().state_dict())
    for _ in range(40):
        table = {"a": table, "b": table}
    return table


def wide_tables() -> object:
    table: object = {"z": "x"}
    for _ in range(3):
        table = {f"k{k}": table for k in range(300)}
    return table


def table_in_itself() -> object:
    table: dict[str, object] = {}
    table["self"] = table
    return table


@pytest.mark.parametrize("make", [nested_tables, wide_tables, table_in_itself])
def test_tables_that_hold_each_other(tmp_path: Path, make: Callable[[], object]) -> None:
    path = tmp_path / "m.pt"
    saved(path, {"model": network().state_dict(), "x": make()})
    count = str(len(network().state_dict()))
    assert bounded(lambda: len(checkpoint.load(path).tensors), seconds=5) == count
    assert bounded(lambda: len(inspect(path).tensors), seconds=5) == count


def test_modules_that_hold_one_module_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    module: nn.Module = nn.Linear(1, 1)
    saved(path, nn.ModuleDict({"a": module, "b": module}))
    assert len(inspect(path).tensors) == 4
    for _ in range(25):
        module = nn.ModuleDict({"a": module, "b": module})
    saved(path, module)
    assert "a module of more than" in bounded(lambda: inspect(path))


STATE = network().state_dict()


def test_which_tables_are_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    saved(path, {"model": {**STATE, "extra": None}})
    assert checkpoint.load(path).tensors.keys() == STATE.keys()
    saved(path, {"a": {"b": {"c": {"d": STATE}}}})
    assert checkpoint.load(path).tensors.keys() == STATE.keys()
    parts = {"encoder": STATE, "embedding": {"word": {"weight": torch.ones(2)}}}
    saved(path, {"model": {"language_model": parts}})
    with pytest.raises(CheckpointError, match="2 sets of weights") as seen:
        checkpoint.load(path)
    assert "--weights model" in seen.value.remedy
    names = checkpoint.load(path, weights="model.language_model").tensors.keys()
    assert names == {"embedding.word.weight", *(f"encoder.{name}" for name in STATE)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([dict(STATE), dict(STATE)], r"list of 2.*saved\[0\]"),
        ({name: tensor.numpy() for name, tensor in STATE.items()}, "numpy arrays.*from_numpy"),
        ({}, "an empty table"),
        ({"model": __import__("argparse").Namespace(is_floating_point=1)}, "its keys are model"),
        ({"w": torch.ones(3, dtype=torch.int8)}, "integers or complex"),
        ({"0.weight": torch.ones(3).to(torch.int8), "s": torch.ones(1)}, "complex.*0.weight"),
        ({"weight": torch.ones(3) * 1j, "s": torch.ones(1)}, "integers or complex"),
    ],
)
def test_what_is_no_state_dict(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / "m.pt"
    saved(path, content)
    with pytest.raises(CheckpointError) as seen:
        checkpoint.load(path)
    import re

    assert re.search(words, f"{seen.value.reason} {seen.value.remedy}")


def test_eighths_of_doubles(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    weights = torch.tensor([0.5, 1.0, -2.0])
    saved(path, {"w": weights.to(torch.float8_e4m3fn)})
    assert checkpoint.load(path).tensors["w"].float().tolist() == weights.tolist()
    saved(path, {"w": torch.tensor([float("nan"), 1.0]).to(torch.float8_e4m3fn)})
    with pytest.raises(CheckpointError, match="NaN"):
        checkpoint.load(path)


def test_a_copy_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    saved(path, STATE)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short") as seen:
        checkpoint.load(path)
    assert "copy it again" in seen.value.remedy


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    saved(path, STATE)
    with pytest.raises(ConfigurationError, match="holds one set of weights") as seen:
        checkpoint.load(path, weights="ema")
    assert "leave --weights out" in seen.value.remedy
    assert scan(pickle.dumps({"a": 1}, 2)).content == {"a": 1}
