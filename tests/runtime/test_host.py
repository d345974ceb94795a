import os
import threading

import pytest

from lrhnet_jax.runtime import host


def test_the_host_has_some_memory_and_no_more_than_is_built_in():
    assert 1 << 20 < host.memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_items_are_made_ahead_and_in_order():
    made, used, second = [], [], threading.Event()

    def make(item):
        made.append(item)
        if item == 1:
            second.set()
        return item * item

    for value in host.ahead(make, range(5)):
        assert second.wait(10)  # made while the first one is used
        assert len(made) <= len(used) + 2
        used.append(value)
    assert used == [0, 1, 4, 9, 16]
    assert [*host.ahead(make, [])] == []


def test_an_error_ahead_reaches_who_waits_and_ends_the_threads():
    def make(item):
        if item == 2:
            raise OSError("the disk is gone")
        return item

    before = threading.active_count()
    values = host.ahead(make, range(9), depth=2)
    assert [next(values), next(values)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(values)
    assert threading.active_count() == before


def test_who_stops_early_leaves_no_thread():
    before = threading.active_count()
    values = host.ahead(lambda item: item, range(9))
    assert next(values) == 0
    values.close()
    assert threading.active_count() == before
