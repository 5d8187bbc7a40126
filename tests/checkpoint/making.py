"""Makers of checkpoints: one small network in every format, and the tools to spoil the files."""

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

Edit = Callable[[dict[str, bytes]], None]


def network() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    module(torch.randn(16, 1, 4, 4))
    return module.eval()


def training() -> dict[str, object]:
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.25, momentum=0.5)
    module(torch.randn(4, 1, 4, 4)).sum().backward()
    optimizer.step()
    return {"model": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}


def saved(path: Path, content: object, *, legacy: bool = False) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def shards(folder: Path) -> None:
    folder.mkdir()
    state = list(network().state_dict().items())
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name, part in zip(names, (state[:4], state[4:]), strict=True):
        save_file(dict(part), folder / name)
    weight_map = {key: names[index >= 4] for index, (key, _) in enumerate(state)}
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)


def exported(
    path: Path, module: nn.Module | None = None, *inputs: object, **options: object
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module or network(), inputs or (torch.randn(5, 1, 4, 4),), **options
        )
        torch.export.save(program, path)


def scripted(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network()).save(str(path))


def distributed(folder: Path, content: object = None) -> None:
    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(content or training(), checkpoint_id=folder, no_dist=True)


FORMATS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "torch": ("m.pt", lambda path: saved(path, training())),
    "torch-legacy": ("m.pth", lambda path: saved(path, training(), legacy=True)),
    "safetensors": ("m.safetensors", lambda path: save_file(network().state_dict(), path)),
    "safetensors-sharded": ("shards", shards),
    "pt2": ("m.pt2", exported),
    "dcp": ("steps", distributed),
}
CODE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "pickled module": ("p.pt", lambda path: saved(path, network())),
    "pickled module, legacy": ("p.pth", lambda path: saved(path, network(), legacy=True)),
    "TorchScript": ("s.pt", scripted),
}


def rezipped(path: Path, edit: Edit, *, compression: int = zipfile.ZIP_STORED) -> None:
    """Rewrite an archive with its members edited by their names without the root folder."""
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        members = {n.partition("/")[2]: archive.read(n) for n in archive.namelist()}
    edit(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}", content)


def with_json(name: str, change: Callable[[dict], None]) -> Edit:
    """An edit of a member that is JSON."""

    def edit(members: dict[str, bytes]) -> None:
        found = json.loads(members[name])
        change(found)
        members[name] = json.dumps(found).encode()

    return edit


def torch_bytes(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()
