"""What the host can do for a run: its memory, its cores, and work done ahead of need by threads."""

import collections
import concurrent.futures
import ctypes
import os
import pathlib
import sys
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

ASSUMED_MEMORY = 4 << 30  # where the system does not tell

# Of mallopt, in glibc's malloc.h: one arena, no maps of single blocks, no trimming, growth by 64 MiB.
GLIBC_OPTIONS = {-8: 1, -4: 0, -1: 2**31 - 1, -2: 64 << 20}


def memory() -> int:
    """Returns the bytes of memory that this process may still use, by the system's account and its container's."""
    try:
        fields = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
        available = int(fields["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):  # not Linux
        known = hasattr(os, "sysconf")  # Windows is not POSIX either
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else ASSUMED_MEMORY
    try:
        return min(available, int(pathlib.Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or none with a limit
        return available


def cores() -> int:
    """Returns how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(function: Callable[[Item], Made], items: Iterable[Item], depth: int = 1) -> Generator[Made]:
    """Yields `function` of each item in order; while one is used, up to `depth` threads make the next ones."""
    with concurrent.futures.ThreadPoolExecutor(depth) as pool:
        waiting: collections.deque[concurrent.futures.Future[Made]] = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees, for the next step to use; returns whether that can be had.

    XLA's CPU backend allocates the buffers of a step, hundreds of megabytes, for every step anew. glibc by default
    hands blocks of that size back to the system when they are freed, and the system clears them page by page at the
    next use, which takes a fifth of LRH-Net's training step. For the main program, before arrays are made; the process
    then never shrinks below its largest size. Without glibc nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, value) == 1 for option, value in GLIBC_OPTIONS.items())
