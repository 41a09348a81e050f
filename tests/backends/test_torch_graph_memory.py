"""A CUDA graph has addresses, so its call holds whatever is there; and nothing once it is gone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pretend_cuda import IDS, OTHERS, Gpu, captured, pretended, session_of  # noqa: E402

Module = torch.nn.Module


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    with pretended(monkeypatch) as found:
        yield found


class Shifts(Module):
    """By a constant that the pass makes on the CPU."""

    def forward(self, ids: Any) -> Any:
        return ids + torch.arange(8).to(ids.device)


SHIFTED = IDS + np.arange(8)


def test_what_follows_a_capture_frees_nothing_of_it(gpu: Gpu) -> None:
    session, call = captured(Shifts())
    call()
    session.placement()
    session.run({"ids": OTHERS})
    gc.collect()  # as when a worker has warmed up
    call()
    np.testing.assert_array_equal(session.fetch()[0], SHIFTED)
    session.close()


def test_calls_that_were_bound_one_after_another_all_stay(gpu: Gpu) -> None:
    """As for the samples that LoadGen draws from; each is fetched through its own graph."""
    session = session_of(Shifts())
    calls = []
    for shift in range(4):
        calls.append(session.bind({"ids": IDS + shift}))
        calls[-1]()
        gc.collect()
    bound = session._bound
    assert bound is not None
    for call in calls:
        call()
    np.testing.assert_array_equal(session.fetch()[0], SHIFTED + 3)
    session.close()


def test_the_usual_call_stays_too(gpu: Gpu) -> None:
    session = session_of(Shifts())
    call: Any = session.api_call({"ids": IDS})
    session.bind({"ids": OTHERS})()
    gc.collect()
    np.testing.assert_array_equal(call()[0], SHIFTED)
    session.close()


class Remembers(Module):
    """Puts another tensor in the place of one that the capture has read."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Any = None

    def forward(self, ids: Any) -> Any:
        before, self.last = self.last, ids * 2
        return ids if before is None else ids + before


def test_what_the_module_replaces_stays_for_the_graph_that_reads_it(gpu: Gpu) -> None:
    session, call = captured(Remembers())
    session.run({"ids": OTHERS})
    gc.collect()
    for _ in range(2):
        call()
        np.testing.assert_array_equal(session.fetch()[0], IDS * 3)
    session.close()


def test_a_call_that_is_gone_holds_nothing_even_without_the_garbage_collector(gpu: Gpu) -> None:
    """It is off while a worker measures."""
    session, call = captured(Shifts())
    session.bind({"ids": OTHERS})()  # so that what is made once is there
    assert call.__closure__ is not None
    (held,) = (
        cell.cell_contents.held for cell in call.__closure__ if hasattr(cell.cell_contents, "held")
    )
    assert len(held) >= 2  # the input and the constant
    alive = [weakref.ref(tensor) for tensor in held]
    gc.collect()
    gc.disable()
    try:
        del held, call
        assert [tensor() for tensor in alive] == [None] * len(alive)
    finally:
        gc.enable()
    session.close()
