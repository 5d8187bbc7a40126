"""Any checkpoint that a user has: the same network in every format, through the command line."""

import json
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lla_cli.main import app
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner, Result

NETS = """
from torch import nn

def net(width=6) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Tanh(), nn.Flatten(),
        nn.Linear(width * 16, 4),
    )
"""
QUICK = ("--set=spectrum.steps=20", "--set=spectrum.probes=4", "--set=spectrum.max_probes=4")


def lla(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, [str(item) for item in arguments], env=env)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def network() -> nn.Module:
    scope: dict[str, Callable[[], nn.Module]] = {}
    exec(NETS, scope)
    torch.manual_seed(0)
    module = scope["net"]()
    module(torch.randn(64, 1, 6, 6))  # running statistics
    return module.eval()


@pytest.fixture
def module() -> nn.Module:
    Path("nets.py").write_text(NETS)
    rng = np.random.default_rng(0)
    np.savez(
        "data.npz",
        x_train=rng.normal(size=(48, 1, 6, 6)).astype(np.float32),
        y_train=rng.integers(0, 4, 48),
    )
    Path("lla.toml").write_text(
        'schema = 1\n[model]\nfactory = "nets.py:net"\n'
        '[data]\nsource = "data.npz"\nsplit = "train"\nbatch_size = 20\n'
    )
    return network()


def lightning(module: nn.Module) -> dict[str, object]:
    state = {f"net.{name}": tensor for name, tensor in module.state_dict().items()}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.25)
    return {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {**state, "loss.weight": torch.ones(4)},
        "loops": {},
        "callbacks": {},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.25, "batch_size": 16, "note": "x"},
    }


def averaged(module: nn.Module) -> dict[str, object]:
    away = {name: torch.zeros_like(tensor) for name, tensor in module.state_dict().items()}
    return {"state_dict": away, "state_dict_ema": module.state_dict(), "epoch": 1}


def sharded(module: nn.Module, folder: Path) -> None:
    folder.mkdir()
    parts: list[dict[str, torch.Tensor]] = [{}, {}]
    for index, (name, tensor) in enumerate(module.state_dict().items()):
        parts[index % 2][name] = tensor.contiguous()
    names = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name)
    index = {key: file for file, part in zip(names, parts, strict=True) for key in part}
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)


def distributed(module: nn.Module, folder: Path) -> None:
    import torch.distributed.checkpoint as dcp

    dcp.save({"model": module.state_dict(), "epoch": 2}, checkpoint_id=folder, no_dist=True)


def exported(module: nn.Module, path: Path, *, dynamic: bool) -> None:
    shapes = {"input": {0: torch.export.Dim("n", min=1)}} if dynamic else None
    program = torch.export.export(module, (torch.randn(7, 1, 6, 6),), dynamic_shapes=shapes)
    torch.export.save(program, path)


def traced(module: nn.Module, path: Path) -> None:
    torch.jit.trace(module, torch.randn(2, 1, 6, 6)).save(str(path))


MAKERS: dict[str, tuple[str, Callable[[nn.Module, Path], object], tuple[str, ...]]] = {
    "state dict": ("m.pt", lambda m, p: torch.save(m.state_dict(), p), ()),
    "before torch 1.6": (
        "m.pth",
        lambda m, p: torch.save(m.state_dict(), p, _use_new_zipfile_serialization=False),
        (),
    ),
    "compiled and parallel": (
        "m.tar",
        lambda m, p: torch.save(
            {"net": {f"module._orig_mod.{k}": v for k, v in m.state_dict().items()}}, p
        ),
        (),
    ),
    "safetensors": ("m.safetensors", lambda m, p: save_file(m.state_dict(), p), ()),
    "shards": ("shards", sharded, ()),
    "Lightning": ("m.ckpt", lambda m, p: torch.save(lightning(m), p), ()),
    "averaged weights": ("e.pt", lambda m, p: torch.save(averaged(m), p), ("--weights", "ema")),
    "DCP": ("steps", distributed, ()),
    "exported": ("m.pt2", lambda m, p: exported(m, p, dynamic=True), ("--model", "")),
    "exported for 7": ("f.pt2", lambda m, p: exported(m, p, dynamic=False), ("--model", "")),
    "pickled module": ("p.pt", torch.save, ("--unsafe-load", "--model", "")),
    "TorchScript": ("s.pt", traced, ("--unsafe-load", "--model", "")),
}


def dense_extremes(module: nn.Module) -> list[float]:
    """Largest two and smallest eigenvalue of the float64 Hessian, by autograd alone."""
    module = module.double()
    with np.load("data.npz") as file:
        x, y = torch.from_numpy(file["x_train"]).double(), torch.from_numpy(file["y_train"])
    names, values = zip(*module.named_parameters(), strict=True)
    flat = torch.cat([value.detach().reshape(-1) for value in values])

    def loss(theta: torch.Tensor) -> torch.Tensor:
        parts = torch.split(theta, [value.numel() for value in values])
        named = {n: p.view(v.shape) for n, p, v in zip(names, parts, values, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(module, named, (x,)), y)

    found = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    return [float(found[-1]), float(found[-2]), float(found[0])]


@pytest.mark.parametrize("format", MAKERS)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_the_same_eigenvalues_through_every_format(module: nn.Module, format: str) -> None:
    name, make, options = MAKERS[format]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, on what it deprecates
        make(module, Path(name))
    done = lla("spectrum", name, *options, *QUICK, "--json", "--no-html")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    from lla import read

    values = read(found["report"]).results["spectrum"].eigenvalues
    largest, second, smallest = dense_extremes(module)
    assert [values[0], values[1], values[-1]] == pytest.approx(
        [largest, second, smallest], rel=1e-6
    )
    metric = found["metrics"]["hessian/lambda_max"]
    assert metric["low"] <= largest <= metric["high"]
    looked = lla("inspect", name, "--json")
    assert json.loads(looked.stdout)["sha256"] == found["checkpoint"]["sha256"]


@pytest.mark.parametrize("format", ["pickled module", "TorchScript"])
def test_code_is_refused_without_consent(module: nn.Module, format: str) -> None:
    name, make, _ = MAKERS[format]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(module, Path(name))
    # Neither a recipe nor a variable can give the consent.
    Path("lla.toml").write_text(Path("lla.toml").read_text() + "[run]\nunsafe_load = true\n")
    assert "unknown key 'unsafe_load'" in lla("spectrum", name).stderr
    done = lla("spectrum", name, "--recipe", "none.toml", env={"LLA_UNSAFE_LOAD": "1"})
    assert done.exit_code == 2
    Path("lla.toml").unlink()
    done = lla("spectrum", name, "--data", "data.npz?split=train")
    assert done.exit_code == 5
    assert "would run" in done.stderr
    assert "--unsafe-load" in done.stderr
    looked = lla("inspect", name)
    assert looked.exit_code == 0
    assert "security" in looked.stdout


def test_types_that_the_user_allows(module: nn.Module) -> None:
    from fractions import Fraction

    torch.save({"model": module.state_dict(), "best": Fraction(1, 3)}, "m.pt")
    done = lla("spectrum", "m.pt")
    assert done.exit_code == 5
    assert "fractions.Fraction" in done.stderr
    assert "--allow-global fractions.Fraction" in done.stderr
    done = lla("spectrum", "m.pt", "--allow-global", "fractions.Fraction", *QUICK, "--no-html")
    assert done.exit_code == 0, done.stderr
    done = lla("spectrum", "m.pt", "--allow-global", "fractions.Fractoin")
    assert done.exit_code == 5
    done = lla(
        "spectrum",
        "m.pt",
        "--allow-global",
        "fractions.Fraction",
        "--allow-global",
        "no.such.Thing",
    )
    assert done.exit_code == 2
    assert "no.such.Thing cannot be found" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none.pt"], 5, ["there is no file none.pt", "ls ."]),
        (["lfs.pt"], 5, ["git-lfs pointer", "git lfs pull"]),
        (["empty.pt"], 5, ["is empty"]),
        (["data.npz"], 5, ["NumPy archive", "--data data.npz"]),
        (["m.pt", "--model", "nets.py:nte"], 2, ["did you mean 'net'?"]),
        (["m.pt", "--model", ""], 2, ["weights only", "lla init m.pt"]),
        (["m.pt", "--model-arg", "width=7"], 2, ["(6, 1, 3, 3) in the file, (7, 1, 3, 3)"]),
        (["m.pt", "--data", "dta.npz"], 5, ["dta.npz"]),
        (["m.pt", "--data", "data.npz?spilt=x"], 2, ["did you mean 'split'?"]),
        (["m.pt", "--weights", "ema"], 2, ["one set of weights", "leave --weights out"]),
        (["hf:.", "--data", "data.npz"], 5, ["hf:. cannot be read"]),
        (["folder"], 5, ["a folder without a checkpoint"]),
    ],
)
def test_messages(module: nn.Module, arguments: list[str], code: int, words: list[str]) -> None:
    torch.save(module.state_dict(), "m.pt")
    Path("folder").mkdir()
    Path("empty.pt").touch()
    Path("lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    done = lla("spectrum", *arguments)
    assert done.exit_code == code, done.stderr
    reason, *remedy = done.stderr.strip().splitlines()
    assert reason.startswith("lla: ")
    assert remedy
    for part in words:
        assert part in done.stderr
    assert not list(Path().glob("*.h5"))


def test_init_writes_what_can_be_told(module: nn.Module) -> None:
    Path("lla.toml").unlink()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.25)
    torch.save({"model": module.state_dict(), "optimizer": optimizer.state_dict()}, "m.pt")
    done = lla("init", "m.pt")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == ["wrote m.toml", "then: lla analyze m.pt"]
    text = Path("m.toml").read_text()
    assert tomllib.loads(text) == {
        "schema": 1,
        "model": {"factory": "nets.py:net", "args": {}},
        "data": {"source": "data.npz", "split": "train"},
        "loss": {"name": "cross_entropy"},
        "training": {},
    }
    assert "lr = 0.25" in text
    assert lla("spectrum", "m.pt", *QUICK, "--no-html").exit_code == 0
    # Nothing of the user's is replaced unasked.
    again = lla("init", "m.pt")
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert lla("init", "m.pt", "--force").exit_code == 0


def test_init_marks_what_is_missing_and_runs_no_code(module: nn.Module) -> None:
    for name in ("lla.toml", "data.npz"):
        Path(name).unlink()
    Path("nets.py").write_text("raise SystemExit('run')\n" + NETS + NETS.replace("net(", "other("))
    torch.save(module.state_dict(), "m.pt")
    done = lla("init", "m.pt")
    assert done.stdout.splitlines()[1] == "fill in model.factory and data.source there"
    text = Path("m.toml").read_text()
    assert "found beside the checkpoint: nets.py:net, nets.py:other" in text
    assert text.count("# FILL IN") == 2
    for key in ("lr", "batch_size", "samples"):
        assert f"# {key} = …" in text
    assert tomllib.loads(text)["model"] == {}


def test_config_shows_each_value_and_its_origin(module: nn.Module) -> None:
    torch.save(lightning(module), "m.ckpt")
    done = lla(
        "config",
        "m.ckpt",
        "--data",
        "data.npz?split=train&limit=9",
        "--set=landscape.points=7",
        "--json",
        env={"LLA_SEED": "3", "LLA_DATA_BATCH_SIZE": "5"},
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["data.limit"] == {"value": 9, "from": "command line"}
    assert found["landscape.points"] == {"value": 7, "from": "command line"}
    assert found["run.seed"] == {"value": 3, "from": "environment (LLA_SEED)"}
    assert found["data.batch_size"] == {"value": 5, "from": "environment (LLA_DATA_BATCH_SIZE)"}
    assert found["model.factory"] == {"value": "nets.py:net", "from": "recipe lla.toml"}
    assert found["training.lr"] == {"value": 0.25, "from": "checkpoint"}
    assert found["training.batch_size"] == {"value": 16, "from": "checkpoint"}
    assert found["run.tolerance"] == {"value": 0.02, "from": "default"}
    table = lla("config", "m.ckpt").stdout
    assert "training.lr" in table
    assert "checkpoint" in table


def test_inspect_for_people(module: nn.Module) -> None:
    with torch.no_grad():
        module[4].weight[0, 0] = float("nan")  # type: ignore[index]
    torch.save({"state_dict": module.state_dict(), "lr": 0.5}, "m.pt")
    done = lla("inspect", "m.pt")
    assert done.exit_code == 0
    for part in (
        "format     torch",
        "lr = 0.5",
        "1 × 2-D convolution, 1 × batch norm, 1 × linear layer",
        "last linear layer gives 4 outputs",
        "NaN or infinite in 4.weight (1)",
        "nothing in it would be run",
    ):
        assert part in done.stdout
    found = json.loads(lla("inspect", "m.pt", "--json").stdout)
    assert found["schema"] == "lla-inspect/1"
    bias = module.state_dict()["4.bias"]
    assert found["tensors"]["4.bias"]["norm"] == pytest.approx(float(bias.double().norm()))
    assert found["tensors"]["4.weight"]["non_finite"] == 1


def test_doctor() -> None:
    done = lla("doctor")
    assert done.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["torch"] == torch.__version__
    assert "median of" in lines["product"]
    assert "writable" in lines["here"]


@pytest.mark.filterwarnings("ignore")  # on the library's own imports
def test_a_hugging_face_folder_needs_no_factory() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
        num_labels=3,
    )
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained("bert")
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(0, 30, (40, 9)), rng.integers(0, 3, 40)
    mask = (np.arange(9) < rng.integers(3, 10, (40, 1))).astype(np.int64)
    np.savez("text.npz", ids=ids, mask=mask, labels=labels)
    Path("bert.toml").write_text(
        '[data]\nsource = "text.npz"\ntarget = "labels"\nbatch_size = 16\n'
        'inputs = { input_ids = "ids", attention_mask = "mask" }\n'
    )
    done = lla("spectrum", "hf:bert", *QUICK, "--json", "--no-html")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["report"] == "bert.lla.h5"
    with torch.no_grad():
        parts = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        expected = model(**{key: torch.from_numpy(part) for key, part in parts.items()}).loss
    assert found["metrics"]["loss/value"]["value"] == pytest.approx(float(expected), rel=1e-5)
    assert found["metrics"]["hessian/lambda_max"]["converged"]
    # The folder's weights alone are a checkpoint as well: with a factory, or a word on hf:.
    done = lla("spectrum", "bert")
    assert done.exit_code == 2
    assert "weights only" in done.stderr
    assert "hf:bert brings it along" in lla("inspect", "bert").stdout
    assert (
        "no factory is needed"
        in (lla("init", "hf:bert", "-o", "new.toml").stdout, Path("new.toml").read_text())[1]
    )


def test_timm_by_name(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in: timm itself needs a torchvision that is built for the same torch."""
    import sys
    import types

    timm = types.ModuleType("timm")

    def create_model(model_name: str, pretrained: bool = False, **options: object) -> nn.Module:
        if model_name != "tiny":
            raise RuntimeError(f"Unknown model ({model_name})")
        assert pretrained
        return network()

    timm.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    Path("lla.toml").write_text('[data]\nsource = "data.npz"\nsplit = "train"\n')
    done = lla("spectrum", "timm:tiny", *QUICK, "--json", "--no-html")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["report"] == "tiny.lla.h5"
    assert found["metrics"]["hessian/lambda_max"]["value"] == pytest.approx(
        dense_extremes(module)[0], rel=1e-6
    )
    done = lla("spectrum", "timm:huge")
    assert done.exit_code == 5
    assert "timm:huge cannot be read: Unknown model (huge)" in done.stderr
    monkeypatch.setitem(sys.modules, "timm", None)
    done = lla("spectrum", "timm:tiny")
    assert done.exit_code == 2
    assert 'pip install "loss-landscape-lla[timm]"' in done.stderr


def test_formats_that_leave_tied_tensors_out() -> None:
    """Safetensors stores tied weights once, under one of their names."""
    from safetensors.torch import save_model

    from lla import load
    from lla.problem import ModelSpec
    from lla.problem.model import make_model

    code = (
        "from torch import nn\n\ndef net():\n    body, head = nn.Embedding(5, 3), nn.Linear(3, 5)\n"
        "    head.weight = body.weight\n    return nn.Sequential(body, head)\n"
    )
    Path("tied.py").write_text(code)
    scope: dict[str, Callable[[], nn.Module]] = {}
    exec(code, scope)
    torch.manual_seed(0)
    module = scope["net"]()
    save_model(module, "m.safetensors")
    saved = load("m.safetensors")
    assert len(saved.tensors) == 2
    made = make_model(ModelSpec(factory="tied.py:net"), saved, Path())
    x = torch.arange(5)
    torch.testing.assert_close(made(x), module(x))
    assert made[0].weight is made[1].weight  # type: ignore[index]


def test_weights_of_another_kind_are_not_cast(module: nn.Module) -> None:
    state = dict(module.state_dict())
    state["1.running_mean"] = state["1.running_mean"].round().long()
    torch.save(state, "m.pt")
    done = lla("spectrum", "m.pt")
    assert done.exit_code == 2
    assert "1.running_mean is whole numbers in the file, real in the model" in done.stderr
