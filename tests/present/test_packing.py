"""What a bundle leaves out: names of hosts and users, places, command lines, logs; what stays."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_bundles import members, packed
from made_certificates import made_certificate
from measured_runs import measured_run

from bench.errors import SpecError
from bench.present.publication.neutral import Neutral
from bench.present.publication.pack import Choices, pack
from bench.store.bundle.manifest import MANIFEST, Manifest
from bench.store.bundle.opened import unpacked
from bench.store.certificates import read_certificate
from bench.store.check import check_copy
from bench.store.run import read_run

pytestmark = pytest.mark.usefixtures("few_resamples")

#: In every name that a bundle is to be without.
SECRET = "zzmarker"
HOST = f"{SECRET}-host.lab.example.org"
PATH = f"/home/{SECRET}/work/{SECRET}/net.onnx"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured_run(tmp_path_factory.mktemp("measured"))


@pytest.fixture
def run(measured: Path, tmp_path: Path) -> Path:
    return shutil.copytree(measured, tmp_path / measured.name)


@pytest.fixture(scope="module")
def planted(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(shutil.copytree(measured, tmp_path_factory.mktemp("planted") / measured.name))


@pytest.fixture(scope="module")
def bundle(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("packed"), planted)


def plant(run: Path) -> Path:
    """A secret wherever a path, a host or a user can stand in a run."""
    for old, new in {
        '"by hand"': f"calibrated with {PATH} by {SECRET}@lab.example.org",
        '"it says"': f"the profile in ~{SECRET}/p.json says",
        '"no NPU was found"': f"no NPU on {HOST} (10.1.2.3): '{PATH} and more' of {SECRET} at "
        f"https://{SECRET}:pass@git.example.org/x.git, git@{SECRET}.example.org:a/b.git, "
        f"C:\\\\Users\\\\{SECRET}\\\\net.onnx, HF_TOKEN={SECRET}, /{SECRET}disk/a",
        '"dlopen: no"': f"{SECRET} printed this",
        '"2 files were left out"': f"2 files below /data/{SECRET} were left out",
        '"the first axis is used as the batch"': f"as in '/a b/{SECRET}.toml'",
        '"other processes used 40% of a CPU"': f"{SECRET}-host used 40% of a CPU",
        '"heat"': f"heat on {HOST}",
        '"m.csv"': f"/mnt/{SECRET}/m.csv",
        '"it was off"': f"it was off at {HOST}",
    }.items():
        _replace(run, old, json.dumps(new) if "\\\\" not in new else f'"{new}"')
    header = json.loads((run / "run.json").read_text())
    header["machine_name"] = HOST
    header["facts"]["hostname_hash"] = hashlib.sha256(HOST.encode()).hexdigest()[:8]
    header["facts"]["node"] = HOST
    header["command"] = f"OMP=1 bench run -m {PATH}"
    header["models"] = ["fashion-teacher", PATH]
    header["suite"]["models"] = ["fashion-teacher", PATH]
    header["suite"] |= {"energy": True, "wall_command": f"ssh {HOST} cat /sys/x"}
    (run / "run.json").write_text(json.dumps(header, indent=1, separators=(",", ": ")))
    (run / "resumes.jsonl").write_text(
        json.dumps(
            {
                "resumed_at": "2026-11-23T12:00:00+00:00",
                "command": f"bench run --resume /tmp/{SECRET}",
                "bench_version": "0",
                "changes": [{"kind": "model", "what": PATH, "was": "a", "now": f"at {HOST}"}],
            }
        )
        + "\n"
    )
    (run / "logs" / "worker.log").write_text(f"{SECRET}\n")
    (run / "tune.json").write_text(json.dumps({"asked": PATH}))
    for file in (*run.glob("samples/*.parquet"), *run.glob("predictions/*.parquet")):
        table = pq.read_table(file)
        pq.write_table(table.replace_schema_metadata({"where": PATH}), file)
    return run


def _replace(run: Path, old: str, new: str) -> None:
    """In every line that has it; the text is there in the raw data and in what follows."""
    found = False
    inner, wanted = old[1:-1], new[1:-1]
    for file in run.glob("*.jsonl"):
        text = file.read_text()
        found |= inner in text
        file.write_text(text.replace(inner, wanted))
    assert found, old


def everything(bundle: Path) -> Iterator[tuple[str, str]]:
    """The text of every member, of the inside of every table and archive too."""
    for name, data in members(bundle).items():
        yield name, name
        yield name, data.decode("utf-8", errors="replace")
        if name.endswith(".parquet"):
            table = pq.read_table(io.BytesIO(data))
            yield name, f"{table.schema.metadata} {table.schema} {table.to_pydict()}"
        if name.endswith(".npz"):
            with np.load(io.BytesIO(data)) as arrays:
                yield name, " ".join(f"{n} {arrays[n].tolist()}" for n in arrays.files)


def test_a_bundle_names_no_host_no_user_and_no_place(bundle: Path) -> None:
    left = [(name, text) for name, text in everything(bundle) if SECRET in text.lower()]
    assert not [name for name, _ in left]
    words = "".join(text for _, text in everything(bundle))
    for stands in ("<path>", "<host>", "<address>", "<user>", "HF_TOKEN=<value>"):
        assert stands in words
    assert "10.1.2.3" not in words
    header = json.loads(members(bundle)[f"runs/{_only_run(bundle)}/run.json"])
    assert header["models"] == header["suite"]["models"] == ["fashion-teacher", "net.onnx"]
    assert header["machine_name"] == ""
    assert header["command"] == "left out"
    assert "node" not in header["facts"]


def test_what_was_left_out_breaks_nothing_that_follows(bundle: Path, planted: Path) -> None:
    again, before = read_run(unpacked(bundle).runs[0]), read_run(planted)
    assert not check_copy(again, "it").problems
    assert [r.cell_id for r in again.records] == [r.cell_id for r in before.records]
    assert all(record.cell_id == record.cell.id for record in again.records)
    assert [r.latency for r in again.records] == [r.latency for r in before.records]
    assert [r.energy and r.energy[0].net_j for r in again.records] == [
        r.energy and r.energy[0].net_j for r in before.records
    ]
    (placed,) = [r.placement for r in again.records if r.placement and r.placement.off_device]
    assert placed.off_device == ("a",)


def test_names_and_logs_stay_where_they_are_asked_for(planted: Path, tmp_path: Path) -> None:
    bundle = packed(tmp_path, planted, Choices(names=True, logs=True))
    run = f"runs/{_only_run(bundle)}"
    content = members(bundle)
    assert json.loads(content[f"{run}/run.json"])["machine_name"] == HOST
    assert content[f"{run}/logs/worker.log"] == f"{SECRET}\n".encode()
    assert PATH.encode() in content[f"{run}/facts.jsonl"]
    assert Manifest.model_validate_json(content[MANIFEST]).left_out == ()


def test_logs_without_names_are_cleaned(planted: Path, tmp_path: Path) -> None:
    run = shutil.copytree(planted, tmp_path / planted.name)
    (run / "logs" / "worker.log").write_text(f"loading {PATH} on {HOST}\n")
    bundle = packed(tmp_path, run, Choices(logs=True))
    assert (
        members(bundle)[f"runs/{_only_run(bundle)}/logs/worker.log"]
        == b"loading net.onnx on <host>\n"
    )


def test_a_name_that_the_owner_gave_stays_and_one_can_be_given(run: Path, tmp_path: Path) -> None:
    for given, asked, shown in (("bench-box", "", "bench-box"), ("", "server", "server")):
        header = json.loads((run / "run.json").read_text())
        header["machine_name"] = given
        (run / "run.json").write_text(json.dumps(header, indent=1, separators=(",", ": ")))
        (tmp_path / "out").mkdir(exist_ok=True)
        bundle = pack([read_run(run)], [], tmp_path / "out", Choices(machine=asked))
        told = json.loads(members(bundle)[f"runs/{_only_run(bundle)}/run.json"])
        assert told["machine_name"] == shown
        assert told["label"] == "before"
        assert bundle.name.startswith("before-20260101-")
        assert bundle.name.endswith(f"{unpacked(bundle).manifest.bundle_id[:12]}.bench")


def test_a_target_that_names_a_place_is_refused_for_its_cells_are_named_by_it(
    run: Path, tmp_path: Path
) -> None:
    header = json.loads((run / "run.json").read_text())
    header["targets"].append("x:cpu?cache=/home/somebody/cache")
    (run / "run.json").write_text(json.dumps(header, indent=1, separators=(",", ": ")))
    with pytest.raises(SpecError, match="names a host or a place on the disk"):
        packed(tmp_path, run)
    assert packed(tmp_path, run, Choices(names=True)).is_file()


def test_a_run_that_does_not_derive_is_not_packed(run: Path, tmp_path: Path) -> None:
    lines = (run / "records.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    record["load_ns"]["value"] *= 2
    lines[0] = json.dumps(record, separators=(",", ":"))
    (run / "records.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(SpecError, match=r"so it would be rejected: .*load_ns"):
        packed(tmp_path, run)
    assert not list(tmp_path.glob("*.bench*"))


def test_a_run_without_its_predictions_is_packed_and_one_that_lost_some_is_not(
    run: Path, tmp_path: Path
) -> None:
    first, *others = sorted((run / "predictions").glob("*"))
    first.unlink()
    with pytest.raises(SpecError, match="predictions"):
        packed(tmp_path, run)
    for file in others:
        file.unlink()
    found = unpacked(packed(tmp_path, run))
    assert found.manifest.without_predictions == found.manifest.runs
    account = check_copy(read_run(found.runs[0]), "it", without_predictions=True)
    assert not account.problems
    assert account.taken["accuracies"] > 20
    scored = [r.accuracy for r in read_run(found.runs[0]).records if r.accuracy]
    assert [a.predictions for a in scored] == [f"predictions/p{n}.parquet" for n in range(4)]


def test_a_certificate_goes_along_without_its_names(tmp_path: Path) -> None:
    folder = tmp_path / "certificate"
    certificate = made_certificate(folder)
    told = certificate.model_copy(update={"command": f"bench certify {PATH}"})
    told.facts["node"] = HOST
    (folder / "certificate.json").write_text(told.model_dump_json(indent=1) + "\n")
    bundle = pack([], [folder], tmp_path / "c.bench", Choices())
    assert not [name for name, text in everything(bundle) if SECRET in text]
    (kept,) = unpacked(bundle).certificates
    assert read_certificate(kept).findings == certificate.findings


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("can't read /home/ada/x/net.onnx: no such file", "can't read <path>: no such file"),
        ("in '/a b/c d.onnx' (line 3)", "in '<path>' (line 3)"),
        ("D:\\models\\net.onnx is broken", "<path> is broken"),
        ("see http://10.0.0.1:80/x, or file:///root/x", "see <address> or <address>"),
        ("12 of 15 nodes ran on x:cpu; 3/5 in fp16", "12 of 15 nodes ran on x:cpu; 3/5 in fp16"),
        ("decode@64 on torch@fast:cpu at batch 1", "decode@64 on torch@fast:cpu at batch 1"),
        ("onnxruntime 1.30.0, cuDNN 9.1", "onnxruntime 1.30.0, cuDNN 9.1"),
        ("rtol = atol = 1e-4, N/A, and/or", "rtol = atol = 1e-4, N/A, and/or"),
        ("2026-11-23T12:00:00+00:00", "2026-11-23T12:00:00+00:00"),
        ("the root mean square", "the root mean square"),
    ],
)
def test_only_what_names_a_place_is_taken_out_of_a_text(text: str, left: str) -> None:
    assert Neutral().text(text) == left


def test_whoever_packs_is_not_named(monkeypatch: pytest.MonkeyPatch, measured: Path) -> None:
    monkeypatch.setenv("HOME", "/home/ada.l")
    monkeypatch.setenv("LOGNAME", "adal")
    monkeypatch.setattr(platform, "node", lambda: "deep-thought.lan")
    neutral = Neutral.of(read_run(measured).header)
    assert neutral.text("adal's Deep-Thought (ada.l)") == "<user>'s <host> (<user>)"


def test_names_that_are_words_of_bench_break_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user called max and a host called server own neither `max-time` nor the load pattern."""
    monkeypatch.setenv("HOME", "/home/max")
    monkeypatch.setenv("LOGNAME", "max")
    monkeypatch.setattr(platform, "node", lambda: "server")
    facts = (run / "facts.jsonl").read_text().replace('"stop":"precision"', '"stop":"max-time"')
    records = (run / "records.jsonl").read_text().replace('"stop":"precision"', '"stop":"max-time"')
    (run / "facts.jsonl").write_text(facts)
    (run / "records.jsonl").write_text(records)
    found = read_run(unpacked(packed(tmp_path, run)).runs[0])
    assert {record.stop for record in found.records} == {"max-time", "failed"}


def test_what_else_an_archive_of_outputs_holds_stays_behind(run: Path, tmp_path: Path) -> None:
    file = next((run / "outputs").glob("*.npz"))
    before = file.read_bytes()
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = f"made on {HOST}".encode()
    bundle = packed(tmp_path, run)
    assert members(bundle)[f"runs/{_only_run(bundle)}/outputs/{file.name}"] == before


def _only_run(bundle: Path) -> str:
    (name,) = Manifest.model_validate_json(members(bundle)[MANIFEST]).runs
    return name
