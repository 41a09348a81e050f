"""The modules that a worker in another interpreter imports, copied into a folder of their own.

That folder alone goes onto the other interpreter's path, so that nothing else of the interpreter
that runs `bench` is seen there. It holds the worker's side of `bench`, the adapters that live below
`bench`, and the package of the backend's own adapter; its name is the hash of its contents.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import bench
from bench.discover import backend_entry_points
from bench.errors import SpecError, Unavailable
from bench.folders import cache_folder
from bench.trust import refuse_foreign

_CORE = (
    "__init__.py",
    "backend.py",
    "folders.py",
    "capabilities.py",
    "decoding.py",
    "errors.py",
    "guest.py",
    "programs.py",
    "steps.py",
    # what loads a language model, which torch's adapters run wherever they are
    "cards/__init__.py",
    "cards/pretrained.py",
    "cards/language/__init__.py",
    "cards/language/causal.py",
    "cards/language/states.py",
    "cards/language/tracing.py",
)
_LEFT_OUT = ("__pycache__", ".pyc")

#: An adapter is some kilobytes of Python; what is far above holds a runtime or models.
_MOST_BYTES = 32 * 2**20
#: Folders that nobody used for so long are removed.
_KEPT_S = 30 * 24 * 3600.0

Files = dict[str, Path]


def stage(reference: str) -> Path:
    """The folder for the adapter ``reference`` (``module:Class``), made where it isn't there.

    Raises `Unavailable` for an adapter whose files can't be found or are no small package.
    """
    files = _core_files()
    for module in sorted({*_adapters_of_bench(), reference.partition(":")[0]}):
        files.update(_package_files(module))
    folder = cache_folder() / "workers" / _key(files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _refuse_others(folder.parent)
    if folder.is_dir():
        _refuse_others(folder)
        if _key(_files_in(folder)) == folder.name:
            os.utime(folder)
            return folder
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or not what it was
    _remove_unused(folder.parent)
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    for name, path in files.items():
        (making / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, making / name)
    try:
        making.rename(folder)
    except OSError:  # another process was faster, with the same contents
        shutil.rmtree(making, ignore_errors=True)
    return folder


def _core_files() -> Files:
    root = Path(bench.__file__).parent
    files = {f"bench/{name}": root / name for name in _CORE}
    return files | _files_below(root / "worker", "bench/worker")


def _adapters_of_bench() -> set[str]:
    """Modules of adapters below `bench`, whose shared modules other adapters may import."""
    modules = {value.partition(":")[0] for value in backend_entry_points().values()}
    return {module for module in modules if module.startswith("bench.")}


def _package_files(module: str) -> Files:
    """The files of a module and of all that it may import by relative names.

    For a module below `bench` that is its package, for others the outermost package that has
    contents of its own (a namespace package has none), or the file alone.
    """
    parts = module.split(".")
    if module.startswith("bench.worker."):
        return {}  # comes with the core
    first = 2 if parts[0] == "bench" else 1
    for end in range(first, len(parts) + 1):
        name = ".".join(parts[:end])
        spec = _spec(name)
        if spec is None:
            break
        if spec.origin is None:  # a namespace package
            continue
        target = name.replace(".", "/")
        if spec.submodule_search_locations is None:
            return {target + Path(spec.origin).suffix: Path(spec.origin)}
        return _limited(name, _files_below(Path(spec.origin).parent, target))
    raise Unavailable(
        f"the adapter {module} can't be copied for a worker in another interpreter: its file is "
        "not found.",
        "Install its package unpacked, not as a zip file.",
    )


def _spec(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except (ImportError, ValueError):
        return None


def _files_below(folder: Path, target: str) -> Files:
    return {
        f"{target}/{path.relative_to(folder).as_posix()}": path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(_LEFT_OUT) and "__pycache__" not in path.parts
    }


def _files_in(folder: Path) -> Files:
    """What was staged in a folder, by the names that it has there."""
    found = _files_below(folder, "")
    return {name.removeprefix("/"): path for name, path in found.items()}


def _refuse_others(folder: Path) -> None:
    """Raises `Unavailable` for a folder that another user could put modules into."""
    try:
        refuse_foreign(folder)
    except SpecError as error:
        raise Unavailable(str(error), "Or set BENCH_CACHE to a folder of your own.") from error


def _limited(name: str, files: Files) -> Files:
    size = sum(path.stat().st_size for path in files.values())
    if size > _MOST_BYTES:
        raise Unavailable(
            f"the package {name} of an adapter is {size / 2**20:.0f} MiB, too large to be copied "
            "for a worker in another interpreter.",
            "Put the adapter into a small package of its own.",
        )
    return files


def _key(files: Files) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        contents = path.read_bytes()
        digest.update(f"{name}\0{len(contents)}\0".encode() + contents)
    return digest.hexdigest()[:16]


def _remove_unused(parent: Path) -> None:
    old = time.time() - _KEPT_S
    for folder in _folders(parent):
        if folder.stat().st_mtime < old:
            shutil.rmtree(folder, ignore_errors=True)


def _folders(parent: Path) -> Iterable[Path]:
    return [path for path in parent.iterdir() if path.is_dir()]
