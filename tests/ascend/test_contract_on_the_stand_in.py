"""The Ascend adapter keeps the contract of backends, on the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bench.backends.ascend.adapter import Ascend
from bench.backends.ascend.device import PROCESS

from bench.contract.subject import Subject
from bench.contract.suite import CHECKS
from bench.contract.targets import learn_fresh_facts

from .conftest import STAND_IN


@pytest.fixture(scope="module")
def subject(toolkit: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in toolkit.items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(STAND_IN))
        import acl

        machine = acl.reset()
        backend = Ascend()
        made = Subject(backend, backend.devices()[0], tmp_path_factory.mktemp("models"))
        yield made
        made.close()
        PROCESS.end()
        assert machine.misuses == []
        assert machine.leaks() == []


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_the_contract(subject: Subject, check: str) -> None:
    CHECKS[check](subject)


def test_its_device_says_that_it_is_a_stand_in(subject: Subject) -> None:
    assert subject.device.name.startswith("StandIn")
    assert "stand-in" in subject.backend.version()


@pytest.fixture(scope="module")
def fresh_facts(toolkit: dict[str, str]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in toolkit.items():
            patch.setenv(name, value)
        return learn_fresh_facts(
            "bench.backends.ascend.adapter:Ascend", "npu:0", Ascend.environment
        )


def test_importing_the_adapter_imports_no_runtime_and_starts_no_thread(
    fresh_facts: dict[str, Any],
) -> None:
    assert fresh_facts["imported_with_the_adapter"] == []
    assert fresh_facts["threads_started_by"] == {}


def test_a_fresh_process_computes_the_model(fresh_facts: dict[str, Any]) -> None:
    assert fresh_facts["exit_code_of_fork"] == 0
    assert fresh_facts["right"]
