"""A worker with a model loaded, for whoever asks it something once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.backend import Device, ModelFile, Options
from bench.runtimes.client import Worker
from bench.runtimes.processes import Launcher
from bench.runtimes.runtime import Runtime
from bench.worker.messages import LoadedInfo


@contextmanager
def loaded_worker(
    launcher: Launcher,
    runtime: Runtime | None,
    device: Device | None,
    file: ModelFile,
    options: Options,
    *,
    threads: int | None = None,
    cpus: Sequence[int] = (),
) -> Iterator[tuple[Worker, LoadedInfo]]:
    """A worker of ``runtime`` that has loaded ``file``, and what it told of it; it ends with the
    block.

    ``threads`` are those of its process, where they are not those of ``options``. Raises what
    `Worker.load` raises.
    """
    assert runtime is not None, "a target that is not available loads nothing"
    assert device is not None, "a target that is not available loads nothing"
    threads = options.threads if threads is None else threads
    worker = launcher.worker(runtime, threads, file.imports)
    try:
        yield worker, worker.load(file, device, options, cpus)
    finally:
        worker.end()
