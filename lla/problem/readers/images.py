"""Images as tensors: channels first, float32 from 0 to 1."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lla.errors import DataError

__all__ = ["Picture", "is_image", "stacked"]

# Pillow cuts these off at 255 where it should scale them.
_DEEP = ("I", "F")


def is_image(value: Any) -> bool:
    """Whether it is a Pillow image."""
    return type(value).__module__.partition(".")[0] == "PIL"


@dataclass(frozen=True)
class Picture:
    """How images are read.

    Attributes:
        mode: "RGB" or "L"; "" for grey images as "L" and all others as "RGB".
        size: Height and width that they are resized to, or None.
    """

    mode: str = "RGB"
    size: tuple[int, int] | None = None

    def read(self, path: Any, what: str) -> torch.Tensor:
        """The image in a file or a stream: float32 in [0, 1], shape (C, H, W).

        Raises:
            DataError: It cannot be read.
        """
        from PIL import Image

        def opened() -> torch.Tensor:
            with Image.open(path) as image:
                return self._converted(image)

        return _guarded(opened, what)

    def tensor(self, image: Any, what: str) -> torch.Tensor:
        """A Pillow image: float32 in [0, 1], shape (C, H, W).

        Raises:
            DataError: It cannot be read.
        """
        return _guarded(lambda: self._converted(image), what)

    def _converted(self, image: Any) -> torch.Tensor:
        from PIL import Image

        if image.mode.startswith(_DEEP):
            raise ValueError(f"its pixels have more than 8 bits (mode {image.mode})")
        grey = image.mode in ("L", "1")
        image = image.convert(self.mode or ("L" if grey else "RGB"))
        if self.size is not None:
            height, width = self.size
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.float32) / 255
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(planes))


def _guarded(read: Callable[[], torch.Tensor], what: str) -> torch.Tensor:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # A picture so large that Pillow suspects an attack is no sample of a data set.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return read()
    except Exception as error:
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"the image {what} cannot be read: {text}", "replace it by a good one, or remove it"
        ) from None


def stacked(names: Sequence[str], read: Callable[[int], torch.Tensor]) -> torch.Tensor:
    """Images of one size as one tensor, shape (n, C, H, W).

    Args:
        names: What each is called in messages.
        read: Gives the image at a position.

    Raises:
        DataError: Two differ in shape.
    """
    first = read(0)
    whole = torch.empty((len(names), *first.shape), dtype=first.dtype)
    for index, name in enumerate(names):
        image = first if index == 0 else read(index)
        if image.shape != first.shape:
            raise DataError(
                f"the images differ in size: {names[0]} is {_size(first)}, {name} is "
                f"{_size(image)} (channels, height, width)",
                "resize them: [data] size = [HEIGHT, WIDTH], or --data 'FOLDER?size=[32,32]'",
            )
        whole[index] = image
    return whole


def _size(image: torch.Tensor) -> str:
    return " × ".join(map(str, image.shape))
