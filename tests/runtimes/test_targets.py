"""Targets: how they are written, and what a request means on this machine."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.backend import Device
from bench.config import ENVIRONMENT_NAME
from bench.discover import backend_entry_points
from bench.errors import SpecError, Unavailable
from bench.runtimes import targets
from bench.runtimes.environments.interpreter import Interpreter
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import (
    BackendReport,
    Target,
    backends_here,
    choose_targets,
    discover_backends,
    parse_target,
    requested_backends,
)

WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=12)


def device(name: str, simulated: bool = False) -> Device:
    return Device(id=name, vendor="", name=name, simulated=simulated)


REPORTS = {
    "ort": BackendReport("ort", Runtime("ort", "a:B", {}), "1", (device("cpu"), device("cuda:0"))),
    "sim": BackendReport("sim", Runtime("sim", "a:C", {}), "1", (device("npu:0", True),)),
    "gone": BackendReport("gone", None, "", (), Unavailable("no library.", "Install it.")),
}


@given(
    WORD,
    WORD,
    st.dictionaries(WORD, WORD, max_size=3),
    st.just("") | st.from_regex(ENVIRONMENT_NAME, fullmatch=True),
)
def test_a_target_is_read_as_it_is_written(
    backend: str, name: str, options: dict, environment: str
) -> None:
    target = Target(backend, name, tuple(sorted(options.items())), environment)
    assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        *("", ":cpu", "a b:cpu", "a:cpu?", "a:cpu?x", "a:cpu?x=1&x=2"),
        *("a@:cpu", "a@", "@e:cpu", "a@e@f:cpu", "a@.e:cpu", "a@e/../f:cpu"),
    ],
)
def test_what_is_no_target_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_target(text)
    assert "\n" not in str(caught.value)


def found(*requested: str) -> list[str]:
    return [str(choice.target) for choice in choose_targets(requested, REPORTS)]


def test_a_star_is_every_device_present_that_is_not_simulated() -> None:
    assert found("*") == ["ort:cpu", "ort:cuda:0"]


def test_a_backend_alone_is_all_of_its_devices() -> None:
    assert found("ort") == ["ort:cpu", "ort:cuda:0"]


def test_a_backend_alone_leaves_out_simulated_devices_unless_it_has_no_others() -> None:
    mixed = (device("cpu"), device("npu", simulated=True))
    report = BackendReport("ort", Runtime("ort", "a:B", {}), "1", mixed)
    assert [str(c.target) for c in choose_targets(["ort"], {"ort": report})] == ["ort:cpu"]
    assert [str(c.target) for c in choose_targets(["ort:npu"], {"ort": report})] == ["ort:npu"]
    assert found("sim") == ["sim:npu:0"]


def test_a_kind_of_device_alone_is_all_of_that_kind_but_a_whole_id_wins() -> None:
    assert found("ort:cuda?tf32=1") == ["ort:cuda:0?tf32=1"]
    gpus = (device("gpu"), device("gpu:1"))
    report = BackendReport("ov", Runtime("ov", "a:B", {}), "1", gpus)
    assert [str(c.target) for c in choose_targets(["ov:gpu"], {"ov": report})] == ["ov:gpu"]


def test_an_absent_device_is_absent_for_the_reason_that_the_backend_tells() -> None:
    why = Unavailable("ort:npu is not available: libnpu.so: cannot open.", "Install the driver.")
    report = BackendReport("ort", Runtime("ort", "a:B", {}), "1", (), absent={"npu": why})
    for text in ("ort:npu", "ort:npu:3"):
        (choice,) = choose_targets([text], {"ort": report})
        assert choice.unavailable is why
    (choice,) = choose_targets(["ort:tpu"], {"ort": report})
    assert "found no such device" in str(choice.unavailable)
    assert found("sim") == ["sim:npu:0"]


def test_a_device_beside_others_of_its_kind_is_absent_for_its_own_reason() -> None:
    why = Unavailable("ort:npu:1 is not available: it is full.", "Wait.")
    there = (device("npu:0"),)
    report = BackendReport("ort", Runtime("ort", "a:B", {}), "1", there, absent={"npu:1": why})
    told = [choice.unavailable for choice in choose_targets(["ort:npu:1"], {"ort": report})]
    assert told == [why]
    (other,) = choose_targets(["ort:npu:2"], {"ort": report})
    assert "found no such device" in str(other.unavailable)


def test_options_go_with_each_device_and_make_another_target() -> None:
    assert found("ort:cpu?b=2&a=1", "ort:cpu", "ort:cpu") == ["ort:cpu?a=1&b=2", "ort:cpu"]


def test_an_absent_target_stays_with_its_reason() -> None:
    (gone,) = choose_targets(["gone:npu:0"], REPORTS)
    assert str(gone.unavailable) == "no library. Install it."
    (unnamed,) = choose_targets(["gone"], REPORTS)
    assert str(unnamed.target) == "gone"  # nobody knows which devices it would have
    (optioned,) = choose_targets(["gone?a=1"], REPORTS)
    assert str(optioned.target) == "gone?a=1"
    (missing,) = choose_targets(["ort:cuda:9"], REPORTS)
    assert "found no such device. Available: ort:cpu, ort:cuda:0." in str(missing.unavailable)


def in_environment(
    name: str, *ids: str, absent: dict[str, Unavailable] | None = None
) -> BackendReport:
    found = tuple(device(i) for i in ids)
    place = Interpreter(name, "/p", "Correct it.")
    runtime = Runtime("ort", "a:B", {}, interpreter=place)
    return BackendReport("ort", runtime, "2", found, None, name, absent or {})


def with_environments(*reports: BackendReport) -> dict[str, BackendReport]:
    return REPORTS | {report.label: report for report in reports}


NO_NPU = {"npu": Unavailable("libnpu.so was not found.", "Install the driver.")}


def chosen(reports: dict[str, BackendReport], *requested: str) -> list[str]:
    return [str(choice.target) for choice in choose_targets(requested, reports)]


def test_a_wildcard_takes_from_environments_only_what_is_not_here() -> None:
    reports = with_environments(in_environment("e", "cpu", "npu:0"), in_environment("f", "npu:0"))
    assert chosen(reports, "ort") == ["ort:cpu", "ort:cuda:0", "ort@e:npu:0"]
    assert chosen(reports, "*") == ["ort:cpu", "ort:cuda:0", "ort@e:npu:0"]
    assert chosen(reports, "ort@e") == ["ort@e:cpu", "ort@e:npu:0"]


def test_a_device_means_the_one_here_before_one_in_an_environment() -> None:
    reports = with_environments(in_environment("e", "cpu", "npu:0"))
    assert chosen(reports, "ort:cpu", "ort@e:cpu") == ["ort:cpu", "ort@e:cpu"]
    assert chosen(reports, "ort:npu:0?a=1") == ["ort@e:npu:0?a=1"]
    (choice,) = choose_targets(["ort:npu:0"], reports)
    assert choice.runtime is not None
    assert choice.runtime.label == "ort@e"


def test_a_kind_of_device_means_each_of_them() -> None:
    reports = with_environments(in_environment("e", "npu:0", "npu:1"))
    assert chosen(reports, "ort:npu") == ["ort@e:npu:0", "ort@e:npu:1"]
    assert chosen(reports, "ort:cuda") == ["ort:cuda:0"]


def test_a_device_in_two_environments_is_refused_with_both_spellings() -> None:
    reports = with_environments(in_environment("e", "npu:0"), in_environment("f", "npu:0"))
    with pytest.raises(SpecError, match="say which: ort@e:npu:0 or ort@f:npu:0") as caught:
        choose_targets(["ort:npu:0"], reports)
    assert "\n" not in str(caught.value)
    assert chosen(reports, "ort@f:npu:0") == ["ort@f:npu:0"]


def test_an_absent_device_has_the_cause_that_its_flavour_tells() -> None:
    reports = with_environments(in_environment("e", "cpu", absent=NO_NPU))
    for text in ("ort:npu", "ort:npu:1", "ort@e:npu:0"):
        (choice,) = choose_targets([text], reports)
        assert str(choice.target) == text
        assert choice.device is None
        assert "libnpu.so was not found" in str(choice.unavailable)
    (other,) = choose_targets(["ort@e:vpu"], reports)
    assert "ort@e:vpu is not available: ort@e found no such device" in str(other.unavailable)


def test_a_broken_environment_says_more_than_a_device_that_is_not_here() -> None:
    broken = BackendReport("ort", None, "", (), Unavailable("e is unfinished."), "e")
    (choice,) = choose_targets(["ort:npu:0"], with_environments(broken))
    assert "e is unfinished" in str(choice.unavailable)
    (here,) = choose_targets(["ort:cpu"], with_environments(broken))
    assert here.unavailable is None


def test_the_environment_is_part_of_what_defines_a_cell() -> None:
    assert str(Target("ort", "cpu")) != str(Target("ort", "cpu", (), "e"))


def test_only_what_is_asked_for_is_probed() -> None:
    assert requested_backends(["ort:cpu", "ort:cuda:0"], ["gone", "ort"]) == ["ort"]
    assert requested_backends(["*"], ["gone", "ort"]) == ["gone", "ort"]
    known = list(backend_entry_points())
    assert backends_here(["onnxruntime@e:cpu", "openvino:cpu"]) == ["openvino"]
    assert backends_here(["openvino"], ["torch", "nowhere"]) == ["openvino", "torch"]
    assert backends_here(["*"]) == known
    with pytest.raises(SpecError, match="Did you mean ort"):
        requested_backends(["ortt:cpu"], ["gone", "ort"])


def test_an_adapter_that_cannot_be_imported_does_not_take_the_others_with_it(
    monkeypatch: pytest.MonkeyPatch, plugin_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(plugin_path))
    monkeypatch.setenv("PYTHONPATH", str(plugin_path))
    known = {"broken": "no_such_module:Backend", "stand-in": "stand_in:StandIn"}
    for module in (targets, targets.load_backend.__globals__):
        if isinstance(module, dict):
            monkeypatch.setitem(module, "backend_entry_points", lambda: known)
        else:
            monkeypatch.setattr(module, "backend_entry_points", lambda: known)
    broken, fine = discover_backends(["broken", "stand-in"])
    assert broken.devices == ()
    assert "no_such_module" in str(broken.unavailable)
    assert fine.unavailable is None
    assert "ok" in [d.id for d in fine.devices]


def test_backends_are_asked_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them waits for its driver: it is answered only once all of them have been asked."""
    names = ("one", "two", "three")
    together = threading.Barrier(len(names), timeout=20)

    class Patient:
        """Of the kind of a launcher."""

        def prepare(self, runtime: Runtime, threads: int) -> None: ...

        def worker(self, runtime: Runtime, threads: int) -> None:
            together.wait()
            raise Unavailable(f"{runtime.name} is not available.")

    monkeypatch.setattr(targets, "find_runtime", lambda name, _: Runtime(name, "nowhere:No", {}))
    places = [targets.Place(name) for name in names]
    reports = targets.probe_places(places, Patient())  # type: ignore[arg-type]
    assert [report.name for report in reports] == list(names)
    assert [str(report.unavailable) for report in reports] == [
        f"{name} is not available." for name in names
    ]
