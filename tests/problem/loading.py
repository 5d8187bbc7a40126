"""Load data as a recipe does, and expect it to be refused; images to be written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lla.errors import LlaError
from lla.problem import DataSpec
from lla.problem.data import load_data
from lla.problem.dataset import Dataset

RNG = np.random.default_rng(0)


def load(folder: Path, source: str, seed: int = 0, targets: bool = True, **keys) -> Dataset:
    return load_data(DataSpec(source=source, **keys), folder, seed, needs_targets=targets)


def refused(
    folder: Path, source: str, error: type[LlaError], words: str, targets: bool = True, **keys
) -> None:
    with pytest.raises(error, match=words) as caught:
        load(folder, source, targets=targets, **keys)
    assert caught.value.remedy
    assert "\n" not in caught.value.reason + caught.value.remedy


def picture(mode: str = "RGB", size: tuple[int, int] = (4, 3)) -> Image.Image:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=np.float64).transpose(2, 0, 1) / 255
