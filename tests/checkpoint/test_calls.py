"""Harmless types called with harmful arguments, and their intact twins.

Each hostile file would crash the process or take gigabytes; a process of its own would show it.
"""

import io
import pickle
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lla import checkpoint
from lla.checkpoint.inspection import inspect
from lla.errors import CheckpointError, LlaError, UnsafeCheckpointError
from tests.checkpoint.making import distributed, exported, network, rezipped, saved, torch_bytes
from tests.checkpoint.watching import bounded

multiarray = np._core.multiarray


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def array_of_addresses() -> Call:
    return Call(np.ndarray, (1,), "O", bytearray(b"A" * 8))


CALLS: dict[str, Call] = {
    "array of addresses": array_of_addresses(),
    "set of addresses": Call(set, array_of_addresses()),  # type: ignore[arg-type]
    "huge array": Call(np.ndarray, (1 << 33,), "f8"),
    "huge objects": Call(multiarray._reconstruct, np.ndarray, (1 << 28,), "O"),
    "object scalar": Call(multiarray.scalar, Call(np.dtype, "O"), 1),
    "structured scalar": Call(multiarray.scalar, Call(np.dtype, [("a", "O")]), b"AAAAAAAA"),
    "huge bytes": Call(bytearray, 6 << 30),
    "huge tensor": Call(torch.Tensor, 1 << 32),
    "huge parameter": Call(torch.nn.Parameter, Call(torch.Tensor, 1 << 32)),
    "huge storage": Call(torch.storage.UntypedStorage, 6 << 30),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", CALLS)
def test_calls_that_no_intact_file_makes(tmp_path: Path, name: str, legacy: bool) -> None:
    path = tmp_path / "m.pt"
    saved(path, {"model": network().state_dict(), "x": CALLS[name]}, legacy=legacy)
    told = bounded(lambda: checkpoint.load(path))
    assert told.startswith("UnsafeCheckpointError"), told
    assert "more than plain values" in told
    assert inspect(path).findings


def test_torch_and_numpy_would_make_them(tmp_path: Path) -> None:
    """The danger is real: with numpy's own functions allowed, the process dies."""
    path = tmp_path / "m.pt"
    saved(path, {"x": CALLS["set of addresses"]})

    def unguarded() -> object:
        with torch.serialization.safe_globals([np.ndarray]):
            return torch.load(path, weights_only=True)

    assert bounded(unguarded) == "killed by signal 11"


def test_calls_in_parts_of_other_formats(tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    distributed(folder, {"model": network().state_dict(), "x": CALLS["huge bytes"]})
    assert bounded(lambda: checkpoint.load(folder)).startswith("UnsafeCheckpointError")
    path = tmp_path / "m.pt2"
    exported(path)
    inputs = torch_bytes(CALLS["array of addresses"])
    rezipped(path, lambda m: m.update({"data/sample_inputs/model.pt": inputs}))
    assert bounded(lambda: checkpoint.load(path)).startswith("UnsafeCheckpointError")


PAIRS = b")" + b"2\x86" * 60  # a tuple of 2**60 parts, whose hash takes for ever


@pytest.mark.parametrize(
    "body",
    [
        b"}" + PAIRS + b"K\x01s",
        b"c__builtin__\nset\n]" + PAIRS + b"a\x85R",
        b"ccollections\nCounter\n}" + PAIRS + b"K\x01s\x85R",
        b"ccollections\nOrderedDict\n]]" + PAIRS + b"aK\x01aa\x85R",
    ],
    ids=["dict", "set", "Counter", "OrderedDict"],
)
def test_keys_that_take_for_ever_to_hash(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "m.pt"
    saved(path, {"model": network().state_dict()})
    rezipped(path, lambda m: m.update({"data.pkl": b"\x80\x02" + body + b"."}))
    told = bounded(lambda: checkpoint.load(path))
    assert told.startswith(("CheckpointError", "UnsafeCheckpointError")), told


INTACT: dict[str, object] = {
    "numbers": [np.float32(1.5), np.int16(3), np.bool_(True), np.complex64(1j), np.str_("é")],
    "big end first": np.arange(3, dtype=">f4"),
    "long": np.longdouble(0.5),
    "array": np.arange(6.0).reshape(2, 3),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "texts": np.array(["a", "bc"]),
    "nothing": np.zeros((0, 3)),
    "random state": np.random.RandomState(0).get_state(),
    "defaultdict": defaultdict(list, {"a": [1]}),
    "of floats": defaultdict(float, {"a": 1.0}),
    "set": {1, 2},
    "frozenset": frozenset([1]),
    "bytes": [b"", b"ab", bytearray(b"x")],
    "counter": Counter("aab"),
}


@pytest.mark.parametrize("name", INTACT)
def test_plain_values_beside_weights(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.pt"
    saved(path, {"model": network().state_dict(), "x": INTACT[name]})
    assert checkpoint.load(path).tensors.keys() == network().state_dict().keys()
    assert inspect(path).findings == ()
    from lla.checkpoint.formats.torch_files import load_torch

    read = load_torch(path, legacy=False, trust=checkpoint.Trust())["x"]
    wanted = INTACT[name]
    if isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(read, wanted)
        assert (read.dtype.kind, read.itemsize) == (wanted.dtype.kind, wanted.itemsize)
    elif name != "random state":
        assert read == wanted


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.datetime64("2020-01-01"), "type 'M8'"),
        (np.array([1, "a", None], dtype=object), "type 'O8'"),
        (np.zeros(2, dtype=[("a", "f4")]), "type 'V4'"),
    ],
)
def test_intact_numpy_values_that_are_refused(tmp_path: Path, value: object, words: str) -> None:
    path = tmp_path / "m.pt"
    saved(path, {"model": network().state_dict(), "x": value})
    with pytest.raises(UnsafeCheckpointError, match=words) as seen:
        checkpoint.load(path)
    assert "damaged" not in seen.value.reason
    assert any(words in finding for finding in inspect(path).findings)


def test_states_of_numpy_types_are_not_believed(tmp_path: Path) -> None:
    """A pickle can state sizes and flags of a type; another reader's types stay what they are."""

    class Type:
        def __init__(self, *state: Any) -> None:
            self.state = state

        def __reduce__(self) -> Any:
            return np.dtype, ("f8", False, False), self.state

    path = tmp_path / "m.pt"
    state = (3, ">", None, None, None, 77, 1, 63)
    saved(path, {"model": network().state_dict(), "x": Type(*state)})

    def load() -> object:
        checkpoint.load(path)
        return np.dtype("f8").byteorder, np.dtype("f8").itemsize, float(np.ones(2).sum())

    assert bounded(load) == str(("=", 8, 2.0))


def test_the_result_of_a_call_is_called(tmp_path: Path) -> None:
    """The names are told, though what is done with them is no structure of data."""
    content = (
        b"\x80\x02coperator\nattrgetter\nX\x06\x00\x00\x00system\x85R"
        b"cbuiltins\n__import__\nX\x02\x00\x00\x00os\x85R\x85RX\x0a\x00\x00\x00touch trap\x85R."
    )
    path = tmp_path / "m.pkl"
    path.write_bytes(content)
    with pytest.raises(UnsafeCheckpointError, match=r"__import__.*operator\.attrgetter"):
        checkpoint.load(path)
    # The same where the machine stops in the middle.
    path.write_bytes(content[:-1] + b"0000.")
    with pytest.raises(UnsafeCheckpointError, match=r"operator\.attrgetter"):
        checkpoint.load(path)


SPECIAL: dict[str, Callable[[], torch.Tensor]] = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 1.0, 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "meta": lambda: torch.empty(3, device="meta"),
}


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.filterwarnings("ignore")
def test_special_tensors_are_to_be_saved_plain(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.pt"
    saved(path, {"w": SPECIAL[name](), "b": torch.ones(2)})
    with pytest.raises(CheckpointError, match="sparse, quantized, nested") as seen:
        checkpoint.load(path)
    assert "to_dense()" in seen.value.remedy
    assert "--allow-global" not in seen.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + b"]" * (60 << 20) + b".",
        b"\x80\x02" + b"ca\nb\n" * (3 << 18) + b".",
        b"\x80\x02" + b"".join(b"ca\nb%d\n" % k for k in range(100_000)) + b".",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 3000 + b"}" + b"s" * 3000 + b".",
    ],
    ids=["lists", "one name", "many names", "deep list", "deep table"],
)
def test_small_archives_of_endless_pickles(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", content)
        archive.writestr("m/version", "3\n")
    for action in (checkpoint.load, inspect):
        told = bounded(lambda action=action: action(path), seconds=20)  # type: ignore[misc]
        assert "Error" in told or action is inspect, told
        assert not told.startswith(("killed", "MemoryError", "RecursionError")), told


def test_the_twin_of_a_plain_archive(tmp_path: Path) -> None:
    """A deflated intact archive loads: else the limits above were limits on compression."""
    path = tmp_path / "m.pt"
    saved(path, {f"w{k}": torch.full((50,), float(k)) for k in range(300)})
    rezipped(path, lambda m: None, compression=zipfile.ZIP_DEFLATED)
    assert len(checkpoint.load(path).tensors) == 300


def test_errors_of_a_scan_are_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    saved(path, network().state_dict())
    for content in (b"\x80\x02).", b"\x80\x02N.", b"", b"\x80\x02}q"):
        rezipped(path, lambda m, c=content: m.update({"data.pkl": c}))  # type: ignore[misc]
        with pytest.raises(LlaError):
            checkpoint.load(path)
    stream = io.BytesIO()
    pickle.dump({"a": 10**6000}, stream, protocol=2)
    rezipped(path, lambda m: m.update({"data.pkl": stream.getvalue()}))
    assert inspect(path).facts == {}
