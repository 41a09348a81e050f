"""What `make mutants` tries: the changes that it makes, and the lists beside it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

MUTANTS = Path(__file__).parent / "mutants"

Part = Callable[[str], ModuleType]


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Part:
    """Import a module of the tool, which stands beside the tests without being a package."""
    monkeypatch.syspath_prepend(str(MUTANTS))
    return importlib.import_module


def changed(part: Part, source: str) -> set[str]:
    return {change.apply(source) for change in part("changes").changes("a.py", source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a = b < c", {"a = b <= c", "a = b >= c"}),
        ("a = b is not c", {"a = b is c"}),
        ("a = (b) + (c)", {"a = (b) - (c)"}),
        ("a //= b", {"a *= b"}),
        ("a = b and c", {"a = b or c"}),
        ("a = not b", {"a = (b)"}),
        ("a = -b", {"a = b"}),
        ("a = 2", {"a = 3"}),
        ("a = 0.5", {"a = 0.75"}),
        ("a = True", {"a = False"}),
        ("a = min(b)", {"a = max(b)"}),
        ("a = np.floor(b)", {"a = np.ceil(b)"}),
        ("if a:\n    b()", {"if (not (a)):\n    b()", "if a:\n    pass"}),
        ("def a():\n    return b", {"def a():\n    return None"}),
        ("def a(b=1):\n    return None", {"def a(b=2):\n    return None"}),
        ("a = [b for b in c if b]", {"a = [b for b in c if (not (b))]"}),
    ],
)
def test_a_change_is_one_operator_number_condition_or_call(
    part: Part, source: str, expected: set[str]
) -> None:
    assert changed(part, source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring of 2 < 3."""',
        'raise ValueError(f"not {a + 1}")',
        'a = f"{b - 1}"',
        "a: Literal[1]",
        "from a import b",
        "@lru_cache(maxsize=64)\ndef a():\n    return None",
    ],
)
def test_what_people_read_is_left_alone(part: Part, source: str) -> None:
    assert changed(part, source) == set()


def test_a_change_behind_letters_of_several_bytes_hits_its_place(part: Part) -> None:
    assert changed(part, 'a = "ü" + b') == {'a = "ü" - b'}


def test_every_change_written_by_hand_still_has_its_place(part: Part) -> None:
    lists = part("lists")
    assert len(lists.read_known()) >= 30


@pytest.mark.parametrize("old", ["absent = 1", "twice"])
def test_a_change_without_one_place_is_an_error(part: Part, tmp_path: Path, old: str) -> None:
    (tmp_path / "a.py").write_text("twice\ntwice\n")
    listed = tmp_path / "known.tsv"
    listed.write_text(f"name\tfile\told\tnew\nbroken\ta.py\t{old}\tpass\n")
    with pytest.raises(ValueError, match=r"broken: a\.py has .* times, not once"):
        part("lists").read_known(tmp_path, listed)


def test_every_change_that_may_go_unnoticed_still_has_its_place_and_a_reason(part: Part) -> None:
    lists, changes = part("lists"), part("changes")
    ignored = lists.read_ignored()
    made = {
        file: changes.changes(file, (lists.ROOT / file).read_text())
        for file in {one.file for one in ignored}
    }
    stale = [one for one in ignored if not any(one.is_of(change) for change in made[one.file])]
    assert stale == []
