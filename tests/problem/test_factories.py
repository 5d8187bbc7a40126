"""Data that functions of the user's make, and data sets of optional packages."""

import importlib.machinery
import socket
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lla.errors import ConfigurationError, DataError, LlaError, ProblemError
from lla.problem import DataSpec
from tests.problem.loading import load, picture, pixels, refused

# Factories.

FACTORY = """
import torch
from torch.utils.data import DataLoader, TensorDataset

X, Y = torch.arange(20.0).reshape(10, 2), torch.arange(10) % 2

def pair(scale=1, split="all"):
    kept = slice(0, 4) if split == "test" else slice(None)
    return scale * X[kept], Y[kept]

def dataset():
    return TensorDataset(X, Y)

def loader():
    return DataLoader(dataset(), batch_size=4)

def batches():
    for start in range(0, 10, 3):
        part = slice(start, start + 3)
        yield {"input_ids": X[part].long(), "mask": X[part] > 3, "label": Y[part], "z": Y[part]}

def inputs():
    return X

def broken():
    raise RuntimeError("first line\\nsecond")

def late():
    yield X, Y
    raise RuntimeError("late")

def nothing():
    return None
"""


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FACTORY)
    return tmp_path


X, Y = torch.arange(20.0).reshape(10, 2), torch.arange(10) % 2


@pytest.mark.parametrize("name", ["pair", "dataset", "loader"])
def test_factories(factory: Path, name: str) -> None:
    found = load(factory, f"factory:mine.py:{name}")
    assert torch.equal(found.inputs, X)
    assert torch.equal(found.targets, Y)


def test_a_factory_is_told_args_and_split(factory: Path) -> None:
    found = load(factory, "factory:mine.py:pair", args={"scale": 3}, split="test")
    assert torch.equal(found.inputs, 3 * X[:4])
    assert found.split == "test"


def test_a_factory_of_named_batches(factory: Path) -> None:
    found = load(factory, "factory:mine.py:batches")
    assert list(found.inputs) == ["input_ids", "mask", "z"]
    assert torch.equal(found.targets, Y)
    chosen = load(
        factory, "factory:mine.py:batches", inputs={"a": "mask", "b": "input_ids"}, target="z"
    )
    assert torch.equal(chosen.inputs["a"], X > 3)
    assert torch.equal(chosen.inputs["b"], X.long())
    assert torch.equal(chosen.targets, Y)
    by_position = load(factory, "factory:mine.py:batches", inputs=["mask", "input_ids"])
    assert torch.equal(by_position.inputs[0], X > 3)


def test_a_factory_of_a_package() -> None:
    source = "factory:tests.problem.test_factories:packaged"
    assert torch.equal(load(Path(), source).inputs, X)


def packaged() -> tuple[torch.Tensor, torch.Tensor]:
    return X, Y


@pytest.mark.parametrize(
    ("source", "keys", "error", "words"),
    [
        ("mine.py:par", {}, ConfigurationError, "data factory 'par' does not exist"),
        ("none.py:pair", {}, ConfigurationError, "there is no file .* for the data factory"),
        ("mine.py:broken", {}, ConfigurationError, "failed: RuntimeError: first line$"),
        ("mine.py:late", {}, ConfigurationError, "failed: RuntimeError: late"),
        ("mine.py:pair", {"args": {"b": 1}}, ConfigurationError, "failed: TypeError"),
        ("mine.py:loader", {"split": "test"}, ConfigurationError, "failed: TypeError.*split"),
        ("mine.py:nothing", {}, ConfigurationError, "is a NoneType, which holds no samples"),
        ("mine.py:pair", {"target": "y"}, ConfigurationError, "has no names"),
        ("mine.py:pair", {"size": (2, 2)}, ConfigurationError, "takes no 'size'"),
        ("mine.py:inputs", {}, ProblemError, "returns has inputs only"),
        ("mine.py:batches", {"target": "labl"}, ConfigurationError, "'labl' .did you mean 'label'"),
        ("mine.py:batches", {"inputs": "ids"}, ConfigurationError, "no key 'ids'"),
    ],
)
def test_factories_of_no_use(
    factory: Path, source: str, keys: dict[str, object], error: type[LlaError], words: str
) -> None:
    refused(factory, f"factory:{source}", error, words, **keys)


# torchvision, in the signatures of its own classes.


class MNIST:
    """As torchvision.datasets.MNIST: grey images, ``train``."""

    def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
        assert not download
        if not Path(root, "MNIST").is_dir():
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        self.seed = int(train)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int):
        generator = np.random.default_rng((self.seed, index))
        image = Image.fromarray(generator.integers(0, 256, (4, 6), dtype=np.uint8))
        return image, index % 3


class SVHN(MNIST):
    """As torchvision.datasets.SVHN: ``split``."""

    def __init__(self, root, split="train", transform=None, target_transform=None, download=False):
        super().__init__(root, split == "train", download=download)


@pytest.fixture
def vision(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "data" / "MNIST").mkdir(parents=True)
    package, datasets = types.ModuleType("torchvision"), types.ModuleType("torchvision.datasets")
    package.datasets, datasets.MNIST, datasets.SVHN = datasets, MNIST, SVHN
    for module in (package, datasets):
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return tmp_path


@pytest.mark.parametrize("name", ["MNIST", "SVHN"])
@pytest.mark.parametrize(("split", "seed"), [("", 1), ("train", 1), ("test", 0)])
def test_torchvision(vision: Path, name: str, split: str, seed: int) -> None:
    found = load(vision, f"torchvision:{name}", args={"root": "data"}, split=split)
    for index in range(5):
        raw = np.random.default_rng((seed, index)).integers(0, 256, (4, 6), dtype=np.uint8)
        np.testing.assert_allclose(found.inputs[index, 0], raw / 255.0, rtol=1e-6)
    assert found.inputs.shape == (5, 1, 4, 6)
    assert found.targets.tolist() == [0, 1, 2, 0, 1]
    small = load(vision, f"torchvision:{name}", args={"root": "data"}, size=[2, 2], classes=[1])
    assert small.inputs.shape == (2, 1, 2, 2)


@pytest.mark.parametrize(
    ("name", "keys", "error", "words"),
    [
        ("MNST", {}, ConfigurationError, "no data set 'MNST' .did you mean 'MNIST'"),
        ("MNIST", {"args": {"root": "none"}}, DataError, "Dataset not found"),
        ("MNIST", {}, ConfigurationError, "does not take these arguments: .*'root'"),
        ("MNIST", {"split": "extra"}, ConfigurationError, "no split 'extra': it has train and te"),
        ("MNIST", {"args": {"download": True}}, ConfigurationError, "downloads no data"),
    ],
)
def test_torchvision_of_no_use(
    vision: Path, name: str, keys: dict[str, object], error: type[LlaError], words: str
) -> None:
    refused(vision, f"torchvision:{name}", error, words, **keys)


@pytest.mark.parametrize(
    ("source", "package", "extra"),
    [("torchvision:MNIST", "torchvision.datasets", "torchvision"), ("hf:imdb", "datasets", "hf")],
)
def test_packages_that_are_not_installed(
    tmp_path: Path, monkeypatch, source: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ConfigurationError, match=f"needs the package {package.split('.')[0]}"
    ) as seen:
        load(tmp_path, source)
    assert seen.value.remedy == f'install it: pip install "loss-landscape-lla[{extra}]"'


# Hugging Face data sets.


@pytest.fixture
def hugging(tmp_path: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = {
        "input_ids": [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 2]],
        "attention_mask": [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]],
        "text": ["a", "b", "c", "d"],
        "label": [0, 1, 1, 0],
    }
    train = datasets.Dataset.from_dict(rows)
    test = train.select([2, 3])
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "both")
    train.save_to_disk(tmp_path / "tokens")
    odd = datasets.Dataset.from_dict(
        {
            "ragged": [[1], [2, 3]],
            "gaps": [1, None],
            "exact": [0.1, 1e-9],
            "label": [0, 1],
        }
    )
    odd.save_to_disk(tmp_path / "odd")
    images = [picture(), picture()]
    pictures = datasets.Dataset.from_dict({"image": images, "label": [1, 0]})
    pictures.save_to_disk(tmp_path / "pictures")
    np.save(tmp_path / "pixels.npy", np.stack([pixels(image) for image in images]))
    (tmp_path / "rows.csv").write_text("x,note,label\n0.5,a,1\n1.5,b,0\n2.5,c,1\n3.5,d,0\n")
    return tmp_path


@pytest.mark.parametrize("source", ["hf:tokens", "tokens"])
def test_hugging_face_columns(hugging: Path, source: str) -> None:
    found = load(hugging, source)
    assert list(found.inputs) == ["input_ids", "attention_mask"]
    assert found.inputs["input_ids"].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 2]]
    assert found.targets.tolist() == [0, 1, 1, 0]
    ones = load(hugging, source, classes=[1], inputs=["attention_mask"], target="label")
    assert ones.inputs.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert ones.indices.tolist() == [1, 2]


def test_hugging_face_splits(hugging: Path) -> None:
    assert load(hugging, "hf:both", split="test").targets.tolist() == [1, 0]
    refused(hugging, "hf:both", ConfigurationError, "several splits")
    refused(hugging, "both", ConfigurationError, "'tests' .did you mean 'test'", split="tests")
    refused(hugging, "hf:tokens", ConfigurationError, "without splits", split="test")


def test_hugging_face_images(hugging: Path) -> None:
    found = load(hugging, "hf:pictures")
    np.testing.assert_allclose(found.inputs, np.load(hugging / "pixels.npy"), rtol=1e-6)
    assert found.targets.tolist() == [1, 0]
    assert load(hugging, "hf:pictures", size=[2, 2]).inputs.shape == (2, 3, 2, 2)


def test_hugging_face_loads_files_by_its_own_readers(hugging: Path) -> None:
    args = {"data_files": str(hugging / "rows.csv"), "cache_dir": str(hugging / "cache")}
    found = load(hugging, "hf:csv", args=args, split="train[:3]")
    assert found.inputs.tolist() == [0.5, 1.5, 2.5]
    assert found.targets.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("source", "keys", "error", "words"),
    [
        ("tokens", {"inputs": "text"}, DataError, "column 'text' of .* holds string, not numbers"),
        ("tokens", {"inputs": "txt"}, ConfigurationError, "no key 'txt' .did you mean 'text'"),
        ("tokens", {"size": (2, 2)}, ConfigurationError, "no column of images"),
        ("odd", {"inputs": "ragged"}, DataError, "rows of differing lengths"),
        ("odd", {"inputs": "gaps"}, DataError, "has missing values"),
        ("tokens", {"args": {"trust_remote_code": True}}, ConfigurationError, "would run code"),
        ("tokens", {"args": {"streaming": True}}, ConfigurationError, "no samples by position"),
    ],
)
def test_hugging_face_data_of_no_use(
    hugging: Path, source: str, keys: dict[str, object], error: type[LlaError], words: str
) -> None:
    refused(hugging, f"hf:{source}", error, words, **keys)


def refusing(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_AGAIN, "no name is known here")


def test_a_hub_out_of_reach_is_told_at_once(hugging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr("lla.problem.readers.hub.socket.create_connection", refusing)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("a retry"))
    words = r"huggingface\.co cannot be reached \(no name is known here\), and the cache does not"
    refused(hugging, "hf:nobody/nothing", DataError, words)
    # Readers that need no hub go on.
    args = {"data_files": str(hugging / "rows.csv"), "cache_dir": str(hugging / "cache")}
    assert len(load(hugging, "hf:csv", args=args, split="train")) == 4
    assert not datasets.config.HF_HUB_OFFLINE
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_hub_within_reach_is_asked_as_ever(
    hugging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def found(name: str, **_: object) -> object:
        assert not datasets.config.HF_HUB_OFFLINE
        return datasets.load_from_disk(str(hugging / "tokens"))

    monkeypatch.setattr(datasets, "load_dataset", found)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("urllib.request.getproxies", dict)
        assert len(load(hugging, "hf:somebody/something")) == 4
    # Behind a proxy nobody else can tell.
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://127.0.0.1:9"})
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.example")
    assert len(load(hugging, "hf:somebody/something")) == 4


def test_hugging_face_numbers_keep_their_precision(hugging: Path) -> None:
    found = load(hugging, "hf:odd", inputs="exact")
    assert found.inputs.tolist() == [0.1, 1e-9]


def test_hugging_face_objects(hugging: Path) -> None:
    import datasets

    from lla.problem.readers.batches import store_of

    store = store_of(datasets.load_from_disk(str(hugging / "tokens")), DataSpec())
    assert store.take(torch.tensor([1, 3])).targets.tolist() == [1, 0]
