"""A Ray to talk to: a cluster that runs, or one of our own on this machine, quiet."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lla.batch.executors.options import Options
from lla.errors import ConfigurationError

__all__ = ["Session"]

_STORE = 80 << 20  # bytes of the object store: outcomes are small, and Ray wants 75 MiB
_PREFIX, _DRIVER = "lla-ray-", "driver"  # the folder of a Ray of ours, and whose it is


class Session:
    """A connection to Ray; Ray itself too, where none was running.

    Args:
        ray: The package.
        options: ``address``, ``slots`` and ``cpus`` count.

    Raises:
        ConfigurationError: The cluster cannot be used.
    """

    def __init__(self, ray: Any, options: Options) -> None:
        self._ray = ray
        self._folder: Path | None = None
        self._own = not ray.is_initialized()
        if not self._own:
            return
        address = options.address or os.environ.get("RAY_ADDRESS", "")
        _refuse_client(address)
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        with _handlers_kept(), _without_statistics():
            if address and address != "local":
                self._joined(address, quiet)
            else:
                self._started(options, quiet)
        # What the raylet says of dead workers would go to stdout, where the result goes.
        ray._private.worker._worker_logs_enabled = False

    def _joined(self, address: str, quiet: dict[str, Any]) -> None:
        try:
            self._ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise ConfigurationError(
                f"no Ray cluster can be used at '{address}': {first}",
                "start one with 'ray start --head', name another with --address, or leave it out "
                "(and RAY_ADDRESS) to use this machine alone",
            ) from None

    def _started(self, options: Options, quiet: dict[str, Any]) -> None:
        _sweep()
        # Short, because Ray makes sockets in it; ours, so that nothing of it stays behind.
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
        (self._folder / _DRIVER).write_text(f"{socket.gethostname()} {os.getpid()}")
        cores = (options.slots or max(1, (os.cpu_count() or 1) // options.cpus)) * options.cpus
        self._ray.init(
            address="local",
            num_cpus=cores,
            include_dashboard=False,
            object_store_memory=_STORE,
            _temp_dir=str(self._folder),
            **quiet,
        )

    def close(self) -> None:
        """Leave Ray, and end it if it is ours."""
        if self._own:
            with _handlers_kept():
                self._ray.shutdown()
            self._ray._private.worker._worker_logs_enabled = True
            self._own = False
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _sweep() -> None:
    """Remove what is left of our Rays whose drivers were killed."""
    for driver in Path("/tmp").glob(f"{_PREFIX}*/{_DRIVER}"):
        with suppress(OSError, ValueError):
            host, number = driver.read_text().split()
            if host == socket.gethostname() and not Path(f"/proc/{number}").exists():
                shutil.rmtree(driver.parent, ignore_errors=True)


def _refuse_client(address: str) -> None:
    if address.startswith("ray://"):
        raise ConfigurationError(
            f"'{address}' is an address for Ray clients, which cannot start jobs of a batch",
            "run the batch on a node of the cluster: ray job submit --address http://HEAD:8265 "
            "-- lla batch … --executor ray --address auto",
        )


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Within: Ray may set handlers of signals; afterwards the caller's are back."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(number, handler)


@contextmanager
def _without_statistics() -> Iterator[None]:
    """Within: a Ray that is started reports nothing to anyone."""
    key = "RAY_USAGE_STATS_ENABLED"
    before = os.environ.get(key)
    os.environ[key] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
