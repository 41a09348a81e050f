"""Whether another worker fits into the memory, of the machine or of this container."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from bench.machine import memory

GIB = 2**30


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine of 100 GiB, in no container; ``available`` is set by the test."""
    found = SimpleNamespace(total=100 * GIB, available=100 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: found)
    monkeypatch.setattr(memory, "_cgroup_left", lambda total: total)
    return found


@pytest.mark.parametrize(
    ("available", "largest", "fits"), [(9, 1, True), (9, 2, False), (8, 0, True), (7, 0, False)]
)
def test_a_worker_as_large_as_the_largest_has_to_fit_beside_what_stays_free(
    machine: SimpleNamespace, available: int, largest: int, fits: bool
) -> None:
    """8% of the memory stay free, for the page cache that loading models uses."""
    machine.available = available * GIB
    assert memory.room_for_another(largest * GIB) is fits


def test_of_a_small_machine_half_a_gigabyte_stays_free(machine: SimpleNamespace) -> None:
    machine.total, machine.available = 2 * GIB, GIB
    assert memory.room_for_another(GIB // 2)
    assert not memory.room_for_another(GIB // 2 + 1)


def test_a_container_with_less_left_than_the_machine_decides(
    machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_cgroup_left", lambda total: 9 * GIB)
    assert memory.room_for_another(GIB)
    assert not memory.room_for_another(2 * GIB)
