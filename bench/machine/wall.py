"""Power at the wall: what a user's command prints, or what a meter wrote to a CSV file."""

from __future__ import annotations

import csv
import io
import math
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from bench.errors import SpecError
from bench.programs import ask

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
#: A number of these is no number of watts.
_OTHER_UNIT = re.compile(r"\d\s*(?:[kKMmuµ]W|[kKMm]?[Ww]h|VA)\b")
#: More than any meter shows: a number that is no power.
_MOST_WATTS = 1e9
#: A command that takes longer tells of another moment.
_COMMAND_TIMEOUT_S = 5.0
_TIMES = ("time", "timestamp", "datetime", "date")
_WATTS = ("watts", "watt", "w", "power_w", "power", "power(w)")
#: Unix times before and after are no times of a meter: 2001, and 2049. Milliseconds are far beyond.
_EARLIEST_S, _LATEST_S = 1e9, 2.5e9
#: Lines that show with how many decimals a meter writes. Our choice: of a number that is written
#: with as many as it needs, one in ten ends in a zero.
_ENOUGH_LINES = 10


def read_command(command: str) -> float:
    """Watts, the only number that a command prints. Raises `SpecError` where it fails."""
    try:
        words = shlex.split(command)
        if not words:
            raise SpecError("--wall-command is empty. Give a command that prints the watts.")
        done = ask(words, _COMMAND_TIMEOUT_S)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise SpecError(f"--wall-command {command!r}: {error}.") from error
    if done.returncode:
        told = done.stderr.strip().splitlines()
        why = f": {told[-1]}" if told else ""
        raise SpecError(f"--wall-command {command!r} ended with status {done.returncode}{why}.")
    numbers = _NUMBER.findall(done.stdout)
    watts = float(numbers[0]) if len(numbers) == 1 else math.nan
    if not 0 <= watts < _MOST_WATTS or _OTHER_UNIT.search(done.stdout):
        raise SpecError(
            f"--wall-command {command!r} must print one number, the watts, but printed "
            f"{done.stdout.strip()[:60]!r}."
        )
    return watts


def _reason(error: Exception) -> str:
    """Without the number and the path, which an error of the system repeats."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


@dataclass(frozen=True)
class MeterFile:
    """A meter's CSV file: ``offset_s`` is added to its times, which are of ``zone`` where they
    don't say theirs. It may be read while it is written, so a last line without an end counts only
    where nothing of it can be missing. Times that the zone has twice, when its clocks are set back,
    are left out: nobody can say which is meant."""

    path: Path
    offset_s: float = 0.0
    zone: str = "UTC"

    def read(self) -> list[tuple[float, float]]:
        """Unix time and watts of each line, in order of time. Raises `SpecError`."""
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                text = file.read()
            reader = csv.reader(io.StringIO(text, newline=""))
            numbered = [(reader.line_num, line) for line in reader if any(line)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SpecError(
                f"--wall-csv {self.path}: it can't be read: {_reason(error)}."
            ) from error
        lines, ends = [line for _, line in numbered], text.endswith(("\n", "\r"))
        if len(lines) == 1 and not ends:
            raise SpecError(f"--wall-csv {self.path}: its only line has no end yet.")
        time_at, watts_at, begin = self._columns(lines)
        if not ends and not _is_whole(lines[-1], lines[begin:-1], max(time_at, watts_at)):
            del numbered[-1]
        if begin:
            self._check_width(numbered)
        found = [
            (moment, self._watts(row[watts_at], number))
            for number, row in numbered[begin:]
            if len(row) > max(time_at, watts_at)
            and (moment := self._time(row[time_at], number)) is not None
        ]
        # Of readings at one moment the first of the file comes first: where the times are whole
        # seconds, it is the nearest to them.
        return sorted(found, key=lambda reading: reading[0])

    def _check_width(self, numbered: Sequence[tuple[int, Sequence[str]]]) -> None:
        """That no line has more columns than the head, as with a decimal comma it has."""
        width = len(numbered[0][1])
        for number, row in numbered:
            if any(row[width:]):
                raise SpecError(
                    f"--wall-csv {self.path}, line {number}: it has {len(row)} columns, but the "
                    f"head names {width}. Write numbers with a decimal point, not a comma."
                )

    def _columns(self, lines: list[list[str]]) -> tuple[int, int, int]:
        """Where the times and the watts are, and the first line of them."""
        if not lines or len(lines[0]) < 2:
            raise SpecError(
                f"--wall-csv {self.path}: it needs two columns, time and watts, with a comma "
                "between them."
            )
        names = [name.strip().lower() for name in lines[0]]
        times = [at for at, name in enumerate(names) if name in _TIMES]
        watts = [at for at, name in enumerate(names) if name in _WATTS]
        if times and watts:
            return times[0], watts[0], 1
        if _NUMBER.fullmatch(names[1]):
            return 0, 1, 0
        raise SpecError(
            f"--wall-csv {self.path}: its columns are {', '.join(lines[0])}: call one `time` and "
            "one `watts`."
        )

    def _time(self, text: str, number: int) -> float | None:
        """Unix time; None for a time that the zone has twice."""
        try:
            found = float(text) if _NUMBER.fullmatch(text.strip()) else self._clock(text.strip())
        except (ValueError, OverflowError) as error:
            raise SpecError(
                f"--wall-csv {self.path}, line {number}: {text!r} is not a time: give seconds "
                "since 1970, or 2026-11-28T08:05:00+01:00."
            ) from error
        if found is None:
            return None
        if not _EARLIEST_S <= found < _LATEST_S:
            other = "since the meter was started" if found < _EARLIEST_S else "milliseconds"
            raise SpecError(
                f"--wall-csv {self.path}, line {number}: {text!r} is not a time of day: give "
                f"seconds since 1970, not {other}."
            )
        return found + self.offset_s

    def _clock(self, text: str) -> float | None:
        found = datetime.fromisoformat(text)
        if len(text) <= len("2026-11-28"):
            raise ValueError("a date alone, which is read as midnight")
        if found.tzinfo is None:
            found = found.replace(tzinfo=zone_of(self.zone))
            later = found.replace(fold=1)
            if later.timestamp() > found.timestamp():
                return None
        return found.timestamp()

    def _watts(self, text: str, number: int) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not 0 <= found < _MOST_WATTS:
            raise SpecError(
                f"--wall-csv {self.path}, line {number}: {text!r} is not a number of watts."
            )
        return found


def _is_whole(line: Sequence[str], before: Sequence[Sequence[str]], last: int) -> bool:
    """Whether a line without an end has all that is read of it, up to the column ``last``: another
    column begins behind that, or its number has as many decimals as those of all lines before."""
    if len(line) != last + 1:
        return len(line) > last + 1
    decimals = {len(one[last].partition(".")[2]) for one in [*before, line] if len(one) > last}
    return len(before) >= _ENOUGH_LINES and len(decimals) == 1 and 0 not in decimals


def zone_of(name: str) -> tzinfo:
    """A time zone by its name. Raises `SpecError`."""
    if name == "UTC":  # known without a data base
        return UTC
    try:
        return ZoneInfo(name)
    # The last is of a folder of zones, as Europe is.
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        if not available_timezones():
            raise SpecError(
                f"{name!r} can't be looked up: this system has no time zones. Install them "
                "(pip install tzdata), or give UTC."
            ) from error
        raise SpecError(f"{name!r} is not a time zone: give UTC, Europe/Vienna, ...") from error
