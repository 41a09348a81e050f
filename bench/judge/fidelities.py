"""The fidelity of every distilled model of a stored run, and of a language model's variants and
runtimes."""

from __future__ import annotations

from collections.abc import Iterator

from bench.cards.tasks import find_task, installed_task
from bench.cards.tasks.base import Columns
from bench.errors import SpecError
from bench.judge.fidelity import TEMPERATURE, Titled, fidelity
from bench.judge.pairs import relations, same_data
from bench.record.result import Record
from bench.store.run import StoredRun
from bench.variants import DEFAULT


class Fidelities:
    """What can't be compared is told once, in `problems`."""

    def __init__(self, run: StoredRun, temperature: float = TEMPERATURE) -> None:
        self._run = run
        self._temperature = temperature
        self.problems: list[str] = []
        #: one scored record for each model, variant and target
        self._scored: dict[tuple[str, str, str], Record] = {
            (r.cell.model.name, r.cell.variant, r.cell.target): r
            for r in run.records
            if r.accuracy is not None and _measured(r)
        }
        self._columns: dict[str, Columns] = {}

    def each(self) -> Iterator[Titled]:
        """Every distilled model against its original, variant by variant, target by target; then,
        where a task tells of them, the variants of a model against its default, and each further
        target against the first."""
        yield from self._distilled()
        first: dict[str, str] = {}
        for key in list(self._scored):
            name, variant, target = key
            if not find_task(self._scored[key].cell.model.task).tells_variants:
                continue
            other = (
                name,
                DEFAULT,
                target if variant != DEFAULT else first.setdefault(name, target),
            )
            if other in self._scored and other != key:
                found = self._one(key, other, None)
                if found is not None:
                    yield found

    def _distilled(self) -> Iterator[Titled]:
        models = {r.cell.model.name: r.cell.model for r in self._scored.values()}
        controls = {m.control_of: m.name for m in models.values() if m.control_of}
        for name, original, relation in relations(models):
            if relation != "original" or models[name].control_of is not None:
                continue
            for student, variant, target in list(self._scored):
                if student == name and (original, variant, target) in self._scored:
                    key, other = (name, variant, target), (original, variant, target)
                    found = self._one(key, other, controls.get(name))
                    if found is not None:
                        yield found

    def first_of_each(self) -> list[Titled]:
        """One for each distilled model: targets and variants differ little from the first. And
        one for each variant that is told of; runtimes differ by less than can be told briefly."""
        found: dict[tuple[str, str], Titled] = {}
        for titled in self.each():
            own = titled.variant if titled.student == titled.original else ""
            if not titled.against:
                found.setdefault((titled.student, own), titled)
        return list(found.values())

    def _one(
        self, key: tuple[str, str, str], other: tuple[str, str, str], control: str | None
    ) -> Titled | None:
        name, variant, target = key
        student, teacher = self._scored[key], self._scored[other]
        undistilled = self._scored.get((str(control), variant, target))
        if not same_data(student, teacher):
            return None
        try:
            found = fidelity(
                find_task(student.cell.model.task),
                self._read(student),
                self._read(teacher),
                None if undistilled is None else self._read(undistilled),
                self._temperature,
            )
        except SpecError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None
        shown = control if undistilled is not None else None
        against = other[2] if other[2] != target else ""
        return Titled(name, other[0], shown, target, variant, found, against)

    def _read(self, record: Record) -> Columns:
        assert record.accuracy is not None
        file = record.accuracy.predictions
        if file not in self._columns:
            self._columns[file] = self._run.predictions(record)
        return self._columns[file]


def _measured(record: Record) -> bool:
    """Whether the record's task measures likeness."""
    task = installed_task(record.cell.model.task)
    return task is not None and bool(task.likenesses)
