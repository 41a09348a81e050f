"""Making environments with real pip, from wheels that are made here; killed, offline, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.runtimes.environments.installer import failure

Bench = Callable[..., "subprocess.CompletedProcess[str]"]

LOG = Path("/folder/.acme.log")


def wheel(folder: Path, name: str, version: str, text: str = "", requires: str = "") -> Path:
    """A wheel with one module."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    contents = {
        f"{name}.py": f"__version__ = {version!r}\n{text}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*contents, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, body in {**contents, f"{info}/RECORD": record}.items():
            archive.writestr(file, body)
    return path


class Index(ThreadingHTTPServer):
    """A package index whose answers wait until they are let go."""

    def __init__(self, wheels: Path) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.set()
                index.go_on.wait(60)
                name = Path(self.path.rstrip("/")).name
                if name.endswith(".whl"):
                    body, kind = (wheels / name).read_bytes(), "application/octet-stream"
                else:
                    links = (f'<a href="/{p.name}">{p.name}</a>' for p in wheels.glob(f"{name}-*"))
                    body, kind = "".join(links).encode(), "text/html"
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "numpy", "1.24.0")
    wheel(folder, "acme", "1.0")
    wheel(folder, "acme", "2.0")
    return folder


@pytest.fixture
def index(wheels: Path) -> Iterator[Index]:
    server = Index(wheels)
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def declare(tmp_path: Path, environment: dict[str, str], plugin_path: Path) -> Callable[..., None]:
    """Install a backend that declares environments, and keep all folders apart."""
    folder = tmp_path / "declaring"
    info = folder / "declaring-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: declaring\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench.backends]\ndeclaring = declaring:Declaring\n")
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(plugin_path)])
    environment["PIP_RETRIES"] = "1"
    environment["PIP_CONFIG_FILE"] = os.devnull
    environment.pop("PIP_FIND_LINKS", None)

    def declared(**requirements: tuple[tuple[str, ...], ...]) -> None:
        (folder / "declaring.py").write_text(
            "from stand_in import StandIn\n\n\nclass Declaring(StandIn):\n"
            f"    name = 'declaring'\n    requirements = {requirements!r}\n"
        )

    return declared


def states(bench: Bench) -> dict[str, str]:
    listed = bench("env", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return {row["name"]: row["state"] for row in json.loads(listed.stdout)}


def local(wheels: Path, *wanted: str) -> tuple[str, ...]:
    return ("--no-index", "--find-links", str(wheels), *wanted)


@pytest.mark.long
def test_an_environment_is_made_listed_found_stale_made_anew_and_removed(
    bench: Bench, declare: Callable[..., None], wheels: Path, tmp_path: Path
) -> None:
    declare(acme=(local(wheels, "numpy"), local(wheels, "acme==1.0")))
    assert states(bench)["acme"] == "not created"
    made = bench("env", "create", "acme", "--installer", "pip")
    assert made.returncode == 0, made.stderr
    assert "acme: step 2 of 2: --no-index" in made.stderr
    assert "acme is complete: Python 3" in made.stdout
    assert "bench run -t declaring@acme" in made.stdout
    assert states(bench)["acme"] == "whole"
    (row,) = [r for r in json.loads(bench("env", "list", "--json").stdout) if r["name"] == "acme"]
    assert row["made_from"]["packages"]["acme"] == "1.0"
    assert row["backends"] == ["declaring"]

    again = bench("env", "create", "acme")
    assert again.returncode == 0
    assert "it is already complete" in again.stderr

    declare(acme=(local(wheels, "numpy"), local(wheels, "acme==2.0")))
    assert states(bench)["acme"] == "stale"
    assert bench("env", "create", "acme", "--installer", "pip").returncode == 0
    (row,) = [r for r in json.loads(bench("env", "list", "--json").stdout) if r["name"] == "acme"]
    assert row["state"] == "whole"
    assert row["made_from"]["packages"]["acme"] == "2.0"

    python = tmp_path / "environments" / "acme" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert states(bench)["acme"] == "broken"
    refused = bench("run", "-m", "fashion-student", "-t", "declaring@acme:ok", "--dry-run")
    assert (
        "will fail: the environment acme is broken. Run `bench env create acme`" in refused.stdout
    )

    assert bench("env", "remove", "acme").stdout == "acme is removed.\n"
    assert states(bench)["acme"] == "not created"
    gone = bench("run", "-m", "fashion-student", "-t", "declaring@acme:ok", "--dry-run")
    assert "does not exist. Run `bench env create acme`" in gone.stdout
    twice = bench("env", "remove", "acme")
    assert twice.returncode == 2
    assert "there is no created environment called 'acme'" in twice.stderr


@pytest.mark.long
def test_a_creation_that_is_killed_goes_on_and_trusts_no_half_installed_package(
    bench: Bench,
    declare: Callable[..., None],
    environment: dict[str, str],
    wheels: Path,
    index: Index,
    tmp_path: Path,
) -> None:
    declare(acme=(local(wheels, "numpy"), ("--index-url", index.url, "acme==1.0")))
    command = [sys.executable, "-m", "bench", "env", "create", "acme", "--installer", "pip"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path) as process:
        assert index.asked.wait(120), "pip never asked the index"
        process.send_signal(signal.SIGKILL)
    assert states(bench)["acme"] == "unfinished"
    assert "1 of 2 steps done" in bench("env", "list").stdout
    refused = bench("run", "-m", "fashion-student", "-t", "declaring@acme:ok", "--dry-run")
    assert "will fail: the environment acme is unfinished." in refused.stdout

    # The installer outlives the one that was killed; the next creation waits for its end.
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE) as again:
        assert again.stderr is not None
        assert b"another process is creating it" in again.stderr.readline()
        index.go_on.set()
        rest = again.stderr.read().decode()
    assert again.returncode == 0, rest
    assert "virtual environment" in rest  # begun anew: the step had been begun
    assert states(bench)["acme"] == "whole"


@pytest.mark.long
def test_what_was_done_before_a_failure_is_kept_and_each_failure_is_one_sentence(
    bench: Bench, declare: Callable[..., None], environment: dict[str, str], wheels: Path
) -> None:
    declare(acme=(local(wheels, "numpy"), local(wheels, "acme==3.0")))
    missing = bench("env", "create", "acme", "--installer", "pip")
    assert missing.returncode == 1
    last = missing.stderr.splitlines()[-1]
    assert "No matching distribution found for acme==3.0" in last
    assert "Traceback" not in missing.stderr
    assert "The full output is in " in last

    environment["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"
    declare(acme=(local(wheels, "numpy"), ("acme==1.0",)))
    offline = bench("env", "create", "acme", "--installer", "pip")
    assert offline.returncode == 1
    last = offline.stderr.splitlines()[-1]
    assert "the package index can't be reached (Connection refused)" in last
    assert "run `bench env create acme` again" in last

    del environment["PIP_INDEX_URL"]
    declare(acme=(local(wheels, "acme==1.0"),))
    bare = bench("env", "create", "acme", "--installer", "pip")
    assert bare.returncode == 1
    assert "has no importable numpy" in bare.stderr


def test_what_can_not_be_made_is_refused_at_once(
    bench: Bench, declare: Callable[..., None], wheels: Path, tmp_path: Path
) -> None:
    declare(acme=(local(wheels, "numpy"),))

    def complaint(*arguments: str) -> str:
        done = bench("env", *arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    assert "Did you mean acme?" in complaint("create", "acmee")
    assert "no interpreter 'python3.1'" in complaint("create", "acme", "--python", "python3.1")
    assert "is not a working Python" in complaint("create", "acme", "--python", "true")
    (tmp_path / "bench.toml").write_text('[environments.acme]\npython = "python3"\n')
    assert "there is nothing to create" in complaint("create", "acme")
    assert "remove it there" in complaint("remove", "acme")
    assert not (tmp_path / "environments" / "acme").exists()


@pytest.mark.parametrize(
    "requirements", ["{'a': 'acme'}", "{'a': ('acme',)}", "{'a b': (('acme',),)}", "{'a': ()}", "7"]
)
def test_requirements_that_are_declared_wrongly_are_told(
    bench: Bench, declare: Callable[..., None], tmp_path: Path, requirements: str
) -> None:
    declare()
    with (tmp_path / "declaring" / "declaring.py").open("a") as file:
        file.write(f"\n\nDeclaring.requirements = {requirements}\n")
    listed = bench("env", "list")
    assert listed.returncode == 2
    assert "the backend declaring declares its requirements in the wrong form" in listed.stderr


def test_an_environment_both_configured_and_created_is_refused(
    bench: Bench, declare: Callable[..., None], wheels: Path, tmp_path: Path
) -> None:
    declare(acme=(local(wheels, "numpy"),))
    (tmp_path / "environments" / "acme").mkdir(parents=True)
    (tmp_path / "bench.toml").write_text('[environments.acme]\npython = "python3"\n')
    listed = bench("env", "list")
    assert listed.returncode == 2
    assert "two environments are called acme" in listed.stderr
    assert bench("env", "remove", "acme").returncode == 0
    assert states(bench)["acme"] == "configured"


PIP_MISSING = """\
Collecting acme==9
ERROR: Could not find a version that satisfies the requirement acme==9 (from versions: none)

ERROR: No matching distribution found for acme==9
"""
PIP_OFFLINE = """\
WARNING: Retrying (Retry(total=0)) broken by 'NewConnectionError("<pip...>: Failed \
to establish a new connection: [Errno -3] Temporary failure in name resolution")': /simple/acme/
ERROR: Could not find a version that satisfies the requirement acme (from versions: none)
ERROR: No matching distribution found for acme
"""
UV_MISSING = """\
\x1b[1m\x1b[31m  × No solution found when resolving dependencies:
  ╰─▶ Because acme was not found in the package registry, you can't have it.
"""
UV_OFFLINE = """\
error: Failed to fetch: `https://index.example/simple/acme/`
  Caused by: dns error
"""
PIP_FULL = """\
Installing collected packages: acme
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device
"""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (PIP_MISSING, "`acme==9` can't be installed: No matching distribution found for acme==9."),
        (PIP_OFFLINE, "index can't be reached (Temporary failure in name resolution)."),
        (UV_MISSING, "acme was not found in the package registry, you can't have it."),
        (UV_OFFLINE, "index can't be reached (Caused by: dns error)."),
        (PIP_FULL, "No space left on device."),
        ("", "the installer ended with code 137."),
    ],
)
def test_the_last_meaningful_line_of_an_installer_is_what_is_told(output: str, words: str) -> None:
    error = failure("acme", "acme==9", output.splitlines(), 137, LOG)
    assert words in error.reason
    assert "bench env create acme" in error.remedy


PATH = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv", path=PATH) is None, reason="uv is not installed")
def test_uv_makes_the_same_environment(
    bench: Bench, declare: Callable[..., None], environment: dict[str, str], wheels: Path
) -> None:
    environment["PATH"] = PATH
    declare(acme=(local(wheels, "numpy", "acme==1.0"),))
    made = bench("env", "create", "acme", "--installer", "uv")
    assert made.returncode == 0, made.stderr
    assert states(bench)["acme"] == "whole"
    declare(acme=(local(wheels, "numpy", "acme==3.0"),))
    refused = bench("env", "create", "acme", "--installer", "uv")
    assert refused.returncode == 1
    assert "acme==3.0" in refused.stderr.splitlines()[-1]
