"""Whether a run says what its raw data says: everything that follows is derived again and compared.

What can't be derived, for lack of raw data, is counted by kind and said.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from bench.cell import Frozen
from bench.files import regular_files
from bench.machine.facts import machine_id_of
from bench.record.differing import Problem, compare, is_number
from bench.record.facts import CellFacts, WorkerFacts
from bench.record.header import RunHeader
from bench.record.result import Invocation, Record
from bench.record.windows import Window
from bench.store.compact import copy_run, run_files
from bench.store.derive import Derived, derived
from bench.store.find import ENERGY, FACTS, HEADER, INVOCATIONS, RECORDS, WORKERS
from bench.store.lines import read_lines
from bench.store.raw import read_raw
from bench.store.run import StoredRun, read_run
from bench.store.samples import sample_files

#: What of a number there may be no raw data, by the first parts of its name; the first that fits.
_KINDS: tuple[tuple[str, str], ...] = (
    ("accuracy", "accuracies"),
    ("parity", "parity"),
    ("placement", "where the nodes ran"),
    ("load_ns", "load times"),
    ("first_inference_ns", "load times"),
    ("start_ns", "load times"),
    ("h2d_ns", "copies"),
    ("d2h_ns", "copies"),
    ("peak_rss_bytes", "memory"),
    ("rss_before_load_bytes", "memory"),
    ("device_memory_bytes", "memory"),
    ("cpus", "which CPUs were used"),
    ("warmup_calls", "warm-ups"),
    ("discarded_calls", "warm-ups"),
    ("device_readings", "device readings"),
    ("power_w", "device readings"),
    ("clock", "device readings"),
    ("default_clock_hz", "device readings"),
    ("memory_clock_hz", "device readings"),
    ("temperature_c", "device readings"),
    ("throttled", "device readings"),
    ("raising_calls", "device readings"),
)
FOREIGN = "figures of another tool"
_OTHER = "other facts from the workers"


@dataclass(frozen=True)
class RunAccount:
    """What was checked of one run, and what was found."""

    derived: Derived
    numbers: int  #: derived again
    taken: Mapping[str, int]  #: numbers without raw data, by what they are of
    problems: tuple[Problem, ...]


def reworded(problem: Problem) -> bool:
    """Whether all that differs is how a check, or why a window has no energy, is put into words:
    another bench may word it otherwise, and what it found is compared apart from that."""
    values = problem.published, problem.derived
    if re.fullmatch(r"energy(_by_other_kind)?\[\d+\]\.missing", problem.column):
        return all(values)
    if re.fullmatch(r"energy(_by_other_kind)?\[\d+\]\.invalid\..+", problem.column):
        return "None" in values  # the reason itself: the count of one that both have differs
    return re.fullmatch(r"checks\[\d+\]\.detail", problem.column) is not None


def check_copy(
    run: StoredRun, file: str, *, without_predictions: bool = False, with_logs: bool = False
) -> RunAccount:
    """Derive a run that `copy_run` wrote again; besides, nothing else may be in its folder but for
    logs, and each line has to be as bench writes it. ``file`` is how problems name the run."""
    form = [*_repeated(file, run), *_rewritten(file, run)]
    strangers = _unaccounted(file, run)
    form += [p for p in strangers if not (with_logs and p.file.startswith(f"{file}/logs/"))]
    problems = [Problem(file, "", "", text, "whole files") for text in run.skipped]
    problems += form
    if without_predictions and not run.without_predictions:
        problems.append(Problem(file, "", "predictions", "none", "some"))
    again = derived(run, without_predictions=without_predictions)
    problems += [Problem(file, "", "", "a number", f"nothing: {text}") for text in again.problems]
    numbers, taken = _compare_runs(file, run, again, problems)
    return RunAccount(again, numbers, taken, tuple(problems))


def check_run(run: StoredRun, file: str) -> RunAccount:
    """Derive what a run that is as `bench run` left it has finished again. Raises `SpecError` for
    one that can't be copied."""
    with tempfile.TemporaryDirectory(prefix="bench-check-") as top:
        folder = Path(top) / "run"
        copy_run(run, folder, run.header)
        found = check_copy(read_run(folder), file, without_predictions=run.without_predictions)
    lost = [Problem(file, "", "", text, "whole files") for text in run.skipped]
    return replace(found, problems=(*lost, *found.problems))


def _words_for(path: str) -> str:
    plain = re.sub(r"\[\d+\]", "", path).removeprefix("invocations.")
    return next((words for name, words in _KINDS if plain.startswith(name)), _OTHER)


def _unaccounted(file: str, run: StoredRun) -> list[Problem]:
    """Files of a run that nothing in it refers to."""
    expected = run_files(run, read_raw(run).cells.values())
    expected |= {f"samples/{path.name}" for path in sample_files(run.path)}
    return [
        Problem(f"{file}/{name}", "", "", "a file", "none")
        for name in regular_files(run.path)
        if name not in expected
    ]


# -- records --------------------------------------------------------------------------------------


def _repeated(file: str, run: StoredRun) -> list[Problem]:
    """Lines that stand for what another line stands for: `bench publish` writes each once."""
    version = run.header.schema_version
    found = []
    for name, kind, key in _LINES:
        lines = read_lines(run.path / name, kind, version, [])
        keys = Counter(tuple(getattr(line, part) for part in key) for line in lines)
        for values, count in keys.items():
            if count > 1:
                row = " ".join(f"{part} {value}" for part, value in zip(key, values, strict=True))
                found.append(Problem(f"{file}/{name}", row, "", f"{count} lines", "one"))
    return found


#: Files of lines, and the fields that tell one line from another.
_LINES: tuple[tuple[str, type[Frozen], tuple[str, ...]], ...] = (
    (RECORDS, Record, ("cell_id",)),
    (INVOCATIONS, Invocation, ("cell_id", "index")),
    (WORKERS, WorkerFacts, ("cell_id", "index")),
    (FACTS, CellFacts, ("cell_id",)),
    (ENERGY, Window, ("index", "cell_id", "position")),
)


def _rewritten(file: str, run: StoredRun) -> list[Problem]:
    """Lines that bench would write otherwise, as one in which a key is there twice: another reader
    could take it for something else. Fields that only a later bench writes may be absent."""
    found = []
    for name, kind, _ in _LINES:
        path = run.path / name
        lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
        for number, line in enumerate(lines, start=1):
            if _written_as(line, kind, None) != line or (number == len(lines) and line):
                found.append(
                    Problem(f"{file}/{name}", f"line {number}", "", _words(line), _AS_WRITTEN)
                )
    header = (run.path / HEADER).read_bytes()
    if _written_as(header, RunHeader, 1) != header:
        found.append(Problem(f"{file}/{HEADER}", "", "", _words(header), _AS_WRITTEN))
    return found


_AS_WRITTEN = "JSON as bench writes it"


def _written_as(line: bytes, kind: type[Frozen], indent: int | None) -> bytes:
    """How bench writes the value of a line; a line that is broken is told of elsewhere."""
    if not line:
        return line
    try:
        value = kind.model_validate_json(line)
    except ValidationError:
        return line
    return value.model_dump_json(exclude_unset=True, indent=indent).encode()


def _words(line: bytes) -> str:
    return line.decode("utf-8", errors="replace")


def _compare_runs(
    file: str, published: StoredRun, again: Derived, problems: list[Problem]
) -> tuple[int, Counter[str]]:
    """Every field of the header and of every record and invocation: how many numbers were derived
    again, and how many of each kind were taken as they are."""
    compare(f"{file}/{HEADER}", "", *_with_machine_id(published, again.run), problems)
    numbers, taken = 0, Counter[str]()
    pairs: tuple[tuple[str, Sequence[Record | Invocation], Sequence[Record | Invocation]], ...] = (
        (RECORDS, published.records, again.run.records),
        (INVOCATIONS, published.invocations, again.run.invocations),
    )
    for name, ours, theirs in pairs:
        for mine, other in zip(ours, theirs, strict=True):
            leaves = compare(f"{file}/{name}", _line_name(mine), mine, other, problems)
            unborne = again.taken_as_it_is(mine)
            found = [path for path, value in leaves.items() if is_number(value)]
            without = [path for path in found if _is_below(path, unborne)]
            numbers += len(found) - len(without)
            foreign = isinstance(mine, Record) and mine.foreign is not None
            taken.update(FOREIGN if foreign else _words_for(path) for path in without)
    return numbers, taken


def _with_machine_id(published: StoredRun, again: StoredRun) -> tuple[RunHeader, RunHeader]:
    """Both headers, the second with the machine's id as it follows from the facts."""
    facts = published.header.facts
    machine_id = machine_id_of(facts)
    if machine_id is None or not published.header.keeps_raw:
        return published.header, again.header
    derived_facts = {**facts, "machine_id": machine_id}
    return published.header, again.header.model_copy(update={"facts": derived_facts})


def _is_below(path: str, fields: Collection[str]) -> bool:
    """Whether a dotted path begins with one of the fields, whichever element of a list it is in."""
    plain = re.sub(r"\[\d+\]", "", path)
    return any(plain == name or plain.startswith(f"{name}.") for name in fields)


def _line_name(value: Record | Invocation) -> str:
    if isinstance(value, Invocation):
        return f"cell {value.cell_id} invocation {value.index}"
    return f"cell {value.cell_id} ({value.cell.label})"
