"""What about a machine makes its figures noisy, in sentences for whoever measures."""

from __future__ import annotations

from bench.machine.facts import MachineFacts

# Below this share of the logical cores a load is the harness's own start-up; a choice of ours.
HIGH_LOAD_SHARE = 0.25
#: clock sources that are read without entering the kernel (Linux, Documentation/timers)
FAST_CLOCKS = (
    "tsc",
    "arch_sys_counter",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "riscv_clocksource",
)


def noise_warnings(facts: MachineFacts) -> list[str]:
    """What on this machine will blur latencies: each a cause and what to do about it."""
    candidates = (
        _governor_warning(facts),
        _load_warning(facts),
        _few_cores_warning(facts),
        _quota_warning(facts),
        _swap_warning(facts),
        _virtual_warning(facts),
        _clock_warning(facts),
    )
    return [warning for warning in candidates if warning]


def _governor_warning(facts: MachineFacts) -> str:
    if facts.governor in (None, "performance"):
        return ""
    return (
        f"The CPU frequency governor is {facts.governor}, so the clock varies with the load. Set "
        "it to performance: sudo cpupower frequency-set -g performance."
    )


def _load_warning(facts: MachineFacts) -> str:
    if facts.load_average is None or not facts.logical_cores:
        return ""
    load = facts.load_average[0]
    if load <= HIGH_LOAD_SHARE * facts.logical_cores:
        return ""
    return (
        f"The load of the last minute is {load:.1f} on {facts.logical_cores} logical cores, so "
        "other programs compete for them. Stop them, or rely on ratios rather than latencies."
    )


def _few_cores_warning(facts: MachineFacts) -> str:
    cores = facts.physical_cores
    if cores is None or cores > 2:
        return ""
    has = "has 1 physical core" if cores == 1 else f"has only {cores} physical cores"
    return (
        f"This machine {has}, so other programs share a core or its caches with the measurement. "
        "Use a machine with more cores, or close other programs."
    )


def _quota_warning(facts: MachineFacts) -> str:
    if facts.cpu_quota is None:
        return ""
    return (
        f"The cgroup allows {facts.cpu_quota:g} CPUs and stops the process for the rest of each "
        "period when they are used up. Use fewer threads than that, or raise the limit."
    )


def _swap_warning(facts: MachineFacts) -> str:
    if not facts.swap_used_bytes:
        return ""
    return (
        f"{facts.swap_used_bytes / 2**20:.0f} MiB of memory are swapped out, and reading a page "
        "back takes milliseconds. Free memory, or turn swap off while measuring: sudo swapoff -a."
    )


def _virtual_warning(facts: MachineFacts) -> str:
    if facts.virtualisation in (None, "none"):
        return ""
    return (
        f"This is a virtual machine ({facts.virtualisation}), and its neighbours on the host can "
        "slow it unnoticed. Rely on ratios rather than latencies, or measure on bare metal."
    )


def _clock_warning(facts: MachineFacts) -> str:
    if facts.clock_source is None or facts.clock_source in FAST_CLOCKS:
        return ""
    return (
        f"The clock source is {facts.clock_source}, and each reading enters the kernel and costs "
        "microseconds. Boot with tsc as the clock source, or time longer calls."
    )
