"""Machine facts: read where they are, None where they are not; and which cores to measure on."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine import accelerators, cores, linux
from bench.machine import facts as facts_module
from bench.machine.accelerators import kinds
from bench.machine.cores import choose_cores
from bench.machine.facts import MachineFacts, machine_facts
from bench.machine.gpus import Gpu, list_gpus, parse_gpus
from bench.machine.linux import cpu_quota
from bench.machine.noise import noise_warnings

CPUINFO = """\
processor	: 0
model name	: Some CPU @ 3.00GHz
cpu MHz		: 2600.5
flags		: fpu avx2 {flags}
"""


def lay_out(root: Path, files: dict[str, object]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n")
    return root


def topology(groups: list[list[int]], **more: dict[int, object]) -> dict[str, object]:
    """The files of a machine whose physical cores have these logical CPUs."""
    cpus = sorted(cpu for group in groups for cpu in group)
    files: dict[str, object] = {f"{linux.CPUS}/online": ",".join(map(str, cpus))}
    for group in groups:
        siblings = ",".join(map(str, group))
        files |= {f"{linux.CPUS}/cpu{c}/topology/thread_siblings_list": siblings for c in group}
    for path, values in more.items():
        real = path.replace("__", "/")
        files |= {f"{linux.CPUS}/cpu{cpu}/{real}": value for cpu, value in values.items()}
    return files


@pytest.fixture
def allow(monkeypatch):
    """Pretend that the process may use these CPUs."""

    def allow(cpus):
        for module in (cores, facts_module):
            monkeypatch.setattr(module, "allowed_cpus", lambda: tuple(cpus))

    return allow


# --- choosing cores --------------------------------------------------------------------------


def test_the_highest_cores_measure_and_the_lowest_is_left_to_the_harness(tmp_path, allow):
    allow(range(4))
    root = lay_out(tmp_path, topology([[0], [1], [2], [3]]))
    assert choose_cores(1, root) == [3]
    assert choose_cores(3, root) == [1, 2, 3]
    assert choose_cores(4, root) == [0, 1, 2, 3]


def test_two_hardware_threads_of_a_core_are_never_both_taken(tmp_path, allow):
    allow(range(8))
    root = lay_out(tmp_path, topology([[0, 4], [1, 5], [2, 6], [3, 7]]))
    assert choose_cores(2, root) == [2, 3]
    assert choose_cores(99, root) == [0, 1, 2, 3]


def test_only_cores_in_the_affinity_mask_are_chosen(tmp_path, allow):
    allow([1, 4, 5])
    root = lay_out(tmp_path, topology([[0, 4], [1, 5], [2, 6], [3, 7]]))
    assert choose_cores(8, root) == [1, 4]


def test_efficiency_cores_come_last(tmp_path, allow):
    allow(range(6))
    files = topology([[0, 1], [2, 3], [4], [5]]) | {"sys/devices/cpu_atom/cpus": "4-5"}
    root = lay_out(tmp_path, files)
    assert choose_cores(1, root) == [2]
    assert choose_cores(3, root) == [0, 2, 5]


def test_little_cores_come_last(tmp_path, allow):
    allow(range(4))
    files = topology([[0], [1], [2], [3]], cpu_capacity={0: 1024, 1: 1024, 2: 400, 3: 400})
    assert choose_cores(2, lay_out(tmp_path, files)) == [0, 1]


def test_threads_stay_on_one_socket_while_they_fit(tmp_path, allow):
    allow(range(4))
    packages = {0: 0, 1: 1, 2: 0, 3: 1}
    files = topology([[0], [1], [2], [3]], topology__physical_package_id=packages)
    assert choose_cores(2, lay_out(tmp_path, files)) == [1, 3]


def test_without_a_topology_every_second_thread_of_a_hyperthreaded_cpu_is_taken(
    tmp_path, allow, monkeypatch
):
    allow(range(8))
    monkeypatch.setattr(cores, "psutil_count", lambda *, logical: 8 if logical else 4)
    assert choose_cores(2, tmp_path) == [4, 6]
    monkeypatch.setattr(cores, "psutil_count", lambda *, logical: None)
    assert choose_cores(2, tmp_path) == [6, 7]


def test_cores_of_this_machine_can_be_pinned_to():
    chosen = choose_cores(1000)
    assert chosen
    if hasattr(os, "sched_getaffinity"):
        assert set(chosen) <= os.sched_getaffinity(0)


def test_no_threads_need_no_cores_and_are_a_mistake():
    with pytest.raises(ValueError, match="at least 1"):
        choose_cores(0)


# --- facts -----------------------------------------------------------------------------------


def test_an_empty_machine_yields_none_and_never_a_guess(tmp_path):
    facts = machine_facts(root=tmp_path)
    unknown = (
        "cpu_model smt_siblings cpu_quota memory_limit_bytes governor frequency_hz "
        "max_frequency_hz caches memory_total_bytes memory_available_bytes swap_used_bytes "
        "transparent_huge_pages huge_pages clock_source virtualisation container"
    )
    assert {name: getattr(facts, name) for name in unknown.split()} == dict.fromkeys(
        unknown.split()
    )


def full_machine(root: Path) -> Path:
    cache = f"{linux.CPUS}/cpu0/cache/index0"
    return lay_out(
        root,
        topology(
            [[0, 2], [1, 3]],
            cpufreq__scaling_governor={0: "powersave", 1: "performance", 2: "powersave"},
            cpufreq__scaling_cur_freq={0: 1_200_000, 1: 3_000_000},
            cpufreq__cpuinfo_max_freq={0: 4_000_000},
        )
        | {
            "proc/cpuinfo": CPUINFO.format(flags="hypervisor"),
            "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 600 kB\nHugePages_Total:  4\n"
            "SwapTotal: 50 kB\nSwapFree: 20 kB",
            f"{cache}/level": 1,
            f"{cache}/type": "Data",
            f"{cache}/size": "48K",
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
            "sys/class/dmi/id/sys_vendor": "QEMU",
            "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
            "run/.containerenv": "",
        },
    )


def test_the_files_of_linux_are_read(tmp_path):
    facts = machine_facts(["numpy", "no-such-package"], "abc123", full_machine(tmp_path))
    assert facts.cpu_model == "Some CPU @ 3.00GHz"
    assert (facts.physical_cores, facts.logical_cores) == (2, 4)
    assert facts.smt_siblings == ((0, 2), (1, 3))
    assert facts.governor == "performance, powersave"
    assert (facts.frequency_hz, facts.max_frequency_hz) == (3e9, 4e9)
    assert facts.caches == (facts_module.Cache(1, "Data", 48 * 1024),)
    assert facts.memory_total_bytes == 1000 * 1024
    assert facts.swap_used_bytes == 30 * 1024
    assert facts.huge_pages == 4
    assert facts.transparent_huge_pages == "madvise"
    assert facts.virtualisation == "QEMU"
    assert facts.container == "podman"
    assert facts.packages["numpy"]
    assert facts.packages["no-such-package"] is None
    assert facts.git_commit == "abc123"


def test_an_x86_cpu_without_the_flag_is_no_virtual_machine(tmp_path):
    root = lay_out(tmp_path, {"proc/cpuinfo": CPUINFO.format(flags="")})
    assert machine_facts(root=root).virtualisation == "none"
    assert machine_facts(root=root).frequency_hz == 2600.5e6


def test_facts_survive_json(tmp_path):
    facts = machine_facts(["numpy"], "abc", full_machine(tmp_path))
    facts = replace(facts, gpus=(Gpu("A GPU", "550.1", 2**34),))
    written = json.dumps(facts.as_json())
    assert MachineFacts.from_json(json.loads(written)) == facts
    assert json.loads(written)["machine_id"] == facts.machine_id


def test_the_host_is_told_apart_but_not_named():
    facts = machine_facts()
    assert os.uname().nodename not in json.dumps(facts.as_json())


def test_what_changes_from_minute_to_minute_leaves_the_machine_the_same(tmp_path):
    facts = machine_facts(root=full_machine(tmp_path))
    later = replace(
        facts, load_average=(9.0, 9.0, 9.0), frequency_hz=1e9, memory_available_bytes=1, python="x"
    )
    assert later.machine_id == facts.machine_id


@pytest.mark.parametrize(
    "change",
    [
        {"cpu_model": "Another CPU"},
        {"governor": "performance"},
        {"cpu_quota": 1.5},
        {"affinity": (0,)},
        {"memory_total_bytes": 64 * 2**30},
        {"gpus": (Gpu("A GPU", "550.1", None),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_latencies_makes_another_machine(tmp_path, change):
    facts = machine_facts(root=full_machine(tmp_path))
    other = replace(facts, **change)
    assert other.machine_id != facts.machine_id
    differing = [k for k, v in facts.comparable.items() if other.comparable[k] != v]
    assert len(differing) == 1


# --- limits of the cgroup --------------------------------------------------------------------


def test_a_quota_of_cgroup_v2_is_the_least_over_the_ancestors(tmp_path):
    root = lay_out(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/box",
            "sys/fs/cgroup/pod/box/cpu.max": "max 100000",
            "sys/fs/cgroup/pod/cpu.max": "150000 100000",
            "sys/fs/cgroup/pod/box/memory.max": "1048576",
            "sys/fs/cgroup/pod/memory.max": "max",
        },
    )
    assert cpu_quota(root) == 1.5
    assert machine_facts(root=root).memory_limit_bytes == 2**20


def test_a_quota_of_cgroup_v1_whose_path_is_the_hosts_is_read_at_the_mount(tmp_path):
    root = lay_out(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/host/path\n3:cpu,cpuacct:/host/path\n0::/",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    assert cpu_quota(root) == 2.0
    assert machine_facts(root=root).memory_limit_bytes is None


def test_a_negative_quota_is_no_limit(tmp_path):
    root = lay_out(
        tmp_path,
        {
            "proc/self/cgroup": "1:cpu:/",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert cpu_quota(root) is None


# --- warnings --------------------------------------------------------------------------------


@pytest.fixture
def quiet(tmp_path) -> MachineFacts:
    return replace(
        machine_facts(root=full_machine(tmp_path)),
        physical_cores=16,
        logical_cores=16,
        governor="performance",
        load_average=(0.1, 0.1, 0.1),
        swap_used_bytes=0,
        virtualisation="none",
    )


def test_a_quiet_machine_has_no_warnings(quiet):
    assert noise_warnings(quiet) == []


@pytest.mark.parametrize(
    ("change", "cause", "remedy"),
    [
        ({"governor": "powersave"}, "governor is powersave", "cpupower"),
        ({"load_average": (5.0, 1.0, 1.0)}, "is 5.0 on 16 logical cores", "Stop them"),
        ({"physical_cores": 2}, "only 2 physical cores", "more cores"),
        ({"physical_cores": 1}, "1 physical core,", "more cores"),
        ({"cpu_quota": 1.5}, "allows 1.5 CPUs", "fewer threads"),
        ({"swap_used_bytes": 2**25}, "32 MiB of memory are swapped out", "swapoff"),
        ({"virtualisation": "QEMU"}, "virtual machine (QEMU)", "bare metal"),
        ({"clock_source": "hpet"}, "clock source is hpet", "tsc"),
    ],
)
def test_each_warning_is_a_cause_and_a_next_step(quiet, change, cause, remedy):
    (warning,) = noise_warnings(replace(quiet, **change))
    assert cause in warning
    assert remedy in warning


def test_unknown_facts_warn_of_nothing(quiet):
    warned_of = (
        "governor",
        "load_average",
        "physical_cores",
        "cpu_quota",
        "swap_used_bytes",
        "virtualisation",
        "clock_source",
    )
    unknown = dict.fromkeys(warned_of)
    assert noise_warnings(replace(quiet, **unknown)) == []


# --- parsers ---------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 2000), min_size=1, max_size=50))
def test_cpu_lists_are_read_back(cpus):
    assert linux.parse_cpu_list(",".join(map(str, sorted(cpus)))) == tuple(sorted(cpus))
    low, high = min(cpus), max(cpus)
    assert linux.parse_cpu_list(f"{low}-{high}\n") == tuple(range(low, high + 1))


@given(st.text())
def test_no_text_breaks_the_parsers(text):
    facts_module.parse_meminfo(text)
    parse_gpus(text)


@given(st.binary(max_size=200))
def test_garbage_in_the_files_is_an_unknown_fact(tmp_path_factory, garbage):
    root = tmp_path_factory.mktemp("machine")
    for path in (
        "proc/cpuinfo",
        "proc/meminfo",
        "proc/self/cgroup",
        f"{linux.CPUS}/online",
        "sys/fs/cgroup/cpu.max",
        "sys/kernel/mm/transparent_hugepage/enabled",
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(garbage)
    json.dumps(machine_facts(root=root).as_json())


def test_gpus_are_read_from_csv():
    text = "NVIDIA H100 80GB HBM3, 550.54.15, 81559\nSome GPU, 1.0, [N/A]\nNo devices were found\n"
    assert parse_gpus(text) == (
        Gpu("NVIDIA H100 80GB HBM3", "550.54.15", 81559 * 2**20),
        Gpu("Some GPU", "1.0", None),
    )


def test_every_vendors_tool_is_asked_and_a_broken_one_costs_only_its_own_cards(monkeypatch):
    known = next(kind for kind in kinds() if kind.cards)
    tools = {("one", "list"): "A GPU, 550.1, 1024\n", ("broken",): None, ("two",): "B, 1.0, 2\n"}
    several = [known.model_copy(update={"cards": command}) for command in (*tools, ())]
    monkeypatch.setattr(accelerators, "kinds", lambda: several)

    def run(command):
        if tools[command] is None:
            raise FileNotFoundError(command[0])
        return tools[command]

    assert list_gpus(run) == (Gpu("A GPU", "550.1", 2**30), Gpu("B", "1.0", 2**21))


def test_without_any_vendors_tool_the_gpus_are_unknown_and_not_none():
    def absent(command):
        raise FileNotFoundError(command[0])

    assert list_gpus(absent) is None
