"""Folders of transformers: their Python is never run, their weights are whole."""

import builtins
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lla import checkpoint
from lla.errors import CheckpointError

transformers = pytest.importorskip("transformers")

EVIL = "open('trap', 'w').close()\nfrom transformers import BertModel as Model\n"


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "bert"
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.BertConfig(
        vocab_size=9, num_hidden_layers=1, max_position_embeddings=8, **sizes
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, intact: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # A user who is asked whether to run code may well say yes.
    monkeypatch.setattr(builtins, "input", lambda *_: "y")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copytree(intact, "bert")
    Path("bert/evil.py").write_text(EVIL)
    return Path("bert")


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_intact_folder_loads_in_silence(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    configure(folder, auto_map={"AutoConfig": "evil.Model", "AutoModel": "evil.Model"})
    capfd.readouterr()
    found = checkpoint.load(f"hf:{folder}")
    assert capfd.readouterr() == ("", "")
    assert not Path("trap").exists()
    assert "classifier.weight" in found.tensors
    assert found.network is not None


@pytest.mark.parametrize(
    "name",
    [
        "AutoModelForImageClassification",
        "AutoProcessor",
        "AutoFeatureExtractor",
        "AutoTokenizer",
        "pipeline",
        "__name__",
        "BertConfig",
        "NoSuchModel",
    ],
)
def test_classes_that_are_no_network(folder: Path, name: str) -> None:
    configure(folder, architectures=[name], auto_map={name: "evil.Model"})
    for file in ("processor", "preprocessor", "tokenizer"):
        text = json.dumps({"auto_map": {name: "evil.Model"}})
        (folder / f"{file}_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=f"no network {name}"):
        checkpoint.load(f"hf:{folder}")
    assert not Path("trap").exists()


def test_configurations_that_are_code(folder: Path) -> None:
    configure(folder, model_type="evil", auto_map={"AutoConfig": "evil.Model"})
    with pytest.raises(CheckpointError, match="code that lies beside it, which is never run"):
        checkpoint.load(f"hf:{folder}")
    assert not Path("trap").exists()


def test_weights_that_are_missing_are_not_drawn_at_random(folder: Path) -> None:
    configure(folder, num_hidden_layers=2)
    with pytest.raises(CheckpointError, match="lacks 16 of the weights"):
        checkpoint.load(f"hf:{folder}")


def test_weights_outside_the_folder(folder: Path) -> None:
    (folder / "model.safetensors").rename("outside.safetensors")
    text = json.dumps({"metadata": {}, "weight_map": {"w": "../outside.safetensors"}})
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="mislead"):
        checkpoint.load(f"hf:{folder}")


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no weights in safetensors"):
        checkpoint.load(f"hf:{folder}")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="a pipe or a device"):
        checkpoint.load(f"hf:{folder}")
