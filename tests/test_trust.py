"""Code that nobody asked to run does not run: a foreign or unread bench.toml is refused."""

from __future__ import annotations

import ast
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from bench import config
from bench.config import load_config
from bench.errors import SpecError, Unavailable
from bench.runtimes.environments.stage import stage
from bench.trust import Untrusted, refuse_foreign

ROOT = Path(__file__).parents[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bench.toml whose set-up script leaves a trace when it runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("BENCH_CONFIG", raising=False)
    config._say_once.cache_clear()
    (tmp_path / "set_env.sh").write_text("touch ran\n")
    (tmp_path / "bench.toml").write_text(
        f'[environments.a]\nbackend = "onnxruntime"\npython = "{sys.executable}"\n'
        'setup = "set_env.sh"\n'
    )
    return tmp_path


def test_a_file_that_nobody_trusted_is_refused_with_the_way_to_trust_it(here: Path) -> None:
    with pytest.raises(Untrusted) as caught:
        load_config()
    said = str(caught.value)
    assert "bench env trust" in said
    assert "BENCH_CONFIG=bench.toml" in said
    assert "set_env.sh" in said


def test_a_file_is_trusted_once_for_each_content_of_it_and_of_its_scripts(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def trust() -> None:
        with pytest.raises(Untrusted) as caught:
            load_config()
        caught.value.grant()
        assert list(load_config().environments) == ["a"]

    trust()
    assert capsys.readouterr().err.count("using bench.toml") == 1
    load_config()
    assert capsys.readouterr().err == "", "it is said once"
    (here / "set_env.sh").write_text("touch ran; echo more\n")
    trust()
    with (here / "bench.toml").open("a") as file:
        file.write("# changed\n")
    trust()


def test_a_file_that_is_named_or_runs_nothing_needs_no_trust(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as meanwhile:
        meanwhile.setenv("BENCH_CONFIG", "bench.toml")
        assert list(load_config().environments) == ["a"]
    (here / "bench.toml").write_text("")
    assert load_config().environments == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["bench.toml", "set_env.sh"])
def test_what_another_user_owns_is_refused_whatever_was_trusted(here: Path, name: str) -> None:
    with pytest.raises(Untrusted) as caught:
        load_config()
    caught.value.grant()
    os.chown(here / name, 12345, 12345)
    with pytest.raises(SpecError, match=rf"{name} belongs to another user \(uid 12345\)"):
        load_config()


def test_what_every_user_may_write_is_refused(here: Path) -> None:
    (here / "set_env.sh").chmod(0o666)
    with pytest.raises(SpecError, match="can be written by every user"):
        load_config()


def command(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=here,
        env={**os.environ, "BENCH_ENVIRONMENTS": str(here / "environments")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_command_that_only_informs_runs_nothing_of_an_unread_file(here: Path) -> None:
    done = command(here, "doctor")
    assert done.returncode == 2, done.stdout
    assert "bench env trust" in done.stderr
    assert not (here / "ran").exists()
    assert command(here, "env", "trust").returncode == 0
    listed = command(here, "env", "list")
    assert listed.returncode == 0, listed.stderr
    assert "using bench.toml of this folder (environments: a)" in listed.stderr


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 130)])
def test_at_a_terminal_it_is_asked(here: Path, answer: bytes, code: int) -> None:
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", "env", "list"],
            cwd=here,
            env={**os.environ, "BENCH_ENVIRONMENTS": str(here / "environments")},
            stdin=slave,
            stderr=slave,
            stdout=subprocess.DEVNULL,
        )
        os.write(master, answer)
        assert process.wait(timeout=60) == code
    finally:
        os.close(master)
        os.close(slave)
    assert (here / "xdg" / "infer-bench" / "trusted").exists() == (code == 0)


# -- staged workers -------------------------------------------------------------------------------


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return stage("bench.worker.canary:Canary")


def test_a_staged_worker_that_was_changed_is_made_anew(staged: Path) -> None:
    module = staged / "bench" / "errors.py"
    wanted = module.read_bytes()
    (staged / "numpy.py").write_text("print('planted')\n")
    module.write_bytes(wanted + b"\nprint('changed')\n")
    assert stage("bench.worker.canary:Canary") == staged
    assert module.read_bytes() == wanted
    assert not (staged / "numpy.py").exists()
    inode = staged.stat().st_ino
    (staged / "bench" / "__pycache__").mkdir(exist_ok=True)
    (staged / "bench" / "__pycache__" / "errors.cpython-311.pyc").write_bytes(b"")
    stage("bench.worker.canary:Canary")
    assert staged.stat().st_ino == inode, "what workers compile there is no change"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("whose", ["workers", "worker"])
def test_a_staged_worker_of_another_user_is_refused(staged: Path, whose: str) -> None:
    os.chown(staged if whose == "worker" else staged.parent, 12345, 12345)
    with pytest.raises(Unavailable, match=r"another user.*BENCH_CACHE"):
        stage("bench.worker.canary:Canary")


def test_what_is_not_there_is_nobodys(tmp_path: Path) -> None:
    refuse_foreign(tmp_path / "absent")


# -- libraries that could run code of others ------------------------------------------------------


def _calls(name: str) -> list[tuple[Path, ast.Call]]:
    found = []
    for folder in ("bench", "backends", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name):
                    found.append((path, node))
    return found


def test_code_that_comes_with_a_checkpoint_is_never_trusted() -> None:
    loads = [(p, c) for p, c in _calls("from_pretrained") if "efficientnet" not in p.name]
    assert loads
    for path, call in loads:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("trust_remote_code") == "False", f"{path}:{call.lineno}"
    for folder in ("bench", "backends", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "trust_remote_code=True" not in path.read_text("utf-8"), path


def test_weights_are_never_read_by_pickle() -> None:
    for path, call in _calls("torch.load"):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("weights_only") == "True", f"{path}:{call.lineno}"


def test_inductor_compiles_below_the_cache_of_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from bench.backends.torch import compile as compiling

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    compiling._inductor("default", cache=True, kind="cpu")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "torchinductor")
