"""On which CPUs a cell's worker is kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bench.measure.member import cpus_of


class Cores(dict[int, tuple[int, ...]]):
    """CPU 0 is the idlest of all, 7 of those near the device."""

    def beside(self, count: int, near: tuple[int, ...]) -> tuple[int, ...]:
        assert (count, near) == (1, (6, 7))
        return (7,)


def test_an_accelerator_s_host_thread_is_kept_near_its_device_and_others_where_it_is_idle() -> None:
    context: Any = SimpleNamespace(cpus=Cores({1: (0,)}))
    planned: Any = SimpleNamespace(on_accelerator=True, cores=1, near_cpus=(6, 7))
    assert cpus_of(planned, context) == (7,)
    planned.on_accelerator = False
    assert cpus_of(planned, context) == (0,)
