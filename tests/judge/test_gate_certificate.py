"""`bench gate --certificate` holds CI to what was certified."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from compared_runs import on_disk
from fake_records import STUDENT, TEACHER, a_cell, a_failure, a_record
from made_certificates import REFERENCE, made_certificate, moved, outputs, rounded, wrong

from bench.__main__ import main
from bench.judge.certified import certified, held
from bench.judge.finding import Finding, Outcome
from bench.record.result import Record
from bench.store.run import StoredRun

ON = a_cell(STUDENT, "openvino:cpu")
OF_REFERENCE = a_cell(STUDENT, REFERENCE)
GOOD = "openvino:cpu"


def certificate(folder: Path, kind: str = "same") -> Path:
    scores = outputs()
    mine = {"same": rounded, "equivalent": moved, "degraded": wrong}
    made_certificate(folder, {GOOD: mine[kind](scores)})
    return folder


def findings(run: StoredRun | None, *folders: Path, allowed: Sequence[str] = ()) -> list[Finding]:
    return certified(run, [one for folder in folders for one in held(folder)], allowed)


def stored(folder: Path, *records: Record) -> StoredRun:
    return on_disk(folder, records)


def outcomes(found: list[Finding]) -> dict[str, Outcome]:
    return {finding.cell.target: finding.outcome for finding in found}


def test_a_run_of_what_was_certified_passes(tmp_path: Path) -> None:
    run = stored(tmp_path / "r", a_record(ON), a_record(OF_REFERENCE))
    found = findings(run, certificate(tmp_path / "c"))
    assert outcomes(found) == {GOOD: Outcome.PASS, REFERENCE: Outcome.SKIPPED}
    assert found[0].cell == ON


@pytest.mark.parametrize(
    ("kind", "outcome"), [("equivalent", Outcome.PASS), ("degraded", Outcome.FAIL)]
)
def test_the_outcome_is_that_of_the_verdict_with_its_figures(
    kind: str, outcome: Outcome, tmp_path: Path
) -> None:
    (finding,) = findings(stored(tmp_path / "r", a_record(ON)), certificate(tmp_path / "c", kind))
    assert finding.outcome is outcome
    assert finding.limit == -0.02 or finding.found is None
    assert finding.words.startswith(f"{kind}: ")


def test_degraded_fails_although_the_run_has_nothing_of_it(tmp_path: Path) -> None:
    run = stored(tmp_path / "r", a_record(OF_REFERENCE))
    (bad, _) = findings(run, certificate(tmp_path / "bad", "degraded"))
    assert bad.outcome is Outcome.FAIL
    (good, _) = findings(run, certificate(tmp_path / "good"))
    assert good.outcome is Outcome.SKIPPED
    assert "not in the run" in good.words


def test_another_content_of_the_model_fails_and_says_what_to_run(tmp_path: Path) -> None:
    retrained = STUDENT.model_copy(update={"sha256": "f" * 64})
    run = stored(tmp_path / "r", a_record(a_cell(retrained, GOOD)))
    (finding,) = findings(run, certificate(tmp_path / "c"))
    assert finding.outcome is Outcome.FAIL
    assert "another content" in finding.words
    assert "bbbbbbbbbbbb" not in finding.words, "nobody reads a hash"
    assert (
        "bench certify fashion-student --reference onnxruntime:cpu --on openvino:cpu."
        in finding.advice
    )


@pytest.mark.parametrize(
    ("cell", "command"),
    [
        (a_cell(STUDENT, "tract:cpu"), "fashion-student --reference onnxruntime:cpu --on tract"),
        (a_cell(TEACHER, GOOD), "fashion-teacher --reference onnxruntime:cpu --on openvino:cpu"),
        (
            a_cell(STUDENT, GOOD, variant="int8-static"),
            "--on openvino:cpu --variant int8-static",
        ),
        (a_cell(STUDENT, REFERENCE, variant="fp16"), "--on onnxruntime:cpu --variant fp16"),
    ],
    ids=["target", "model", "variant", "variant of the reference"],
)
def test_what_no_certificate_is_of_fails_and_says_what_to_run(
    cell: object, command: str, tmp_path: Path
) -> None:
    run = stored(tmp_path / "r", a_record(ON), a_record(cell))
    found = findings(run, certificate(tmp_path / "c"))
    assert [finding.outcome for finding in found] == [Outcome.PASS, Outcome.FAIL]
    assert command in found[1].advice


def test_what_failed_in_the_run_needs_no_certificate(tmp_path: Path) -> None:
    run = stored(tmp_path / "r", a_record(ON), a_failure(a_cell(STUDENT, "tract:cpu")))
    assert outcomes(findings(run, certificate(tmp_path / "c"))) == {GOOD: Outcome.PASS}


def test_another_version_of_the_runtime_leaves_it_open_and_is_named(tmp_path: Path) -> None:
    run = stored(tmp_path / "r", a_record(ON, runtime_version="1.33.0"))
    (finding,) = findings(run, certificate(tmp_path / "c"))
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert "1.32.0" in finding.words
    assert "1.33.0" in finding.words
    assert "bench certify" in finding.advice
    (bad,) = findings(run, certificate(tmp_path / "bad", "degraded"))
    assert bad.outcome is Outcome.FAIL


def test_another_device_leaves_it_open_unless_that_is_allowed(tmp_path: Path) -> None:
    run, folder = stored(tmp_path / "r", a_record(ON, device_name="Xeon")), tmp_path / "c"
    (finding,) = findings(run, certificate(folder))
    assert finding.outcome is Outcome.INCONCLUSIVE
    assert "Xeon" in finding.words
    for kind in ("device", "all"):
        assert findings(run, folder, allowed=[kind])[0].outcome is Outcome.PASS


def test_a_certificate_that_was_changed_fails_whatever_it_says(tmp_path: Path) -> None:
    folder = certificate(tmp_path / "c")
    file = sorted((folder / "evidence").iterdir())[0]
    file.write_bytes(b"x")
    (finding,) = findings(None, folder)
    assert finding.outcome is Outcome.FAIL
    assert file.name in finding.words
    assert "bench publish --check" in finding.advice


def test_a_certificate_without_its_verdicts_lets_nothing_pass(tmp_path: Path) -> None:
    folder = certificate(tmp_path / "c", "degraded")
    file = folder / "certificate.json"
    data = json.loads(file.read_text())
    data["findings"] = []
    file.write_text(json.dumps(data, indent=1) + "\n")
    (finding,) = findings(None, folder)
    assert finding.outcome is Outcome.FAIL


# -- the command ----------------------------------------------------------------------------------


def test_the_command_judges_certificates_alone_and_writes_each_file_for_ci(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = certificate(tmp_path / "good"), certificate(tmp_path / "bad", "degraded")
    files = [
        *("--junit", str(tmp_path / "j.xml"), "--markdown", str(tmp_path / "m.md")),
        *("--bencher", str(tmp_path / "b.json"), "--github-action", str(tmp_path / "g")),
    ]
    assert main(["gate", "--certificate", str(good)]) == 0
    assert "as certified by" in capsys.readouterr().out
    assert main(["gate", "--certificate", str(good), "--certificate", str(bad), *files]) == 1
    out = capsys.readouterr().out
    assert "FAIL: 2 limits checked: 1 failed, 1 passed." in out
    assert "worse by more than the margin" in " ".join(out.split())
    cases = ElementTree.parse(tmp_path / "j.xml").getroot().iter("testcase")
    assert [case.get("name") for case in cases] == ["fashion-student openvino:cpu: certificate"] * 2
    assert "❌ fail" in (tmp_path / "m.md").read_text()
    assert json.loads((tmp_path / "b.json").read_text()) == {}


def test_a_folder_of_certificates_is_all_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("same", "degraded"):
        certificate(tmp_path / kind, kind)
    assert main(["gate", "--certificate", str(tmp_path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["run"] is None
    assert [(f["cell_id"], f["cell"]) for f in told["findings"]] == [
        (None, "fashion-student openvino:cpu")
    ] * 2


def test_the_command_holds_a_run_to_a_certificate_and_tells_versions_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored(tmp_path / "r", a_record(ON, runtime_version="1.33.0"))
    asked = ["gate", str(run.path), "--certificate", str(certificate(tmp_path / "c"))]
    assert main(asked) == 3
    assert "1.33.0" in capsys.readouterr().out
    assert main([*asked, "--inconclusive", "fail"]) == 1
    assert main([*asked, "--inconclusive", "pass"]) == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "there is no run with a result"),
        (["--certificate", "nowhere"], "nowhere: no certificate at or below it"),
        (["--certificate", "c", "--min-accuracy", "90%"], "there is no run with a result"),
        (
            ["--certificate", "c", "--max-slowdown", "5%"],
            "--max-slowdown needs --baseline RUN_OR_FILE.",
        ),
        (["--certificate", "c", "--allow", "devise"], "Did you mean device"),
    ],
)
def test_wrong_usage_is_said_in_one_sentence(
    flags: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    certificate(tmp_path / "c")
    assert main(["gate", *flags]) == 2
    assert words in capsys.readouterr().err
