"""Memory that ran out is told as that where another error came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bench.backends.shared.checks import is_out_of_memory, memory_error

from bench.errors import OutOfMemory, Unsupported

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


def while_handling(error: Exception) -> Exception:
    """What ends a broken capture, for example."""
    try:
        raise error
    except Exception:
        try:
            raise RuntimeError("operation failed due to a previous error during capture")
        except RuntimeError as another:
            return another


def made_of(error: BaseException) -> Exception:
    found: Exception = ValueError("the attention failed")
    found.__cause__ = error
    return found


def test_it_is_found_behind_what_came_of_it() -> None:
    full = RuntimeError(FULL)
    for error in (full, while_handling(full), made_of(full), made_of(while_handling(full))):
        assert memory_error(error) is full


def test_what_came_of_something_else_is_not_told_as_that() -> None:
    unrelated = while_handling(RuntimeError(FULL))
    unrelated.__suppress_context__ = True  # raise ... from None
    circle = ValueError("a")
    circle.__cause__ = circle
    for error in (unrelated, made_of(KeyError("x")), while_handling(KeyError("x")), circle):
        assert not is_out_of_memory(error)


def full_in_a_capture(*_: Any) -> Any:
    raise while_handling(RuntimeError(FULL))


def compiled_by(build: Callable[..., Any]) -> Any:
    torch = pytest.importorskip("torch")
    from bench.backends.torch.compiled import CompiledSession, Compiler

    class Twice(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x * 2

    place, compiler = torch.device("cpu"), Compiler("inductor", build, overwrites=False)
    made = CompiledSession(torch, Twice(), place, "it on torch-compile:cpu", compiler, False)
    return contextlib.closing(made)


@pytest.mark.parametrize("build", [full_in_a_capture, lambda graph, inputs: full_in_a_capture])
def test_a_compiler_that_captures_graphs_of_its_own_has_it_told(build: Callable[..., Any]) -> None:
    """As inductor does in ``mode=reduce-overhead``."""
    with compiled_by(build) as session, pytest.raises(OutOfMemory, match=FULL):
        session.bind({"x": np.ones((1, 4), np.float32)})


def test_what_a_compiler_fails_with_is_told_in_its_own_words() -> None:
    def build(*_: Any) -> Any:
        raise NotImplementedError("no kernel for this device")

    said = "torch.compile: NotImplementedError: no kernel for this device."
    with compiled_by(build) as session, pytest.raises(Unsupported, match=said):
        session.bind({"x": np.ones((1, 4), np.float32)})
