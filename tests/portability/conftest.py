"""ONNX's tests, written once for all tests here, since making them takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.portability.cases import NodeTests, node_tests


@pytest.fixture(scope="session")
def onnx_tests(tmp_path_factory: pytest.TempPathFactory) -> NodeTests:
    return node_tests(tmp_path_factory.mktemp("onnx-tests"))


@pytest.fixture
def cache(onnx_tests: NodeTests, tmp_path: Path, environment: dict[str, str]) -> Path:
    """The cache of the `bench` command, which finds ONNX's tests there."""
    folder = Path(environment["BENCH_CACHE"])
    (folder / "portability").mkdir(parents=True)
    (folder / "portability" / onnx_tests.folder.name).symlink_to(onnx_tests.folder)
    return folder
