"""The page of a merged run is called what the merged run is."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from compared_runs import MACHINE, measured, on_disk
from fake_records import a_cell

from bench.commands.report import command
from bench.store.merge import merge


def title(*arguments: str, page: Path) -> str:
    done = CliRunner().invoke(command, [*arguments, "-o", str(page)])
    assert done.exit_code == 0, done.output
    return page.read_text("utf-8").partition("<title>")[2].partition("</title>")[0]


def test_a_merged_run_gives_the_page_its_label(tmp_path: Path) -> None:
    for name in ("red", "blue"):
        facts = {**MACHINE, "machine_id": f"{name:0>12}", "hostname_hash": f"{name:0>16}"}
        records = [measured((1e5, 1.01e5), a_cell())]
        on_disk(tmp_path / name, records, label=f"of {name}", facts=facts, machine_name=name)
    runs = [tmp_path / "red", tmp_path / "blue"]
    merge(runs, tmp_path / "merged", "both <of> them", None)
    merge(runs, tmp_path / "unnamed", None, None)
    page, merged = tmp_path / "page.html", str(tmp_path / "merged")
    assert title(merged, page=page) == "both &lt;of&gt; them"
    assert title(merged, "--title", "Mine", page=page) == "Mine"
    assert title(str(tmp_path / "unnamed"), page=page) == "2 benchmark runs"
    assert title(*map(str, runs), page=page) == "2 benchmark runs"
