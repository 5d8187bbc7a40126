"""Every format loads whole, and is inspected without being loaded."""

import argparse
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lla import checkpoint
from lla.checkpoint import Trust
from lla.checkpoint.inspection import inspect
from lla.errors import CheckpointError, ConfigurationError, UnsafeCheckpointError
from tests.checkpoint.making import CODE, FORMATS, distributed, exported, network, saved, training


@pytest.mark.parametrize("name", FORMATS)
def test_the_intact_file_of_every_format(tmp_path: Path, name: str) -> None:
    file, make = FORMATS[name]
    path = tmp_path / file
    make(path)
    expected = network().state_dict()
    if name in ("torch", "torch-legacy", "dcp"):
        expected = training()["model"]  # type: ignore[assignment]
    found = checkpoint.load(path)
    assert found.format == name
    assert found.tensors.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found.tensors[key], tensor, rtol=0, atol=0)
    looked = inspect(path)
    assert looked.sha256 == found.sha256
    assert looked.format == name
    assert looked.facts == found.facts
    assert looked.findings == ()
    assert {item.name: item.shape for item in looked.tensors} == {
        key: tuple(tensor.shape) for key, tensor in expected.items()
    }
    for item in looked.tensors:
        tensor = expected[item.name]
        assert item.dtype == str(tensor.dtype).removeprefix("torch.")
        assert item.norm == pytest.approx(float(tensor.double().norm()), rel=1e-12)
    if name in ("torch", "torch-legacy", "dcp"):
        assert found.facts["lr"] == 0.25
        assert found.facts["momentum"] == 0.5
        assert found.facts["epoch"] == 3
        assert looked.has_optimizer_state
        assert len(found.optimizer_state or ()) == 6


@pytest.mark.parametrize("name", CODE)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_code_needs_consent(tmp_path: Path, name: str) -> None:
    file, make = CODE[name]
    path = tmp_path / file
    make(path)
    with pytest.raises(UnsafeCheckpointError, match="run") as error:
        checkpoint.load(path)
    assert error.value.exit_code == 5
    assert "--unsafe-load" in error.value.remedy
    looked = inspect(path)
    assert looked.findings
    assert {item.name for item in looked.tensors} == set(network().state_dict())
    found = checkpoint.load(path, trust=Trust(everything=True))
    assert found.network is not None
    x = torch.randn(5, 1, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(found.network("cpu").eval()(x), network()(x))


def test_a_plain_pickle_needs_consent(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(network()))
    with pytest.raises(UnsafeCheckpointError, match="pickled module"):
        checkpoint.load(path)
    found = checkpoint.load(path, trust=Trust(everything=True))
    assert found.tensors.keys() == network().state_dict().keys()
    path.write_bytes(pickle.dumps({"a": 1.0}))
    with pytest.raises(CheckpointError, match="plain pickle"):
        checkpoint.load(path)


class SeveralOutputs(nn.Module):
    """What networks do beyond layers in a row: tables of inputs, tuples of outputs, einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.conv = nn.Conv1d(8, 8, 3, padding="same")
        self.register_buffer("scale", torch.tensor(0.5))
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.layer(self.embedding(batch["tokens"]))
        x = x + self.conv(x.transpose(1, 2)).transpose(1, 2) * self.scale
        with torch.no_grad():
            shift = x.mean(dim=1, keepdim=True)
        x = nn.functional.gelu(x - shift, approximate="tanh")
        return self.head(x), torch.einsum("btc,bsc->bts", x, x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cell(x)[0][:, : x.shape[1] // 2]


class TwoSizes(nn.Module):
    """Sizes that depend on two dynamic ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, time = x.shape[:2]
        return (x.reshape(n * time, -1) @ self.weight).view(n, time, -1)[:, : time // 2]

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))


@pytest.mark.parametrize(
    ("make", "inputs", "options"),
    [
        (network, (torch.randn(5, 1, 4, 4),), {"dynamic_shapes": ({0: torch.export.Dim("n")},)}),
        (SeveralOutputs, ({"tokens": torch.randint(0, 11, (3, 6))},), {}),
        (
            Recurrent,
            (torch.randn(4, 6, 3),),
            {"dynamic_shapes": {"x": {0: torch.export.Dim("b", min=1)}}},
        ),
        (
            TwoSizes,
            (torch.randn(4, 6, 3),),
            {
                "dynamic_shapes": {
                    "x": {
                        0: torch.export.Dim("b", min=1),
                        1: 2 * torch.export.Dim("t", min=2, max=50),
                    }
                }
            },
        ),
    ],
)
def test_exported_programs_compute_the_same(tmp_path: Path, make, inputs, options) -> None:
    torch.manual_seed(0)
    module = make().eval()
    path = tmp_path / "m.pt2"
    exported(path, module, *inputs, **options)
    found = checkpoint.load(path)
    assert found.network is not None
    assert (found.batch is None) == bool(options)
    again = found.network("cpu").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(*inputs), module(*inputs))
    names = [name for name, _ in module.named_parameters()]
    assert [name for name, _ in again.named_parameters()] == names


@pytest.mark.parametrize("legacy", [False, True])
def test_averaged_weights(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "m.pt"
    averaged = torch.optim.swa_utils.AveragedModel(network())
    away = {name: tensor * 0 for name, tensor in network().state_dict().items()}
    saved(path, {"state_dict": away, "model_ema": averaged.state_dict()}, legacy=legacy)
    assert not any(tensor.any() for tensor in checkpoint.load(path).tensors.values())
    for wanted in ("ema", "model_ema"):
        found = checkpoint.load(path, weights=wanted)
        assert found.weights == "model_ema"
        stripped = checkpoint.strip_prefixes(found.tensors)
        assert stripped.keys() == network().state_dict().keys()
    with pytest.raises(ConfigurationError, match="did you mean 'model_ema'"):
        checkpoint.load(path, weights="model_emma")
    assert inspect(path).weights == ("state_dict", "model_ema")


def test_which_of_several_weights_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    state = network().state_dict()
    saved(path, {"generator": state, "discriminator": state})
    with pytest.raises(
        CheckpointError, match="2 sets of weights: generator, discriminator"
    ) as seen:
        checkpoint.load(path)
    assert seen.value.remedy == "choose one: --weights generator"
    assert checkpoint.load(path, weights="discriminator").tensors.keys() == state.keys()


def test_what_scripts_save_beside_weights(tmp_path: Path) -> None:
    """Arguments, numpy numbers and paths are plain values, though pickles of classes."""
    path = tmp_path / "m.pt"
    content = {
        "net": OrderedDict(network().state_dict()),
        "args": argparse.Namespace(learning_rate=0.5, wd=0.1, name="x", out=Path("/tmp/x")),
        "best": np.float64(0.5),
        "history": np.arange(3.0),
    }
    saved(path, content)
    found = checkpoint.load(path)
    assert found.facts == {"lr": 0.5, "weight_decay": 0.1}
    assert found.hyper_parameters == {"learning_rate": 0.5, "wd": 0.1, "name": "x"}
    looked = inspect(path)
    assert looked.facts == found.facts
    assert looked.findings == ()


def test_pieces_of_a_distributed_tensor(tmp_path: Path) -> None:
    """A tensor saved in pieces by several ranks is put together at its places."""
    from torch.distributed.checkpoint import metadata as tables
    from torch.distributed.checkpoint.filesystem import _StorageInfo

    from tests.checkpoint.making import torch_bytes

    whole = torch.arange(24.0).reshape(4, 6)
    folder = tmp_path / "steps"
    folder.mkdir()
    chunks, places = [], {}
    for rank, (row, column) in enumerate([(0, 0), (0, 3), (2, 0), (2, 3)]):
        content = torch_bytes(whole[row : row + 2, column : column + 3].clone())
        (folder / f"__{rank}_0.distcp").write_bytes(content)
        offsets, sizes = torch.Size([row, column]), torch.Size([2, 3])
        chunks.append(tables.ChunkStorageMetadata(offsets, sizes))
        index = tables.MetadataIndex("model.w", offsets, rank)
        places[index] = _StorageInfo(f"__{rank}_0.distcp", 0, len(content))
    about = tables.TensorStorageMetadata(tables.TensorProperties(), whole.shape, chunks)
    table = tables.Metadata({"model.w": about}, {"model.w": ("model", "w")}, places)
    (folder / ".metadata").write_bytes(pickle.dumps(table))
    torch.testing.assert_close(checkpoint.load(folder).tensors["w"], whole)
    places.pop(index)
    (folder / ".metadata").write_bytes(pickle.dumps(table))
    with pytest.raises(
        CheckpointError, match=r"incomplete: model\.w of shape \(4, 6\) has 18 elements"
    ):
        checkpoint.load(folder)


def test_strided_and_half_precision_tensors_are_measured(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    base = torch.randn(6, 8)
    tensors = {
        "transposed": base.T,
        "part": base[1:4, 2:7],
        "rows": base[2:4],
        "half": base.half(),
        "brain": base.bfloat16(),
        "eighth": base.to(torch.float8_e4m3fn),
        "empty": torch.empty(0, 3),
        "flags": base > 0,
        "complex": torch.view_as_complex(base.reshape(6, 4, 2).clone()),
    }
    saved(path, tensors)
    found = {item.name: item for item in inspect(path).tensors}
    for name, tensor in tensors.items():
        assert found[name].shape == tuple(tensor.shape)
        if name == "eighth":
            assert found[name].norm is None
        else:
            kind = torch.complex128 if name == "complex" else torch.float64
            expected = float(torch.linalg.vector_norm(tensor.to(kind)))
            assert found[name].norm == pytest.approx(expected, rel=1e-12), name


def test_distributed_checkpoints_of_other_layouts(tmp_path: Path) -> None:
    distributed(tmp_path / "bare", network().state_dict())
    assert checkpoint.load(tmp_path / "bare").tensors.keys() == network().state_dict().keys()
