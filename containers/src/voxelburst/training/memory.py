"""The C library's allocator, told to keep what training frees: the next step needs it again."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc accepts no larger one


def keep_freed_memory() -> None:
    """Saves a tenth of a training step on the CPU, which page faults of returned memory cost.

    Activations of up to 32 MiB come from the heap, which is not given back. Nothing happens where the C
    library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
