"""IDX files and folders of images, against files written here by struct, gzip and Pillow."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lla.errors import ConfigurationError, DataError, ProblemError
from tests.problem.loading import RNG, load, picture, pixels, refused

PIXELS = RNG.integers(0, 256, (7, 4, 3), dtype=np.uint8)
DIGITS = np.array([3, 1, 4, 1, 5, 9, 2], dtype=np.uint8)


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("stem", ["t10k-images-idx3-ubyte", "pixels.idx"])
def test_idx(tmp_path: Path, stem: str, zipped: bool) -> None:
    wrap, suffix = (gzip.compress, ".gz") if zipped else (bytes, "")
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / f"{stem}{suffix}").write_bytes(wrap(idx(PIXELS)))
    (folder / f"names{suffix}").write_bytes(wrap(idx(DIGITS)))
    found = load(tmp_path, f"raw/{stem}{suffix}", target=f"names{suffix}")
    assert found.inputs.dtype == torch.float32
    np.testing.assert_allclose(found.inputs[:, 0], PIXELS / 255.0, rtol=1e-6)
    assert found.inputs.shape == (7, 1, 4, 3)
    np.testing.assert_array_equal(found.targets, DIGITS)


def test_idx_labels_by_the_names_of_mnist(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PIXELS))
    refused(tmp_path, "train-images-idx3-ubyte", ProblemError, "no labels' file is named")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(DIGITS))
    np.testing.assert_array_equal(load(tmp_path, "train-images-idx3-ubyte").targets, DIGITS)
    refused(
        tmp_path, "train-images-idx3-ubyte", ConfigurationError, "no labels' file", target="none"
    )


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        (13, RNG.normal(size=(5, 3)).astype(np.float32)),
        (14, RNG.normal(size=(5, 3))),
        (12, np.arange(10, dtype=np.int32).reshape(5, 2) - 70000),
        (11, np.arange(10, dtype=np.int16).reshape(5, 2) - 300),
    ],
)
def test_idx_of_other_numbers(tmp_path: Path, kind: int, array: np.ndarray) -> None:
    (tmp_path / "x.idx").write_bytes(idx(array, kind))
    (tmp_path / "y.idx").write_bytes(idx(DIGITS[:5]))
    np.testing.assert_array_equal(load(tmp_path, "x.idx", target="y.idx").inputs, array)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "starts with bytes none"),
        (b"\x89PNG and more", "starts with bytes 89 50 4e 47"),
        (b"\0\0\x08\x03\0\0", "header of 3 axes is cut short"),
        (b"\0\0\x08\xff" + bytes(2000), "header of 255 axes"),
        (b"\0\0\x08\0", "header of 0 axes"),
        (idx(PIXELS)[:-1], "ends after 83 of 84 bytes"),
        (idx(PIXELS) + b"\0", "goes on after the 84 bytes"),
        (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), "far too short for that"),
    ],
    ids=["empty", "other", "cut header", "many axes", "no axes", "cut", "long", "absurd"],
)
def test_idx_of_no_use(tmp_path: Path, content: bytes, words: str, suffix: str) -> None:
    name = f"x-ubyte{suffix}"
    (tmp_path / name).write_bytes(gzip.compress(content) if suffix else content)
    refused(tmp_path, name, DataError, f"not a whole IDX file: .*{words}")


def test_idx_in_a_damaged_archive(tmp_path: Path) -> None:
    whole = gzip.compress(idx(PIXELS))
    for content in (whole[:-20], b"\0" + whole, whole[:30] + b"\xff" * 10 + whole[40:]):
        (tmp_path / "x-ubyte.gz").write_bytes(content)
        refused(tmp_path, "x-ubyte.gz", DataError, "x-ubyte.gz (cannot be read|is not a whole)")


# Folders of images.


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    root = tmp_path / "animals" / "train"
    made = []
    for name, mode in (
        ("ant/2.png", "RGB"),
        ("ant/3.bmp", "L"),
        ("ant/deep/1.PNG", "RGB"),
        ("bee/b.gif", "L"),
        ("cow/a.ppm", "RGB"),
        ("cow/b.tiff", "RGB"),
    ):
        image = picture(mode)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
        made.append(pixels(image))
    (root / "ant" / "notes.txt").write_text("no image")
    (root / ".cache").mkdir()
    (root / "cow" / ".hidden.png").write_text("no image")
    return tmp_path, made


def test_image_folder(folder: tuple[Path, list[np.ndarray]]) -> None:
    where, made = folder
    found = load(where, "animals", split="train")
    np.testing.assert_allclose(found.inputs, np.stack(made), rtol=1e-6)
    assert found.inputs.dtype == torch.float32
    assert found.targets.tolist() == [0, 0, 0, 1, 2, 2]
    assert torch.equal(load(where, "animals/train").inputs, found.inputs)
    cows = load(where, "animals", split="train", classes=[2])
    assert cows.indices.tolist() == [4, 5]
    np.testing.assert_allclose(cows.inputs, np.stack(made[4:]), rtol=1e-6)


def test_grey_images(folder: tuple[Path, list[np.ndarray]]) -> None:
    where, made = folder
    found = load(where, "animals/train", args={"mode": "L"}, classes=[1])
    np.testing.assert_allclose(found.inputs[0], made[3][:1], rtol=1e-6)
    assert found.inputs.shape == (1, 1, 3, 4)
    for args in ({"mode": "CMYK"}, {"mod": "L"}):
        refused(where, "animals/train", ConfigurationError, "means nothing to a folder", args=args)


def test_images_of_differing_sizes(tmp_path: Path) -> None:
    for index, size in enumerate([(6, 4), (6, 4), (8, 8)]):
        (tmp_path / "f" / "c").mkdir(parents=True, exist_ok=True)
        picture(size=size).save(tmp_path / "f" / "c" / f"{index}.png")
    words = "0.png is 3 × 4 × 6, .*2.png is 3 × 8 × 8"
    refused(tmp_path, "f", DataError, words)
    found = load(tmp_path, "f", size=[2, 3])
    for index in range(3):
        with Image.open(tmp_path / "f" / "c" / f"{index}.png") as image:
            expected = pixels(image.resize((3, 2), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(found.inputs[index], expected, rtol=1e-6)


def test_only_chosen_images_are_read(folder: tuple[Path, list[np.ndarray]]) -> None:
    where, _ = folder
    (where / "animals/train/bee/b.gif").write_bytes(b"no image")
    assert len(load(where, "animals/train", classes=[0, 2])) == 5
    refused(where, "animals/train", DataError, r"the image .*b.gif cannot be read: cannot identify")


def test_image_folders_of_no_use(folder: tuple[Path, list[np.ndarray]], monkeypatch) -> None:
    where, _ = folder
    refused(where, "animals", ConfigurationError, "are splits, not classes: train")
    refused(
        where, "animals", ConfigurationError, r"no sub-folder 'tran' \(did you mean", split="tran"
    )
    refused(where, "animals/train/bee", DataError, "has no sub-folders with images")
    refused(where, "animals/train", ConfigurationError, "takes no 'target'", target="y")

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    refused(where, "animals/train", DataError, "2.png cannot be read: Image size .12 pixels")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    refused(where, "animals/train", DataError, "2.png cannot be read: Image size .12 pixels")
    monkeypatch.undo()

    Image.fromarray(np.full((3, 4), 40000, dtype=np.uint16)).save(where / "animals/train/ant/2.png")
    refused(where, "animals/train", DataError, "2.png cannot be read: its pixels have more than 8")
    (where / "animals/train/dog").mkdir()
    refused(where, "animals/train", DataError, "class folder .*dog has no images")
