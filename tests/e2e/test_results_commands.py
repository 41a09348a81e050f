"""import, export-results, schema and show on folders, through the real command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from conftest import Bench

TESTS = Path(__file__).parents[1]
FILES = TESTS / "store" / "interchange" / "files"
VERSION_1 = TESTS / "runs" / "version-1"


def test_results_of_other_tools_are_imported_shown_and_exported(
    bench: Bench, tmp_path: Path
) -> None:
    names = ("pytest_benchmark.json", "benchmark_app.json", "llama_bench.json")
    done = bench("results", "import", *(str(FILES / name) for name in names))
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[1].split(" written")[0] for line in done.stdout.splitlines()] == [
        "2 results of pytest-benchmark",
        "1 result of benchmark_app",
        "2 results of llama-bench",
    ]
    shown = bench("show", "results")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("Run results/runs/") == 3
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert len(json.loads(bench("show", "results", "--json").stdout)) == 3
    done = bench("results", "export", "results", str(VERSION_1), "-o", "all.csv")
    assert done.returncode == 0, done.stderr
    table = pandas.read_csv(tmp_path / "all.csv")
    assert len(table) == 6
    assert set(table.foreign.dropna()) == {"pytest-benchmark", "benchmark_app", "llama-bench"}


def test_what_cannot_be_imported_or_exported_is_one_sentence(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    for arguments, words in (
        (("results", "import", "x.json"), "x.json: not a result file in a format that bench knows"),
        (("results", "import", "nowhere.json"), "no such file"),
        (
            ("results", "import", str(FILES / "llama_bench.json"), "--format", "benchmark_app"),
            "incomplete",
        ),
        (("results", "export", str(VERSION_1), "-o", "x.txt"), "unknown ending; give --format"),
        (("results", "export", "nowhere", "-o", "x.csv"), "not a run directory"),
        (("results", "export", str(VERSION_1), "-o", "no/such/x.csv"), "No such file or directory"),
        (("debug", "schema", "recrod"), "there is no schema 'recrod'"),
        (("show", "--history", "."), "not a run directory"),
        (("show", "."), "not a run directory"),
    ):
        done = bench(*arguments)
        assert done.returncode != 0, arguments
        assert words in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "results").exists()


def test_a_schema_is_printed(bench: Bench) -> None:
    assert "records.jsonl" in bench("debug", "schema").stdout
    assert json.loads(bench("debug", "schema", "record").stdout)["type"] == "object"


def test_a_real_run_of_the_past_is_shown_and_compared_with_its_copy(
    bench: Bench, tmp_path: Path
) -> None:
    shutil.copytree(VERSION_1, tmp_path / "merged" / "a")
    shutil.copytree(VERSION_1, tmp_path / "merged" / "deep" / "copy")
    done = bench("show", "merged")
    assert "small" in done.stdout
    assert "left out: a copy of" in done.stderr
    done = bench("compare", str(VERSION_1), "merged/a")
    assert done.returncode == 0, done.stderr
    assert "1.00x" in done.stdout


@pytest.mark.slow
def test_what_benchmark_app_itself_writes_is_read(bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    program = Path(sys.executable).with_name("benchmark_app")
    model = TESTS.parent / "models" / "fashion-student.onnx"
    for flags, folder in ((("-json_stats",), "json"), ((), "csv")):
        (tmp_path / folder).mkdir()
        command = [str(program), "-m", str(model), "-t", "1", "-shape", "[4,1,28,28]"]
        command += ["-report_type", "no_counters", "-report_folder", folder, *flags]
        subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, timeout=60, env=os.environ
        )
        (report,) = (tmp_path / folder).glob("benchmark_report.*")
        done = bench("results", "import", str(report), "--results", f"runs-{folder}")
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(bench("show", f"runs-{folder}", "--json").stdout)["results"]
        assert row["foreign"] == "benchmark_app"
        assert row["batch"] == 4
        assert row["throughput_per_s"] > 0
        assert row["samples"] > 0


@pytest.mark.slow
@pytest.mark.alone  # pytest-benchmark times nothing in a process of pytest-xdist
def test_what_pytest_benchmark_itself_writes_is_read(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_sum(benchmark):\n    benchmark(sum, [1, 2])\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    command += ["--benchmark-json=out.json", "--benchmark-max-time=0.01"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert bench("results", "import", "out.json").returncode == 0
    (row,) = json.loads(bench("show", "results", "--json").stdout)["results"]
    assert row["model"] == "test_it.py::test_sum"
    expected = json.loads((tmp_path / "out.json").read_text())["benchmarks"][0]["stats"]["median"]
    assert row["median_ns"] == pytest.approx(1e9 * expected)
