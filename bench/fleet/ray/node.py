"""What runs in a worker of Ray on each node: it carries, and starts what measures.

The class travels to the nodes by value, together with `bench.fleet.ray.surroundings`: the
interpreter that Ray runs in needs no `bench`, the one that measures needs no Ray. So this module
imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.fleet.ray.surroundings import NOT_SETTLED, clean_environment, raylet_pid, settled
from bench.folders import cache_folder

#: A driver asks twice a second; past this it is gone or cut off, and what is measured for it is
#: in the way of another.
DRIVER_SILENCE_S = 15.0
#: How often what measures is told that it is wanted, and looked at.
_BEAT_S = 1.0
#: A process that is stopped (SIGSTOP, a debugger) for so long measures nothing that counts.
_STOPPED_S = 10.0
#: Longer than `bench.fleet.agent` takes to end in order.
_END_TIMEOUT_S = 12.0
#: `bench doctor` touches every device, and an environment may import slowly.
_DOCTOR_TIMEOUT_S = 300.0
#: So much data one answer holds.
_MOST_BYTES = 1 << 20
_TAIL_BYTES = 2000
#: One event for the driver: its kind, and what that says.
Item = tuple[str, dict[str, Any]]


class Node:
    """One node of a fleet: its doctor, its store of files, and the lease that it measures."""

    def __init__(self, python: str, variables: Mapping[str, str]) -> None:
        self._raylet = raylet_pid()
        self._python = shutil.which(python) or python if python else sys.executable
        self._variables = {**clean_environment(os.environ, self._raylet), **variables}
        self._base = cache_folder(self._variables) / "fleet"
        self._lock = f"node-{self._raylet}.lock"
        self._measuring: Measuring | None = None
        self._sent: dict[str, dict[str, int]] = {}  #: by run and file: bytes that were told
        self._asked = time.monotonic()
        self._turn = threading.Lock()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def clock(self) -> float:
        """Seconds since the epoch, as this machine counts them."""
        return time.time()

    def doctor(self, backends: Sequence[str]) -> dict[str, Any]:
        """What `bench doctor --json` says here of some backends, or of all; or under ``trouble``
        why it says nothing."""
        self._base.mkdir(parents=True, exist_ok=True)
        command = [self._python, "-m", "bench", "doctor", "--json", *backends]
        try:
            done = subprocess.run(
                settled(command, self._raylet),
                env=self._variables,
                cwd=self._base,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_DOCTOR_TIMEOUT_S,
                start_new_session=True,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"trouble": f"{self._python} can't be run: {error}"}
        if done.returncode != 0:
            return {"trouble": _ended_words(self._python, done.returncode, _last(done.stderr))}
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            return {"trouble": f"`bench doctor --json` of {self._python} is not JSON: {error}"}
        return {**found, "python": self._python}

    # -- files -----------------------------------------------------------------------------------

    def lacks(self, contents: Sequence[str]) -> dict[str, int]:
        """Which contents (SHA-256) are not here, and how many bytes of each have come."""
        return {
            sha256: _size(self._partial(sha256))
            for sha256 in contents
            if not (self._store / sha256).is_file()
        }

    def take(self, sha256: str, offset: int, data: bytes, last: bool) -> str | None:
        """A piece of a content; None, or what is wrong with what came."""
        self._asked = time.monotonic()
        partial = self._partial(sha256)
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("r+b" if partial.exists() else "wb") as file:
                file.seek(offset)
                file.truncate()
                file.write(data)
            if last:
                return self._finish(sha256, partial)
        except OSError as error:
            return f"{self._store} can't store a file: {error.strerror}"
        return None

    def _finish(self, sha256: str, partial: Path) -> str | None:
        """Keep a whole content where it is the one that was promised."""
        with partial.open("rb") as file:
            found = hashlib.sha256()
            while piece := file.read(_MOST_BYTES):
                found.update(piece)
        if found.hexdigest() != sha256:
            partial.unlink()
            return f"a file arrived damaged: its SHA-256 is {found.hexdigest()}, not {sha256}"
        partial.replace(self._store / sha256)
        return None

    @property
    def _store(self) -> Path:
        return self._base / "files"

    def _partial(self, sha256: str) -> Path:
        # Two nodes of a fleet may be one machine: each writes a file of its own.
        return self._store / f"{sha256}.{os.getpid()}.partial"

    # -- leases ----------------------------------------------------------------------------------

    def begin(self, lease: str, run: str, cells: Sequence[str], order: bytes) -> str | None:
        """Start what measures; None, or why it can't be started."""
        self.stop()
        self._asked = time.monotonic()
        folder = self._base / "runs" / run
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            wanted = folder.with_name(f"{run}.lease.json")
            told = {"cells": list(cells), "order": json.loads(order), "lock": self._lock}
            wanted.write_text(json.dumps(told))
            arguments = [str(folder), str(wanted), str(self._store)]
            command = [self._python, "-m", "bench.fleet.agent", *arguments]
            with self._turn:
                self._measuring = Measuring(
                    lease,
                    folder,
                    settled(command, self._raylet),
                    self._variables,
                    self._sent.setdefault(run, {}),
                )
        except OSError as error:
            return f"agent-died: {self._python} can't be started: {error}"
        return None

    def poll(self, lease: str, after: int, wait_s: float) -> list[Item]:
        """What happened in the lease since ``after`` events; waits for the first."""
        self._asked = time.monotonic()
        measuring = self._measuring
        if measuring is None or measuring.lease != lease:
            time.sleep(wait_s)
            return []
        return measuring.events(after, wait_s)

    def stop(self, after: int | None = None) -> None:
        """End what is measured; nothing of it is told any more but for the first ``after`` events
        (all, where the driver has asked for all)."""
        with self._turn:
            measuring, self._measuring = self._measuring, None
        if measuring is not None:
            measuring.end()
            if after is not None:
                measuring.take_back(after)

    def forget(self, runs: Sequence[str]) -> None:
        """Remove run directories whose driver is done with this node."""
        for run in runs:
            self._sent.pop(run, None)
            folder = self._base / "runs" / run
            shutil.rmtree(folder, ignore_errors=True)
            for name in (f"{run}.lease.json", f"{run}.log"):
                folder.with_name(name).unlink(missing_ok=True)
        (self._base / "runs" / self._lock).unlink(missing_ok=True)

    def _beat(self) -> None:
        """Tell what measures that it is wanted, as long as the driver asks."""
        while True:
            time.sleep(_BEAT_S)
            measuring = self._measuring
            if measuring is None:
                continue
            silent_s = time.monotonic() - self._asked
            if silent_s > DRIVER_SILENCE_S:
                measuring.give_up(f"the driver has not asked for {silent_s:.0f} s")
            else:
                measuring.beat()


class Measuring:
    """The process of one lease, and what it told; ``sent`` goes on from lease to lease of a run."""

    def __init__(
        self,
        lease: str,
        folder: Path,
        command: Sequence[str],
        variables: Mapping[str, str],
        sent: dict[str, int],
    ) -> None:
        self.lease, self.folder = lease, folder
        self._log = folder.with_name(f"{folder.name}.log")
        self._items: deque[Item] = deque()
        self._first = 0  #: the number of the first item that is kept
        self._sent = sent
        self._changed = threading.Condition()
        self._why = ""
        self._stopped_s = 0.0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(variables),
                cwd=folder.parent,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, name="lease", daemon=True)
        self._reader.start()

    def events(self, after: int, wait_s: float) -> list[Item]:
        """Those behind the first ``after`` of the lease, as many as one answer holds. Those before
        are forgotten."""
        with self._changed:
            while self._items and self._first < after:
                self._items.popleft()
                self._first += 1
            if not self._items:
                self._changed.wait(wait_s)
            found: list[Item] = []
            size = 0
            for item in self._items:
                size += len(item[1].get("data", b""))
                if found and size > _MOST_BYTES:
                    break
                found.append(item)
            return found

    def beat(self) -> None:
        """Say that the lease is wanted; end what is stopped for long."""
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(b".")
            self._process.stdin.flush()
        self._stopped_s = self._stopped_s + _BEAT_S if self._is_stopped() else 0.0
        if self._stopped_s > _STOPPED_S:
            self.give_up(f"the measuring process was stopped (SIGSTOP) for {self._stopped_s:.0f} s")

    def give_up(self, why: str) -> None:
        """End it, and tell why."""
        self._why = self._why or why
        self._close()
        if self._is_stopped():
            self._kill()

    def end(self) -> None:
        """End it, and wait until the node is free."""
        self._close()
        if self._is_stopped():
            self._kill()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()

    def take_back(self, after: int) -> None:
        """What the driver has not got of the files will be told in a later lease of the run."""
        self._reader.join(_BEAT_S)
        with self._changed:
            for kind, what in list(self._items)[max(0, after - self._first) :]:
                if kind == "grew":
                    path = what["path"]
                    self._sent[path] = min(self._sent.get(path, 0), what["offset"])

    def _close(self) -> None:
        """The end of its standard input ends it in order."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _is_stopped(self) -> bool:
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] in ("T", "t")  # proc(5)

    # -- what it tells ---------------------------------------------------------------------------

    def _read(self) -> None:
        """Take its lines until it ends."""
        error: str | None = None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                told = json.loads(line)
            except ValueError:
                continue  # it was killed in the middle of a line
            if "wrote" in told:
                self._grew(told["wrote"], told["size"])
            elif "error" in told:
                error = told["error"]
            else:
                self._add("told", told)
        code = self._process.wait()
        if code != 0 and error is None:
            error = self._died(code)
        self._add("ended", {"error": error})

    def _died(self, code: int) -> str:
        if code == NOT_SETTLED:
            return (
                "refused: Ray gave its workers another niceness or other CPUs, and this user "
                "can't undo that. Start Ray there with RAY_worker_niceness=0 in the "
                f"environment ({_tail(self._log)})."
            )
        if self._why:
            return f"agent-died: {self._why}."
        return f"agent-died: {_ended_words('what measured', code, _tail(self._log))}."

    def _grew(self, name: str, size: int) -> None:
        """Pieces of a file up to what it was when it was told of: what comes after it in the file
        belongs to what is told later."""
        start = self._sent.get(name, 0) if name.endswith(".jsonl") else 0
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(start)
                while start < size:
                    data = file.read(min(_MOST_BYTES, size - start))
                    if not data:
                        break
                    self._add("grew", {"path": name, "offset": start, "data": data})
                    start += len(data)
        except OSError as error:
            self._add("told", {"note": f"{name} can't be read: {error.strerror}"})
        self._sent[name] = start

    def _add(self, kind: str, what: dict[str, Any]) -> None:
        with self._changed:
            self._items.append((kind, {"lease": self.lease, **what}))
            self._changed.notify_all()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _ended_words(who: str, code: int, said: str) -> str:
    """How a process ended, as `bench.apart.exit_words` has it."""
    how = f"ended with exit code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            how = f"died of {signal.Signals(-code).name}"
    return f"{who} {how}" + (f"; it printed last: {said}" if said else "")


def _tail(path: Path) -> str:
    try:
        return _last(path.read_bytes())
    except OSError:
        return ""


def _last(printed: bytes) -> str:
    """The last line that says something."""
    lines = printed[-_TAIL_BYTES:].decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
