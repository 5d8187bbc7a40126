"""Hostile and broken twins of intact files: refused in one line, and nothing of them runs.

Each payload would leave a file named ``trap`` in the current folder; that it would is tested too.
"""

import contextlib
import copyreg
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lla import checkpoint
from lla.checkpoint.formats.pickles import scan
from lla.checkpoint.inspection import inspect
from lla.errors import CheckpointError, LlaError, UnsafeCheckpointError
from tests.checkpoint.making import (
    FORMATS,
    distributed,
    exported,
    network,
    rezipped,
    saved,
    shards,
    torch_bytes,
    training,
    with_json,
)
from tests.checkpoint.watching import watched

CODE = "__import__('os').system('touch trap')"


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


PAYLOADS = {
    "system": Payload(os.system, "touch trap"),
    "open": Payload(open, "trap", "w"),
    "eval": Payload(eval, CODE),
    "through torch": Payload(torch.serialization.os.system, "touch trap"),
}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(path: Path, words: str | None, error: type[LlaError] = CheckpointError) -> LlaError:
    """Loading fails with one clear line, inspecting runs nothing either."""
    with watched() as events:
        with pytest.raises(error, match=words) as seen:
            checkpoint.load(path)
        with contextlib.suppress(LlaError):
            inspect(path)
    assert not Path("trap").exists()
    assert events == []
    found: LlaError = seen.value
    assert found.exit_code == 5
    assert found.remedy
    assert "\n" not in found.reason
    assert len(found.reason) < 1000
    return found


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_the_payloads_work(payload: Payload) -> None:
    with watched() as events:
        result = pickle.loads(pickle.dumps(payload))
    if isinstance(result, io.IOBase):
        result.close()
    assert Path("trap").exists()
    assert events


PLACES: dict[str, Callable[[object], object]] = {
    "alone": lambda bomb: bomb,
    "beside weights": lambda bomb: {"model": network().state_dict(), "extra": bomb},
    "in a list": lambda bomb: {"model": network().state_dict(), "extra": [1, (2, {"x": bomb})]},
    "as a key": lambda bomb: {"model": network().state_dict(), bomb: 1},
    "in the optimizer's state": lambda bomb: {
        **training(),
        "optimizer": {"state": {0: {"momentum_buffer": bomb}}, "param_groups": [{"lr": 0.1}]},
    },
    "in hyper-parameters": lambda bomb: {**training(), "hyper_parameters": {"callback": bomb}},
    "among weights": lambda bomb: {**network().state_dict(), "0.extra": bomb},
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", PLACES)
def test_payloads_in_files_of_torch(
    tmp_path: Path, payload: Payload, legacy: bool, place: str
) -> None:
    path = tmp_path / "m.pt"
    saved(path, PLACES[place](payload), legacy=legacy)
    names = {"open": r"io\.open", "eval": r"builtins\.eval"}
    kind = next(key for key, value in PAYLOADS.items() if value is payload)
    found = refused(path, names.get(kind, "posix.system"), UnsafeCheckpointError)
    assert "--unsafe-load" in found.remedy
    assert inspect(path).findings


@pytest.mark.parametrize("position", range(5))
def test_payloads_in_any_pickle_of_a_legacy_file(tmp_path: Path, position: int) -> None:
    path = tmp_path / "m.pt"
    saved(path, network().state_dict(), legacy=True)
    whole = path.read_bytes()
    stream = io.BytesIO(whole)
    ends = [0]
    for _ in range(5):
        scan(stream)
        ends.append(stream.tell())
    bomb = pickle.dumps(PAYLOADS["system"], protocol=2)
    path.write_bytes(whole[: ends[position]] + bomb + whole[ends[position + 1] :])
    refused(path, "posix.system|damaged|magic")


def test_plain_pickles_of_any_protocol(tmp_path: Path) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / "m.pkl"
        path.write_bytes(pickle.dumps(PAYLOADS["system"], protocol=protocol))
        refused(path, "posix.system|text file|not in a format")


def test_registered_extensions_and_build(tmp_path: Path) -> None:
    """Opcodes that call without naming: EXT1 looks a registry up, BUILD sets attributes."""
    copyreg.add_extension("posix", "system", 240)
    try:
        call = b"\x80\x02\x82\xf0X\x0a\x00\x00\x00touch trap\x85R."
        pickle.loads(call)
        assert Path("trap").exists()
        Path("trap").unlink()
        # The cache remembers the function, and no longer asks for the name.
        for name in ("m.pkl", "m.pt"):
            path = tmp_path / name
            path.write_bytes(call)
            if name == "m.pt":
                path.unlink()
                saved(path, network().state_dict())
                rezipped(path, lambda members: members.__setitem__("data.pkl", call))
            refused(path, "damaged|posix.system|extension")
    finally:
        copyreg.remove_extension("posix", "system", 240)
        copyreg.clear_extension_cache()  # type: ignore[attr-defined]


def test_payload_in_a_distributed_table(tmp_path: Path) -> None:
    path = tmp_path / "steps"
    distributed(path)
    table = pickle.loads((path / ".metadata").read_bytes())
    table.storage_meta = PAYLOADS["system"]
    (path / ".metadata").write_bytes(pickle.dumps(table))
    refused(path, r"\.metadata names .*posix.system", UnsafeCheckpointError)
    (path / ".metadata").write_bytes(pickle.dumps(PAYLOADS["system"]))
    refused(path, "posix.system", UnsafeCheckpointError)


def test_payload_in_a_distributed_piece(tmp_path: Path) -> None:
    path = tmp_path / "steps"
    distributed(path, {"model": network().state_dict(), "extra": PAYLOADS["system"]})
    refused(path, "posix.system", UnsafeCheckpointError)


@pytest.mark.parametrize("where", ["../m.distcp", "/etc/passwd", "link.distcp"])
def test_distributed_pieces_elsewhere(tmp_path: Path, where: str) -> None:
    path = tmp_path / "steps"
    distributed(path)
    (path / "__0_0.distcp").rename(tmp_path / "m.distcp")
    (path / "link.distcp").symlink_to(tmp_path / "m.distcp")
    table = pickle.loads((path / ".metadata").read_bytes())
    for place in table.storage_data.values():
        object.__setattr__(place, "relative_path", where)
    (path / ".metadata").write_bytes(pickle.dumps(table))
    if where.startswith("link"):
        assert checkpoint.load(path).tensors  # a link is the user's own arrangement
    else:
        refused(path, "mislead|ends too early")


def table_with(path: Path, change: Callable[[Any], None]) -> None:
    distributed(path)
    table = pickle.loads((path / ".metadata").read_bytes())
    change(table)
    (path / ".metadata").write_bytes(pickle.dumps(table))


@pytest.mark.parametrize("size", [-1, 1 << 63, 1 << 40, "x"])
def test_distributed_sizes(tmp_path: Path, size: object) -> None:
    def change(table: Any) -> None:
        about = table.state_dict_metadata["model.0.weight"]
        object.__setattr__(about, "size", (size, 2))

    table_with(tmp_path / "a", change)
    refused(tmp_path / "a", "is no size|incomplete")

    def lengthen(table: Any) -> None:
        for place in table.storage_data.values():
            object.__setattr__(place, "length", size)

    table_with(tmp_path / "b", lengthen)
    refused(tmp_path / "b", "is no size|ends too early")


# Exported programs: what torch.export.load would evaluate, look up or unpickle.


def first_node(model: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = model["graph_module"]["graph"]["nodes"][0]
    return found


def set_size(model: dict[str, Any], text: str) -> None:
    values = model["graph_module"]["graph"]["tensor_values"]
    values["linear"]["sizes"][0] = {"as_expr": {"expr_str": text, "hint": {"as_int": 5}}}


def set_target(model: dict[str, Any], text: str) -> None:
    node = first_node(model)
    node["target"] = text
    node["inputs"] = [{"name": "command", "arg": {"as_string": "touch trap"}, "kind": 1}]


def set_arguments(model: dict[str, Any], text: str) -> None:
    for call in model["graph_module"]["module_call_graph"]:
        if call["signature"]:
            call["signature"]["forward_arg_names"] = [text]


def set_tree(model: dict[str, Any], type: str, context: object = None) -> None:
    for call in model["graph_module"]["module_call_graph"]:
        if call["signature"]:
            node = {"type": type, "context": json.dumps(context), "children_spec": []}
            call["signature"]["in_spec"] = json.dumps([1, node])


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "size": lambda m: set_size(m, CODE),
    "size by attribute": lambda m: set_size(m, "Symbol.__class__.__init__.__globals__"),
    "size by lambda": lambda m: set_size(m, "(lambda: 1)()"),
    "size for ever": lambda m: set_size(m, "9**9**9**9"),
    "range": lambda m: m["range_constraints"].update({CODE: {"min_val": 1, "max_val": 2}}),
    "operator": lambda m: set_target(m, "torch.serialization.os.system"),
    "loader": lambda m: set_target(m, "torch.load"),
    "hub": lambda m: set_target(m, "torch.hub.load"),
    "file": lambda m: set_target(m, "torch.ops.aten.from_file.default"),
    "library": lambda m: set_target(m, "torch.ops.load_library"),
    "dunder": lambda m: set_target(m, "torch.ops.aten.__class__"),
    "getter": lambda m: set_target(m, "_operator.methodcaller"),
    "math": lambda m: set_target(m, "math.__loader__.load_module"),
    "extension": lambda m: set_target(m, "#custom.op"),
    "arguments": lambda m: set_arguments(m, f"x=[{CODE}]"),
    "argument name": lambda m: first_node(m)["inputs"][0].update(name=f"x={CODE}"),
    "node name": lambda m: first_node(m).update(name=f"x\n{CODE}"),
    "tensor name": lambda m: first_node(m)["outputs"][0]["as_tensor"].update(name=f"x;{CODE}"),
    "tree type": lambda m: set_tree(m, "os.system"),
    "tree enum": lambda m: set_tree(
        m, "builtins.dict", [{"__enum__": True, "fqn": "os:system", "name": "x"}]
    ),
    "verifier": lambda m: m.update(verifiers=[CODE]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_code_in_an_exported_graph(tmp_path: Path, edit: str) -> None:
    path = tmp_path / "m.pt2"
    exported(path)
    assert checkpoint.load(path).tensors
    rezipped(path, with_json("models/model.json", EDITS[edit]))
    refused(path, "could run code", UnsafeCheckpointError)
    assert inspect(path).findings


def test_torch_would_run_the_code_in_a_size(tmp_path: Path) -> None:
    """The danger is real: torch's own loader evaluates it."""
    path = tmp_path / "m.pt2"
    exported(path)
    rezipped(path, with_json("models/model.json", EDITS["size"]))
    with contextlib.suppress(Exception):
        torch.export.load(io.BytesIO(path.read_bytes()))
    assert Path("trap").exists()


def test_guards_and_metadata_are_left_out(tmp_path: Path) -> None:
    """Strings that an analysis does not need are not refused, but never reach torch."""
    path = tmp_path / "m.pt2"
    exported(path)

    def edit(model: dict[str, Any]) -> None:
        model["guards_code"] = [CODE]
        first_node(model)["metadata"]["stack_trace"] = f"\n{CODE}"
        first_node(model)["metadata"]["torch_fn"] = f"{CODE};{CODE}"

    rezipped(path, with_json("models/model.json", edit))
    with watched() as events:
        module = checkpoint.load(path).network
        assert module is not None
        module("cpu")(torch.randn(5, 1, 4, 4))
    assert events == []
    assert not Path("trap").exists()


def config(folder: str) -> str:
    return f"data/{folder}/model_{folder}_config.json"


def pickled_weight(members: dict[str, bytes]) -> None:
    found = json.loads(members[config("weights")])
    found["config"]["0.bias"]["use_pickle"] = True
    members[config("weights")] = json.dumps(found).encode()
    members["data/weights/" + found["config"]["0.bias"]["path_name"]] = torch_bytes(
        PAYLOADS["system"]
    )


def constant(kind: str) -> Callable[[dict[str, bytes]], None]:
    def edit(members: dict[str, bytes]) -> None:
        about = {"path_name": kind, "is_param": False, "use_pickle": True, "tensor_meta": None}
        members[config("constants")] = json.dumps({"config": {"c": about}}).encode()
        members[f"data/constants/{kind}"] = pickle.dumps(PAYLOADS["system"])

    return edit


ARCHIVES: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "sample inputs": (
        lambda m: m.update({"data/sample_inputs/model.pt": torch_bytes(PAYLOADS["system"])}),
        "posix.system",
    ),
    "plain sample inputs": (
        lambda m: m.update({"data/sample_inputs/model.pt": pickle.dumps(PAYLOADS["system"])}),
        "damaged|posix.system",
    ),
    "weight": (pickled_weight, "is pickled"),
    "custom object": (constant("custom_obj_0"), "is pickled"),
    "opaque object": (constant("opaque_obj_0"), "is pickled"),
    "old weights": (
        lambda m: m.update({"data/weights/model.pt": torch_bytes(PAYLOADS["system"])}),
        "never",
    ),
    "second program": (
        lambda m: m.update({"models/other.json": m["models/model.json"]}),
        "2 programs",
    ),
    "compiled code": (
        lambda m: m.update({"data/aotinductor/model/model.so": b"\x7fELF"}),
        "no part of an exported network",
    ),
    "huge weight": (
        with_json(
            config("weights"),
            lambda c: c["config"]["0.bias"]["tensor_meta"].update(sizes=[{"as_int": 1 << 62}]),
        ),
        "claims",
    ),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_members_of_an_exported_program(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.pt2"
    exported(path)
    edit, words = ARCHIVES[kind]
    rezipped(path, edit)
    if words == "never":
        # A member that nothing refers to is not copied, and so never read.
        with watched() as events:
            assert checkpoint.load(path).tensors
        assert events == []
        assert not Path("trap").exists()
    else:
        refused(path, words)


# Archives that are not what they seem.


@pytest.mark.parametrize("name", ["m/../../trap", "/trap", "m/data.pkl", "m/..\\trap"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_mislead(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.pt"
    saved(path, network().state_dict())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, torch_bytes(PAYLOADS["system"]))
    refused(path, "leads out of the archive|occurs twice")


def test_members_that_grow(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    saved(path, network().state_dict())
    bomb = b"\x80\x02" + b"0" * (300 << 20)
    rezipped(path, lambda m: m.update({"data.pkl": bomb}), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    refused(path, "unpacks to")


def claims(path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> None:
    """A state dict whose tensor of 4 numbers says it has another size."""
    saved(path, {"w": torch.zeros(4)})

    def edit(members: dict[str, bytes]) -> None:
        class Tensor:
            def __reduce__(self) -> Any:
                arguments = (STORAGE, offset, shape, strides, False, {})
                return torch._utils._rebuild_tensor_v2, arguments

        stream = io.BytesIO()
        pickler = pickle.Pickler(stream, protocol=2)
        pickler.persistent_id = lambda item: (  # type: ignore[method-assign]
            ("storage", torch.FloatStorage, "0", "cpu", 4) if item is STORAGE else None
        )
        pickler.dump({"w": Tensor()})
        members["data.pkl"] = stream.getvalue()

    rezipped(path, edit)


STORAGE = object()


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "words"),
    [
        ((1 << 40,), (1,), 0, "claims"),
        ((1 << 62, 4), (0, 1), 0, "claims"),
        ((1 << 30,), (0,), 0, "claims"),
        ((2,), (1,), 1 << 62, "claims"),
        ((-4,), (1,), 0, "negative"),
        ((4,), (-1,), 0, "negative"),
        ((2,), (1,), -1, "negative"),
    ],
)
def test_tensors_larger_than_their_bytes(
    tmp_path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, words: str
) -> None:
    path = tmp_path / "m.pt"
    claims(path, (4,), (1,))
    assert checkpoint.load(path).tensors["w"].shape == (4,)
    claims(path, shape, strides, offset)
    refused(path, words)


def header(path: Path, length: int, text: bytes, data: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", length) + text + data)


@pytest.mark.parametrize(
    "about",
    [
        {"dtype": "F32", "shape": [1 << 61], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 62]},
        {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": "4", "data_offsets": [0, 16]},
        {"dtype": "F32"},
        [],
        None,
    ],
)
def test_headers_that_lie(tmp_path: Path, about: object) -> None:
    path = tmp_path / "m.safetensors"
    text = json.dumps({"w": about}).encode()
    header(path, len(text), text, bytes(16))
    refused(path, "damaged")


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 1 << 40])
def test_headers_of_impossible_length(tmp_path: Path, length: int) -> None:
    path = tmp_path / "m.safetensors"
    header(path, length, b"{}")
    refused(path, "not in a format|damaged")


@pytest.mark.long
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting(tmp_path: Path, opening: bytes) -> None:
    depth = 200_000
    path = tmp_path / "m.safetensors"
    text = b'{"w":' + opening * depth
    header(path, len(text), text)
    refused(path, "damaged")
    path = tmp_path / "m.pt2"
    exported(path)
    rezipped(path, lambda m: m.update({"models/model.json": opening * depth}))
    refused(path, "damaged")
    path = tmp_path / "m.pt"
    saved(path, network().state_dict())
    nested = b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."
    rezipped(path, lambda m: m.update({"data.pkl": nested}))
    refused(path, "no state dict|damaged")


def test_structures_that_grow_when_walked(tmp_path: Path) -> None:
    """Each of 60 tuples holds the one before twice: 2**60 paths lead through it."""
    path = tmp_path / "m.pt"
    content: object = torch.ones(1)
    for _ in range(60):
        content = (content, content)
    saved(path, {"model": network().state_dict(), "extra": content})
    assert checkpoint.load(path).tensors
    assert inspect(path).tensors


@pytest.mark.parametrize(
    "text",
    [
        '{"weight_map": {"w": "../../../../etc/passwd"}}',
        '{"weight_map": {"w": "/etc/passwd"}}',
        '{"weight_map": {"w": "none.safetensors"}}',
        '{"weight_map": {}}',
        '{"weight_map": [1]}',
        '{"weight_map": {"w": 3}}',
        "[]",
        "{",
        "",
    ],
)
def test_indices_of_shards(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "shards"
    shards(folder)
    (folder / "model.safetensors.index.json").write_text(text)
    refused(folder, "mislead|lacks|damaged")


def test_a_shard_outside_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    shards(folder)
    save_file(network().state_dict(), tmp_path / "m.safetensors")
    text = '{"weight_map": {"0.weight": "../m.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(text)
    refused(folder, "mislead")


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    shards(folder)
    save_file(network().state_dict(), folder / "model-00001-of-00002.safetensors")
    refused(folder, "another shard holds too")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_cut_short(tmp_path: Path, name: str) -> None:
    file, make = FORMATS[name]
    path = tmp_path / file
    make(path)
    for part in sorted(path.iterdir()) if path.is_dir() else [path]:
        whole = part.read_bytes()
        step = 1024 if len(whole) < 1 << 16 else 8192
        for size in range(0, len(whole), step):
            part.write_bytes(whole[:size])
            refused(path, None)
        part.write_bytes(whole)
    assert checkpoint.load(path).tensors
