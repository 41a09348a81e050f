"""Tasks: what *right* means for a model. Plugins, found through the entry-point group
``bench.tasks``; the protocol is `bench.cards.tasks.base.Task`."""

from __future__ import annotations

from functools import lru_cache

from bench.cards.tasks.base import Task
from bench.discover import TASKS_GROUP, entry_points, load_object, unknown


@lru_cache
def find_task(name: str) -> Task:
    """The task called ``name``. Raises `SpecError` for a name that isn't there."""
    known = entry_points(TASKS_GROUP)
    if name not in known:
        raise unknown("task", name, known)
    task: Task = load_object("task", name, known[name])()
    return task
