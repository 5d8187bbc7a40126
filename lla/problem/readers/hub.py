"""Where the Hugging Face hub cannot be reached: what the cache holds, at once, without retries."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

__all__ = ["without_retries"]

# What the hub's own client allows a try; it makes six of them, with pauses.
_TIMEOUT = 10.0


@contextmanager
def without_retries(datasets: Any) -> Iterator[str]:
    """Load from the cache alone within a block, if no connection to the hub can be opened.

    Args:
        datasets: The package.

    Yields:
        Why the hub cannot be reached, or "".
    """
    import huggingface_hub.constants

    why = _unreachable(huggingface_hub.constants.ENDPOINT)
    places: tuple[Any, ...] = (huggingface_hub.constants, datasets.config) if why else ()
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield why
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _unreachable(endpoint: str) -> str:
    """Why no connection can be opened to an address, or ""; behind a proxy that is not asked."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT).close()
    except OSError as error:
        return f"{host} cannot be reached ({error.strerror or error})"
    return ""
