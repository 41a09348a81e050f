"""Why a forward pass is no CUDA graph: told by the operator that broke the capture, not by what
ending a broken capture says; and memory that ran out is told as that."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from pretend_cuda import IDS, SYNC, Gpu, captured, pretended, session_of  # noqa: E402

from bench.errors import OutOfMemory, Unsupported  # noqa: E402

Module = torch.nn.Module


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    with pretended(monkeypatch) as found:
        yield found
        assert found.in_its_own_stream(), "a capture has left its stream the current one"
        assert found.capturing is None


class Item(Module):
    def forward(self, ids: Any) -> Any:
        if ids.sum().item() > 1:  # waits
            return ids * 2
        return ids


class NonZero(Module):
    def forward(self, ids: Any) -> Any:
        found = ids.nonzero()  # waits
        return found + 1


class Mask(Module):
    def forward(self, ids: Any) -> Any:
        found = ids[ids > 2]  # waits
        return found + 1


class Rewords(Module):
    """Makes an error of its own of torch's."""

    def forward(self, ids: Any) -> Any:
        try:
            return ids * ids.sum().item()  # waits
        except RuntimeError as error:
            raise ValueError("these ids are no good") from error


class TriesAgain(Module):
    """Handles the first error, and meets what follows from it."""

    def forward(self, ids: Any) -> Any:
        try:
            return ids * ids.sum().item()  # waits
        except RuntimeError:
            return ids * 2


class LooksUp(Module):
    """Handles an error of its own in every pass, and waits in the handler."""

    def __init__(self) -> None:
        super().__init__()
        self.scales: dict[str, Any] = {}

    def forward(self, ids: Any) -> Any:
        try:
            return ids * self.scales["ids"]
        except KeyError:
            return ids * ids.sum().item()  # waits


@pytest.mark.parametrize("module", [Item, NonZero, Mask, Rewords, TriesAgain, LooksUp])
def test_a_refusal_names_the_line_that_can_not_be_captured(module: Any, gpu: Gpu) -> None:
    lines, first = inspect.getsourcelines(module)
    line = first + next(at for at, text in enumerate(lines) if "# waits" in text)
    with pytest.raises(Unsupported) as refused:
        captured(module())
    assert f"(at {__file__}:{line}): {SYNC}. Leave cuda_graph=1 out." in str(refused.value)


class Hides(Module):
    """Handles the error, and does nothing further that would fail."""

    def forward(self, ids: Any) -> Any:
        try:
            ids.sum().item()
        except RuntimeError:
            return ids
        return ids


def test_a_capture_that_only_its_end_finds_broken_is_refused(gpu: Gpu) -> None:
    with pytest.raises(Unsupported, match=r"previous error during capture\. Leave"):
        captured(Hides())


def test_the_session_computes_eagerly_after_a_refusal(gpu: Gpu) -> None:
    session = session_of(Item())
    with pytest.raises(Unsupported):
        session.bind({"ids": IDS})
    assert (session.run({"ids": IDS})[0] == IDS * 2).all()
    session.close()


FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Full(Module):
    """Finds no memory in a capture, which may break that too."""

    def __init__(self, gpu: Gpu, breaks: bool, rewords: bool) -> None:
        super().__init__()
        self.gpu, self.breaks, self.rewords = [gpu], breaks, rewords

    def forward(self, ids: Any) -> Any:
        gpu = self.gpu[0]
        if gpu.capturing is None:
            return ids * 2
        if self.breaks:
            with contextlib.suppress(RuntimeError):
                ids.sum().item()
        try:
            raise torch.OutOfMemoryError(FULL)
        except RuntimeError as error:
            if self.rewords:
                raise ValueError("the attention failed") from error
            raise


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("rewords", [False, True])
def test_memory_that_runs_out_in_a_capture_is_told_as_that(
    breaks: bool, rewords: bool, gpu: Gpu
) -> None:
    with pytest.raises(OutOfMemory, match=f"it on torch:cuda:0: {FULL} Use a smaller batch."):
        captured(Full(gpu, breaks, rewords))


@pytest.mark.parametrize("where", ["replay", "capture_end"])
def test_memory_that_runs_out_around_the_pass_is_told_as_that(
    where: str, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = getattr(gpu.CUDAGraph, where)

    def full(graph: Any) -> None:
        done(graph)
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(gpu.CUDAGraph, where, full)
    with pytest.raises(OutOfMemory, match=r"CUDA error: out of memory\. Use a smaller batch\."):
        captured(Twice())


class Twice(Module):
    def forward(self, ids: Any) -> Any:
        return ids * 2


def test_another_fault_of_a_replay_is_no_refusal(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass was captured; what its kernels did is a crash, as it is in eager calls."""

    def broken(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(gpu.CUDAGraph, "replay", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        captured(Twice())


def test_an_interrupt_in_a_capture_stays_one(gpu: Gpu) -> None:
    class Interrupted(Module):
        def forward(self, ids: Any) -> Any:
            if gpu.capturing is not None:
                with contextlib.suppress(RuntimeError):
                    ids.sum().item()
                raise KeyboardInterrupt
            return ids

    with pytest.raises(KeyboardInterrupt):
        captured(Interrupted())
