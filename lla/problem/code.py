"""Run a function that a user names: ``file.py:name`` or ``package.module:name``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from lla.errors import ConfigurationError, nearest, nearest_file

__all__ = ["as_guest", "function_at"]

_GUEST = threading.RLock()


@contextmanager
def as_guest(doing: str, remedy: str) -> Iterator[None]:
    """Run code of the user's: it sees no arguments of ours, and cannot end the program.

    Args:
        doing: What is done with it, used in the message ("the model factory f.py:g").
        remedy: What to do where it ends the program.

    Raises:
        ConfigurationError: It called ``sys.exit``.
    """
    # One guest at a time: workers may call the user's code from several threads.
    with _GUEST:
        given = sys.argv
        # A parser of arguments in there would take ours for its own.
        sys.argv = given[:1]
        try:
            yield
        except SystemExit as end:
            code = "" if end.code is None else str(end.code)
            reason = f"{doing} ended the program: sys.exit({code})"
            raise ConfigurationError(reason, remedy) from end
        finally:
            sys.argv = given


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
    with as_guest(
        f"importing {source} for the {role}",
        "put what it runs under: if __name__ == '__main__'",
    ):
        file = source.endswith(".py")
        module = _from_file(folder / source, role) if file else _named(source, role)
    found = getattr(module, name, None)
    if not callable(found):
        public = _functions(module, two=role == "loss")
        raise ConfigurationError(
            f"the {role} '{name}' does not exist in {source}{nearest(name, public)}",
            f"name one of its functions: {', '.join(public[:8]) or 'there is none'}",
        )
    function: Callable[..., Any] = found
    return function


def _functions(module: ModuleType, *, two: bool) -> list[str]:
    """A module's own public functions and classes; ``two``: functions of two arguments or more."""
    found = [
        (name, value) for name, value in vars(module).items() if callable(value) and name[0] != "_"
    ]
    own = [(name, value) for name, value in found if _home(value) == module.__name__] or found
    return [name for name, value in own if not two or _takes_two(value)]


def _home(value: Any) -> str:
    return str(getattr(value, "__module__", ""))


def _takes_two(value: Any) -> bool:
    return inspect.isfunction(value) and len(inspect.signature(value).parameters) >= 2


def _from_file(path: Path, role: str) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError(
            f"there is no file {path} for the {role}{nearest_file(path)}",
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
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
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
