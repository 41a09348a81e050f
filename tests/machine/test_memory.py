"""Whether another worker fits into the memory, of the machine or of this container."""

from __future__ import annotations

from pathlib import Path
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
    monkeypatch.setattr(memory, "_limits", list)
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
    """And what stays free is a share of what the container has."""
    monkeypatch.setattr(memory, "_limits", lambda: [(10 * GIB, 2 * GIB)])
    assert memory.room_for_another(GIB)
    assert not memory.room_for_another(2 * GIB)


@pytest.mark.parametrize(
    ("groups", "folder", "files"),
    [
        ("0::/a/b\n", "a/b", ("memory.max", "memory.current", "inactive_file")),
        ("0::/a/b\n", "a", ("memory.max", "memory.current", "inactive_file")),
        ("0::/host/path\n", "", ("memory.max", "memory.current", "inactive_file")),
        (
            "5:cpu:/x\n4:memory:/a\n0::/\n",
            "memory/a",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
        (
            "4:memory:/host/path\n",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
    ids=["v2", "v2, a limit above", "v2 as a container sees it", "v1", "v1 in a container"],
)
def test_the_limit_of_a_cgroup_counts_whichever_version_it_is_of(
    groups: str,
    folder: str,
    files: tuple[str, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mount = tmp_path / "mount"
    place = mount / folder
    place.mkdir(parents=True)
    limit, used, cached = files
    (place / limit).write_text(f"{10 * GIB}\n")
    (place / used).write_text(f"{7 * GIB}\n")
    (place / "memory.stat").write_text(f"anon 5\n{cached} {2 * GIB}\n")
    monkeypatch.setattr(memory, "_MOUNT", mount)
    left = [memory._limit_in(*group) for group in memory._memory_groups(groups)]
    assert [one for one in left if one is not None] == [(10 * GIB, 5 * GIB)]


def test_a_cgroup_without_a_limit_leaves_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("max", "max"), ("current", "5"), ("stat", "inactive_file 3")):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(memory, "_MOUNT", tmp_path)
    assert [memory._limit_in(*g) for g in memory._memory_groups("0::/\n")] == [None]
