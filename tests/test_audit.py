"""The audit fails for a known flaw, and for nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from audit import audit

FINE = [sys.executable, "-c", ""]
FAILS = [sys.executable, "-c", "import sys; sys.exit('no route to host')"]


def answering(*dependencies: object, code: int = 0) -> list[str]:
    text = json.dumps({"dependencies": dependencies})
    return [sys.executable, "-c", f"import sys; print({text!r}); sys.exit({code})"]


def test_a_known_flaw_fails_it(capsys: pytest.CaptureFixture[str]) -> None:
    flaw = {"id": "CVE-2026-4372", "fix_versions": ["5.3.0"]}
    bad = {"name": "transformers", "version": "5.0", "vulns": [flaw]}
    good = {"name": "numpy", "version": "2.0", "vulns": []}
    skipped = {"name": "infer-bench", "skip_reason": "editable"}
    assert audit(FINE, answering(bad, good, skipped, code=1)) == 1
    assert "transformers 5.0: CVE-2026-4372, mended in 5.3.0" in capsys.readouterr().out
    assert audit(FINE, answering(good, skipped)) == 0


@pytest.mark.parametrize(
    ("install", "command", "words"),
    [
        (FAILS, FINE, "can't be installed: no route to host"),
        (FINE, FAILS, "can't be asked: no route to host"),
        (FINE, FINE, "can't be asked"),
        (FINE, ["/no/such/tool"], "can't be asked"),
    ],
)
def test_it_is_skipped_in_words_where_nobody_can_be_asked(
    install: list[str], command: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(install, command) == 0
    said = capsys.readouterr().out
    assert "audit: skipped" in said
    assert words in said


def test_ci_asks_after_the_tests() -> None:
    text = (Path(__file__).parents[1] / ".ci" / "run").read_text()
    assert text.index("make test") < text.index("make audit")
