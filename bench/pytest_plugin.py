"""A pytest plugin: the inference of a model on a target as a test of a team's own suite.

Every pytest process on a machine with `bench` imports this module, so it imports nothing of `bench`
before a test asks for the fixture `inference`. See docs/ci.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bench.pytest_inference import Inference, Lab

MARK = "bench"
FIXTURE = "inference"
#: What an interval that decides nothing does to a test.
POLICIES = ("warn", "xfail", "fail", "pass")
_HELP = "what an inconclusive comparison does: warn (default), xfail, fail or pass"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("bench_inconclusive", _HELP, default="warn")
    group = parser.getgroup("infer-bench")
    group.addoption("--bench-inconclusive", choices=POLICIES, default=None, help=_HELP)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "bench(models, targets=('*',), variant='fp32', batch=1, threads=None, shapes={}, "
        "allow_fallback=False): run the test for each model on each target that is present, with "
        "the fixture `inference` (infer-bench).",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each model and target of the mark."""
    mark = metafunc.definition.get_closest_marker(MARK)
    if mark is None or FIXTURE not in metafunc.fixturenames:
        return
    wanted = _wanted(metafunc, mark)
    cases = [(model, target) for model in wanted["models"] for target in wanted["targets"]]
    ids = [f"{_short(model)}-{target}" for model, target in cases]
    params = [{**wanted, "model": model, "target": target} for model, target in cases]
    metafunc.parametrize(FIXTURE, params, ids=ids, indirect=True)


def _wanted(metafunc: pytest.Metafunc, mark: pytest.Mark) -> dict[str, Any]:
    """What the mark asks for, with paths made absolute and wildcards resolved."""
    known = ("models", "targets", "variant", "batch", "threads", "shapes", "allow_fallback")
    unknown = set(mark.kwargs) - set(known)
    name = metafunc.definition.nodeid
    if mark.args or unknown:
        raise pytest.UsageError(
            f"{name}: @pytest.mark.bench takes {', '.join(known)}, all by name, not "
            f"{', '.join([*map(repr, mark.args), *sorted(unknown)])}."
        )
    models = _several(mark.kwargs.get("models", ()))
    if not models:
        raise pytest.UsageError(f"{name}: @pytest.mark.bench has to name models=[...].")
    folder = metafunc.definition.path.parent
    targets = _several(mark.kwargs.get("targets", ("*",)))
    rest = {key: value for key, value in mark.kwargs.items() if key not in ("models", "targets")}
    return {
        "models": [_located(model, folder) for model in models],
        "targets": _present(metafunc.config, targets),
        **rest,
    }


def _several(value: Any) -> tuple[str, ...]:
    return (str(value),) if isinstance(value, str | Path) else tuple(str(item) for item in value)


def _located(model: str, folder: Path) -> str:
    """A path is looked for beside the test, then where pytest was started."""
    beside = folder / model
    return str(beside) if beside.exists() and "." in model else model


def _short(model: str) -> str:
    return Path(model).stem if "/" in model or "\\" in model else model


def _present(config: pytest.Config, targets: Sequence[str]) -> list[str]:
    """Targets named in full as they are; a wildcard is what answers on this machine."""
    if all(":" in target and not target.endswith(":*") for target in targets):
        return list(dict.fromkeys(targets))
    return _lab(config).present(tuple(targets))


def _lab(config: pytest.Config) -> Lab:
    """The one of this session, made when it is first needed."""
    lab: Lab | None = config.stash.get(_LAB, None)
    if lab is None:
        from bench.pytest_inference import Lab

        lab = config.stash[_LAB] = Lab(_policy(config))
    return lab


_LAB = pytest.StashKey["Any"]()


def _policy(config: pytest.Config) -> str:
    policy = config.getoption("--bench-inconclusive") or config.getini("bench_inconclusive")
    if policy not in POLICIES:
        raise pytest.UsageError(
            f"bench_inconclusive = {policy}: it is one of {', '.join(POLICIES)}."
        )
    return str(policy)


def pytest_unconfigure(config: pytest.Config) -> None:
    lab = config.stash.get(_LAB, None)
    if lab is not None:
        lab.close()


@pytest.fixture
def inference(request: pytest.FixtureRequest) -> Inference:
    """A model on a target: call it to time it, ask it for its accuracy, compare it with another."""
    wanted = getattr(request, "param", None)
    if wanted is None:
        words = "the fixture `inference` needs @pytest.mark.bench(models=[...])."
        pytest.fail(words, pytrace=False)
    return _lab(request.config).inference(request, wanted)
