"""`bench ci init` and the action: valid by the services' schemas, and their steps do what they
say in a repository."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from onnx import TensorProto, helper
from onnx import save as save_onnx
from service_shell import Shell, service_shell

from bench.commands.ci.init import command

ROOT = Path(__file__).parents[1]
FILES = {"github": ".github/workflows/benchmark.yml", "gitlab": ".gitlab-ci.yml"}
TARGET = "stand-in:ok?us=20"
#: The sizes of a test: a model that is measured in a second, and noise that decides nothing.
SHORT = ("short.toml", "--min-invocations", "2", "--max-time", "1s", "--max-slowdown", "10000%")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def a_model(path: Path, copies: int) -> None:
    """``y = x + x``, then as many copies of it: what the stand-in computes, in several files."""
    nodes = [helper.make_node("Add", ["x", "x"], ["y0" if copies else "y"])]
    for n in range(copies):
        last = n == copies - 1
        nodes.append(helper.make_node("Identity", [f"y{n}"], ["y" if last else f"y{n + 1}"]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "doubling", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save_onnx(made, str(path))


FACTORY = """
import torch

class Net(torch.nn.Module):
    def forward(self, x, y):
        return x + y

def make():
    return Net()
"""


@pytest.fixture
def checkout(tmp_path: Path, plugin_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone at the merge of a change of one model, as a service checks it out."""
    monkeypatch.syspath_prepend(plugin_path)
    folder, origin = tmp_path / "checkout", tmp_path / "origin.git"
    git(tmp_path, "init", "-q", "--bare", str(origin))
    git(tmp_path, "init", "-q", "-b", "main", str(folder))
    git(folder, "remote", "add", "origin", str(origin))
    a_model(folder / "net.onnx", 0)
    (folder / "short.toml").write_text(
        f'models = ["net.onnx"]\ntargets = ["{TARGET}"]\nscenarios = ["single-stream"]\n'
    )
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "checkout", "-qb", "change")
    a_model(folder / "net.onnx", 2)
    git(folder, "commit", "-qam", "two")
    git(folder, "checkout", "-q", "main")
    git(folder, "merge", "-q", "--no-ff", "-m", "merge", "change")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path, checkout: Path) -> Shell:
    """bash as the services run it, with `bench` on the path."""
    return service_shell(checkout, tmp_path / "bin", environment)


def init(*arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def steps(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in job["steps"] if "name" in step}


def jobs(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["jobs"]
    return found


# -- what is written ------------------------------------------------------------------------------

CHOICES = [
    ("github", ()),
    ("github", ("--keep", "cache", "--runner", "gpu-1")),
    ("github", ("--keep", "none", "--min-accuracy", "net=85%")),
    ("gitlab", ("--runner", "bench")),
    ("gitlab", ("--keep", "none", "-t", "openvino:cpu")),
]


def check_schema(schema: str, *files: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_written_fits_the_schemas_of_the_services(checkout: Path, tmp_path: Path) -> None:
    files: dict[str, list[Path]] = {"github": [], "gitlab": []}
    for number, (service, flags) in enumerate(CHOICES):
        file = tmp_path / f"{number}.yml"
        init(service, "-m", "net.onnx", *flags, "-o", str(file))
        files[service].append(file)
        assert "[[" not in file.read_text()
        assert "[%" not in file.read_text()
    check_schema("github-workflows", *files["github"])
    check_schema("gitlab-ci", *files["gitlab"])
    check_schema("github-actions", ROOT / "action.yml")


def test_the_choices_are_in_the_file(checkout: Path) -> None:
    flags = ["--python", "3.13", "--branch", "trunk", "--min-accuracy", "net=85%"]
    init("github", "-m", "net.onnx", "-t", "openvino:cpu", "-t", "torch:cpu", *flags)
    text = (checkout / FILES["github"]).read_text()
    workflow = yaml.safe_load(text)
    assert workflow[True]["push"]["branches"] == ["trunk"]  # YAML 1.1 reads the key `on` as true
    for job in jobs(text).values():
        assert steps(job)["Install"]["run"].strip() == "pip install 'infer-bench[openvino,torch]'"
        assert job["steps"][1]["with"] == {"python-version": "3.13"}
    run = steps(jobs(text)["compare"])["Compare base and head on this machine"]["run"]
    assert "-m net.onnx -t openvino:cpu -t torch:cpu" in run
    assert "--max-slowdown 5% --min-accuracy net=85%" in run


def test_a_job_may_write_only_what_it_has_to(checkout: Path) -> None:
    init("github", "-m", "net.onnx")
    text = (checkout / FILES["github"]).read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert jobs(text)["compare"]["permissions"]["contents"] == "read"
    assert jobs(text)["trend"]["permissions"] == {"contents": "write"}


def test_no_value_of_an_event_is_written_into_a_script(checkout: Path) -> None:
    """A branch called ``$(rm -rf .)`` would run: such values travel in the environment."""
    init("github", "-m", "net.onnx")
    found = [
        *[
            s
            for job in jobs((checkout / FILES["github"]).read_text()).values()
            for s in job["steps"]
        ],
        *yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"],
    ]
    assert all("${{" not in step.get("run", "") for step in found)


def test_a_file_that_is_there_is_replaced_only_by_force(checkout: Path) -> None:
    init("gitlab", "-m", "net.onnx")
    (checkout / FILES["gitlab"]).write_text("mine: {}\n")
    done = CliRunner().invoke(command, ["gitlab", "-m", "net.onnx"])
    assert "is there already. Replace it with --force" in str(done.exception)
    assert (checkout / FILES["gitlab"]).read_text() == "mine: {}\n"
    init("gitlab", "-m", "net.onnx", "--force")
    assert "bench compare" in (checkout / FILES["gitlab"]).read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "fashion-student"], "not a file of this repository"),
        (["-m", "/etc/hostname"], "not a file of this repository"),
        (["-m", "../origin.git/HEAD"], "not a file of this repository"),
        (["-m", "net.onnx", "--max-time", "banana"], "'banana' is not a time"),
        (["-m", "net.onnx", "--max-time", "1s", "--min-invocations", "20"], "too short for 20"),
        (["-m", "net.onnx", "--max-slowdown", "a lot"], "'a lot' is not a number or a percentage"),
        (["-m", "net.onnx", "--min-accuracy", "net=900%"], "must be from 0 to 1"),
        (["-m", "net.onnx", "-t", "onnxrutime:cpu"], "Did you mean onnxruntime"),
        (["-m", "net.onnx", "-t", "elsewhere:npu"], "no backend called 'elsewhere'"),
        (["-m", "net.py:make"], "--input"),
        (["-m", "net.py:make", "--input", "1xbanana"], "banana"),
        (["-m", "net.onnx", "-t", "onnxruntime: cpu"], "not of the form backend:device"),
        (["-m", "net.onnx", "-t", "onnxruntime:cpu'"], "not of the form backend:device"),
        (["broken.toml"], "no scenario called 'single'"),
        (["elsewhere.toml"], "no model to compare lies in the repository"),
        (["-m", "text.txt"], "not a model that bench can read"),
        (["-m", "net.onnx", "--python", "banana"], "needs Python 3.11 or later"),
        (["-m", "net.onnx", "--python", "3.10"], "needs Python 3.11 or later"),
        (["-m", "net.onnx", "--install", "pip install x"], "pip needs a requirement"),
        (["-m", "net.onnx", "--install", "-r nowhere.txt"], "has no such file"),
        (["-m", "net.onnx", "--install", "a\nb"], "use one line"),
        (["-m", "net.onnx", "--install", "echo ${{ github.token }}"], "use one line"),
        (["-m", "net.onnx", "--branch", "a: b"], "use letters"),
    ],
)
def test_what_would_not_work_is_refused(checkout: Path, arguments: list[str], words: str) -> None:
    (checkout / "broken.toml").write_text('models = ["net.onnx"]\nscenarios = ["single"]\n')
    (checkout / "elsewhere.toml").write_text('models = ["fashion-student"]\n')
    (checkout / "text.txt").write_text("")
    (checkout / "net.py").write_text(FACTORY)
    done = CliRunner().invoke(command, ["github", *arguments])
    assert words in (str(done.exception) + done.output)
    assert not (checkout / FILES["github"]).exists()


def test_it_works_at_the_top_of_a_repository_alone(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = checkout / "models", tmp_path / "outside"
    for folder, words in ((inside, f"Run it in {checkout}"), (outside, "not in a git repository")):
        folder.mkdir()
        a_model(folder / "net.onnx", 0)
        monkeypatch.chdir(folder)
        done = CliRunner().invoke(command, ["github", "-m", "net.onnx"])
        assert words in str(done.exception)
        assert not (folder / ".github").exists()


@pytest.mark.parametrize("service", ["github", "gitlab"])
def test_every_name_reaches_the_commands_as_it_was_given(checkout: Path, service: str) -> None:
    """Through YAML, and through the shell."""
    name = "a: b # 'c' \"d\" $HOME `e` || {{ f }}, g.onnx"
    a_model(checkout / name, 0)
    told = init(service, "-m", name, "--min-accuracy", "a: b=85%")
    assert "is not in git yet" in told
    found = yaml.safe_load((checkout / FILES[service]).read_text())
    scripts = [
        line.strip()
        for job in (found["jobs"] if service == "github" else found).values()
        for text in [s.get("run", "") for s in job.get("steps", ())] + list(job.get("script", ()))
        for line in text.splitlines()
    ]
    lines = [line for line in scripts if line.startswith(("bench compare", "bench run"))]
    assert len(lines) == 2
    for line in lines:
        words = shlex.split(line)
        assert words[words.index("-m") + 1] == name
    assert shlex.split(lines[0])[shlex.split(lines[0]).index("--min-accuracy") + 1] == "a: b=85%"


@pytest.mark.parametrize("service", ["github", "gitlab"])
def test_a_factory_is_told_what_it_takes_in_both_commands(checkout: Path, service: str) -> None:
    (checkout / "net.py").write_text(FACTORY)
    init(service, "-m", "net.py:make", "--input", "x=1x4", "--input", "y=1x4:int64")
    text = (checkout / FILES[service]).read_text()
    assert text.count("--input x=1x4 --input y=1x4:int64") == 2


def test_a_backend_that_only_the_ci_machine_has_is_told_and_not_refused(checkout: Path) -> None:
    told = init("github", "-m", "net.onnx", "-t", "elsewhere:npu", "--install", "x[npu]")
    assert "on this machine there is no backend called 'elsewhere'." in told
    assert "The workflow needs one that --install brings." in told
    assert "-t elsewhere:npu" in (checkout / FILES["github"]).read_text()
    told = init("github", "-m", "net.onnx", "-t", TARGET, "--install", "x", "--force")
    assert "no backend called" not in told


def test_a_template_with_a_command_that_does_not_parse_is_noticed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.commands.ci import init as module

    text = module._rendered
    wrong = lambda *a, **k: text(*a, **k).replace("--junit", "--junti")  # noqa: E731
    monkeypatch.setattr(module, "_rendered", wrong)
    done = CliRunner().invoke(command, ["gitlab", "-m", "net.onnx"])
    assert done.exit_code == 2
    assert "--junti" in done.output


# -- where bench comes from -----------------------------------------------------------------------

GIT = '{"url": "https://h/o/r.git", "vcs_info": {"vcs": "git", "commit_id": "0123abc"}}'
WHEEL = '{"url": "https://h/b.whl", "archive_info": {}}'


@pytest.mark.parametrize(
    ("origin", "wanted", "told"),
    [
        (GIT, "'infer-bench[onnxruntime] @ git+https://h/o/r.git@0123abc'", False),
        (WHEEL, "'infer-bench[onnxruntime] @ https://h/b.whl'", False),
        ('{"url": "file:///home/me/bench", "dir_info": {}}', "'infer-bench[onnxruntime]'", True),
        (None, "'infer-bench[onnxruntime]'", False),
    ],
)
def test_the_workflow_installs_what_is_installed_here(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, origin: str | None, wanted: str, told: bool
) -> None:
    from bench.commands.ci import installed

    here = SimpleNamespace(read_text=lambda name: origin)
    monkeypatch.setattr(installed.metadata, "distribution", lambda name: here)
    output = init("github", "-m", "net.onnx")
    assert f"pip install {wanted}\n" in (checkout / FILES["github"]).read_text()
    assert ("on no package index yet" in " ".join(output.split())) is told


@pytest.mark.parametrize(
    ("install", "line"),
    [
        ("infer-bench[cpu]==1.2", "pip install 'infer-bench[cpu]==1.2'"),
        (
            "infer-bench[cpu] @ git+https://h/o/r@v1",
            "pip install 'infer-bench[cpu] @ git+https://h/o/r@v1'",
        ),
        ("git+https://h/o/r@v1", "pip install git+https://h/o/r@v1"),
        ("-r my needs.txt", "pip install -r 'my needs.txt'"),
    ],
)
def test_what_pip_installs_is_a_setting(checkout: Path, install: str, line: str) -> None:
    (checkout / "my needs.txt").write_text("infer-bench\n")
    output = init("gitlab", "-m", "net.onnx", "--install", install)
    found = yaml.safe_load((checkout / FILES["gitlab"]).read_text())
    assert found["benchmark"]["script"][0].strip() == line
    assert "package index" not in output


# -- what it does ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_steps_for_github_compare_and_let_the_trend_page_grow(
    checkout: Path, shell: Shell, tmp_path: Path
) -> None:
    init("github", *SHORT)
    found = jobs((checkout / FILES["github"]).read_text())
    compare, trend = steps(found["compare"]), steps(found["trend"])
    assert compare["Install"]["run"].strip() == "pip install 'infer-bench[cpu]'"
    summary = tmp_path / "summary"
    done = shell(
        compare["Compare base and head on this machine"]["run"], GITHUB_STEP_SUMMARY=str(summary)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in summary.read_text()
    assert "Baseline HEAD^1 (" in unescape(summary.read_text()), "what it was compared with"
    assert re.search(r'<testcase classname="bench.net" .* time="(?!0\.000")', _junit(checkout))
    assert (
        shell(f"gh() {{ cat summary.md > posted; }}\n{compare['Comment']['run']}").returncode == 0
    )
    assert (checkout / "posted").read_text() == (checkout / "summary.md").read_text()

    page = trend["Add the run to the trend page in the branch bench-trend"]
    for number in (1, 2):  # the first run starts the branch, the next one adds to it
        git(checkout, "clean", "-fdxq")
        assert shell(trend["Measure"]["run"]).returncode == 0
        done = shell(page["run"], GITHUB_SHA="abc", **page["env"])
        assert done.returncode == 0, done.stdout + done.stderr
        runs = "1 run" if number == 1 else f"{number} runs"
        assert f"{runs} (1 added)" in done.stdout
        git(checkout, "worktree", "remove", "--force", "site")
    git(checkout, "fetch", "-q", "origin", "bench-trend")
    files = git(checkout, "ls-tree", "-r", "--name-only", "FETCH_HEAD").splitlines()
    assert {"index.html", ".nojekyll", "trend.css"} <= set(files)
    assert sum(file.endswith("/run.json") for file in files) == 2


@pytest.mark.long
def test_the_steps_for_github_with_a_cache_and_for_gitlab(checkout: Path, shell: Shell) -> None:
    init("github", *SHORT, "--keep", "cache")
    trend = steps(jobs((checkout / FILES["github"]).read_text())["trend"])
    assert shell(trend["Measure"]["run"]).returncode == 0
    assert shell(trend["Add the run to the trend page"]["run"]).returncode == 0
    assert (checkout / "site" / "index.html").is_file()
    git(checkout, "clean", "-fdxq")
    init("gitlab", *SHORT)
    found = yaml.safe_load((checkout / FILES["gitlab"]).read_text())
    scripts = {
        name: "\n".join(line for line in found[name]["script"] if not line.startswith("pip "))
        for name in ("benchmark", "pages")
    }
    done = shell(
        scripts["benchmark"], CI_MERGE_REQUEST_DIFF_BASE_SHA=git(checkout, "rev-parse", "HEAD^1")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in (checkout / "summary.md").read_text()
    assert found["benchmark"]["allow_failure"] == {"exit_codes": [3]}
    git(checkout, "clean", "-fdxq")
    assert shell(scripts["pages"]).returncode == 0
    assert (checkout / "public" / "index.html").is_file()


def test_the_action_hands_its_inputs_to_the_command(
    checkout: Path, shell: Shell, tmp_path: Path
) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    found = {step["name"]: step for step in action["runs"]["steps"]}
    assert found["Install"]["run"] == 'python -m pip install "$SOURCE[$EXTRAS]"'
    given = {name: row["default"] for name, row in action["inputs"].items()}
    given |= {"models": "net.onnx\nother model.onnx".replace(" ", "-"), "targets": "a:cpu b:*"}
    step = found["Compare"]
    variables = {
        key: given[re.fullmatch(r"\$\{\{ inputs\.(.*) \}\}", value)[1]]  # type: ignore[index]
        for key, value in step["env"].items()
    }
    script = 'bench() { printf "%s\\n" "$@" > said; echo table > summary.md; return "$RC"; }\n'
    for code, ends in ((0, 0), (1, 1), (3, 0)):
        output, summary = tmp_path / f"output{code}", tmp_path / f"summary{code}"
        done = shell(
            script + step["run"],
            **variables,
            RC=str(code),
            GITHUB_OUTPUT=str(output),
            GITHUB_STEP_SUMMARY=str(summary),
        )
        assert done.returncode == ends
        assert output.read_text() == f"exit-code={code}\n"
        assert summary.read_text() == "table\n"
    said = " ".join((checkout / "said").read_text().split("\n"))
    assert said.startswith("compare --base HEAD^1 --head HEAD --max-slowdown 5% --results runs")
    assert "-m net.onnx -m other-model.onnx -t a:cpu -t b:* --min-invocations 10" in said


def _junit(folder: Path) -> str:
    return (folder / "junit.xml").read_text()
