"""How the C library handles memory that is freed."""

from __future__ import annotations

import ctypes

__all__ = ["give_back_large", "keep_freed_memory"]

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LEAST, _USUAL, _LARGEST = 1 << 20, 32 << 20, 1 << 30

_keeping = False


def keep_freed_memory(*, keep: bool = True, blocks: int = _USUAL) -> None:
    """Keep large blocks that are freed, or give them back as usual.

    A network's evaluation allocates and frees tens of megabytes for each chunk. Given back to the
    system, they come zeroed a page at a time: up to a fifth of the evaluation's time. The peak is
    the same. A setting of the process: for commands, not for a library's caller. Without glibc
    nothing happens.

    Args:
        keep: Whether to keep them.
        blocks: Bytes from which on a block that is freed is given back.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    global _keeping
    _keeping = keep
    threshold = _LARGEST if keep else blocks
    set_option(_MMAP_THRESHOLD, threshold)
    set_option(_TRIM_THRESHOLD, 2 * threshold if not keep else (1 << 31) - 1)


def give_back_large(vector: int) -> None:
    """Keep no freed blocks of the size of parameters' vectors, if that is what is done.

    Blocks of hundreds of megabytes, freed and kept, leave holes that the next ones do not fit.

    Args:
        vector: Bytes of a vector of all parameters.
    """
    if _keeping:
        keep_freed_memory(keep=False, blocks=max(_LEAST, min(_USUAL, vector // 4)))
