"""A bundle is one file of which every byte is checked; only what derives is read as runs."""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_bundles import SMALL, forged, members, packed

import bench
from bench.__main__ import main
from bench.errors import SpecError
from bench.present.publication.pack import Choices, pack
from bench.record.result import Record
from bench.store.bundle import limits, opened
from bench.store.bundle.manifest import MANIFEST
from bench.store.bundle.opened import Verdict, accepted, deriver, judge, unpacked
from bench.store.find import find_runs
from bench.store.frames import ResultsWarning
from bench.store.run import read_run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("packed"))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BENCH_CACHE", str(folder))
    return folder


def flat(text: str) -> str:
    return " ".join(text.split())


def run_of(bundle: Path) -> str:
    return next(name.rpartition("/")[0] for name in members(bundle) if name.endswith("run.json"))


# -- the container --------------------------------------------------------------------------------


def test_the_same_runs_give_the_same_bytes_and_any_zip_program_opens_them(
    bundle: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(SMALL, tmp_path / "elsewhere")
    assert packed(tmp_path, moved).read_bytes() == bundle.read_bytes()
    with zipfile.ZipFile(bundle) as file:
        assert file.testzip() is None
        assert file.namelist() == sorted(file.namelist())
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_byte_that_was_changed_anywhere_is_one_sentence(bundle: Path, tmp_path: Path) -> None:
    data, rng = bundle.read_bytes(), random.Random(7)
    places = [
        *range(0, len(data), len(data) // 250),
        *range(60),
        *range(len(data) - 200, len(data)),
    ]
    broken = tmp_path / "broken.bench"
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        broken.write_bytes(changed)
        with pytest.raises(SpecError) as error:
            unpacked(broken)
        assert "\n" not in str(error.value), place


def test_a_bundle_that_was_cut_off_or_grew_is_one_sentence(bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    broken = tmp_path / "broken.bench"
    lengths = [0, 1, 4, 21, 22, 100, *range(200, len(data), len(data) // 40), len(data) - 1]
    for length in lengths:
        broken.write_bytes(data[:length])
        with pytest.raises(SpecError, match="Get it again"):
            unpacked(broken)
    for grown in (data + b"\0", b"\0" + data):
        broken.write_bytes(grown)
        with pytest.raises(SpecError):
            unpacked(broken)


def test_a_broken_bundle_is_refused_by_commands_without_a_traceback(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    broken = tmp_path / "broken.bench"
    broken.write_bytes(data)
    for call in (
        ["show"],
        ["report"],
        ["matrix"],
        ["show", "--deal"],
        ["publish", "--check"],
        ["gate"],
    ):
        assert main([*call, str(broken)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "broken.bench" in said


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/outside",
        "runs/../../outside",
        "runs/a/../run.json",
        "C:\\outside",
        "runs\\a",
        "runs//run.json",
        "runs/a/.lock",
        "runs/a/run.json\0.txt",
        "a" * 300,
    ],
)
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_written(
    name: str, bundle: Path, tmp_path: Path, cache: Path
) -> None:
    path = forged(tmp_path, members(bundle), unlisted={name.encode().decode(): b"x"})
    with pytest.raises(SpecError):
        unpacked(path)
    assert not list(cache.rglob("*outside*"))
    assert not list(cache.rglob("run.json"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RUN/run.py", "not part of a run"),
        ("RUN/tune.json", "not part of a run"),
        ("runs/other/run.json", "not part of a run"),
        ("sitecustomize.py", "not part of a run"),
        ("RUN/samples/deeper/a.parquet", "not part of a run"),
        ("certificates/a/index.html", "not part of a run"),
        ("RUN/RUN.JSON", "not part of a run"),
    ],
)
def test_a_member_that_no_run_has_is_refused(
    name: str, words: str, bundle: Path, tmp_path: Path
) -> None:
    content = members(bundle) | {name.replace("RUN", run_of(bundle)): b"x"}
    with pytest.raises(SpecError, match=words):
        unpacked(forged(tmp_path, content))


def test_what_the_manifest_does_not_name_or_names_in_vain_is_refused(
    bundle: Path, tmp_path: Path
) -> None:
    content = members(bundle)
    with pytest.raises(SpecError, match="not in its list"):
        unpacked(forged(tmp_path, content, unlisted={f"{run_of(bundle)}/facts.jsonl": b""}))
    without = {n: data for n, data in content.items() if not n.endswith("/run.json")}
    with pytest.raises(SpecError, match=r"has no run\.json"):
        unpacked(forged(tmp_path, without))
    with pytest.raises(SpecError, match="version 2"):
        unpacked(forged(tmp_path, content, bundle_version=2))


def test_members_that_are_compressed_or_links_are_refused(bundle: Path, tmp_path: Path) -> None:
    for compression, rights in ((zipfile.ZIP_DEFLATED, 0o100644), (zipfile.ZIP_STORED, 0o120777)):
        path = tmp_path / "other.bench"
        with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(path, "w") as file:
            file.comment = source.comment
            for name in source.namelist():
                info = zipfile.ZipInfo(name)
                info.compress_type, info.external_attr = compression, rights << 16
                file.writestr(info, source.read(name))
        with pytest.raises(SpecError, match=r"as bench writes it|not as long"):
            unpacked(path)


def swollen_parquet() -> bytes:
    """A million rows with a text of 100 kB in each, in some kilobytes."""
    out = io.BytesIO()
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**6, np.int32)), ["x" * 10**5])
    pq.write_table(pa.table({"cell_id": long}), out, compression="zstd")
    return out.getvalue()


def swollen_npz() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, np.zeros(2**18))
    return out.getvalue()


def lying_npz() -> bytes:
    """An array of a terabyte, of which eight bytes are there."""
    head = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (2**37,)}
    np.lib.format.write_array_header_1_0(head, shape)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("arr_0.npy", head.getvalue() + b"\0" * 8)
    return out.getvalue()


def many_rows() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"latency_ns": pa.nulls(10**5 + 1, pa.int64())}), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("samples/a.parquet", swollen_parquet),
        ("samples/b.parquet", many_rows),
        ("samples/c.parquet", lambda: b"PAR1 and nothing else PAR1"),
        ("outputs/a.npz", swollen_npz),
        ("outputs/b.npz", lying_npz),
        ("outputs/c.npz", lambda: b"no archive"),
    ],
)
def test_a_file_that_swells_or_is_none_is_refused_before_it_is_read(
    name: str, make: object, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(make)
    monkeypatch.setattr(limits, "_MOST_VALUES", 10**5 if make is many_rows else 2 * 10**6)
    content = members(bundle) | {f"{run_of(bundle)}/{name}": make()}
    assert len(make()) < 10**6
    with pytest.raises(SpecError, match=name.partition("/")[2]):
        unpacked(forged(tmp_path, content))


# -- what is read of it ---------------------------------------------------------------------------


def test_a_bundle_is_read_wherever_a_run_is_and_derived_once(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged: list[Path] = []
    real = opened._judged

    def once(found: opened.Unpacked) -> Verdict:
        judged.append(found.path)
        return real(found)

    monkeypatch.setattr(opened, "_judged", once)
    folder = tmp_path / "some"
    folder.mkdir()
    shutil.copyfile(bundle, folder / "any-name.bench")
    (run,) = find_runs([folder])
    assert [r.cell_id for r in read_run(run).records] == [
        r.cell_id for r in read_run(SMALL).records
    ]
    assert find_runs([bundle]) == find_runs([f"{folder}/*.bench"]) == [run]
    with pytest.warns(ResultsWarning, match="8 of load times"):
        assert len(bench.load(bundle)) == len(bench.load(SMALL))
    assert main(["show", str(bundle), str(SMALL)]) == 0
    said = capsys.readouterr()
    assert f"Run bundle {unpacked(bundle).manifest.bundle_id[:12]}: " in said.out
    assert "small" in said.out
    assert "8 of load times" in said.err  # what can't be derived is told
    assert main(["publish", "--check", str(bundle)]) == 0
    assert "all agree" in capsys.readouterr().out
    assert judged == [folder / "any-name.bench"]


def lying(bundle: Path, folder: Path) -> Path:
    """A bundle whole in all its digests, in which a time is half of what was measured."""
    content = members(bundle)
    name = f"{run_of(bundle)}/records.jsonl"
    told = json.loads(content[name].splitlines()[0])
    told["latency"]["median_ns"]["value"] /= 2
    line = Record.model_validate(told).model_dump_json(exclude_unset=True)
    return forged(folder, content | {name: f"{line}\n".encode()})


def test_a_bundle_whose_numbers_do_not_follow_is_refused_unless_it_is_only_looked_at(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lying(bundle, tmp_path)
    with pytest.raises(SpecError, match="do not follow from its raw data"):
        find_runs([path])
    page = tmp_path / "page.html"
    for call in (["show"], ["report", "-o", str(page)]):
        assert main([*call, str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not page.exists()
    assert main(["show", "--unchecked", str(path)]) == 0
    printed = capsys.readouterr()
    assert "unchecked: 1 value of this bundle does not follow" in flat(printed.out)
    assert printed.err == "", "what marks the figures stands beside them"
    assert main(["report", "--unchecked", str(path), "-o", str(page)]) == 0
    assert "Unchecked: 1 value of this bundle does not follow" in page.read_text("utf-8")
    assert main(["publish", "--check", str(path)]) == 1
    assert "latency.median_ns.value" in capsys.readouterr().out


def test_a_bundle_that_was_only_looked_at_says_that_nobody_checked_it(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "unchecked: the numbers of this bundle were not derived again"
    for call in (["show"], ["show", "--deal"], ["show", "--history"], ["matrix"]):
        assert main([*call, "--unchecked", str(bundle)]) == 0
        printed = capsys.readouterr()
        assert flat(printed.out).startswith("! bundle "), call
        assert said in flat(printed.out), call
        assert said not in printed.err, call
        assert main([*call, "--unchecked", "--json", str(bundle)]) == 0
        assert said in str(json.loads(capsys.readouterr().out)["unchecked"]), call
    page = tmp_path / "m.md"
    assert main(["matrix", "--unchecked", str(bundle), "--markdown", str(page)]) == 0
    assert said in page.read_text("utf-8")


def test_what_is_said_of_a_bundle_is_said_once_for_all_its_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was not derived for want of raw data each of its runs would repeat."""
    other = shutil.copytree(SMALL, tmp_path / "other")
    header = json.loads((other / "run.json").read_text()) | {
        "created_at": "2026-11-01T00:00:00+00:00"
    }
    (other / "run.json").write_text(json.dumps(header))
    runs = [read_run(SMALL), read_run(other)]
    path = pack(runs, [], tmp_path / "two.bench", Choices())
    found = unpacked(path)
    told = Verdict(derived_by=deriver(), numbers=1, taken={"accuracies": 2})
    (found.folder.parent / "verdict.json").write_text(told.model_dump_json())
    said = "2 numbers could not be derived"
    for call in (["show"], ["show", "--history"], ["matrix"], ["results", "export"]):
        end = ["-o", str(tmp_path / "out.csv")] if "export" in call else []
        assert main([*call, str(path), *end]) == 0, call
        assert capsys.readouterr().err.count(said) == 1, call
    page = tmp_path / "page.html"
    assert main(["report", str(path), "-o", str(page)]) == 0
    assert page.read_text("utf-8").count(said) == 1
    with pytest.warns(ResultsWarning, match=said) as warned:
        bench.load(path)
    assert len(warned) == 1


def test_what_was_changed_in_the_cache_is_laid_out_and_judged_again(bundle: Path) -> None:
    found = unpacked(bundle)
    good = Verdict(derived_by=deriver(), numbers=1)
    (found.folder.parent / "verdict.json").write_text(good.model_dump_json())
    assert judge(found) == good
    record = found.runs[0] / "records.jsonl"
    record.write_text(record.read_text().replace("small", "another"))
    (found.runs[0] / "more").write_text("")
    again = unpacked(bundle)
    assert "another" not in record.read_text()
    assert not (again.folder.parent / "verdict.json").exists()


def test_a_verdict_of_another_bench_does_not_count(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = unpacked(bundle)
    other = Verdict(derived_by="another", numbers=1)
    (found.folder.parent / "verdict.json").write_text(other.model_dump_json())
    wrong = Verdict(derived_by=deriver(), numbers=1, problems=("it is wrong",))
    monkeypatch.setattr(opened, "_judged", lambda found: wrong)
    with pytest.raises(SpecError, match="it is wrong"):
        accepted(bundle)


def test_a_run_in_a_bundle_is_not_gone_on_with(bundle: Path) -> None:
    from bench.store.write import resume_run

    with pytest.raises(SpecError, match="only a run directory"):
        resume_run(bundle)


def test_the_manifest_names_what_was_left_out(bundle: Path) -> None:
    told = json.loads(members(bundle)[MANIFEST])
    assert told["left_out"] == ["names", "logs"]
    assert told["without_predictions"] == []


def test_the_runs_of_a_merged_run_are_derived_each_and_packed_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged = tmp_path / "merged"
    for name in ("laptop", "server"):
        run = shutil.copytree(SMALL, merged / "machines" / name)
        header = json.loads((run / "run.json").read_text()) | {"machine_name": name}
        (run / "run.json").write_text(json.dumps(header, indent=1))
    (merged / "fleet.json").write_text("{}")
    assert main(["publish", "--check", str(merged)]) == 0
    said = capsys.readouterr().out
    assert said.count("141 numbers derived again; all agree") == 2
    assert main(["results", "pack", str(merged), "-o", str(tmp_path / "both.bench")]) == 0
    content = members(tmp_path / "both.bench")
    headers = [json.loads(data) for name, data in content.items() if name.endswith("run.json")]
    assert sorted(header["machine_name"] for header in headers) == ["laptop", "server"]
