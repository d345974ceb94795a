"""What the host can do for a run: how much memory it has, and work done ahead of need by threads."""

import collections
import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def memory() -> int:
    """Returns the bytes of memory that this process may still use, by the system's account and its container's."""
    try:
        fields = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
        available = int(fields["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):  # no Linux
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(available, int(pathlib.Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or none with a limit
        return available


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
