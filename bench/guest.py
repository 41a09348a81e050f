"""Python code of the user's own, run as a guest: a model's, a data set's or a task's file.

Such a file was often written as a program. It prints, parses arguments, exits, seeds, changes the
working folder, sets threads; and the harness, which only wants one function of it, must go on as if
nothing of that had happened. Workers run such files too, so this module needs the standard library
and numpy alone (Python 3.9 and later).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Iterator

import numpy as np

from bench.errors import SpecError

#: Torch's compiler sets these itself (torch/_inductor/runtime/cache_dir_utils.py, runtime_utils of
#: 2.x), also while it exports: no guest did.
_OF_TORCH = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
#: Every guest begins with the same random numbers, so a factory that doesn't seed makes the same
#: weights in each process.
SEED = 0


@dataclass(frozen=True)
class Setting:
    """Something of the process that a guest may change: what it is called, and how it is read and
    written. One without a name is set back without a word."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


@dataclass
class _Belongings:
    """What a file set for itself, which is there again whenever it runs again."""

    environment: dict[str, str | None] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)
    modules: dict[str, ModuleType] = field(default_factory=dict)


_belongings: dict[Path, _Belongings] = {}
#: What `sys.path` and `sys.modules` were when a file that runs now came in.
_before: dict[Path, tuple[list[str], dict[str, ModuleType]]] = {}
#: What guests changed and had set back, by file, for whoever tells the user.
_changed: dict[str, list[str]] = {}


@contextlib.contextmanager
def guest(where: str, file: Path | None = None) -> Iterator[None]:
    """Run code of the user's: its output goes to standard error, what it sets is set back.

    ``where`` is what messages call it. For a ``file``, the folders and modules that it imports from
    and its environment variables come back when it runs again, and are nobody else's. Raises
    `SpecError` where it ends the program; its other errors pass.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_written_to_stderr())
        stack.enter_context(_set_back(where))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(np.errstate())
        if file is not None:
            stack.enter_context(_at_home(file))
        stack.enter_context(_ending_as_an_error(where))
        sys.argv = [str(file) if file is not None else where]
        sys.dont_write_bytecode = True
        seed()
        yield


def seed() -> None:
    """Begin Python's, numpy's and torch's random numbers anew."""
    random.seed(SEED)
    np.random.seed(SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)


def stay(file: Path) -> None:
    """In a process that is the guest's from now on: what it set for itself holds for good."""
    _move_in(_belongings.get(file, _Belongings()))


def changes() -> dict[str, list[str]]:
    """What guests changed and had set back, by what they are called; asking empties it."""
    found = dict(_changed)
    _changed.clear()
    return found


def note_changes(found: dict[str, list[str]]) -> None:
    """Take over what guests of another process changed."""
    for where, names in found.items():
        mine = _changed.get(where, [])
        _changed[where] = [*mine, *(name for name in names if name not in mine)]


def own_modules(file: Path) -> list[ModuleType]:
    """The modules that a file imported from its own folders, itself among them."""
    mine = _modules_of(file) if file in _before else _belongings.get(file, _Belongings()).modules
    return list(mine.values())


# -- ending and output ----------------------------------------------------------------------------


@contextlib.contextmanager
def _ending_as_an_error(where: str) -> Iterator[None]:
    """A `SystemExit`, or another ending that isn't an error, as one sentence."""
    owner, end = os.getpid(), os._exit

    def end_the_guest(status: int = 0) -> None:
        if os.getpid() != owner:  # a process that the guest forked may end as it likes
            end(status)
        raise SystemExit(status)

    os._exit = end_the_guest  # type: ignore[assignment]
    try:
        yield
    except (KeyboardInterrupt, Exception):
        raise
    except BaseException as error:
        code = getattr(error, "code", None)
        told = f" ({type(error).__name__}: {code})" if code not in (None, 0) else ""
        raise SpecError(
            f"{where}: it ended the program while bench was running it{told}. Move that code "
            'below `if __name__ == "__main__":`.'
        ) from error
    finally:
        os._exit = end


@contextlib.contextmanager
def _written_to_stderr() -> Iterator[None]:
    """Whatever is printed goes to standard error: by Python, by libraries, by child processes, and
    by what the guest registers to be called at exit. There is nothing to read."""
    kept = _redirect()
    try:
        with open(os.devnull) as nothing:
            before = sys.stdin
            sys.stdin = nothing
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    yield
            finally:
                sys.stdin = before
    finally:
        if kept is not None:
            with contextlib.suppress(Exception):  # what C code printed waits in C's own buffer
                ctypes.CDLL(None).fflush(None)
            os.dup2(kept, 1)
            os.close(kept)
        # Hooks run in reverse order: this one before those of the guest.
        atexit.unregister(_print_no_more)
        atexit.register(_print_no_more)


def _redirect() -> int | None:
    """Descriptor 1 onto descriptor 2; a copy of what it was, None where one of them is closed."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        os.close(kept)
        return None
    return kept


def _print_no_more() -> None:
    if _redirect() is not None:
        sys.stdout = sys.stderr


#: What a setting is whose value can't be read.
_UNKNOWN = object()

# -- what is set back -----------------------------------------------------------------------------


@contextlib.contextmanager
def _set_back(where: str) -> Iterator[None]:
    before = [(setting, setting.read()) for setting in _settings()]
    try:
        yield
    finally:
        for setting, value in before:
            if value is _UNKNOWN or setting.read() == value:
                continue
            setting.write(value)
            told = _changed.get(where, [])
            if setting.name and setting.name not in told:
                _changed[where] = [*told, setting.name]


def _settings() -> list[Setting]:
    found = [*_PROCESS, *_HANDLERS]
    if threading.current_thread() is threading.main_thread():
        found += _SIGNALS  # no other thread may set them
    if hasattr(os, "sched_setaffinity"):
        found.append(_AFFINITY)
    if "torch" in sys.modules:
        found += _torch_settings(sys.modules["torch"])
    return found


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _switch_collector(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OF_TORCH}


def _write_environment(wanted: dict[str, str]) -> None:
    for name in set(_environment()) - set(wanted):
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _signal_handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _write_signal_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            with contextlib.suppress(OSError, ValueError):  # KILL and STOP have none
                signal.signal(number, handler)


_PROCESS = (
    Setting("", lambda: sys.argv, lambda value: setattr(sys, "argv", value)),
    Setting(
        "",
        lambda: sys.dont_write_bytecode,
        lambda value: setattr(sys, "dont_write_bytecode", value),
    ),
    Setting("the working folder", os.getcwd, os.chdir),
    Setting("environment variables", _environment, _write_environment),
    Setting("", lambda: list(sys.path), lambda value: sys.path.__setitem__(slice(None), value)),
    Setting("the file mode mask", _umask, os.umask),
    Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("the garbage collector", gc.isenabled, _switch_collector),
    Setting("", random.getstate, random.setstate),
    Setting("", lambda: _numpy_state(), lambda value: np.random.set_state(value)),
)
_HANDLERS = (
    Setting(
        "sys.excepthook", lambda: sys.excepthook, lambda value: setattr(sys, "excepthook", value)
    ),
    Setting("logging", lambda: logging.root.level, logging.root.setLevel),
    Setting("logging", lambda: logging.root.manager.disable, logging.disable),
    Setting(
        "logging",
        lambda: list(logging.root.handlers),
        lambda value: logging.root.handlers.__setitem__(slice(None), value),
    ),
)
_SIGNALS = (
    Setting("signal handlers", _signal_handlers, _write_signal_handlers),
    Setting(
        "a timer",
        lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        lambda _: signal.setitimer(signal.ITIMER_REAL, 0),
    ),
)
_AFFINITY = Setting(
    "the CPUs that may be used",
    lambda: os.sched_getaffinity(0),
    lambda value: os.sched_setaffinity(0, value),
)


def _numpy_state() -> Any:
    """numpy's random state in a form that compares."""
    name, keys, *others = np.random.get_state()
    return (name, tuple(int(key) for key in keys), *others)


def _torch_settings(torch: Any) -> list[Setting]:
    """What a file sets for the whole of torch. Read through functions, since some are there in
    some versions only."""
    found = [
        Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
        Setting("torch's default type", torch.get_default_dtype, torch.set_default_dtype),
        Setting("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
        Setting(
            "torch's deterministic mode",
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
        ),
        Setting(
            _FLOAT32,
            _where_told(torch.get_float32_matmul_precision),
            torch.set_float32_matmul_precision,
        ),
        Setting(
            "",
            lambda: torch.get_rng_state().numpy().tobytes(),
            lambda value: torch.set_rng_state(
                torch.frombuffer(bytearray(value), dtype=torch.uint8)
            ),
        ),
    ]
    if hasattr(torch, "get_default_device"):
        found.insert(
            0,
            Setting(
                "torch's default device",
                torch.get_default_device,
                lambda value: _set_device(torch, value),
            ),
        )
    for name in ("mkldnn", "cudnn"):
        found += _flags(getattr(torch.backends, name, None), f"torch.backends.{name}")
    return [*found, *_precisions(torch.backends)]


def _precisions(backends: Any) -> Iterator[Setting]:
    """In what products and convolutions of float32 compute, as torch 2.9 and later have it set
    (PyTorch's notes on CUDA semantics, "TensorFloat-32"): behind the older switches of the same,
    which write these too."""
    for name in _COMPUTING:
        holder = backends
        for part in name.split("."):
            holder = getattr(holder, part, None) if part else holder
        if isinstance(getattr(holder, "fp32_precision", None), str):
            yield Setting(_FLOAT32, *_attribute(holder, "fp32_precision"))


#: What all switches of it are called: each of them moves others.
_FLOAT32 = "torch's float32 precision"
#: What has such a precision below ``torch.backends``; each part follows the whole unless it is set.
_COMPUTING = (
    *("", "cuda.matmul", "cudnn", "cudnn.conv", "cudnn.rnn"),
    *("mkldnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn"),
)


def _where_told(read: Callable[[], Any]) -> Callable[[], Any]:
    """`_UNKNOWN` where torch refuses: an older switch doesn't say what was set by a newer one."""

    def told() -> Any:
        try:
            return read()
        except RuntimeError:
            return _UNKNOWN

    return told


def _set_device(torch: Any, value: Any) -> None:
    torch.set_default_device(None if str(value) == "cpu" else value)


def _as_tensor(torch: Any, state: bytes) -> Any:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)


def _flags(holder: Any, name: str) -> Iterator[Setting]:
    """The switches of one of torch's libraries."""
    for flag in ("enabled", "benchmark", "deterministic", "allow_tf32"):
        read, write = _attribute(holder, flag)
        with contextlib.suppress(AttributeError):
            if isinstance(_where_told(read)(), bool):
                yield Setting(f"{name}.{flag}", _where_told(read), write)


def _attribute(holder: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    return lambda: getattr(holder, name), lambda value: setattr(holder, name, value)


# -- what is the guest's own ----------------------------------------------------------------------


@contextlib.contextmanager
def _at_home(file: Path) -> Iterator[None]:
    """Give a file back what it set for itself, and remember it when it leaves.

    Two files of the same name in two folders, imported by two models, are two modules: what comes
    from a guest's own folders leaves `sys.modules` with it.
    """
    mine = _belongings.setdefault(file, _Belongings())
    environment = dict(os.environ)
    path, modules = _before[file] = list(sys.path), dict(sys.modules)
    _move_in(mine)
    try:
        yield
    finally:
        mine.environment = {
            name: os.environ.get(name)
            for name in {*environment, *os.environ}
            if environment.get(name) != os.environ.get(name)
        }
        mine.modules = _modules_of(file)
        mine.path = [entry for entry in sys.path if entry not in path]
        del _before[file]
        for name in mine.modules:
            if name in modules:
                sys.modules[name] = modules[name]
            else:
                del sys.modules[name]


def _modules_of(file: Path) -> dict[str, ModuleType]:
    """The modules that came with a file that runs now, and lie in its folder or in one that it
    imports from."""
    path, modules = _before[file]
    added = [entry for entry in sys.path if entry not in path]
    home = [os.path.abspath(entry) for entry in (str(file.parent), *added)]
    return {
        name: module
        for name, module in list(sys.modules.items())
        if modules.get(name) is not module and _lies_in(module, home)
    }


def _move_in(mine: _Belongings) -> None:
    for name, value in mine.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    sys.path[:0] = [entry for entry in mine.path if entry not in sys.path]
    sys.modules.update(mine.modules)


def _lies_in(module: ModuleType, folders: list[str]) -> bool:
    """Whether a module's file is in one of the folders, and not in an installed package there."""
    where = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), None)
    if not where:
        return False
    # In plain strings: this is asked of every module of the process whenever a guest leaves.
    path = os.path.abspath(where)
    return any(
        path == folder
        or (
            path.startswith(folder.rstrip(os.sep) + os.sep)
            and "site-packages" not in path[len(folder) :].split(os.sep)
        )
        for folder in folders
    )
