"""Runs `suite.py` on every device of every installed backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.backend import Device, Options
from bench.contract.models import write_conv
from bench.contract.subject import Subject, raises
from bench.contract.suite import CHECKS
from bench.contract.targets import Target
from bench.errors import Unavailable


@pytest.mark.parametrize("check", CHECKS)
def test_every_backend_keeps_the_contract(subject: Subject, check: str) -> None:
    CHECKS[check](subject)


def test_its_name_is_that_of_its_entry_point(target: Target, subject: Subject) -> None:
    assert subject.backend.name == target.name


def test_a_kind_of_device_that_is_absent_is_refused_and_then_skipped(
    absent_kind: tuple[tuple[str, str], str], tmp_path: Path
) -> None:
    """It can't be tested here, which is no pass; that nothing passes for it can be."""
    (reference, kind), why = absent_kind
    backend = Target("", reference).adapter()()
    conv = write_conv(tmp_path)
    for device_id in (kind, f"{kind}:0"):
        with raises(Unavailable):
            backend.compile(conv.file, Device(device_id, "", ""), Options(shapes=conv.shapes(1)))
    pytest.skip(why)


def test_importing_the_adapter_imports_no_runtime(fresh_facts: dict[str, Any]) -> None:
    assert fresh_facts["imported_with_the_adapter"] == []


def test_imports_before_a_fork_start_no_thread(fresh_facts: dict[str, Any]) -> None:
    assert fresh_facts["threads_started_by"] == {}


def test_imports_before_a_fork_start_no_driver(fresh_facts: dict[str, Any]) -> None:
    assert fresh_facts["devices_opened_by"] == {}
    assert fresh_facts["drivers_started_by"] == {}


def test_a_forked_child_can_use_the_runtime(subject: Subject, fresh_facts: dict[str, Any]) -> None:
    if not subject.backend.fork_safe:
        pytest.skip("it says that it is not safe to fork")
    assert fresh_facts["exit_code_of_fork"] == 0, fresh_facts["stderr"]
    assert fresh_facts["right"]


def test_one_thread_keeps_one_core_busy_at_most(
    target: Target, fresh_facts: dict[str, Any]
) -> None:
    if target.device and target.device.simulated:
        pytest.skip("a simulated device is never timed, whatever its simulator uses")
    # Python's own thread and the runtime's never compute at once; 0.2 is for the clocks.
    assert fresh_facts["busy_cores"] < 1.2


def test_an_idle_session_burns_no_cpu(fresh_facts: dict[str, Any]) -> None:
    # A pool that spins for 50 ms after a call, as some do by default, burns 0.17 of 0.3 s.
    assert fresh_facts["idle_cores"] < 0.1
