import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lla import checkpoint
from lla.checkpoint import strip_prefixes
from lla.checkpoint.contents import training_facts
from lla.errors import CheckpointError, LlaError, UnsafeCheckpointError

WEIGHTS = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


class Bomb:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    "content", [WEIGHTS, {"model": WEIGHTS, "epoch": 3}, {"state_dict": WEIGHTS}]
)
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files(tmp_path: Path, content: dict[str, object], legacy: bool) -> None:
    path = tmp_path / "m.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = checkpoint.load(path)
    assert found.format == ("torch-legacy" if legacy else "torch")
    assert {name: tuple(tensor.shape) for name, tensor in found.tensors.items()} == {
        "a.weight": (2, 3),
        "a.bias": (2,),
    }
    assert len(found.sha256) == 64


def test_safetensors_with_facts(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(WEIGHTS, path, metadata={"lr": "0.25", "optimizer": "SGD", "note": "x"})
    found = checkpoint.load(path)
    assert found.format == "safetensors"
    assert found.facts == {"lr": 0.25, "optimizer": "sgd"}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, nesterov=True),
            {"optimizer": "sgd", "lr": 0.3, "momentum": 0.9, "nesterov": True},
        ),
        (
            lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.9)),
            {"optimizer": "adam", "lr": 0.1, "betas": (0.8, 0.9)},
        ),
        (lambda p: torch.optim.AdamW(p, lr=0.1), {"optimizer": "adamw", "weight_decay": 0.01}),
        (lambda p: torch.optim.RMSprop(p, lr=0.1), {"optimizer": "rmsprop", "lr": 0.1}),
    ],
)
def test_optimizers_are_recognized(make, expected: dict[str, object]) -> None:
    optimizer = make(nn.Linear(2, 2).parameters())
    facts = training_facts({"optimizer": optimizer.state_dict(), "lr": 9.0, "epoch": 4})
    assert facts["epoch"] == 4
    assert {key: facts[key] for key in expected} == expected


def test_groups_of_different_rates_have_no_single_one() -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [{"params": one.parameters()}, {"params": two.parameters(), "lr": 0.5}]
    facts = training_facts({"optimizer": torch.optim.SGD(groups, lr=0.1).state_dict()})
    assert "lr" not in facts


def test_prefixes() -> None:
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in WEIGHTS.items()}
    assert strip_prefixes(wrapped).keys() == WEIGHTS.keys()
    # What wrappers put between the parts of a name goes wherever it stands.
    parts = {f"module.{name}" for name in WEIGHTS}
    assert strip_prefixes({**wrapped, "other": torch.ones(1)}).keys() == {*parts, "other"}
    inner = {f"net._fsdp_wrapped_module.{name}": tensor for name, tensor in WEIGHTS.items()}
    assert strip_prefixes(inner).keys() == {f"net.{name}" for name in WEIGHTS}
    # Two names do not become one.
    both = {"a.w": torch.ones(1), "a._orig_mod.w": torch.ones(1)}
    assert strip_prefixes(both).keys() == both.keys()


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_file_is_run(tmp_path: Path, legacy: bool) -> None:
    trap = tmp_path / "trap"
    path = tmp_path / "m.pt"
    torch.save(
        {"model": WEIGHTS, "optimizer": Bomb(trap)},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(UnsafeCheckpointError, match="open") as error:
        checkpoint.load(path)
    assert error.value.exit_code == 5
    assert not trap.exists()


def test_plain_pickles_are_refused(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(Bomb(trap)))
    with pytest.raises(UnsafeCheckpointError, match="open"):
        checkpoint.load(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello\n", "a text file"),
        ("Gewicht: grün\n".encode() * 100, "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
        (b"\x00\x01\x02\x03" * 50, "not in a format"),
        (b"PK\x05\x06" + bytes(18), "zip archive without torch data"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "not in a format"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as error:
        checkpoint.load(path)
    assert error.value.exit_code == 5
    assert error.value.remedy


def test_cut_files_give_one_clear_error(tmp_path: Path, samples: Path) -> None:
    for name in ("digits_cnn.pt", "digits_vit.safetensors"):
        whole = (samples / name).read_bytes()
        for size in range(0, len(whole), 8192):
            path = tmp_path / name
            path.write_bytes(whole[:size])
            with pytest.raises(LlaError) as error:
                checkpoint.load(path)
            assert "\n" not in error.value.reason


def test_programs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with pytest.warns(DeprecationWarning, match="deprecated"):
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    with pytest.raises(UnsafeCheckpointError, match="TorchScript"):
        checkpoint.load(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "m.pt"
    torch.save({"a": torch.ones(2), "b": torch.tensor([1.0, bad])}, path)
    with pytest.raises(CheckpointError, match="NaN or infinite values in b"):
        checkpoint.load(path)


def test_no_state_dict_inside(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"losses": [1.0, 2.0], "best": 3}, path)
    with pytest.raises(CheckpointError, match="keys are losses, best"):
        checkpoint.load(path)
