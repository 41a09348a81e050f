"""Watches what disturbs a measurement, cheaply enough to watch every block.

A watcher reads the kernel's counters before and after; the difference is a `Disturbance`.

What a block of 10 ms can show, and what it can't:

- Nanosecond counters (CPU time of a process, how long its threads waited for a CPU) and plain
  counts (page faults, switches, throttled periods) are right for a block of any length.
- ``/proc/stat`` counts steal and busy time in *jiffies*, usually of 10 ms, so in one block it
  shows 0 or 1 and means nothing. Watch a whole round in one window instead: begin and end then
  err by at most a jiffy per CPU, however long the round is. Adding the windows of many blocks
  works too, but their errors add up with the square root of their number. `Disturbance` carries
  this error, and `Disturbance.disturbed` complains only about what exceeds it.
- A neighbour on another core that eats cache or memory bandwidth shows in none of these but the
  busy time of others; on the host of a virtual machine it shows nowhere. Only a canary tells.

`block_watcher` reads what is cheap and fine-grained (measured: 15 us a call, and 9 us more
for each further process), `round_watcher` everything (75 us on two CPUs, more on machines with very
many, where the kernel takes long to write ``/proc/stat``). Off Linux the files are absent and
those facts are None.

Standard library alone and Python 3.9, so that a worker can watch itself too.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Callable, Iterator, Mapping, Sequence

from bench.machine.open_files import LARGEST_READ, OpenFiles

if TYPE_CHECKING:  # Python 3.9 can't evaluate the alias
    Read = Callable[[str], bytes | None]

CPUS = "/sys/devices/system/cpu"
#: Why a window doesn't tell all that it could.
NO_FILES = "what else ran is unknown: this process may not open more files (ulimit -n)"
ENDED = "what other processes used is unknown: one of bench's own ended meanwhile"


@dataclass(frozen=True)
class Thresholds:
    """Beyond what a window counts as disturbed. CPU shares are of *one* CPU's time."""

    #: CPU time that the hypervisor gave to others; our choice: the precision asked for by default
    steal_share: float = 0.02
    #: CPU time of processes other than our own; our choice: a tenth of a core heats no caches
    other_cpu_share: float = 0.10
    #: time that our main threads were ready and waited for a CPU; as for steal
    wait_share: float = 0.02
    major_faults: int = 0
    swapped_pages: int = 0
    throttled_ns: int = 0
    thermal_throttles: int = 0
    #: nvbench discards a sample when the clock is below 75% of its default
    frequency_share: float = 0.75


DEFAULT_THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Disturbance:
    """What happened between start and stop, or in several such windows added up.

    None is a counter that this system doesn't show or this watcher doesn't read. Own means the
    processes that the watcher was given.
    """

    duration_ns: int
    jiffy_error_ns: float  #: how far ``steal_ns`` and ``busy_ns`` may be off, by their resolution
    steal_ns: int | None = None  #: all CPUs
    busy_ns: int | None = None  #: all CPUs, all processes
    own_cpu_ns: int | None = None
    #: ready to run, without a CPU: main threads, or the thread of a process that waited longest
    own_wait_ns: int | None = None
    own_timeslices: int | None = None  #: main threads only
    context_switches: int | None = None  #: all CPUs, all processes
    minor_faults: int | None = None
    major_faults: int | None = None
    swapped_in_pages: int | None = None  #: all processes
    swapped_out_pages: int | None = None
    throttled_ns: int | None = None  #: the cgroup's CPU quota was used up
    thermal_throttles: int | None = None
    frequency_hz: float | None = None  #: the lowest of the watched CPUs when the window ended
    max_frequency_hz: float | None = None
    #: what would be known here but for something that happened meanwhile, in words
    unseen: tuple[str, ...] = ()

    @property
    def wait_share(self) -> float | None:
        """Which share of the time our threads were ready to run and had no CPU.

        The kernel counts a wait when it ends: one that began before the window is all in it, and
        was longer than the window.
        """
        return None if self.own_wait_ns is None else min(1.0, self.own_wait_ns / self.duration_ns)

    @property
    def other_cpu_ns(self) -> int | None:
        """CPU time of all processes but our own."""
        if self.busy_ns is None or self.own_cpu_ns is None:
            return None
        return max(0, self.busy_ns - self.own_cpu_ns)

    def with_own(self, cpu_ns: int) -> Disturbance:
        """The same where so much of the CPU time was used by further processes of our own."""
        if self.own_cpu_ns is None:
            return self
        return replace(self, own_cpu_ns=self.own_cpu_ns + cpu_ns)

    def __add__(self, other: Disturbance) -> Disturbance:
        """Both windows together; a fact that one of them lacks is lacking."""
        sums = {
            name: _both(getattr(self, name), getattr(other, name), lambda a, b: a + b)
            for name in COUNTER_FIELDS
        }
        return Disturbance(
            duration_ns=self.duration_ns + other.duration_ns,
            jiffy_error_ns=(self.jiffy_error_ns**2 + other.jiffy_error_ns**2) ** 0.5,
            frequency_hz=_both(self.frequency_hz, other.frequency_hz, min),
            max_frequency_hz=_both(self.max_frequency_hz, other.max_frequency_hz, max),
            unseen=tuple(dict.fromkeys((*self.unseen, *other.unseen))),
            **sums,  # type: ignore[arg-type]
        )

    def disturbed(self, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> list[str]:
        """Why the window is disturbed, a reason each; empty where it is not, as far as this system
        shows. What it shows and was not seen is a reason: unknown is not undisturbed."""
        shares = (
            ("the hypervisor took", self.steal_ns, self.jiffy_error_ns, thresholds.steal_share),
            (
                "other processes used",
                self.other_cpu_ns,
                self.jiffy_error_ns,
                thresholds.other_cpu_share,
            ),
            ("our threads waited for", self.own_wait_ns, 0.0, thresholds.wait_share),
        )
        counts = (
            ("major page faults", self.major_faults, thresholds.major_faults),
            ("pages swapped in", self.swapped_in_pages, thresholds.swapped_pages),
            ("pages swapped out", self.swapped_out_pages, thresholds.swapped_pages),
            ("ns stopped by the CPU quota", self.throttled_ns, thresholds.throttled_ns),
            ("thermal throttles", self.thermal_throttles, thresholds.thermal_throttles),
        )
        reasons = [
            f"{what} {100 * used / self.duration_ns:.0f}% of a CPU"
            for what, used, error, share in shares
            if used is not None and used - error > share * self.duration_ns
        ]
        reasons += [f"{count} {what}" for what, count, most in counts if count and count > most]
        return [*reasons, *self._slow_clock(thresholds.frequency_share), *self.unseen]

    def _slow_clock(self, share: float) -> list[str]:
        if self.frequency_hz is None or self.max_frequency_hz is None:
            return []
        if self.frequency_hz >= share * self.max_frequency_hz:
            return []
        percent = 100 * self.frequency_hz / self.max_frequency_hz
        return [f"the CPU ran at {percent:.0f}% of its highest frequency"]


GAUGES = ("duration_ns", "jiffy_error_ns", "frequency_hz", "max_frequency_hz")
COUNTER_FIELDS = tuple(f.name for f in fields(Disturbance) if f.name not in (*GAUGES, "unseen"))


# --- parsers: the kernel's text as counters, without what the text lacks ---------------------


def parse_stat(text: bytes, jiffy_ns: int) -> dict[str, int]:
    """Busy and stolen time of all CPUs, and context switches, from ``/proc/stat`` (proc(5)).

    Guest time is already part of user time there; idle, I/O wait and steal are not busy.
    """
    found: dict[str, int] = {}
    head = re.match(rb"cpu +([0-9 ]+)", text)
    if head:
        ticks = [int(t) for t in head.group(1).split()]
        if len(ticks) >= 8:
            user, nice, system, _, _, irq, softirq, steal = ticks[:8]
            found["busy_ns"] = (user + nice + system + irq + softirq) * jiffy_ns
            found["steal_ns"] = steal * jiffy_ns
    switches = re.search(rb"^ctxt ([0-9]+)$", text, re.MULTILINE)
    if switches:
        found["context_switches"] = int(switches.group(1))
    return found


def parse_process_stat(text: bytes) -> dict[str, int]:
    """Page faults of all threads from ``/proc/PID/stat``: fields 10 and 12 (proc(5))."""
    # The name of the program may hold spaces and parentheses, so count from the last one.
    _, parenthesis, rest = text.rpartition(b")")
    numbers = rest.split()
    if not parenthesis or len(numbers) < 10 or not (numbers[7] + numbers[9]).isdigit():
        return {}
    return {"minor_faults": int(numbers[7]), "major_faults": int(numbers[9])}


def parse_schedstat(text: bytes) -> dict[str, int]:
    """A main thread's waiting time and time slices: fields 2 and 3 of ``/proc/PID/schedstat``."""
    numbers = text.split()
    if len(numbers) != 3 or not all(n.isdigit() for n in numbers):
        return {}
    return {"own_wait_ns": int(numbers[1]), "own_timeslices": int(numbers[2])}


def parse_vmstat(text: bytes) -> dict[str, int]:
    """Pages swapped in and out from ``/proc/vmstat``."""
    names = {b"pswpin": "swapped_in_pages", b"pswpout": "swapped_out_pages"}
    found = re.findall(rb"^(pswpin|pswpout) ([0-9]+)$", text, re.MULTILINE)
    return {names[name]: int(number) for name, number in found}


def parse_cgroup_stat(text: bytes) -> dict[str, int]:
    """Time stopped by the quota from a cgroup's ``cpu.stat``: v2 counts us, v1 ns."""
    found = re.search(rb"^throttled_(usec|time) ([0-9]+)$", text, re.MULTILINE)
    if not found:
        return {}
    return {"throttled_ns": int(found.group(2)) * (1000 if found.group(1) == b"usec" else 1)}


def parse_number(text: bytes, name: str) -> dict[str, int]:
    """A file that holds one number."""
    return {name: int(text)} if text.strip().isdigit() else {}


# --- reading -------------------------------------------------------------------------------


def process_cpu_ns(pid: int) -> int | None:
    """CPU time of all threads of a process, in ns; None where it is gone or can't be asked."""
    if not hasattr(time, "clock_gettime_ns"):
        return None
    try:
        # glibc's clock_getcpuclockid: the process's bits inverted, CPUCLOCK_SCHED = 2.
        return time.clock_gettime_ns(~pid << 3 | 2)
    except OSError:
        return None


def thread_names(pid: int) -> list[str]:
    """The ids of a process's threads; none where the system doesn't list them."""
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def jiffy_nanoseconds() -> int:
    """The unit of ``/proc/stat``: USER_HZ, 100 a second wherever Linux runs today."""
    try:
        return 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    except (AttributeError, ValueError, OSError):
        return 10_000_000


def _nobody_tells(pid: int) -> int | None:
    """What `Watcher.ended` is where nobody takes leave of our processes."""
    return None


@dataclass
class Watcher:
    """Reads counters at `start` and `stop`; the difference is what happened between.

    ``own`` are the processes that take part (the one that measures, the harness), but for those
    that have ended when a window begins; others' CPU time is what they didn't use. Of one that ends
    in a window ``ended`` tells the CPU time; its waits and faults are lost, and those of the others
    are counted without it. ``cpus`` are those measured on. With ``every_thread`` the thread that
    waited longest for a CPU counts, for an inference ends with its last thread. Use it as a context
    manager, or close it. The reading functions can be replaced, so that a test feeds it any
    machine.
    """

    own: Sequence[int]
    cpus: Sequence[int] = ()
    whole_machine: bool = False
    every_thread: bool = False
    cgroup_stat: str | None = None
    #: the CPU time that a process of ours had used when it ended, in ns; None where nobody knows
    ended: Callable[[int], int | None] = _nobody_tells
    files: OpenFiles = field(default_factory=OpenFiles)
    read: Read | None = None
    tasks: Callable[[int], Sequence[str]] = thread_names
    cpu_ns: Callable[[int], int | None] = process_cpu_ns
    clock_ns: Callable[[], int] = time.perf_counter_ns
    jiffy_ns: int = field(default_factory=jiffy_nanoseconds)
    cpu_count: int = field(default_factory=lambda: os.cpu_count() or 1)
    _before: dict[str, int] | None = field(default=None, init=False)
    _mine: dict[int, dict[str, int]] = field(default_factory=dict, init=False)
    _began_ns: int = field(default=0, init=False)
    _threads: tuple[str, ...] = field(default=(), init=False)
    _waits: dict[str, int] = field(default_factory=dict, init=False)

    def start(self) -> None:
        """Begin a window. Starting again forgets the window that was open."""
        self.files.refused = False
        told = {pid: self._process(pid) for pid in self.own}
        # One that has ended already takes part in nothing that is counted from now on.
        self._mine = {pid: found for pid, found in told.items() if found}
        self._before = self._counters()
        self._waits = self._thread_waits()
        self._began_ns = self.clock_ns()

    def stop(self) -> Disturbance:
        """End the window. Raises `RuntimeError` where none was begun."""
        ended_ns = self.clock_ns()
        if self._before is None:
            raise RuntimeError("the watcher was stopped before it was started")
        now = {pid: self._process(pid) for pid in self._mine}
        grown = _grown(self._before, self._counters()) | self._grown_of_mine(now)
        waits = self._thread_waits()
        self._before = None
        if both := waits.keys() & self._waits.keys():
            grown["own_wait_ns"] = max(waits[path] - self._waits[path] for path in both)
        frequency, highest = self._frequencies() if self.whole_machine else (None, None)
        knew = bool(self._mine) and all("own_cpu_ns" in told for told in self._mine.values())
        return Disturbance(
            duration_ns=max(1, ended_ns - self._began_ns),
            jiffy_error_ns=float(self.jiffy_ns * self.cpu_count),
            frequency_hz=frequency,
            max_frequency_hz=highest,
            unseen=self._unseen(others=knew and "busy_ns" in grown and "own_cpu_ns" not in grown),
            **grown,
        )

    def _grown_of_mine(self, now: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
        """What our processes used in this window: all that is counted of those that are still
        there, and the CPU time of the others."""
        grown = _total([_grown(self._mine[pid], found) for pid, found in now.items() if found])
        used_ns = [grown.pop("own_cpu_ns", None)]
        used_ns += [self._until_its_end(pid) for pid, found in now.items() if not found]
        known_ns = [each for each in used_ns if each is not None]
        if len(known_ns) == len(used_ns):
            grown["own_cpu_ns"] = sum(known_ns)
        return grown

    def _until_its_end(self, pid: int) -> int | None:
        """What a process used of this window, in which it ended."""
        at_its_end = self.ended(pid)
        told = {} if at_its_end is None else {"own_cpu_ns": at_its_end}
        return _grown(self._mine[pid], told).get("own_cpu_ns")

    def _unseen(self, *, others: bool) -> tuple[str, ...]:
        """Why this window doesn't tell what others like it do; ``others``: a process of ours ended
        in it, and what it used can't be told from what others did."""
        if self.files.refused:
            return (NO_FILES,)
        return (ENDED,) if others else ()

    def close(self) -> None:
        """Close the kernel's files, and a window that is open."""
        self._before = None
        self.files.close()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _text(self, path: str) -> bytes:
        return (self.read or self.files.read)(path) or b""

    def _counters(self) -> dict[str, int]:
        """Those that are of no single process."""
        found: dict[str, int] = {}
        if self.cgroup_stat is not None:
            found.update(parse_cgroup_stat(self._text(self.cgroup_stat)))
        if self.whole_machine:
            found.update(parse_stat(self._text("/proc/stat"), self.jiffy_ns))
            found.update(parse_vmstat(self._text("/proc/vmstat")))
            found.update(_total([self._thermal(cpu) for cpu in self.cpus]))
        return found

    def _thread_waits(self) -> dict[str, int]:
        """How long each thread of ours has waited for a CPU, by its file; those of the first look,
        which comes after the warm-up: runtimes have made theirs by then."""
        if not self.every_thread:
            return {}
        if not self._threads:
            self._threads = tuple(
                f"/proc/{pid}/task/{task}/schedstat" for pid in self.own for task in self.tasks(pid)
            )
        told = ((path, parse_schedstat(self._text(path))) for path in self._threads)
        return {path: found["own_wait_ns"] for path, found in told if found}

    def _process(self, pid: int) -> dict[str, int]:
        found = parse_process_stat(self._text(f"/proc/{pid}/stat"))
        found.update(parse_schedstat(self._text(f"/proc/{pid}/schedstat")))
        used = self.cpu_ns(pid)
        if used is not None:
            found["own_cpu_ns"] = used
        return found

    def _thermal(self, cpu: int) -> dict[str, int]:
        path = f"{CPUS}/cpu{cpu}/thermal_throttle/core_throttle_count"
        return self._number(path, "thermal_throttles")

    def _number(self, path: str, name: str) -> dict[str, int]:
        return parse_number(self._text(path), name)

    def _frequencies(self) -> tuple[float | None, float | None]:
        """The lowest current and the lowest maximal frequency over the watched CPUs, in Hz."""
        now, highest = (
            [self._number(f"{CPUS}/cpu{cpu}/cpufreq/{name}", "kHz") for cpu in self.cpus]
            for name in ("scaling_cur_freq", "cpuinfo_max_freq")
        )
        return _lowest_hz(now), _lowest_hz(highest)


def block_watcher(own: Sequence[int]) -> Watcher:
    """A watcher for around each block: the processes ``own``, their threads, and the cgroup's
    throttling."""
    return Watcher(own, every_thread=True, cgroup_stat=cgroup_stat_path())


def round_watcher(
    own: Sequence[int],
    cpus: Sequence[int],
    ended: Callable[[int], int | None] = _nobody_tells,
) -> Watcher:
    """A watcher for around a round or a generation: everything, and the frequency of ``cpus``;
    ``ended`` as for `Watcher`."""
    return Watcher(own, cpus, whole_machine=True, cgroup_stat=cgroup_stat_path(), ended=ended)


def cgroup_stat_path(read: Read | None = None) -> str | None:
    """Where this process's cgroup counts its throttling; None where there is no such file."""
    take = read or _read_once
    groups = (take("/proc/self/cgroup") or b"").decode(errors="replace")
    readable = (path for path in _cpu_stats(groups) if parse_cgroup_stat(take(path) or b""))
    return next(readable, None)


def _cpu_stats(groups: str) -> Iterator[str]:
    """Where the lines of ``/proc/self/cgroup`` say that ``cpu.stat`` may be: below the mount, or at
    its root, as containers see it."""
    mounts = {"": "/sys/fs/cgroup", "cpu": "/sys/fs/cgroup/cpu"}
    for line in groups.splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        mount = mounts.get("cpu" if "cpu" in controllers.split(",") else controllers)
        if mount:
            yield f"{mount}{path.rstrip('/')}/cpu.stat"
            yield f"{mount}/cpu.stat"


def _grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """By how much each counter that both have rose: one that fell was reset, and is unknown."""
    return {
        name: after[name] - before[name]
        for name in before
        if name in after and after[name] >= before[name]
    }


def _total(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Sums by name over what *all* parts have: a sum that lacks a part would be too low."""
    if not parts:
        return {}
    shared = set(parts[0]).intersection(*parts[1:])
    return {name: sum(part[name] for part in parts) for name in shared}


def _lowest_hz(parts: Sequence[Mapping[str, int]]) -> float | None:
    return min((part["kHz"] * 1e3 for part in parts if part), default=None)


def _both(
    a: float | None, b: float | None, combine: Callable[[float, float], float]
) -> float | None:
    return None if a is None or b is None else combine(a, b)


def _read_once(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(LARGEST_READ)
    except OSError:
        return None
