"""Packages that not every installation has."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from lla.errors import ConfigurationError

__all__ = ["optional"]


def optional(package: str, extra: str, what: str) -> Any:
    """Import an optional package.

    Args:
        package: Its import name.
        extra: The extra of this distribution that installs it.
        what: What needs it, for the message.

    Raises:
        ConfigurationError: It is not installed, or broken.
    """
    name = package.partition(".")[0]
    try:
        module: ModuleType = import_module(package)
    except Exception as error:
        # Not ImportError alone: a torchvision made for another torch fails with a RuntimeError.
        absent = isinstance(error, ModuleNotFoundError) and error.name == name
        why = "is not installed" if absent else f"cannot be imported: {error}"
        raise ConfigurationError(
            f"{what} needs the package {name}, which {why}",
            f'install it: pip install "loss-landscape-lla[{extra}]"',
        ) from None
    return module
