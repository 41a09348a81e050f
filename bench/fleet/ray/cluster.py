"""Reaching a cluster of Ray, or making one of this machine alone for trying out."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from bench.errors import SpecError, Unavailable, first_line

#: A worker of Ray would measure at a niceness of 15 more, and what can't be lowered again without
#: privileges; its memory monitor kills workers when a model fills the memory (ray_config_def.h).
SYSTEM_CONFIG = {"worker_niceness": 0, "memory_monitor_refresh_ms": 0}
#: What travels through a local cluster's object store: pieces of files.
_STORE_BYTES = 128 << 20
#: Seconds until a cluster that doesn't answer is abandoned.
_CONNECT_TIMEOUT_S = "30"


def import_ray() -> Any:
    """Ray, with its usage statistics off and its log off the terminal. Raises `Unavailable`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", _CONNECT_TIMEOUT_S)
    try:
        import ray  # ray: optional
    except ImportError as error:
        raise Unavailable(
            f"a fleet needs Ray, which can't be imported ({error}).",
            "Install it: pip install 'infer-bench[fleet]'.",
        ) from error
    return ray


def join(address: str | None) -> Any:
    """Ray, connected to the cluster at ``address``, or to a new one of this machine alone.

    Raises `Unavailable` where there is none, `SpecError` where it is of another Ray or Python.
    """
    ray = import_ray()
    quiet: dict[str, Any] = {
        "logging_level": logging.FATAL,
        "log_to_driver": False,
        "namespace": "bench-fleet",
    }
    if address is None:
        quiet |= {
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            "_system_config": SYSTEM_CONFIG,
        }
    try:
        with _without_own_address(), _silent():
            ray.init(address=address or "local", **quiet)
            _hush()
    except (ConnectionError, TimeoutError, ValueError) as error:
        where = address or "this machine"
        raise Unavailable(
            f"no cluster of Ray answers at {where}: {first_line(error)}.",
            "Start it with `ray start --head` and name its address (HOST:6379).",
        ) from error
    except RuntimeError as error:
        if "ersion" not in str(error):
            raise Unavailable(f"{address}: {first_line(error)}.", "") from error
        mine = f"Ray {ray.__version__} on Python {sys.version.split()[0]}"
        raise SpecError(
            f"{address}: the cluster runs another Ray or Python than this process, which is {mine}"
            f" ({_versions(error)}). Run `bench fleet` with the cluster's; the interpreters that "
            "measure may be any."
        ) from error
    return ray


@contextlib.contextmanager
def _without_own_address() -> Iterator[None]:
    """RAY_ADDRESS would win over a new cluster that is asked for."""
    kept = os.environ.pop("RAY_ADDRESS", None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ["RAY_ADDRESS"] = kept


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Ray prints and logs while it starts, before anybody can set its level."""
    logger = logging.getLogger("ray")
    kept, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = kept
        for name in ("ray", "ray._private.worker", "ray._private.services"):
            logging.getLogger(name).setLevel(logging.FATAL)


def _hush() -> None:
    """Keep what Ray says of dead nodes and workers off the terminal, where the driver says it in
    its own words: `log_to_driver` leaves these alone (ray/_private/worker.py,
    `listen_error_messages`)."""
    module = sys.modules.get("ray._private.worker")
    if module is not None and "print_to_stdstream" in vars(module):
        vars(module)["print_to_stdstream"] = lambda *_, **__: None


def _versions(error: BaseException) -> str:
    """What Ray says of the two, on one line."""
    return " ".join(str(error).split())[:200]
