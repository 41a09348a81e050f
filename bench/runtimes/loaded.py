"""A worker with a model loaded, for whoever asks it something once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.backend import Device, ModelFile, Options
from bench.runtimes.client import Worker
from bench.runtimes.processes import Launcher
from bench.runtimes.runtime import Runtime
from bench.worker.messages import LoadedInfo


def worker_to_load(launcher: Launcher, runtime: Runtime, threads: int, file: ModelFile) -> Worker:
    """A fresh worker, forked once the modules are imported that loading this model needs and that
    take long. Raises what `Launcher.worker` raises."""
    # An ONNX file needs nothing of what its model's own code imports.
    of_model = file.imports if "torch" in runtime.forms else ()
    return launcher.worker(runtime, threads, (*runtime.imports_to_load, *of_model))


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
    worker = worker_to_load(launcher, runtime, threads, file)
    try:
        yield worker, worker.load(file, device, options, cpus)
    finally:
        worker.end()
