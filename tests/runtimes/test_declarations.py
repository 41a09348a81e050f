"""What backends declare of themselves: who can be the reference, and which versions matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
from bench.backends.onnx_reference import OnnxReference

from bench.capabilities import ReferenceRole, declaration
from bench.errors import Unavailable
from bench.runtimes import declarations
from bench.runtimes.declarations import (
    reference_backends,
    references_for,
    versioned_distributions,
)


class Second:
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    reference: ClassVar[ReferenceRole] = ReferenceRole(7, {"fuse": "no"})
    distributions: ClassVar[tuple[str, ...]] = ("pydantic", "no-such-distribution", "numpy")


class First:
    forms: ClassVar[tuple[str, ...]] = ("torch", "onnx")
    reference: ClassVar[ReferenceRole] = ReferenceRole(3)


class Silent:
    forms: ClassVar[tuple[str, ...]] = ("onnx",)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    backends = {"second": Second, "silent": Silent, "broken": None, "first": First}

    def load(noun: str, name: str, reference: str) -> type:
        found = backends[name]
        if found is None:
            raise Unavailable("it can't be imported")
        return found

    monkeypatch.setattr(declarations, "backend_entry_points", lambda: dict.fromkeys(backends, ""))
    monkeypatch.setattr(declarations, "load_object", load)
    reference_backends.cache_clear()
    yield
    reference_backends.cache_clear()


def test_references_are_asked_in_the_order_of_their_ranks_with_their_options() -> None:
    found = [(one.name, one.forms, dict(one.role.options)) for one in reference_backends()]
    assert found == [("first", ("torch", "onnx"), {}), ("second", ("onnx",), {"fuse": "no"})]


def test_only_references_that_take_a_form_of_the_model_are_probed() -> None:
    assert references_for({"torch"}) == ["first"]
    assert references_for({"onnx"}) == ["first", "second"]
    assert references_for({"other"}) == []


def test_a_run_notes_the_versions_of_what_is_installed_and_declared() -> None:
    noted = versioned_distributions()
    assert {"infer-bench", "numpy", "onnx", "pydantic"} <= set(noted)
    assert "no-such-distribution" not in noted
    assert len(noted) == len(set(noted))


def test_being_the_reference_is_not_inherited() -> None:
    """Who derives a backend from ONNX's evaluator and changes a kernel is not what is right."""

    class Changed(OnnxReference):
        name = "changed"

    class Claimed(OnnxReference):
        name = "claimed"
        reference = ReferenceRole(rank=5)

    assert declaration(OnnxReference).reference is not None
    assert declaration(Changed).reference is None
    assert declaration(Changed()).reference is None
    assert declaration(Claimed()).reference == ReferenceRole(rank=5)
