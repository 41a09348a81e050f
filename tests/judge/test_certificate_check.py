"""`bench publish --check` derives a certificate again, and finds whatever was changed by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_certificates import broken, made_certificate, moved, outputs, rounded, wrong

from bench.__main__ import main
from bench.errors import SpecError
from bench.judge.certify import finding, verdict
from bench.judge.certify.check import EARLIER_WORDS, certificates, check
from bench.present.page.certificate import certificate_html, certificate_page
from bench.record.certificate import Certificate
from bench.store.certificates import Evidence, StoredEvidence, read_certificate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certified") / "c"
    scores = outputs()
    targets = {
        "openvino:cpu": rounded(scores),
        "tract:cpu": wrong(scores),
        "iree:cpu": moved(scores),
        "mnn:cpu": broken(scores),
    }
    certificate = made_certificate(folder, targets)
    verdicts = [finding.verdict for finding in certificate.findings]
    assert verdicts == ["same", "degraded", "equivalent", "degraded"]
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "c")
    return tmp_path / "c"


def problems(folder: Path) -> list[str]:
    return [str(problem) for problem in check(folder).problems]


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON and write it as bench does, so that its form gives nothing away."""
    path = folder / "certificate.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    # The form is that of bench where the values are.
    text = Certificate.model_validate(data).model_dump_json(indent=1, exclude_unset=True)
    path.write_text(text + "\n")


def test_a_certificate_that_nobody_changed_agrees(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(made).problems == ()
    assert check(made).numbers > 100
    assert main(["publish", "--check", str(made.parent)]) == 0
    assert "of 4 verdicts derived again; all agree" in capsys.readouterr().out


def test_where_there_is_neither_publication_nor_certificate_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", "--check", str(tmp_path)]) == 2
    assert "no publication, certificate, bundle or run" in capsys.readouterr().err


def test_it_is_found_by_its_file_as_well(made: Path) -> None:
    assert certificates(made / "certificate.json") == [made]
    assert certificates(made.parent) == [made]


# -- what follows ---------------------------------------------------------------------------------


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in inner:
        if isinstance(one, dict | list) and one:
            yield from leaves(one, (*path, key))
        else:
            yield (*path, key)


def another(value: Any, factor: float) -> Any:
    """A value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + max(1, round(abs(value) * factor))
    if isinstance(value, float):
        return value * (1 - factor) if value else factor * 1e-3
    return None if value is None else f"{value} " if isinstance(value, str) else value


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_whatever_follows_is_found_where_it_was_changed(folder: Path, data: st.DataObject) -> None:
    path = folder / "certificate.json"
    kept = path.read_text()
    told = json.loads(kept)
    places = [one for name in ("floor", "findings") for one in leaves(told[name], (name,))]
    place = data.draw(st.sampled_from(places))
    factor = data.draw(st.floats(1e-6, 0.5))
    parent: Any = told
    for key in place[:-1]:
        parent = parent[key]
    before = parent[place[-1]]
    parent[place[-1]] = another(before, factor) if before != "same" else "equivalent"
    if parent[place[-1]] == before:
        return
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    try:
        found = problems(folder)
    except SpecError:
        found = ["no certificate"]  # a value that no certificate can have
    finally:
        path.write_text(kept)
    assert found, f"{place}: {before} was changed to {parent[place[-1]]}"


def set_verdict(data: dict[str, Any]) -> None:
    data["findings"][1]["verdict"] = "same"


def drop_finding(data: dict[str, Any]) -> None:
    data["findings"].pop()


def widen(data: dict[str, Any]) -> None:
    data["asked"]["margin"] = 0.5


def hide_metric(data: dict[str, Any]) -> None:
    data["findings"][1]["decisions"] = None


def reword(data: dict[str, Any]) -> None:
    data["findings"][1]["reasons"] = ["It is fine."]


def swap_evidence(data: dict[str, Any]) -> None:
    """The evidence of the target that is the same for that of the one that isn't."""
    passes = [p for p in data["passes"] if p["condition"] == "plain"]
    passes[2]["rows"], passes[1]["rows"] = passes[1]["rows"], passes[2]["rows"]


def fallback(data: dict[str, Any]) -> None:
    data["parties"][1]["target"] = "openvino:gpu"


def no_pass(data: dict[str, Any]) -> None:
    data["passes"] = [p for p in data["passes"] if p["party"] != 2]


def twice(data: dict[str, Any]) -> None:
    data["passes"].append(data["passes"][-1])


def of_nobody(data: dict[str, Any]) -> None:
    data["passes"][-1]["party"] = 9


def fewer_examples(data: dict[str, Any]) -> None:
    data["examined"]["examples"] = 399


def other_task(data: dict[str, Any]) -> None:
    data["parties"][0]["model"]["task"] = "embedding"


def unknown_task(data: dict[str, Any]) -> None:
    data["parties"][0]["model"]["task"] = "divination"


def failed_too(data: dict[str, Any]) -> None:
    data["passes"][2]["failure"] = "it crashed"


def no_floor(data: dict[str, Any]) -> None:
    data["floor"] = {}


def mixed_up(data: dict[str, Any]) -> None:
    """Rows where predictions belong."""
    for one in data["passes"]:
        one["rows"], one["predictions"] = one["predictions"], one["rows"]


CHANGES = [
    *(set_verdict, drop_finding, widen, hide_metric, reword, swap_evidence, fallback, no_pass),
    *(twice, of_nobody, fewer_examples, other_task, unknown_task, failed_too, no_floor, mixed_up),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_was_edited_by_hand_is_found(
    change: Callable[[dict[str, Any]], None], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(folder, change)
    assert problems(folder)
    assert main(["publish", "--check", str(folder)]) == 1
    assert "differ." in capsys.readouterr().out


def test_a_reason_in_an_earlier_bench_s_words_is_the_same_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, before = "No output differs by more than", "Nowhere an output is off by more than"

    def age(data: dict[str, Any]) -> None:
        first = data["findings"][0]
        first["reasons"] = [reason.replace(now, before) for reason in first["reasons"]]
        assert before in first["reasons"][0]

    rewrite(folder, age)
    assert any(before in problem for problem in problems(folder))
    monkeypatch.setattr("bench.judge.certify.check.EARLIER_WORDS", ((before, now),))
    assert problems(folder) == []


def test_the_words_that_an_earlier_bench_used_are_not_used_any_more() -> None:
    """Or a reason of this bench would be taken for one of an earlier bench."""
    source = Path(verdict.__file__).read_text() + Path(finding.__file__).read_text()
    for before, now in EARLIER_WORDS:
        assert before not in source
        assert now not in before


def test_a_verdict_that_was_edited_is_named_with_both(folder: Path) -> None:
    rewrite(folder, set_verdict)
    (problem,) = problems(folder)
    assert problem == ("certificate.json, findings[1].verdict: published same, derived degraded")


# -- files ----------------------------------------------------------------------------------------


def some_evidence(folder: Path) -> Path:
    return sorted((folder / "evidence").iterdir())[0]


def test_evidence_that_is_lost_is_named(folder: Path) -> None:
    file = some_evidence(folder)
    file.unlink()
    (problem,) = problems(folder)
    assert file.name in problem
    assert "no file" in problem


def test_evidence_that_was_changed_is_named(folder: Path) -> None:
    file = some_evidence(folder)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    (problem,) = problems(folder)
    assert file.name in problem
    assert "another file" in problem


def test_evidence_that_is_a_link_is_named_and_not_followed(folder: Path) -> None:
    file = some_evidence(folder)
    elsewhere = folder.parent / "elsewhere.parquet"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert any("a link" in problem for problem in problems(folder))


@pytest.mark.parametrize("name", ["evidence/more.parquet", "notes.txt"])
def test_a_file_that_nothing_names_is_named(name: str, folder: Path) -> None:
    (folder / name).write_text("x")
    (problem,) = problems(folder)
    assert name in problem


def test_evidence_that_was_written_again_with_its_digest_is_found(folder: Path) -> None:
    """Whoever makes rows of their own has to make verdicts of their own as well."""
    made = Evidence(folder.parent / "another")

    def change(data: dict[str, Any]) -> None:
        plain = next(p for p in data["passes"] if p["party"] == 2 and p["rows"])
        rows = np.zeros(400)
        columns = dict.fromkeys(("difference", "excess", "roundings", "nonfinite"), rows)
        (folder / plain["rows"]).unlink()
        del data["files"][plain["rows"]]
        plain["rows"] = made.keep(columns)
        (folder.parent / "another" / plain["rows"]).rename(folder / plain["rows"])
        data["files"] |= made.files

    rewrite(folder, change)
    found = problems(folder)
    assert any("predicted" in problem for problem in found), found


def test_a_page_that_was_edited_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate = read_certificate(folder)
    told = certificate_page(certificate, StoredEvidence(folder, certificate).read)
    page = folder / "index.html"
    page.write_text(certificate_html(told))
    monkeypatch.setattr("bench.commands.check_results.__version__", certificate.bench_version)
    assert main(["publish", "--check", str(folder)]) == 0
    assert "degraded" in page.read_text()
    page.write_text(page.read_text().replace("degraded", "the same"))
    assert main(["publish", "--check", str(folder)]) == 1
    assert "index.html" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(["publish", "--check", str(folder)]) == 0, "another bench's words are not ours"
    assert "bench 0.0 wrote this page" in capsys.readouterr().out


def test_a_link_in_place_of_the_certificate_is_refused(folder: Path) -> None:
    file = folder / "certificate.json"
    file.rename(folder.parent / "other.json")
    file.symlink_to(folder.parent / "other.json")
    with pytest.raises(SpecError, match="a link"):
        check(folder)


def test_a_key_that_is_there_twice_is_found(folder: Path) -> None:
    file = folder / "certificate.json"
    text = file.read_text()
    assert '"limit":' in text
    file.write_text(text.replace('"limit":', '"limit": "none",\n "limit":', 1))
    (problem,) = problems(folder)
    assert "JSON as bench writes it" in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"certificate_version": 7}', "version 7, but this bench reads version 1"),
        ("{}", "not a certificate"),
        ("[1", "not a certificate"),
        ('{"certificate_version": 1}', "not a certificate"),
        ("[" * 100_000, "not a certificate"),
    ],
)
def test_what_is_no_certificate_of_this_schema_is_refused_in_one_sentence(
    text: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "certificate.json").write_text(text)
    assert main(["publish", "--check", str(folder)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1
