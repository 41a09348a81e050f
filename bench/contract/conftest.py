"""Gives the tests each device of the installed backends, or of the one that is named."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from bench.contract.subject import Subject
from bench.contract.targets import Target, find_targets, learn_fresh_facts

OPTION = "--bench-target"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION, default="", metavar="TARGET", help="A backend or backend:device; default: all."
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wanted = metafunc.config.getoption(OPTION, default="")
    if "target" in metafunc.fixturenames:
        params = [_param(target, metafunc.config) for target in find_targets(wanted).targets]
        metafunc.parametrize("target", params, scope="session")
    if "absent_kind" in metafunc.fixturenames:
        absent = find_targets(wanted).absent_kinds
        kinds = [
            pytest.param(((reference, kind), why), id=f"{reference.rpartition(':')[2]}:{kind}")
            for (reference, kind), why in absent.items()
        ]
        none = pytest.mark.skip(reason="no kind of device is absent")
        metafunc.parametrize("absent_kind", kinds or [pytest.param(None, id="none", marks=none)])


def _param(target: Target, config: pytest.Config) -> Any:
    marks = [pytest.mark.skip(reason=target.absent)] if target.absent else []
    if config.pluginmanager.hasplugin("xdist"):  # compile a model once, not in each process
        marks.append(pytest.mark.xdist_group(str(target)))
    return pytest.param(target, id=str(target), marks=marks)


@pytest.fixture(scope="module")
def subject(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """The target with its runtime imported in this process, under its environment."""
    adapter = target.adapter()
    assert target.device
    with pytest.MonkeyPatch.context() as patch:
        for key, value in adapter.environment.items():
            patch.setenv(key, value)
        for preload in adapter.preload:
            importlib.import_module(preload)
    made = Subject(adapter(), target.device, tmp_path_factory.mktemp("models"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def fresh_facts(target: Target) -> dict[str, Any]:
    """What `fresh.py` learns about the target in a process of its own."""
    assert target.device
    return learn_fresh_facts(target.reference, target.device.id, target.adapter().environment)
