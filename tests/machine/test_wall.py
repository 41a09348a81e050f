"""Power at the wall: a command that prints watts, and a meter's CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfoNotFoundError

import pytest

from bench.errors import SpecError
from bench.machine import wall
from bench.machine.wall import MeterFile, read_command


@pytest.mark.parametrize("printed", ["41.5", " 41.5 W", "41.5 Watts", '{"mW": 41.5}'])
def test_a_command_prints_the_watts(printed: str) -> None:
    assert read_command(f"echo '{printed}'") == 41.5


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo nothing", "must print one number"),
        ("echo 1 2", "must print one number"),
        ("echo -- -3", "must print one number"),
        ("echo 0.0415 kW", "the watts, but printed '0.0415 kW'"),
        ("echo 41500mW", "the watts, but printed '41500mW'"),
        ("echo 12.5 kWh", "the watts, but printed '12.5 kWh'"),
        ("echo 1e300", "the watts, but printed '1e300'"),
        ("false", "ended with status 1"),
        ("sh -c 'echo no meter >&2; exit 2'", "status 2: no meter"),
        ("/no/such/program", "No such file"),
        ("echo 'open", "No closing quotation"),
        ("", "is empty"),
        (" ", "is empty"),
    ],
)
def test_a_command_that_tells_no_watts_is_refused(command: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read_command(command)


def file(tmp_path: Path, text: str, offset_s: float = 0.0, zone: str = "UTC") -> MeterFile:
    path = tmp_path / "meter.csv"
    path.write_text(text)
    return MeterFile(path, offset_s, zone)


def test_a_file_that_is_not_there_is_told_without_a_number_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"m.csv: it can't be read: No such file or directory\.$"):
        MeterFile(tmp_path / "m.csv").read()


def test_times_of_day_are_of_the_zone_that_is_named(tmp_path: Path) -> None:
    text = "time,volts,watts\n2026-11-28T08:00:01,230,50.5\n2026-11-28T08:00:00,230,40\n"
    assert file(tmp_path, text).read() == [(1795852800.0, 40.0), (1795852801.0, 50.5)]
    assert file(tmp_path, text, zone="Europe/Vienna").read()[0][0] == 1795852800.0 - 3600
    assert file(tmp_path, text, offset_s=-2.5).read()[0][0] == 1795852797.5


def test_a_time_that_names_its_zone_keeps_it(tmp_path: Path) -> None:
    text = "2026-11-28T09:00:00+01:00,40\n"
    assert file(tmp_path, text, zone="Asia/Tokyo").read() == [(1795852800.0, 40.0)]


def test_seconds_since_1970_need_no_zone(tmp_path: Path) -> None:
    assert file(tmp_path, "1795852800.5,40\n", zone="Asia/Tokyo").read() == [(1795852800.5, 40.0)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "two columns"),
        ("a,b\n1,2\n", "call one `time`"),
        ("time,watts\n12.5,40\n", "not since the meter was started"),
        ("time,watts\nyesterday,40\n", "'yesterday' is not a time"),
        ("time,watts\n1795852800,none\n", "'none' is not a number of watts"),
        ("time,watts\n1795852800,-4\n", "'-4' is not a number of watts"),
        ("time,watts\n1795852800,1e300\n", "'1e300' is not a number of watts"),
        ("time,watts\n1795852800123,40\n", "since 1970, not milliseconds"),
        ("time,watts\n9999-12-31T23:59:59,40\n", "line 2: .* is not a time of day"),
        ("date,time,watts\n2026-11-28,08:00:00,40\n", "'2026-11-28' is not a time:"),
        ("time,watts\n1795852800,40,5\n", "line 2: it has 3 columns, but the head names 2"),
        ("time,watts\n\n1795852800,40\n1795852801,x\n", "line 4: 'x' is not"),
        ("time;watts\n1795852800;40,5\n", "with a comma between them"),
    ],
)
def test_what_is_no_meter_s_file_is_refused_with_its_line(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        file(tmp_path, text).read()


def test_of_readings_at_one_moment_the_first_of_the_file_comes_first(tmp_path: Path) -> None:
    """A meter that writes whole seconds: the least of each would be too little on average."""
    text = "time,watts\n1795852801,70\n1795852801,50\n1795852800,90\n1795852800,80\n"
    assert [watts for _, watts in file(tmp_path, text).read()] == [90, 80, 70, 50]


def test_an_hour_that_a_zone_has_twice_is_left_out(tmp_path: Path) -> None:
    """On 2026-10-25 Vienna sets its clocks from 3 back to 2."""
    clocks = ["01:59:59", "02:00:00", "02:59:59", "02:00:00", "02:59:59", "03:00:00"]
    text = "time,watts\n" + "".join(f"2026-10-25T{clock},40\n" for clock in clocks)
    found = file(tmp_path, text, zone="Europe/Vienna").read()
    assert [moment for moment, _ in found] == [1792886399.0, 1792893600.0]
    assert len(file(tmp_path, text).read()) == 6, "UTC has none"
    told = text.replace("02:59:59", "02:59:59+01:00")
    assert len(file(tmp_path, told, zone="Europe/Vienna").read()) == 4
    spring = "time,watts\n2026-03-29T01:59:59,40\n2026-03-29T03:00:00,40\n"
    (one, _), (other, _) = file(tmp_path, spring, zone="Europe/Vienna").read()
    assert other - one == 1.0


def lines(watts: str, count: int = 12) -> str:
    head = ",".join(["time", "watts", "volts"][: 2 + watts.count(",")])
    return f"{head}\n" + "".join(f"{1795852800 + n}.5,{watts}\n" for n in range(count))


@pytest.mark.parametrize(
    ("text", "last"),
    [
        (lines("105.3") + "1795852812.5,10", 105.3),
        (lines("105.3") + "1795852812.5,1", 105.3),
        (lines("105.3") + "1795852812.5,1.", 105.3),
        (lines("105.3") + "1795852812.5,", 105.3),
        (lines("105.3") + "17958528", 105.3),
        (lines("105.30") + "1795852812.5,99.3", 105.3),
        (lines("105") + "1795852812.5,10", 105.0),  # or 105, or 10.5
        (lines("105.3", 3) + "1795852812.5,99.1", 105.3),  # or 99.15
        # Nothing of these can be missing.
        (lines("105.3") + "1795852812.5,99.1", 99.1),
        (lines("105.3") + "1795852812.5,99.1\r", 99.1),
        (lines("105") + "1795852812.5,10\n", 10.0),
        (lines("105,ok") + "1795852812.5,10,", 10.0),
        (lines("105,230") + "1795852812.5,10,2", 10.0),
    ],
    ids=lambda value: str(value).splitlines()[-1],
)
def test_a_last_line_that_may_be_half_written_is_left_out(
    tmp_path: Path, text: str, last: float
) -> None:
    found = file(tmp_path, text).read()
    assert found[-1][1] == last
    assert (found[-1][0] == 1795852812.5) == (last not in (105.0, 105.3))


def test_a_time_behind_the_watts_may_be_half_written_too(tmp_path: Path) -> None:
    text = "watts,time\n" + "".join(f"{n},{1795852800 + n}.25\n" for n in range(12))
    assert len(file(tmp_path, text + "99,1795852812.25").read()) == 13
    assert len(file(tmp_path, text + "99,1795852812.2").read()) == 12
    assert len(file(tmp_path, text + "99,1795852812").read()) == 12


def test_a_head_that_is_half_written_is_no_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="its only line has no end yet"):
        file(tmp_path, "time,wat").read()


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "", "../x", "x" * 300])
def test_an_unknown_zone_is_refused(zone: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="not a time zone"):
        file(tmp_path, "2026-11-28T08:00:00,40\n", zone=zone).read()


def test_a_system_without_time_zones_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> NoReturn:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(wall, "ZoneInfo", unknown)
    monkeypatch.setattr(wall, "available_timezones", set)
    with pytest.raises(SpecError, match=r"'Europe/Vienna' can't be .*pip install tzdata"):
        wall.zone_of("Europe/Vienna")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="can't be read"):
        MeterFile(tmp_path / "none.csv").read()
