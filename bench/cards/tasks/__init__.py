"""Tasks: what *right* means for a model. Plugins, found through the entry-point group
``bench.tasks``; the protocol is `bench.cards.tasks.base.Task`."""

from __future__ import annotations

from functools import lru_cache

from bench.cards.tasks.base import Task
from bench.discover import TASKS_GROUP, entry_points, load_object, unknown
from bench.guest import guest


@lru_cache
def find_task(name: str) -> Task:
    """The task called ``name``. Raises `SpecError` for a name that isn't there."""
    known = entry_points(TASKS_GROUP)
    if name not in known:
        raise unknown("task", name, known)
    with guest(f"the task {name} ({known[name]})"):
        task: Task = load_object("task", name, known[name])()
    return task
