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
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bench.errors import SpecError
from bench.programs import ask

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
#: A command that takes longer tells of another moment.
_COMMAND_TIMEOUT_S = 5.0
_TIMES = ("time", "timestamp", "datetime", "date")
_WATTS = ("watts", "watt", "w", "power_w", "power", "power(w)")
#: Unix times below are no times of a meter: 2001.
_EARLIEST_S = 1e9
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
    if len(numbers) != 1 or not 0 <= float(numbers[0]) < math.inf:
        raise SpecError(
            f"--wall-command {command!r} must print one number, the watts, but printed "
            f"{done.stdout.strip()[:60]!r}."
        )
    return float(numbers[0])


@dataclass(frozen=True)
class MeterFile:
    """A meter's CSV file: ``offset_s`` is added to its times, which are of ``zone`` where they
    don't say theirs. It may be read while it is written, so a last line without an end counts only
    where nothing of it can be missing."""

    path: Path
    offset_s: float = 0.0
    zone: str = "UTC"

    def read(self) -> list[tuple[float, float]]:
        """Unix time and watts of each line, in order of time. Raises `SpecError`."""
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                text = file.read()
            lines = [line for line in csv.reader(io.StringIO(text, newline="")) if any(line)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SpecError(f"--wall-csv {self.path}: it can't be read: {error}.") from error
        ends = text.endswith(("\n", "\r"))
        if len(lines) == 1 and not ends:
            raise SpecError(f"--wall-csv {self.path}: its only line has no end yet.")
        time_at, watts_at, begin = self._columns(lines)
        if not ends and not _is_whole(lines[-1], lines[begin:-1], max(time_at, watts_at)):
            del lines[-1]
        found = [
            (self._time(row[time_at], number), self._watts(row[watts_at], number))
            for number, row in enumerate(lines[begin:], begin + 1)
            if len(row) > max(time_at, watts_at)
        ]
        return sorted(found)

    def _columns(self, lines: list[list[str]]) -> tuple[int, int, int]:
        """Where the times and the watts are, and the first line of them."""
        if not lines or len(lines[0]) < 2:
            raise SpecError(f"--wall-csv {self.path}: it needs two columns, time and watts.")
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

    def _time(self, text: str, number: int) -> float:
        try:
            found = float(text) if _NUMBER.fullmatch(text.strip()) else self._clock(text.strip())
        except ValueError as error:
            raise SpecError(
                f"--wall-csv {self.path}, line {number}: {text!r} is not a time: give seconds "
                "since 1970, or 2026-11-28T08:05:00+01:00."
            ) from error
        if found < _EARLIEST_S:
            raise SpecError(
                f"--wall-csv {self.path}, line {number}: {text!r} is not a time of day: give "
                "seconds since 1970, not since the meter was started."
            )
        return found + self.offset_s

    def _clock(self, text: str) -> float:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=zone_of(self.zone))
        return found.timestamp()

    def _watts(self, text: str, number: int) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not 0 <= found < math.inf:
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
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SpecError(f"{name!r} is not a time zone: give UTC, Europe/Vienna, ...") from error
