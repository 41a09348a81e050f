"""What is stored of a run follows from its raw data: no field can be changed without being found.

The fields are read off the models, so one that is added later is changed too; where the run of
`measured_runs` has nothing in it, or it can't be derived, these tests fail until that is said.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from measured_runs import GENERATIONS, measured_run
from pydantic import BaseModel, ValidationError

from bench.errors import SpecError
from bench.present.publication.check import check
from bench.present.publication.files import digests
from bench.present.publication.write import Manifest, publish
from bench.record.facts import CellFacts, WorkerFacts
from bench.record.header import RunHeader
from bench.record.result import Invocation, Record
from bench.store.check import check_copy, reworded
from bench.store.derive import derived
from bench.store.run import read_run

pytestmark = pytest.mark.usefixtures("few_resamples")

#: What is itself raw, or another tool's, and why nothing else in a run tells it.
UNDERIVED = {
    "record": {
        "foreign": "another tool's figures: it says how it came by them",
    },
    "invocation": {},
    "run": {
        "bench_version": "a stamp",
        "label": "what people call it",
        "shared": "what other machines measured is not in this run",
        "suite.name": "what was asked for leaves no trace in what was measured",
        "suite.targets": "patterns, which `targets` says the meaning of",
        "suite.batch": "a model of fixed batch is measured at its own",
        "suite.batch_axis": "only the shapes that it led to can be seen",
        "suite.shapes": "only the shapes that they led to can be seen",
        "suite.inputs": "only the shapes that they led to can be seen",
        "suite.ttft_bound": "there is suite.bounds instead, which says both",
        "suite.tpot_bound": "there is suite.bounds instead, which says both",
        "suite.answer": "the scenarios' names have the lengths that were measured",
        "suite.prompt": "the scenarios' names have the lengths that were measured",
        "suite.depth": "the scenarios' names have the lengths that were measured",
        "suite.draft": "the scenarios' names have the lengths that were measured",
        **dict.fromkeys(
            (
                *(f"suite.loadgen.target_{n}" for n in ("qps", "latency", "latency_percentile")),
                "suite.loadgen.performance_sample_count_override",
            ),
            "the cells say the same",
        ),
        "suite.precision": "when to stop",
        "suite.max_time_s": "when to stop",
        "suite.budget_s": "when to stop",
        "suite.goal": "when to stop",
        "suite.margin": "when to stop",
        "suite.min_invocations": "when to stop",
        "suite.max_invocations": "when to stop",
        "suite.cell_timeout_s": "when to stop",
        "suite.energy": "whether it was measured, its windows tell",
        "suite.energy_window_s": "how long they were, they tell themselves",
        "suite.wall_command": "how a meter was read, whose readings are stored",
        "suite.wall_csv": "how a meter was read, whose readings are stored",
        "suite.wall_zone": "how a meter was read, whose readings are stored",
        "suite.wall_offset_s": "how a meter was read, whose readings are stored",
        "suite.seed": "drew the inputs and the order, which are stored",
        "environments": "versions, as installed",
        # Facts of the machine that neither its id nor a table holds.
        **dict.fromkeys(
            (
                "facts.smt_siblings",
                "facts.memory_limit_bytes",
                "facts.frequency_hz",
                "facts.memory_available_bytes",
                "facts.swap_used_bytes",
                "facts.transparent_huge_pages",
                "facts.huge_pages",
                "facts.clock_source",
                "facts.container",
                "facts.load_average",
                "facts.kernel",
                "facts.python",
                "facts.hostname_hash",
                "facts.git_commit",
            ),
            "what the machine said of itself",
        ),
    },
}
FILES: dict[str, tuple[type[BaseModel], str]] = {
    "record": (Record, "records.jsonl"),
    "invocation": (Invocation, "invocations.jsonl"),
    "run": (RunHeader, "run.json"),
}


# -- the fields of the models ---------------------------------------------------------------------


def fields_of(annotation: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Each field below a type, dotted, with its type; ``[]`` is any element of a tuple."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            below = f"{path}.{name}" if path else name
            yield below, field.annotation
            yield from fields_of(field.annotation, below)
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from fields_of(argument, path)
    elif origin is tuple:
        yield from fields_of(arguments[0], f"{path}[]")


def all_fields() -> list[tuple[str, str, Any]]:
    found = [
        (name, path, kind)
        for name, (model, _) in FILES.items()
        for path, kind in fields_of(model, "")
    ]
    return [field for field in found if not field[1].startswith("foreign.")]


# -- changing one of them -------------------------------------------------------------------------


class Place:
    """Where a value is in JSON: its parent and its key there."""

    def __init__(self, parent: Any, key: Any) -> None:
        self.parent, self.key = parent, key

    @property
    def value(self) -> Any:
        return self.parent[self.key]


def places(value: Any, parts: list[str]) -> Iterator[Place]:
    """Every place that a path leads to."""
    name, *rest = parts
    key = name.removesuffix("[]")
    if not isinstance(value, dict) or key not in value:
        return
    if not rest:
        yield Place(value, key)
        return
    below = value[key] if name.endswith("[]") else [value[key]]
    for one in below or []:
        yield from places(one, rest)


def another(value: Any, kind: Any) -> Any:
    """A value of the same type that is not the same."""
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, float) and 0 < value < 1:
        return value * 0.99  # still a share, where it is one
    if isinstance(value, int | float):
        return value * 2 + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return []
    return {} if get_origin(kind) is dict else None


def read_lines(path: Path) -> list[Any]:
    text = path.read_text()
    return [json.loads(text)] if path.suffix == ".json" else [*map(json.loads, text.splitlines())]


KINDS: dict[str, type[BaseModel]] = {
    "records.jsonl": Record,
    "invocations.jsonl": Invocation,
    "workers.jsonl": WorkerFacts,
    "facts.jsonl": CellFacts,
    "run.json": RunHeader,
}


def write_lines(path: Path, lines: list[Any]) -> None:
    """As bench writes them, so that what they say is all that was changed."""
    indent, end = (1, "") if path.name == "run.json" else (None, "\n")
    path.write_text("".join(_written(line, KINDS[path.name], indent) + end for line in lines))


def _written(line: Any, kind: type[BaseModel], indent: int | None) -> str:
    try:
        value = kind.model_validate_json(json.dumps(line))
    except ValidationError:
        return json.dumps(line)  # no value of that kind, which is to be found
    return value.model_dump_json(exclude_unset=True, indent=indent)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    run = read_run(measured_run(folder))
    assert publish([run], folder / "p", "A title") == []
    account = check(folder / "p")
    assert [str(problem) for problem in account.problems] == []
    assert not account.taken
    return folder / "p"


@pytest.fixture
def run(published: Path) -> Iterator[Path]:
    """The published run's folder, as it was again after the test."""
    (path,) = (published / "runs").iterdir()
    kept = published.parent / "kept"
    shutil.copytree(path, kept)
    yield path
    shutil.rmtree(path)
    kept.rename(path)


def seal(folder: Path) -> None:
    """Make a publication's manifest name the files as they are: what is derived has to be found by
    deriving it, whatever the digests say."""
    path = folder / "published.json"
    manifest = Manifest.model_validate_json(path.read_text())
    path.write_text(manifest.model_copy(update={"files": digests(folder)}).text)


def found(run: Path) -> list[str]:
    """What `bench publish --check` finds in a publication whose digests fit."""
    seal(run.parents[1])
    try:
        return [str(problem) for problem in check(run.parents[1]).problems]
    except SpecError as error:
        return [str(error)]


@pytest.mark.parametrize(("name", "path", "kind"), all_fields(), ids=lambda v: str(v)[:60])
def test_a_field_that_was_changed_is_found(name: str, path: str, kind: Any, run: Path) -> None:
    file = run / FILES[name][1]
    lines = read_lines(file)
    have = [
        p for line in lines for p in places(line, path.split(".")) if p.value not in (None, [], {})
    ]
    if path in UNDERIVED[name] and not have:
        return
    assert have, f"no {name} of measured_runs has {path}, so nothing is shown of it"
    have[0].parent[have[0].key] = another(have[0].value, kind)
    write_lines(file, lines)
    if path in UNDERIVED[name]:
        assert found(run) == [], f"{path} is derived: take it off the list"
    else:
        assert found(run), f"{name}: {path} was changed, and it was not found"


def test_a_fact_of_the_machine_is_found_or_known_to_be_raw(run: Path) -> None:
    header = json.loads((run / "run.json").read_text())
    for name, value in header["facts"].items():
        told = {"packages": {"numpy": "0"}, "gpus": []}.get(name, "x")
        changed = dict(header["facts"], **{name: told})
        if name not in ("packages", "gpus") and value not in (None, [], 0):
            changed[name] = another(value, None)
        write_lines(run / "run.json", [header | {"facts": changed}])
        assert bool(found(run)) != (f"facts.{name}" in UNDERIVED["run"]), name


# -- what is taken out, or there twice ------------------------------------------------------------


def drop(place: int) -> Callable[[list[Any]], list[Any]]:
    return lambda lines: lines[:place] + lines[place + 1 :]


def repeat(lines: list[Any]) -> list[Any]:
    return [*lines, lines[0]]


@pytest.mark.parametrize(
    "file", ["records.jsonl", "invocations.jsonl", "workers.jsonl", "facts.jsonl"]
)
@pytest.mark.parametrize("change", [drop(0), drop(5), repeat], ids=["first", "sixth", "twice"])
def test_a_line_that_was_taken_out_or_repeated_is_found(
    file: str, change: Callable[[list[Any]], list[Any]], run: Path
) -> None:
    write_lines(run / file, change(read_lines(run / file)))
    assert found(run)


@pytest.mark.parametrize("name", ["invocations", "checks"])
def test_an_element_that_was_taken_out_of_a_record_is_found(name: str, run: Path) -> None:
    lines = read_lines(run / "records.jsonl")
    del lines[0][name][-1]
    write_lines(run / "records.jsonl", lines)
    assert found(run)


def test_an_invocation_that_was_taken_out_everywhere_is_found_by_what_its_worker_told(
    run: Path,
) -> None:
    records = read_lines(run / "records.jsonl")
    cell = records[0]["cell_id"]
    records[0]["invocations"].pop()
    lines = read_lines(run / "invocations.jsonl")
    last = {"cell_id": cell, "index": GENERATIONS - 1}
    lines = [line for line in lines if not last.items() <= line.items()]
    write_lines(run / "records.jsonl", records)
    write_lines(run / "invocations.jsonl", lines)
    assert any("invocation 3 is missing" in text for text in found(run))


def test_raw_files_that_are_lost_are_named_not_passed_over(run: Path) -> None:
    for name in ("workers.jsonl", "facts.jsonl"):
        (run / name).rename(run / f"{name}.away")
        assert any("missing" in text for text in found(run)), name
        (run / f"{name}.away").rename(run / name)
    next((run / "outputs").iterdir()).unlink()
    assert any("outputs can't be read" in text for text in found(run))


def test_outputs_that_were_changed_are_found(run: Path) -> None:
    one, other, *_ = sorted((run / "outputs").iterdir())
    one.write_bytes(other.read_bytes())
    assert any("not the ones stored by the run" in text for text in found(run))


def test_parity_of_outputs_that_were_too_large_is_counted_and_not_passed_over(run: Path) -> None:
    facts, records = read_lines(run / "facts.jsonl"), read_lines(run / "records.jsonl")
    kept = [facts[0]["outputs"], facts[0]["reference_outputs"]]
    facts[0] |= {"outputs": "", "reference_outputs": "", "parity": records[0]["parity"]}
    write_lines(run / "facts.jsonl", facts)
    for name in kept:
        (run / name).unlink()
    seal(run.parents[1])
    account = check(run.parents[1])
    assert [str(problem) for problem in account.problems] == []
    assert account.taken == {"parity": 5}, "two errors, the cosine, flips and samples"
    records[0]["parity"]["max_abs_error"] = 0.0
    write_lines(run / "records.jsonl", records)
    assert found(run)


# -- a run of an older bench ----------------------------------------------------------------------


def as_of_an_older_bench(run: Path) -> None:
    header = json.loads((run / "run.json").read_text())
    del header["keeps_raw"]
    write_lines(run / "run.json", [header])
    for name in ("workers.jsonl", "facts.jsonl"):
        (run / name).unlink()
    shutil.rmtree(run / "outputs")


def test_of_a_run_without_facts_the_numbers_that_cannot_be_derived_are_counted(run: Path) -> None:
    as_of_an_older_bench(run)
    seal(run.parents[1])
    account = check(run.parents[1])
    assert [str(problem) for problem in account.problems] == []
    assert account.taken.total() > 500
    assert account.numbers > 1000


@pytest.mark.parametrize(
    "path",
    [
        "h2d_ns.value",
        "memory.device_bytes",
        "checks",
        "invocations[].load_ns",
        "canary_ns.value",
        "load_ns.low",
        "placement.on_device_share",
        "invocations[].canary_ns",
    ],
)
def test_what_follows_from_its_invocations_and_its_checks_is_derived_there_too(
    path: str, run: Path
) -> None:
    as_of_an_older_bench(run)
    lines = read_lines(run / "records.jsonl")
    one = next(
        p for line in lines for p in places(line, path.split(".")) if p.value not in (None, [])
    )
    one.parent[one.key] = another(one.value, None)
    write_lines(run / "records.jsonl", lines)
    assert found(run)


@pytest.mark.parametrize("older", [False, True], ids=["with facts", "without"])
def test_the_canary_of_an_invocation_is_derived_from_its_own_samples(
    older: bool, run: Path
) -> None:
    if older:
        as_of_an_older_bench(run)
    stored = read_run(run)
    wrong = [one.model_copy(update={"canary_ns": 1.0}) for one in stored.invocations]
    again = derived(replace(stored, invocations=wrong))
    assert again.problems == []
    assert [one.canary_ns for one in again.run.invocations] == [
        one.canary_ns for one in stored.invocations
    ]


@pytest.mark.parametrize("name", ["typical_block_ns", "round_ns"])
@pytest.mark.parametrize("older", [0, 1, 2, GENERATIONS], ids=lambda n: f"{n} generations")
def test_what_an_older_bench_did_not_keep_is_not_asked_of_it_when_the_run_was_gone_on_with(
    name: str, older: int, run: Path
) -> None:
    stored = read_run(run)
    kept = [
        one.model_copy(update={name: None}) if one.index < older else one
        for one in stored.invocations
    ]
    again = derived(replace(stored, invocations=kept)).run
    assert [getattr(one, name) for one in again.invocations] == [getattr(one, name) for one in kept]
    assert any(getattr(one, name) for one in kept) == (older < GENERATIONS)


def test_the_other_kind_of_readings_is_not_asked_of_an_older_bench(run: Path) -> None:
    stored = read_run(run)
    both = [r for r in stored.records if r.energy_by_other_kind]
    assert len(both) > 1
    older = [r.model_copy(update={"energy_by_other_kind": ()}) for r in stored.records]
    again = derived(replace(stored, records=older)).run
    assert [r.energy for r in again.records] == [r.energy for r in stored.records]
    assert not any(r.energy_by_other_kind for r in again.records)
    # One that lacks it beside another of the same rounds lost it.
    lost = [both[1] if r.cell_id == both[1].cell_id else r for r in older]
    again = derived(replace(stored, records=lost)).run
    assert both[0] in again.records


def with_invalid(run: Path, reasons: Callable[[dict[str, int]], dict[str, int]]) -> list[bool]:
    """Whether each problem is one of words, where invalid windows are told otherwise."""
    lines = read_lines(run / "records.jsonl")
    energy = next(e for line in lines for e in line["energy"] if e["missing"])
    energy["invalid"] = reasons(energy["invalid"])
    write_lines(run / "records.jsonl", lines)
    problems = check_copy(read_run(run), "run").problems
    return [reworded(problem) for problem in problems if "energy" in problem.column]


def test_a_reason_that_is_worded_otherwise_is_told_apart_from_another_count(run: Path) -> None:
    assert with_invalid(run, lambda found: {f"{why}, too": n for why, n in found.items()}) == [
        True,
        True,
    ]


def test_another_count_of_invalid_windows_is_no_matter_of_words(run: Path) -> None:
    assert with_invalid(run, lambda found: {why: n + 1 for why, n in found.items()}) == [False]


@pytest.mark.parametrize("name", ["typical_block_ns", "round_ns"])
def test_a_field_that_was_taken_out_of_a_newer_invocation_is_found(name: str, run: Path) -> None:
    stored = read_run(run)
    place, last = max(enumerate(stored.invocations), key=lambda pair: pair[1].index)
    assert last.index > 0
    without = list(stored.invocations)
    without[place] = last.model_copy(update={name: None})
    again = derived(replace(stored, invocations=without)).run
    assert getattr(again.invocations[place], name) == getattr(last, name) is not None
