"""What is left out while PyTorch's exporter runs, and that it comes back."""

from __future__ import annotations

import gc

import pytest

from bench.cards.language.exporter import without_collecting


def test_an_export_that_fails_leaves_the_collector_of_garbage_on() -> None:
    def fail() -> None:
        with without_collecting():
            assert not gc.isenabled()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert gc.isenabled()
