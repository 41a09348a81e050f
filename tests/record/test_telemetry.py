"""What becomes of a device's readings."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bench.record.facts import Reading
from bench.record.result import Invocation
from bench.record.telemetry import summarise, telemetry_checks

readings = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "power_w": st.floats(0, 1e3),
            "clock_hz": st.floats(1, 1e10),
            "default_clock_hz": st.floats(1, 1e10),
            "throttled": st.lists(st.sampled_from(["heat", "power brake"]), unique=True),
            "memory_bytes": st.integers(0, 2**40),
        },
    ).map(Reading.model_validate)
)


def invocation(**fields: Any) -> Invocation:
    needed = {name: 1 for name, field in Invocation.model_fields.items() if field.is_required()}
    return Invocation.model_validate({**needed, "cell_id": "c", "settled": True, **fields})


@given(readings)
def test_any_readings_make_an_invocation_that_is_stored_and_checked(found: list[Any]) -> None:
    made = invocation(**summarise(found))
    assert Invocation.model_validate_json(made.model_dump_json()) == made
    assert made.device_readings == len(found)
    assert all(check.detail for check in telemetry_checks([made, invocation()]))


def test_readings_become_medians_counts_and_the_most_memory() -> None:
    low, high = (
        {"power_w": w, "clock_hz": w * 1e7, "default_clock_hz": 2e9, "throttled": why}
        for w, why in ((100.0, []), (300.0, ["heat"]))
    )
    hot = {"memory_clock_hz": 2.6e9, "temperature_c": 61.0}
    told = [{**low, "memory_bytes": 7, "temperature_c": 58.0}, {**high, "memory_bytes": 5}, high]
    after = [Reading.model_validate({**hot, **reading}) for reading in told]
    before = [Reading.model_validate({"clock_hz": hz}) for hz in (1e9, 2.9e9, 3e9)]
    assert summarise(after, before, (90, 0, 4)) == {
        "device_readings": 3,
        "device_memory_bytes": 7,
        "power_w": 300.0,
        "clock_hz": 3e9,
        "default_clock_hz": 2e9,
        "throttled": {"heat": 2},
        "clock_before_hz": 2.9e9,
        "memory_clock_hz": 2.6e9,
        "temperature_c": 61.0,
        "raising_calls": 94,
    }


def test_a_device_that_tells_nothing_is_not_judged() -> None:
    assert summarise([]) == {
        "device_readings": 0,
        "device_memory_bytes": None,
        "power_w": None,
        "clock_hz": None,
        "default_clock_hz": None,
        "throttled": None,
        "clock_before_hz": None,
        "memory_clock_hz": None,
        "temperature_c": None,
        "raising_calls": 0,
    }
    assert telemetry_checks([invocation(), invocation(device_readings=3, power_w=50.0)]) == []


def test_a_device_that_was_asked_for_reasons_and_gave_none_was_not_throttled() -> None:
    assert summarise([Reading(throttled=()), Reading()])["throttled"] == {}
    (check,) = telemetry_checks([invocation(device_readings=5, throttled={})])
    assert (check.name, check.ok, check.detail) == ("unthrottled", True, "in none of 5 readings")


def test_each_reason_is_counted_over_readings_and_invocations() -> None:
    reasons = (("heat", "power brake"), ("heat",), None)
    found = summarise([Reading(throttled=each) for each in reasons])
    assert found["throttled"] == {"heat": 2, "power brake": 1}
    (check,) = telemetry_checks(
        [
            invocation(device_readings=3, throttled=found["throttled"]),
            invocation(device_readings=2, throttled={"heat": 1}),
            invocation(device_readings=50),  # tells no reasons, so its readings don't count
        ]
    )
    assert (
        check.detail == "device throttled: heat in 3 of 5 readings, power brake in 1 of 5 readings"
    )


def test_the_default_clock_is_the_latest_and_the_clock_and_power_are_medians() -> None:
    readings = [
        Reading(power_w=w, clock_hz=c, default_clock_hz=d)
        for w, c, d in ((1.0, 1e9, 3e9), (9.0, 5e9, 2e9), (2.0, 2e9, 4e9))
    ]
    found = summarise(readings)
    assert (found["power_w"], found["clock_hz"], found["default_clock_hz"]) == (2.0, 2e9, 4e9)


def test_a_clock_at_three_quarters_of_its_default_is_not_slow_and_below_is() -> None:
    at, below = (invocation(clock_hz=c, default_clock_hz=2e9) for c in (1.5e9, 1.499e9))
    assert [check.ok for check in telemetry_checks([at])] == [True]
    (check,) = telemetry_checks([at, below, invocation(clock_hz=1.0), invocation()])
    assert not check.ok
    assert "in 1 of 2 invocations; the lowest was 75%" in check.detail


def test_the_note_names_the_reason_and_how_often() -> None:
    checks = telemetry_checks(
        [
            invocation(device_readings=8, throttled={"heat": 3}),
            invocation(device_readings=8, throttled={}),
            invocation(clock_hz=1.2e9, default_clock_hz=2e9),
        ]
    )
    assert [(check.name, check.ok) for check in checks] == [
        ("unthrottled", False),
        ("device-clock", False),
    ]
    assert checks[0].detail == "device throttled: heat in 3 of 16 readings"
    assert "below 75% of its default in 1 of 1 invocations; the lowest was 60%" in checks[1].detail
