"""What is installed is found cheaply, by the rules of importlib.metadata."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from bench import discover
from bench.errors import SpecError, Unavailable


def install(site: Path, folder: str, entry_points: str) -> None:
    """A distribution's metadata, as an installer lays it out."""
    (site / folder).mkdir(parents=True)
    (site / folder / "entry_points.txt").write_text(entry_points)
    name, _, version = folder.rpartition(".")[0].partition("-")
    (site / folder / "METADATA").write_text(f"Name: {name}\nVersion: {version or 1}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of everything else on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_our_own_backends_are_found_as_importlib_finds_them() -> None:
    expected = {p.name: p.value for p in metadata.entry_points(group="bench.backends")}
    assert discover.backend_entry_points() == dict(sorted(expected.items()))
    assert "onnxruntime" in expected


def test_a_third_partys_backend_is_found_and_loaded(site: Path) -> None:
    install(site, "acme_bench-1.0.dist-info", "[bench.backends]\nacme = acme_runtime:Acme\n")
    (site / "acme_runtime.py").write_text("class Acme: name = 'acme'\n")
    assert discover.backend_entry_points()["acme"] == "acme_runtime:Acme"
    assert discover.load_backend("acme").__name__ == "Acme"


def test_comments_other_groups_extras_and_blank_lines_are_no_trouble(site: Path) -> None:
    install(
        site,
        "acme_bench-1.0.dist-info",
        "# made by hand\n[console_scripts]\nacme = x:y\n\n[ bench.backends ]\n; old\n"
        "a = m:A [extra]\n  b=n:B\nnonsense\n",
    )
    found = discover.backend_entry_points()
    assert found["a"] == "m:A"
    assert found["b"] == "n:B"
    assert "acme" not in found


@pytest.mark.parametrize("second", ["Acme.Bench-2.0.dist-info", "acme_bench.egg-info"])
def test_the_first_of_two_installations_on_the_path_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    install(tmp_path / "one", "acme_bench-1.0.dist-info", "[bench.backends]\nacme = one:A\n")
    install(tmp_path / "two", second, "[bench.backends]\nacme = two:A\nonly-two = two:B\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "two"), *sys.path])
    found = discover.backend_entry_points()
    assert found["acme"] == "one:A"
    assert "only-two" not in found


def test_unreadable_and_missing_path_entries_are_passed_over(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "acme_bench-1.0.dist-info", "[bench.backends]\nacme = one:A\n")
    (site / "broken-1.0.dist-info").mkdir()
    (site / "broken-1.0.dist-info" / "entry_points.txt").write_bytes(b"[bench.backends\xff\n\x00")
    monkeypatch.setattr(sys, "path", ["/no/such/folder", "__editable__.x.__path_hook__", *sys.path])
    assert discover.backend_entry_points()["acme"] == "one:A"


def test_importlib_answers_where_the_path_holds_a_file(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "acme_bench-1.0.dist-info", "[bench.backends]\nacme = one:A\n")
    (site / "lib.zip").write_bytes(b"")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site / "lib.zip")])
    monkeypatch.setattr(discover, "_scan_path", None)
    assert discover.backend_entry_points()["acme"] == "one:A"


def test_an_unknown_backend_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(SpecError, match=r"no backend called 'onxruntime'. Did you mean onnxrun"):
        discover.load_backend("onxruntime")


def test_a_backend_that_cannot_be_imported_is_unavailable(site: Path) -> None:
    install(site, "acme_bench-1.0.dist-info", "[bench.backends]\nacme = no_such_module:A\n")
    with pytest.raises(Unavailable, match="no_such_module"):
        discover.load_backend("acme")


def test_nearest_is_quick_and_calm_with_hostile_names() -> None:
    assert discover.nearest("x" * 1_000_000, ["onnxruntime"]) == []
    assert discover.nearest("OnnxRuntime\x00", ["onnxruntime"]) == ["onnxruntime"]
    assert "No model is installed" in str(discover.unknown("model", "x", []))


def test_cards_are_found_in_packages_that_are_never_run(site: Path) -> None:
    install(
        site,
        "acme_bench-1.0.dist-info",
        "[bench.models]\nacme = acme_models\ngone = no_such_package\n",
    )
    package = site / "acme_models"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    for name in ("acme-small.toml", "acme-large.toml", "quick.suite.toml", "notes.txt"):
        (package / name).write_text("")
    cards = discover.card_paths()
    assert cards["acme-small"] == package / "acme-small.toml"
    assert "acme-large" in cards
    assert "quick.suite" not in cards
    assert "notes" not in cards
    assert list(cards) == sorted(cards)
    assert discover.suite_paths()["quick"] == package / "quick.suite.toml"
