"""Data that a function of the user's makes."""

from __future__ import annotations

from lla.errors import ConfigurationError, LlaError
from lla.problem.code import function_at
from lla.problem.readers.batches import store_of
from lla.problem.readers.request import Request
from lla.problem.readers.samples import Store

__all__ = ["open_store"]


def open_store(request: Request) -> Store:
    """What ``factory:file.py:function`` returns for ``args``, and ``split`` if one is given.

    Raises:
        ConfigurationError: The function does not exist, fails, or returns no samples.
        DataError: A sample is unreadable, or samples differ in shape.
    """
    spec = request.spec
    function = function_at(request.where, request.folder, role="data factory")
    what = f"what {request.where} returns"
    given = {**spec.args, **({"split": spec.split} if spec.split else {})}
    try:
        return store_of(function(**given), spec, what)
    except LlaError:
        raise
    except Exception as error:
        text = (str(error) or "no reason given").splitlines()[0]
        raise ConfigurationError(
            f"the data factory {request.where} failed: {type(error).__name__}: {text}",
            f"correct it, or [data] args: it was called with ({', '.join(given)})"
            " and has to return (x, y), a torch Dataset or batches",
        ) from error
