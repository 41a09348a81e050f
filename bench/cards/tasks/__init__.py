"""Tasks: what *right* means for a model. Plugins, found through the entry-point group
``bench.tasks``; their base is `bench.cards.tasks.base.Task`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, cast

from bench.apart import apart
from bench.cards.tasks.base import MetricRow, Task
from bench.discover import TASKS_GROUP, entry_points, load_object, unknown
from bench.errors import AccuracyFailed, BenchError, Unavailable, kind_and_line, with_trace
from bench.guest import guest
from bench.numbers import PLAIN


@lru_cache
def find_task(name: str) -> Task:
    """The task called ``name``. Raises `SpecError` for a name that isn't there, `Unavailable` for a
    class that can't be loaded or made."""
    known = entry_points(TASKS_GROUP)
    if name not in known:
        raise unknown("task", name, known)
    where = f"the task {name} ({known[name]})"
    with guest(where):
        made = load_object("task", name, known[name])
        try:
            task: Task = made()
        except Exception as error:
            words = f"{where} can't be created: {kind_and_line(error)}."
            raise with_trace(Unavailable(words, "Correct its class."), error) from error
    if known[name].startswith("bench."):
        return task
    guarded: Any = _AsGuest(task, where)
    return cast(Task, guarded)


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


class _AsGuest:
    """A task that others wrote, each of whose own methods runs as a guest in a process apart."""

    def __init__(self, task: Task, where: str) -> None:
        self._task = task
        self._where = where

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._task, name)
        if not callable(value) or getattr(value, "__module__", "").startswith("bench."):
            return value
        return partial(self._call, name, value)

    def _call(self, name: str, method: Callable[..., Any], *given: Any) -> Any:
        def called() -> Any:
            try:
                with guest(self._where):
                    return method(*given)
            except BenchError:
                raise
            except Exception as error:
                words = f"{self._where}: {name} raised {kind_and_line(error)}."
                raise with_trace(AccuracyFailed(words), error) from error

        return apart(self._where, called)
