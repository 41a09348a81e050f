"""What disturbs a measurement: counters of a made-up kernel, and what they let one say."""

import errno
import mmap
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine import disturbance as watch
from bench.machine.disturbance import (
    ENDED,
    NO_FILES,
    Disturbance,
    Thresholds,
    Watcher,
    block_watcher,
    cgroup_stat_path,
    round_watcher,
)

MS = 1_000_000
PID = 42


class Kernel:
    """A made-up /proc of two CPUs, whose counters a test moves."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.cpu_ns = 0
        self.user = self.idle = self.steal = 100  # jiffies
        self.switches = self.minor = self.major = self.swap_in = 0
        self.wait_ns = self.throttled_us = self.thermal = 0
        self.kilohertz = 3_000_000
        self.absent: set[str] = set()

    def read(self, path: str) -> bytes | None:
        if path in self.absent:
            return None
        texts = {
            "/proc/stat": f"cpu  {self.user} 0 0 {self.idle} 0 0 0 {self.steal} 0 0\n"
            f"cpu0 1 2 3 4 5 6 7 8 9 10\nintr 1 2 3\nctxt {self.switches}\nbtime 1\n",
            "/proc/vmstat": f"nr_free 5\npswpin {self.swap_in}\npswpout 7\n",
            f"/proc/{PID}/stat": f"{PID} (a (odd) name) R 1 1 1 0 -1 0 {self.minor} 9 "
            f"{self.major} 9 5 5 0 0\n",
            f"/proc/{PID}/schedstat": f"123 {self.wait_ns} 7\n",
            "/cgroup/cpu.stat": f"nr_throttled 1\nthrottled_usec {self.throttled_us}\n",
            f"{watch.CPUS}/cpu1/thermal_throttle/core_throttle_count": f"{self.thermal}\n",
            f"{watch.CPUS}/cpu1/cpufreq/scaling_cur_freq": f"{self.kilohertz}\n",
            f"{watch.CPUS}/cpu1/cpufreq/cpuinfo_max_freq": "4000000\n",
        }
        return texts[path].encode() if path in texts else None

    def watcher(self) -> Watcher:
        return Watcher(
            [PID],
            [1],
            whole_machine=True,
            cgroup_stat="/cgroup/cpu.stat",
            read=self.read,
            cpu_ns=lambda pid: self.cpu_ns,
            clock_ns=lambda: self.now_ns,
            jiffy_ns=10 * MS,
            cpu_count=2,
        )

    def run(self, wall_ms: int, own_ms: int = 0, other_ms: int = 0, stolen_ms: int = 0) -> None:
        self.now_ns += wall_ms * MS
        self.cpu_ns += own_ms * MS
        self.user += (own_ms + other_ms) // 10
        self.steal += stolen_ms // 10


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def test_a_quiet_second_is_not_disturbed(kernel):
    watcher = kernel.watcher()
    watcher.start()
    kernel.run(1000, own_ms=1000)
    kernel.minor += 50
    kernel.switches += 20
    seen = watcher.stop()
    assert seen.disturbed() == []
    assert (seen.duration_ns, seen.busy_ns, seen.own_cpu_ns) == (1000 * MS, 1000 * MS, 1000 * MS)
    assert (seen.minor_faults, seen.context_switches, seen.other_cpu_ns) == (50, 20, 0)
    assert (seen.frequency_hz, seen.max_frequency_hz) == (3e9, 4e9)


def test_each_disturbance_is_named(kernel):
    watcher = kernel.watcher()
    watcher.start()
    kernel.run(1000, own_ms=500, other_ms=300, stolen_ms=100)
    kernel.wait_ns += 50 * MS
    kernel.major += 3
    kernel.swap_in += 4
    kernel.throttled_us += 5
    kernel.thermal += 6
    kernel.kilohertz = 2_000_000
    assert watcher.stop().disturbed() == [
        "the hypervisor took 10% of a CPU",
        "other processes used 30% of a CPU",
        "our threads waited for 5% of a CPU",
        "3 major page faults",
        "4 pages swapped in",
        "5000 ns stopped by the CPU quota",
        "6 thermal throttles",
        "the CPU ran at 50% of its highest frequency",
    ]


def test_one_jiffy_in_a_block_of_ten_milliseconds_says_nothing(kernel):
    watcher = kernel.watcher()
    watcher.start()
    kernel.run(10, own_ms=0, other_ms=10, stolen_ms=10)
    seen = watcher.stop()
    assert seen.other_cpu_ns == seen.steal_ns == 10 * MS
    assert seen.disturbed() == []


def test_waiting_for_a_cpu_shows_in_a_block_of_any_length(kernel):
    watcher = kernel.watcher()
    watcher.start()
    kernel.run(10, own_ms=10)
    kernel.wait_ns += 1 * MS
    assert watcher.stop().disturbed() == ["our threads waited for 10% of a CPU"]


@pytest.mark.parametrize(
    ("within", "beyond", "reason"),
    [
        # Of 10 s; what two CPUs count in jiffies of 10 ms may be off by 20 ms.
        ({"stolen_ms": 220}, {"stolen_ms": 230}, "the hypervisor took 2% of a CPU"),
        ({"other_ms": 1020}, {"other_ms": 1030}, "other processes used 10% of a CPU"),
        ({"wait_ms": 200}, {"wait_ms": 201}, "our threads waited for 2% of a CPU"),
        ({"kilohertz": 3e6}, {"kilohertz": 2.99e6}, "the CPU ran at 75% of its highest frequency"),
    ],
)
def test_a_share_beyond_its_threshold_disturbs_and_no_smaller_one(
    within: dict, beyond: dict, reason: str
) -> None:
    def reasons(wait_ms: int = 0, kilohertz: float = 4e6, **ran: int) -> list[str]:
        kernel = Kernel()
        watcher = kernel.watcher()
        watcher.start()
        kernel.run(10_000, **ran)
        kernel.wait_ns += wait_ms * MS
        kernel.kilohertz = int(kilohertz)
        return watcher.stop().disturbed()

    assert reasons(**within) == []
    assert reasons(**beyond) == [reason]


def window(busy_ms: float = 0.0, **more) -> Disturbance:
    return Disturbance(10 * MS, 20.0 * MS, 0, int(busy_ms * MS), 0, **more)


def test_the_error_of_many_blocks_grows_slower_than_their_time():
    few, many = window(5), window(5)
    for _ in range(3):
        few += window(5)
    for _ in range(399):
        many += window(5)
    assert few.disturbed() == []  # 50% of a CPU, but 4 blocks may be off by 100%
    assert many.disturbed() == ["other processes used 50% of a CPU"]
    assert many.jiffy_error_ns == pytest.approx(20 * 20 * MS)


def test_a_fact_that_one_window_lacks_the_sum_lacks():
    total = window(major_faults=1) + window()
    assert total.major_faults is None
    assert (window(major_faults=1) + window(major_faults=2)).major_faults == 3
    assert (window(frequency_hz=3e9) + window(frequency_hz=2e9)).frequency_hz == 2e9


def test_thresholds_can_be_chosen(kernel):
    watcher = kernel.watcher()
    watcher.start()
    kernel.run(1000, own_ms=500, other_ms=300)
    kernel.major += 3
    loose = Thresholds(other_cpu_share=0.5, major_faults=3)
    assert watcher.stop().disturbed(loose) == []


def test_a_process_that_is_gone_leaves_its_counters_unknown(kernel):
    watcher = kernel.watcher()
    watcher.own = [PID, 77]
    watcher.start()
    kernel.run(1000, own_ms=500)
    seen = watcher.stop()
    assert seen.major_faults is None
    assert seen.own_wait_ns is None
    assert seen.busy_ns == 500 * MS


class Two(Kernel):
    """With a second process of ours, which takes no time, until it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False
        self.other_stat: str | None = None

    def read(self, path: str) -> bytes | None:
        if path == "/proc/77/stat" and self.other_stat is not None:
            return self.other_stat.encode()
        return super().read(path)

    def watcher(self) -> Watcher:
        watcher = super().watcher()
        watcher.own = [PID, 77]
        watcher.cpu_ns = lambda pid: self.cpu_ns if pid == PID else None if self.ended else 0
        return watcher


def test_a_process_of_ours_that_ended_before_a_window_hides_nobody_in_it():
    kernel = Two()
    watcher = kernel.watcher()
    for ended in (False, True):
        kernel.ended = ended
        watcher.start()
        kernel.run(1000, own_ms=500, other_ms=300)
        assert watcher.stop().disturbed() == ["other processes used 30% of a CPU"]


def test_where_a_process_of_ours_ends_in_a_window_it_says_that_others_are_unknown():
    kernel = Two()
    watcher = kernel.watcher()
    watcher.start()
    kernel.run(1000, own_ms=500, other_ms=300)
    kernel.ended = True
    seen = watcher.stop()
    assert seen.other_cpu_ns is None
    assert seen.disturbed() == [ENDED]
    block = kernel.watcher()
    block.whole_machine = kernel.ended = False
    block.start()
    kernel.ended = True
    assert block.stop().disturbed() == [], "what others use shows in no block"


def test_others_are_known_where_it_is_told_what_a_process_of_ours_used_that_ended():
    """However it ended. Its waits and faults are lost, and not those of the others."""
    kernel = Two()
    watcher = kernel.watcher()
    watcher.cpu_ns = lambda pid: kernel.cpu_ns if pid == PID else None if kernel.ended else 20 * MS
    asked = []
    watcher.ended = lambda pid: asked.append(pid) or 120 * MS
    kernel.other_stat = f"77 (b) R 1 1 1 0 -1 0 4 9 {2 + kernel.major} 9 5 5 0 0\n"
    watcher.start()
    kernel.run(1000, own_ms=500, other_ms=400)
    kernel.major += 3
    kernel.wait_ns += 50 * MS
    kernel.ended = True
    kernel.other_stat = None
    seen = watcher.stop()
    assert asked == [77]
    assert seen.unseen == ()
    assert seen.other_cpu_ns == 300 * MS
    assert (seen.major_faults, seen.own_wait_ns) == (3, 50 * MS)


@pytest.mark.parametrize("told", [None, 10 * MS])
def test_what_cannot_be_what_a_process_of_ours_used_leaves_others_unknown(told):
    kernel = Two()
    watcher = kernel.watcher()
    watcher.cpu_ns = lambda pid: kernel.cpu_ns if pid == PID else None if kernel.ended else 20 * MS
    watcher.ended = lambda pid: told
    watcher.start()
    kernel.run(1000, own_ms=500, other_ms=400)
    kernel.ended = True
    seen = watcher.stop()
    assert (seen.other_cpu_ns, seen.unseen) == (None, (ENDED,))
    assert seen.disturbed() == [ENDED]


def test_where_another_process_has_the_number_of_ours_others_are_unknown():
    kernel = Two()
    watcher = kernel.watcher()
    watcher.cpu_ns = lambda pid: (
        kernel.cpu_ns if pid == PID else 5 * MS if kernel.ended else 20 * MS
    )
    watcher.start()
    kernel.run(1000, own_ms=500, other_ms=400)
    kernel.ended = True
    assert watcher.stop().unseen == (ENDED,)


def test_a_counter_that_falls_was_reset_and_is_unknown(kernel):
    kernel.switches = 100
    watcher = kernel.watcher()
    watcher.start()
    kernel.switches = 3
    assert watcher.stop().context_switches is None


def test_off_linux_only_the_duration_is_known(kernel):
    watcher = Watcher([PID], [0], True, read=lambda path: None, cpu_ns=lambda pid: None)
    watcher.start()
    seen = watcher.stop()
    assert seen.duration_ns > 0
    assert all(getattr(seen, name) is None for name in watch.COUNTER_FIELDS)
    assert seen.disturbed() == []
    assert seen.other_cpu_ns is None


def test_what_could_not_be_read_for_want_of_files_is_not_undisturbed(kernel, monkeypatch):
    kernel.absent.add(f"/proc/{PID}/schedstat")
    full = True

    def refuse(path, flags):
        assert path == f"/proc/{PID}/schedstat"
        raise OSError(errno.EMFILE if full else errno.ENOENT, "no")

    monkeypatch.setattr(os, "open", refuse)
    watcher = kernel.watcher()
    watcher.read = lambda path: kernel.read(path) or watcher.files.read(path)
    kernel.absent -= {f"/proc/{PID}/schedstat"}
    watcher.start()
    assert watcher.stop().disturbed() == []
    kernel.absent.add(f"/proc/{PID}/schedstat")
    watcher.start()
    seen = watcher.stop()
    assert seen.disturbed() == (seen + seen).disturbed() == [NO_FILES]
    full = False  # from now on the system has no such file
    watcher.start()
    assert watcher.stop().disturbed() == []


def test_stopping_what_was_not_started_is_a_mistake(kernel):
    watcher = kernel.watcher()
    with pytest.raises(RuntimeError, match="before it was started"):
        watcher.stop()
    watcher.start()
    watcher.stop()
    with pytest.raises(RuntimeError, match="before it was started"):
        watcher.stop()


# --- this machine ----------------------------------------------------------------------------

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs Linux's /proc")


@needs_proc
def test_the_page_faults_and_cpu_time_of_this_process_are_seen():
    with block_watcher([os.getpid()]) as watcher:
        watcher.start()
        with mmap.mmap(-1, 8 << 20) as memory:  # fresh pages, which an allocator may not give
            for page in range(0, len(memory), mmap.PAGESIZE):
                memory[page] = 1
        began = time.process_time_ns()
        while time.process_time_ns() - began < 20 * MS:
            pass
        seen = watcher.stop()
    assert seen.own_cpu_ns >= 20 * MS
    assert seen.minor_faults > 0
    assert seen.busy_ns is None  # in a block it would mean nothing


@needs_proc
def test_the_whole_machine_is_seen_over_a_round():
    with round_watcher([os.getpid()], [0]) as watcher:
        watcher.start()
        time.sleep(0.05)
        seen = watcher.stop()
    assert seen.busy_ns is not None
    assert seen.context_switches > 0
    assert seen.duration_ns >= 50 * MS


@needs_proc
def test_others_are_seen_beside_a_process_of_ours_that_has_ended():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with round_watcher([os.getpid(), ended.pid], [0]) as watcher:
        watcher.start()
        seen = watcher.stop()
    assert seen.other_cpu_ns is not None
    assert ENDED not in seen.disturbed()


def test_a_process_that_does_not_exist_has_no_cpu_time():
    assert watch.process_cpu_ns(2**22 + 1) is None


# --- where the cgroup counts, and the parsers ------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {
                "/proc/self/cgroup": b"0::/pod/box\n",
                "/sys/fs/cgroup/pod/box/cpu.stat": b"throttled_usec 5\n",
            },
            "/sys/fs/cgroup/pod/box/cpu.stat",
        ),
        (
            {
                "/proc/self/cgroup": b"3:memory:/x\n2:cpu,cpuacct:/host\n0::/\n",
                "/sys/fs/cgroup/cpu/cpu.stat": b"throttled_time 5\n",
            },
            "/sys/fs/cgroup/cpu/cpu.stat",
        ),
        ({"/proc/self/cgroup": b"0::/\n"}, None),
        ({}, None),
    ],
    ids=["v2", "v1 with the host's path", "no counters", "no cgroups"],
)
def test_the_cgroups_counters_are_found(files, expected):
    assert cgroup_stat_path(files.get) == expected


def test_the_two_kinds_of_cgroup_count_in_different_units():
    assert watch.parse_cgroup_stat(b"throttled_usec 7\n") == {"throttled_ns": 7000}
    assert watch.parse_cgroup_stat(b"throttled_time 7\n") == {"throttled_ns": 7}


@given(st.binary())
def test_no_text_breaks_the_parsers(text):
    for found in (
        watch.parse_stat(text, 10),
        watch.parse_process_stat(text),
        watch.parse_schedstat(text),
        watch.parse_vmstat(text),
        watch.parse_cgroup_stat(text),
        watch.parse_number(text, "n"),
    ):
        assert all(isinstance(value, int) and value >= 0 for value in found.values())


jiffies = st.integers(0, 2**40)


@given(st.lists(jiffies, min_size=8, max_size=10), jiffies)
def test_the_times_of_proc_stat_are_read_back(ticks, switches):
    text = f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 1 1 1\nctxt {switches}\n".encode()
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks[:8]
    assert watch.parse_stat(text, 10) == {
        "busy_ns": 10 * (user + nice + system + irq + softirq),
        "steal_ns": 10 * steal,
        "context_switches": switches,
    }


@given(st.text(st.characters(codec="ascii")), jiffies, jiffies)
def test_a_programs_name_does_not_shift_the_fields_behind_it(name, minor, major):
    text = f"7 ({name}) S 1 1 1 0 -1 4194304 {minor} 0 {major} 0 1 2\n".encode()
    assert watch.parse_process_stat(text) == {"minor_faults": minor, "major_faults": major}


@given(st.integers(1, 10**9), st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_adding_windows_loses_nothing(duration, waits):
    windows = [Disturbance(duration, 1.0, own_wait_ns=wait) for wait in waits]
    total = windows[0]
    for other in windows[1:]:
        total += other
    assert total.own_wait_ns == sum(waits)
    assert total.duration_ns == duration * len(waits)
