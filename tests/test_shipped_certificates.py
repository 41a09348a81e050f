"""The certificates in results/ say what their evidence says, on pages of the present style."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.commands.cli import cli

FOLDERS = sorted(
    path.parent for path in Path(__file__).parents[1].glob("results/**/certificate.json")
)


def test_there_are_some() -> None:
    assert len(FOLDERS) >= 5


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: "-".join(path.parts[-2:]))
def test_a_shipped_certificate_and_its_page_agree_with_its_evidence(folder: Path) -> None:
    done = CliRunner().invoke(cli, ["publish", "--check", str(folder)])
    assert done.exit_code == 0, done.output
    assert "derived again; all agree" in done.output
