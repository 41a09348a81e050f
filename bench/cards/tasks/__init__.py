"""Tasks: what *right* means for a model. Plugins, found through the entry-point group
``bench.tasks``; their base is `bench.cards.tasks.base.Task`."""

from __future__ import annotations

from functools import lru_cache

from bench.cards.tasks.base import MetricRow, Task
from bench.discover import TASKS_GROUP, entry_points, load_object, unknown
from bench.errors import BenchError
from bench.numbers import PLAIN


@lru_cache
def find_task(name: str) -> Task:
    """The task called ``name``. Raises `SpecError` for a name that isn't there."""
    known = entry_points(TASKS_GROUP)
    if name not in known:
        raise unknown("task", name, known)
    task: Task = load_object("task", name, known[name])()
    return task


def installed_task(name: str) -> Task | None:
    """The task called ``name``, which what is stored may say of another installation."""
    try:
        return find_task(name)
    except BenchError:
        return None


def find_metric(task: str, name: str) -> MetricRow:
    """How a stored metric is read; as a bare number where its task is not installed here."""
    found = installed_task(task)
    return found.metric(name) if found else MetricRow(name, scale=PLAIN)


def bulky_columns(task: str) -> tuple[str, ...]:
    """Columns that no metric of a task is made of; none where it is not installed here."""
    found = installed_task(task)
    return found.bulky if found else ()
