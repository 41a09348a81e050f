"""A suite that never fails proves nothing: each fake breaks one promise, and is caught at it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from bench.contract import optional
from bench.contract.subject import Subject
from bench.contract.suite import CHECKS
from bench.contract.targets import learn_fresh_facts

from . import fakes


def failures(
    backend: type[fakes.Honest], folder: Path, checks: Collection[str] = tuple(CHECKS)
) -> set[str]:
    """The checks that the backend fails."""
    made = backend()
    subject = Subject(made, made.devices()[0], folder)
    failed = set()
    for name in checks:
        try:
            CHECKS[name](subject)
        except Exception:
            failed.add(name)
    return failed


@pytest.mark.parametrize("backend", [fakes.Honest, fakes.Capable])
def test_an_honest_backend_passes(backend: type[fakes.Honest], tmp_path: Path) -> None:
    assert failures(backend, tmp_path) == set()


@pytest.mark.parametrize(
    ("backend", "caught_by"),
    [
        (fakes.ComputesZeros, "check_run_computes_the_model"),
        (fakes.IgnoresOptions, "check_an_unknown_option_is_refused"),
        (fakes.TakesAnyDevice, "check_an_unknown_device_is_unavailable"),
        (fakes.AliasesInputs, "check_bind_copies_its_inputs"),
        (fakes.ReturnsTooEarly, "check_the_call_returns_when_the_outputs_exist"),
        (fakes.CastsInputs, "check_a_wrong_type_is_named"),
        (fakes.PlacesElsewhere, "check_the_placement_is_known_and_on_the_device"),
        (fakes.CrashesOnBadFiles, "check_a_truncated_file_is_refused"),
    ],
)
def test_a_broken_promise_is_caught(
    backend: type[fakes.Honest], caught_by: str, tmp_path: Path
) -> None:
    assert failures(backend, tmp_path, {caught_by})


@pytest.mark.parametrize(
    ("caught_by", "what"), [(check, what) for check in fakes.BROKEN for what in fakes.BROKEN[check]]
)
def test_a_broken_promise_of_what_is_optional_is_caught(
    caught_by: str, what: str, tmp_path: Path
) -> None:
    assert failures(fakes.BROKEN[caught_by][what], tmp_path, {caught_by})


def test_each_check_of_what_is_optional_is_shown_to_bite() -> None:
    assert set(fakes.BROKEN) == {name for name in vars(optional) if name.startswith("check_")}


def test_a_thread_that_spins_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    environment = fakes.Spins.environment
    facts = learn_fresh_facts("contract.fakes:Spins", "cpu", environment)
    assert facts["exit_code_of_fork"] == 0
    assert facts["idle_cores"] > 0.1
