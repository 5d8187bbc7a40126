"""Run a function that a user names: ``file.py:name`` or ``package.module:name``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from lla.errors import ConfigurationError, nearest

__all__ = ["function_at"]


def function_at(reference: str, folder: Path, *, role: str) -> Callable[..., Any]:
    """The function behind a reference; importing it runs the user's own code.

    Args:
        reference: ``file.py:name``, relative to ``folder``, or ``package.module:name``.
        folder: Where relative files are looked for.
        role: What the function is for, used in messages ("model factory").

    Raises:
        ConfigurationError: File, module or function does not exist, or importing it failed.
    """
    source, separator, name = reference.rpartition(":")
    if not separator or not source or not name:
        raise ConfigurationError(
            f"the {role} '{reference}' is not of the form file.py:function",
            f"write it as {reference if reference.endswith('.py') else 'models.py'}:FUNCTION",
        )
    module = _from_file(folder / source, role) if source.endswith(".py") else _named(source, role)
    found = getattr(module, name, None)
    if not callable(found):
        public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise ConfigurationError(
            f"the {role} '{name}' does not exist in {source}{nearest(name, public)}",
            f"name one of its functions: {', '.join(public[:8]) or 'there is none'}",
        )
    function: Callable[..., Any] = found
    return function


def _from_file(path: Path, role: str) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError(
            f"there is no file {path} for the {role}",
            "correct its path; in a recipe, paths are relative to the recipe's folder",
        )
    name = f"_lla_user_{path.stem}_{abs(hash(str(path.resolve())))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path} is not a Python file", "name a .py file")
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pickle look a class's module up here.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _import_failed(str(path), role, error) from error
    return module


def _named(name: str, role: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise _import_failed(name, role, error) from error


def _import_failed(what: str, role: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"importing {what} for the {role} failed: {type(error).__name__}: {error}",
        "make it importable on its own first; --debug shows where it fails",
    )
