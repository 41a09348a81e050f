"""`bench compare --base REV`: what is taken from each revision, and how the two are judged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from compared_runs import in_memory, measured, noisy
from energy_windows import rounds
from fake_records import CONTROL, STUDENT, TEACHER, a_cell, a_failure
from made_certificates import made_certificate, outputs, rounded
from onnx import TensorProto, helper

from bench.cell import Cell
from bench.commands.cli import cli
from bench.commands.compare import command
from bench.commands.revisions import suite_of
from bench.discover import suite_paths
from bench.errors import SpecError
from bench.judge.certified import held
from bench.judge.finding import Decision, Limits, Outcome
from bench.machine.commit import commit_of
from bench.present.ci.base import Subject
from bench.present.ci.junit import junit_text
from bench.present.compare import report_text
from bench.present.gate import gate_text
from bench.record.energy import energies
from bench.record.result import Check, Record
from bench.spec import load_suite
from bench.store.run import StoredRun
from bench.trials.revisions.judged import Judged, check_comparable, judged
from bench.trials.revisions.models import Pairs, models_of
from bench.trials.revisions.repository import (
    WORKING_TREE,
    Revision,
    checked_out,
    repository,
    told_apart,
    working_tree,
)

BASE = Revision("main", "a" * 40, Path())
HEAD = Revision(WORKING_TREE, "", Path())


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def a_model(path: Path, adds: int = 1) -> None:
    """``adds`` additions on float32 (batch, 4)."""
    nodes = [helper.make_node("Add", [f"x{n}", f"x{n}"], [f"x{n + 1}"]) for n in range(adds)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])
        for name in ("x0", f"x{adds}")
    ]
    graph = helper.make_graph(nodes, "adds", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(made, str(path))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with two models in its first commit, of which the second one was changed."""
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    a_model(folder / "models" / "net.onnx")
    a_model(folder / "models" / "old.onnx")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    a_model(folder / "models" / "net.onnx", 3)
    a_model(folder / "models" / "new.onnx")
    return folder


def both(project: Path, base: str = "main") -> tuple[Revision, Revision]:
    return checked_out(project, base, project.parent / "base"), working_tree(project)


def models(project: Path, *names: str) -> Pairs:
    texts = [f"models/{name}.onnx" for name in names]
    return models_of(texts, project, project, *both(project))


# -- what is taken from a revision ----------------------------------------------------------------


def test_a_model_is_measured_as_both_revisions_have_it(project: Path) -> None:
    found = models(project, "net")
    before, now = (one.card for one in found.models)
    assert (before.name, now.name) == ("net@main", f"net@{WORKING_TREE}")
    assert before.content_sha256() != now.content_sha256()
    assert now.path.is_relative_to(project)


def test_a_check_out_leaves_the_repository_as_it_is(project: Path) -> None:
    index = (project / ".git" / "index").read_bytes()
    status = git(project, "status", "--porcelain")
    revision, _ = both(project)
    assert (revision.root / "models" / "old.onnx").is_file()
    assert not (revision.root / "models" / "new.onnx").exists()
    assert (project / ".git" / "index").read_bytes() == index
    assert git(project, "status", "--porcelain") == status
    assert len(git(project, "worktree", "list").splitlines()) == 1


def test_a_new_model_is_told_and_measured_alone(project: Path) -> None:
    found = models(project, "net", "new")
    assert [one.card.name for one in found.models] == [
        "net@main",
        f"net@{WORKING_TREE}",
        f"new@{WORKING_TREE}",
    ]
    (note,) = found.notes
    assert "models/new.onnx is new: main (" in note


def test_a_model_that_was_removed_or_never_was_is_refused(project: Path) -> None:
    (project / "models" / "old.onnx").unlink()
    with pytest.raises(SpecError, match="has it and working-tree has not: it was removed"):
        models(project, "old")
    with pytest.raises(SpecError, match=r"neither main .* nor working-tree has such a file"):
        models(project, "never")


def test_a_model_outside_of_the_repository_is_left_out_or_refused(project: Path) -> None:
    outside = project.parent / "outside.onnx"
    a_model(outside)
    texts = ["models/net.onnx", str(outside)]
    found = models_of(texts, project, project, *both(project))
    assert len(found.models) == 2
    assert "outside.onnx is left out: it does not lie in this repository" in found.notes[0]
    with pytest.raises(SpecError, match="no model to compare lies in the repository"):
        models_of([str(outside)], project, project, *both(project))


def test_a_model_that_the_base_has_broken_counts_as_new(project: Path) -> None:
    (project / "models" / "card.toml").write_text("nonsense = 1\n")
    git(project, "add", ".")
    git(project, "commit", "-qm", "broken")
    (project / "models" / "card.toml").write_text(
        'name = "card"\ntask = "raw"\n[source]\nonnx = "net.onnx"\n'
        '[[inputs]]\nname = "x0"\nshape = ["batch", 4]\n'
    )
    found = models_of(["models/card.toml"], project, project, *both(project))
    assert [one.card.name for one in found.models] == [f"card@{WORKING_TREE}"]
    assert "can't be read as main" in found.notes[0]


def test_data_that_git_does_not_track_serves_both_revisions(project: Path) -> None:
    card = (
        'name = "card"\ntask = "classification"\n[source]\nonnx = "net.onnx"\n'
        '[[inputs]]\nname = "x0"\nshape = ["batch", 4]\n'
        '[dataset]\nname = "d"\npath = "data/d.npz"\n'
    )
    (project / ".gitignore").write_text("data/\n")
    (project / "models" / "card.toml").write_text(card)
    git(project, "add", ".")
    git(project, "commit", "-qm", "card")
    (project / "models" / "data").mkdir()
    np.savez(project / "models" / "data" / "d.npz", x0=np.zeros((2, 4)), label=[0, 1])
    base, head = both(project)
    found = models_of(["models/card.toml"], project, project, base, head)
    assert [one.card.name for one in found.models] == ["card@main", f"card@{WORKING_TREE}"]
    assert (base.root / "models" / "data" / "d.npz").resolve().is_relative_to(project)


def test_cards_that_name_each_other_still_do(project: Path) -> None:
    for name, more in (("teacher", ""), ("student", 'distilled_from = "teacher"\n')):
        (project / "models" / f"{name}.toml").write_text(
            f'name = "{name}"\ntask = "raw"\n{more}[source]\nonnx = "net.onnx"\n'
            '[[inputs]]\nname = "x0"\nshape = ["batch", 4]\n'
        )
    git(project, "add", ".")
    git(project, "commit", "-qm", "cards")
    texts = ["models/teacher.toml", "models/student.toml"]
    found = models_of(texts, project, project, *both(project))
    relations = {one.card.name: one.card.distilled_from for one in found.models}
    assert relations["student@main"] == "teacher@main"
    assert relations[f"student@{WORKING_TREE}"] == f"teacher@{WORKING_TREE}"


def test_an_unknown_revision_and_a_folder_without_git_are_refused(
    project: Path, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=r"nope: .* has no such revision\. `git fetch`"):
        checked_out(project, "nope", tmp_path / "x")
    with pytest.raises(SpecError, match="not in a git repository"):
        repository(tmp_path)
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", project.as_uri(), str(shallow))
    with pytest.raises(SpecError, match=r"The clone is shallow: .*fetch-depth: 0"):
        checked_out(shallow, "HEAD~1", tmp_path / "y")


def test_a_commit_is_shown_by_its_first_digits_and_a_name_as_it_is(project: Path) -> None:
    commit = git(project, "rev-parse", "HEAD")
    folder = project.parent
    assert checked_out(project, commit, folder / "x").name == commit[:8]
    assert checked_out(project, "HEAD", folder / "y").words == f"HEAD ({commit[:8]})"
    one, other = told_apart(*[checked_out(project, "HEAD", folder / "z")] * 2)
    assert (one.name, other.name) == ("HEAD (base)", "HEAD (head)")


def test_a_run_records_the_commit_around_the_folder(project: Path, tmp_path: Path) -> None:
    assert commit_of(project / "models") == git(project, "rev-parse", "HEAD")
    assert commit_of(tmp_path) is None


# -- how the two are judged -----------------------------------------------------------------------


def named(revision: Revision, model: Any = TEACHER, sha256: str = "a", **changes: Any) -> Cell:
    changed = {"name": f"{model.name}@{revision.name}", "sha256": sha256 * 64}
    return a_cell(model.model_copy(update=changed), **changes)


def run_of(*records: Record) -> StoredRun:
    return in_memory([r.model_copy(update={"group": "g"}) for r in records])


def judge(run: StoredRun, limits: Limits | None = None) -> Judged:
    return judged(run, BASE, HEAD, limits or Limits(0.05), (), 0.02, 0.95)


def two(factor: float, sha256: str = "b", **changes: Any) -> StoredRun:
    """Times that drift from generation to generation, in both alike."""
    times = noisy(np.random.default_rng(1), 1e5, 8, sd=0.3)
    return run_of(
        measured(times, named(BASE), **changes),
        measured([factor * t for t in times], named(HEAD, sha256=sha256), **changes),
    )


def test_pairs_are_judged_generation_by_generation() -> None:
    """Of drift that is ten times the difference nothing is left, for both felt it in turn."""
    found = judge(two(1.1))
    assert found.judgement.decision is Decision.FAIL
    (finding,) = found.judgement.findings
    assert finding.found is not None
    assert finding.found.estimate == pytest.approx(1.1)
    assert finding.cell.model.name == TEACHER.name, "people read the model's own name"
    assert judge(two(1.0)).judgement.exit_code == 0
    assert judge(two(1.06), Limits(0.5)).judgement.exit_code == 0


def test_a_busy_machine_slows_both_and_the_verdict_is_given() -> None:
    busy = (Check(name="undisturbed", ok=False, detail="9 of 10 blocks"),)
    assert judge(two(1.1, checks=busy)).judgement.decision is Decision.FAIL


def test_models_that_did_not_change_are_told() -> None:
    assert judge(two(1.0, sha256="a")).unchanged == (TEACHER.name,)
    assert judge(two(1.0)).unchanged == ()


def test_a_check_that_failed_in_the_base_too_is_no_news() -> None:
    wrong = (Check(name="accuracy", ok=False, detail="NaN"),)
    times = [1e5] * 5
    before = measured(times, named(BASE), checks=wrong)
    now = measured(times, named(HEAD, sha256="b"), checks=wrong)
    fails = judge(run_of(before, now)).judgement.of(Outcome.FAIL)
    assert not fails
    fresh = measured(times, named(BASE))
    assert judge(run_of(fresh, now)).judgement.of(Outcome.FAIL)


def test_a_new_model_is_new_and_fails_nothing() -> None:
    run = two(1.0)
    extra = measured([1e5] * 5, named(HEAD, STUDENT, "c"))
    found = judge(run_of(*run.records, extra)).judgement
    assert [f.outcome for f in found.findings] == [Outcome.PASS, Outcome.NEW]
    assert found.exit_code == 0


@pytest.mark.parametrize("lost", [{"scenario": "offline", "batch": 32}, {"target": "openvino:cpu"}])
def test_a_cell_that_the_head_lost_is_missing_unless_it_may_be(lost: dict[str, Any]) -> None:
    run = two(1.0)
    extra = measured([1e5] * 5, named(BASE, **lost))
    found = judge(run_of(*run.records, extra)).judgement
    assert found.decision is Decision.FAIL
    (missing,) = found.of(Outcome.MISSING)
    assert missing.cell.model.name == TEACHER.name
    assert "--allow-missing" in missing.advice
    assert "--allow-missing" in {option for p in command.params for option in p.opts}
    assert (
        judge(run_of(*run.records, extra), Limits(0.05, allow_missing=True)).judgement.exit_code
        == 0
    )


def test_a_cell_that_failed_in_the_base_can_not_be_lost() -> None:
    failed = a_failure(named(BASE, target="openvino:cpu"))
    found = judge(run_of(*two(1.0).records, failed)).judgement
    assert [f.outcome for f in found.findings] == [Outcome.PASS, Outcome.SKIPPED]


@pytest.mark.parametrize("others", [False, True])
def test_a_renamed_model_is_missing_and_new_whether_or_not_it_is_the_only_one(others: bool) -> None:
    cells = (named(BASE), named(HEAD, STUDENT))
    renamed = [measured([1e5] * 5, cell) for cell in cells]
    extra = [_of_control(record) for record in two(1.0).records if others]
    run = run_of(*renamed, *extra)
    check_comparable(run.header, BASE, HEAD, ())
    found = judge(run)
    outcomes = sorted(f.outcome for f in found.judgement.findings if f.outcome is not Outcome.PASS)
    assert outcomes == [Outcome.MISSING, Outcome.NEW]
    assert found.judgement.exit_code == 1
    assert (found.report is None) is not others
    assert "missing from this run" in gate_text(found.judgement).plain
    assert junit_text(Subject(run, found.judgement)).count("<testcase ") == len(outcomes) + others


def _of_control(record: Record) -> Record:
    """The same of another model."""
    name = record.cell.model.name.replace(TEACHER.name, CONTROL.name)
    model = record.cell.model.model_copy(update={"name": name})
    cell = record.cell.model_copy(update={"model": model})
    return record.model_copy(update={"cell": cell, "cell_id": cell.id})


def test_other_inputs_are_refused_before_anything_is_measured() -> None:
    cells = (named(BASE), named(HEAD, sha256="b", shapes={"image": (1, 1, 32, 32)}))
    header = two(1.0).header.model_copy(update={"cells": cells})
    with pytest.raises(SpecError, match=r"main and working-tree are not comparable: .*input shape"):
        check_comparable(header, BASE, HEAD, ())
    check_comparable(header, BASE, HEAD, ("shape",))
    with pytest.raises(SpecError, match="not comparable"):
        judge(replace(two(1.0), header=header, records=[]))


def test_a_case_of_junit_has_the_seconds_of_its_cell_and_a_suite_counts_them_once() -> None:
    found = judge(two(1.0), Limits(0.05, max_memory_growth=0.1)).judgement
    assert found.run is not None
    (record,) = found.run.records
    seconds = f'time="{sum(i.busy_ns for i in record.invocations) / 1e9:.3f}"'
    text = junit_text(Subject(found.run, found))
    assert text.count("<testcase ") == 2
    assert text.count(seconds) == 3, "two cases and their suite"
    assert f"{TEACHER.name} onnxruntime:cpu single-stream batch 1: latency" in text


def test_the_two_are_called_by_their_revisions_and_no_hash_is_shown() -> None:
    found = judge(two(1.1))
    assert found.report is not None
    text = " ".join(report_text(found.report).plain.split())
    assert "main → working-tree" in text
    assert "(time ratio below 1: working-tree is faster)" in text
    assert "working-tree is slower than main." in text
    said = " ".join(gate_text(found.judgement).plain.split())
    assert "Run working-tree: " in said
    assert f"Baseline {BASE.words}: " in said
    for shown in (text, said):
        assert "aaaaaaaaaaaa" not in shown
        assert "bbbbbbbbbbbb" not in shown


def test_what_the_head_takes_is_held_to_limits_on_energy() -> None:
    run = two(1.0)
    powers = {run.records[0].cell_id: 100.0, run.records[1].cell_id: 130.0}
    windows = rounds({cell: lambda n, watts=watts: watts + n for cell, watts in powers.items()})
    metered = [
        record.model_copy(update={"energy": energies(record.cell, windows, 0.95)})
        for record in run.records
    ]
    run = run_of(*metered)
    for limits, decision in (
        (Limits(max_energy_growth=0.1), Decision.FAIL),
        (Limits(max_energy_growth=0.5), Decision.PASS),
        (Limits(max_energy_j=1.2), Decision.FAIL),
        (Limits(max_energy_j=2.0), Decision.PASS),
    ):
        found = judge(run, limits).judgement
        assert [f.kind for f in found.findings] == ["energy"]
        assert found.decision is decision


def test_what_the_head_measured_has_to_be_certified(tmp_path: Path) -> None:
    made_certificate(tmp_path / "c", {"openvino:cpu": rounded(outputs())})
    times, sha = [1e5] * 5, STUDENT.sha256[0]
    cells = [named(r, STUDENT, sha, target="openvino:cpu") for r in (BASE, HEAD)]
    run = run_of(*[measured(times, cell) for cell in cells])
    limits = Limits(certificates=(str(tmp_path / "c"),))
    given = held(tmp_path / "c")
    found = judged(run, BASE, HEAD, limits, (), 0.02, 0.95, given).judgement
    assert found.decision is Decision.PASS
    retrained = run_of(
        run.records[0], measured(times, named(HEAD, STUDENT, "f", target="openvino:cpu"))
    )
    found = judged(retrained, BASE, HEAD, limits, (), 0.02, 0.95, given).judgement
    assert found.decision is Decision.FAIL


# -- the command ----------------------------------------------------------------------------------


def test_two_revisions_take_every_limit_of_the_gate() -> None:
    # As the program has them, which adds --debug to each when it is first asked for.
    whole = [cli.get_command(click.Context(cli), name) for name in ("compare", "gate")]
    taken, limits = ({p.name for p in one.params} for one in whole if one is not None)
    assert limits - taken == {"run", "save"}


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (["--max-energy", "1J"], "--max-energy: energy is not measured. Add --energy."),
        (
            ["--max-energy", "1J", "--max-energy-growth", "10%"],
            "--max-energy-growth, --max-energy: energy is not measured. Add --energy.",
        ),
        (["--certificate", "nowhere"], "nowhere: no certificate at or below it"),
    ],
)
def test_a_limit_that_nothing_can_be_held_to_is_refused_before_anything_is_measured(
    limit: list[str], words: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr("bench.commands.revisions._measured", lambda *_: pytest.fail("measured"))
    asked = ["--base", "main", "-m", "models/net.onnx", *limit]
    done = CliRunner().invoke(command, asked)
    assert words in f"{done.output} {done.exception}"


@pytest.mark.parametrize("limit", [["--certificate", "c"], ["--max-energy", "1J", "--energy"]])
def test_a_limit_that_needs_no_base_has_a_new_model_measured(
    limit: list[str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_certificate(project / "c", {"openvino:cpu": rounded(outputs())})
    monkeypatch.chdir(project)
    monkeypatch.setattr("bench.measure.prepare.prepare", lambda *_: pytest.fail("as it should"))
    asked = ["--base", "main", "-m", "models/new.onnx", "--quiet", *limit]
    with pytest.raises(pytest.fail.Exception, match="as it should"):
        CliRunner().invoke(command, asked, catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--head", "main"], "--head needs a --base"),
        (["a", "b", "-m", "net.onnx", "--quick"], "-m, --quick/--thorough: only with --base"),
        (["--base", "main", "--cell", "x"], "no --cell or --baseline"),
    ],
)
def test_wrong_usage_is_told(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert words in done.output


@pytest.mark.parametrize(("counts_as", "exit_code"), [("report", 3), ("fail", 1), ("pass", 0)])
def test_where_every_model_is_new_each_file_says_that_nothing_was_compared(
    project: Path, monkeypatch: pytest.MonkeyPatch, counts_as: str, exit_code: int
) -> None:
    monkeypatch.chdir(project)
    asked = ["--base", "main", "-m", "models/new.onnx", "--inconclusive", counts_as]
    files = ["--markdown", "out.md", "--junit", "out.xml", "--bencher", "out.json"]
    done = CliRunner().invoke(command, [*asked, *files], standalone_mode=False)
    assert done.return_value == exit_code, done.output
    words = "every model is new, so there is nothing to compare"
    assert words in done.output
    assert words in (project / "out.md").read_text()
    (case,) = ElementTree.parse(project / "out.xml").iter("testcase")
    assert [child.tag for child in case] == ["failure" if counts_as == "fail" else "skipped"]
    assert words in (case[0].get("message") or "")
    assert (project / "out.json").is_file()
    told = CliRunner().invoke(command, [*asked, "--json"], standalone_mode=False).stdout
    assert json.loads(told)["judgement"]["exit_code"] == exit_code


def test_models_and_suites_are_named_beside_base_as_for_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as runs: an installed suite has no path, and what isn't there yet may be in the base."""
    asked: list[Any] = []

    def compared(runs: Sequence[Path], base: str, *others: Any, **_: Any) -> int:
        asked.append((suite_of(runs, others[-1]), base))
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.commands.compare.compare_revisions", compared)
    done = CliRunner().invoke(command, ["--base", "main", "default", "new.onnx", "-m", "old.onnx"])
    assert done.exit_code == 0, done.output
    ((suite, base),) = asked
    assert suite.name == load_suite(suite_paths()["default"]).name
    assert (base, suite.models) == ("main", ("new.onnx", "old.onnx"))
