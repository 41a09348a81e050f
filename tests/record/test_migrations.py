"""An older run's values come to the present version step by step."""

from __future__ import annotations

from typing import Any

import pytest

from bench.record import migrations
from bench.record.migrations import migrated


@pytest.fixture(autouse=True)
def three_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 4, with steps from 1 and from 3; nothing changed in 2."""

    def renamed(data: dict[str, Any]) -> dict[str, Any]:
        return {"new": data["old"], "version": data["version"]}

    def doubled(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "new": 2 * data["new"]}

    monkeypatch.setattr(migrations, "SCHEMA_VERSION", 4)
    monkeypatch.setattr(
        migrations, "STEPS", {("record", 1): renamed, ("record", 3): doubled, ("run", 2): renamed}
    )


@pytest.mark.parametrize(
    ("version", "data", "new"),
    [(1, {"old": 5}, 10), (2, {"new": 5}, 10), (3, {"new": 5}, 10), (4, {"new": 5}, 5)],
)
def test_every_step_from_its_version_on_is_taken_once_and_in_order(
    version: int, data: dict[str, Any], new: int
) -> None:
    found = migrated("record", {**data, "version": version}, version)
    assert found == {"new": new, "version": version}


def test_steps_are_those_of_the_kind_of_value() -> None:
    assert migrated("invocation", {"old": 5}, 1) == {"old": 5}
    assert migrated("run", {"old": 5, "version": 1}, 1) == {"new": 5, "version": 1}
