"""The rooms of bench/: who may import whom is a table in CONTRIBUTING.md; no import is circular."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from rooms import ROOT, Edge, circles, edges, forbidden, modules, silent_imports

REPOSITORY = Path(__file__).parents[1]
#: Importer and imported of the front doors: each imports its room when it is called.
FRONT_DOORS = {
    ("bench", "bench.api.public"),
    ("bench.__main__", "bench.commands.cli"),
    # What is done apart is guarded as workers are; the warden needs the standard library alone.
    ("bench.apart", "bench.worker.warden"),
}
#: Folders with fewer than three modules, and why.
SMALL = {
    "bench/commands/ci": "a group with a single command",
    "bench/fixture": "a plugin that pytest always imports, and what it imports when it is asked",
    "backends/mnn": "an adapter and its converter, which runs as a program of its own",
    "backends/iree": "an adapter and its compiler",
    "models": "loaders of models; the folder holds cards and weights",
}
MOST_MODULES = 27


def table() -> dict[str, set[str]]:
    """Room -> what it may import, as CONTRIBUTING.md says: rooms, folders and files."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z]+)/` \| .* \| (.*?) ?\|$", text, re.MULTILINE)
    return {
        room: {name.rstrip("/").removesuffix(".py") for name in re.findall(r"`(.+?)`", allowed)}
        for room, allowed in rows
    }


def copy(tmp_path: Path) -> Path:
    for folder in ("bench", "backends", "models"):
        shutil.copytree(
            REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def test_the_table_names_every_room_and_only_rooms() -> None:
    rooms = {module.room for module in modules(REPOSITORY).values()}
    assert set(table()) == rooms
    for room, allowed in table().items():
        for name in allowed:
            at = REPOSITORY / (name if name in (ROOT, "backends", "models") else f"bench/{name}")
            assert at.is_dir() or at.with_suffix(".py").is_file(), f"{room} may import {name}?"


def test_no_module_imports_what_its_room_may_not() -> None:
    wrong = forbidden(edges(REPOSITORY), table(), FRONT_DOORS)
    assert not wrong, "\n".join(map(str, wrong))


def inside(repository: Path) -> list[Edge]:
    """The imports but for those of the front doors, which everything may ask for its version."""
    found = edges(repository)
    return [e for e in found if (e.importer.name, e.imported.name) not in FRONT_DOORS]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(inside(REPOSITORY)) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (
            "bench/stats/rank.py",
            "from bench.cell import Cell\nfrom bench.store.run import read_run",
        ),
        ("bench/measure/run.py", "def late():\n    from bench.present.results import result_table"),
        ("bench/record/estimate.py", "def late():\n    import bench.store.samples"),
        ("bench/judge/deal.py", "from bench.machine import disturbance"),
        ("bench/present/pairs.py", "from bench.measure.group import Group"),
        ("bench/cards/card.py", "import importlib\nimportlib.import_module('bench.measure.plan')"),
        ("bench/errors.py", "if TYPE_CHECKING:\n    from bench.record.result import Record"),
        ("bench/machine/cores.py", "from bench.backends import tract"),
    ],
)
def test_a_planted_import_is_found(file: str, line: str, tmp_path: Path) -> None:
    planted = copy(tmp_path) / file
    planted.write_text(planted.read_text("utf-8") + f"\n{line}\n", "utf-8")
    (wrong,) = forbidden(edges(tmp_path), table(), FRONT_DOORS)
    assert wrong.importer.path == planted


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    """Through a third module, and one of its imports inside a function."""
    planted = copy(tmp_path) / "bench" / "stats" / "interval.py"
    planted.write_text(
        planted.read_text("utf-8") + "\ndef late():\n    import bench.stats.rank\n", "utf-8"
    )
    (found,) = circles(inside(tmp_path))
    assert {"bench.stats.interval", "bench.stats.of_means", "bench.stats.rank"} <= set(found)


def test_a_folder_is_neither_an_attic_nor_a_cupboard() -> None:
    counts: dict[Path, int] = {}
    for module in modules(REPOSITORY).values():
        if module.path.name != "__init__.py":
            counts[module.path.parent] = counts.get(module.path.parent, 0) + 1
    for folder, count in counts.items():
        name = folder.relative_to(REPOSITORY).as_posix()
        assert count <= MOST_MODULES, f"{name} has {count} modules"
        assert count >= 3 or name in SMALL, f"{name} has {count} modules"


def test_an_import_inside_a_function_says_why_it_is_there() -> None:
    """An adapter imports its runtime inside functions: that is its contract, and needs no words."""
    silent = [
        f"{module.name}, line {line}"
        for module in modules(REPOSITORY).values()
        if module.room not in ("backends", "models")
        for line in silent_imports(module.path.read_text("utf-8"))
    ]
    assert silent == []


def test_an_import_without_words_is_found() -> None:
    text = "def f():\n    import a  # heavy\n    import b\n    x = 1\n    import c\n"
    assert silent_imports(text) == [5]
    assert silent_imports("import a\ndef f():\n    from b import c\n") == [3]
