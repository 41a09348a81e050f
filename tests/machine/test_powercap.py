"""Which of the counters below /sys/class/powercap are read; folders stand in for the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.machine import powercap
from bench.machine.powercap import find_zones

RANGE_UJ = 262_143_328_850  # of a Xeon


def zone(
    root: Path, folder: str, name: str, energy_uj: int | None, range_uj: int = RANGE_UJ
) -> None:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    if energy_uj is not None:
        (path / "energy_uj").write_text(f"{energy_uj}\n")
        (path / "max_energy_range_uj").write_text(f"{range_uj}\n")


def names(root: Path) -> list[tuple[str, str]]:
    return [(z.scope, z.name) for z in find_zones(root).zones]


def test_packages_are_read_and_their_parts_are_not_added(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl", "intel-rapl", None)
    zone(tmp_path, "intel-rapl:0", "package-0", 10**9)
    zone(tmp_path, "intel-rapl:0:0", "core", 10**8)
    zone(tmp_path, "intel-rapl:0:1", "uncore", 10**7)
    zone(tmp_path, "intel-rapl:0:2", "dram", 10**6)
    zone(tmp_path, "intel-rapl:1", "package-1", 3 * 10**9)
    zone(tmp_path, "intel-rapl:1:2", "dram", 10**6)
    zone(tmp_path, "dtpm:0", "package-9", 1)
    assert names(tmp_path) == [
        ("package", "package-0"),
        ("dram", "package-0 dram"),
        ("package", "package-1"),
        ("dram", "package-1 dram"),
    ]
    found = find_zones(tmp_path)
    assert found.zones[0].read_uj() == 10**9
    assert found.zones[0].wraps_at_uj == RANGE_UJ
    assert (found.trouble, found.left_out) == ("", ())


def test_psys_contains_the_package_and_is_a_scope_of_its_own(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 10**9)
    zone(tmp_path, "intel-rapl:1", "psys", 2 * 10**9)
    assert names(tmp_path) == [("package", "package-0"), ("platform", "psys")]


def test_a_package_that_two_interfaces_show_is_read_once(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 5 * 10**9)
    zone(tmp_path, "intel-rapl:0", "package-0", 10**9)
    found = find_zones(tmp_path)
    assert [z.file.parent.name for z in found.zones] == ["intel-rapl:0"]
    assert found.left_out == (
        "intel-rapl-mmio:0 (package-0) is the same counter as intel-rapl:0 (package-0), which is "
        "read",
    )


def test_dies_that_mirror_one_counter_are_read_once_and_others_are_added(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0-die-0", 68_000_000_000)
    zone(tmp_path, "intel-rapl:1", "package-0-die-1", 68_000_000_900)
    zone(tmp_path, "intel-rapl:2", "package-1-die-0", 68_000_000_950)
    zone(tmp_path, "intel-rapl:3", "package-1-die-1", 92_000_000_000)
    assert [name for _, name in names(tmp_path)] == [
        "package-0-die-0",
        "package-1-die-0",
        "package-1-die-1",
    ]


def close(monkeypatch: pytest.MonkeyPatch, *folders: str, error: OSError | None = None) -> OSError:
    """Let the counters of these folders raise; root, as which tests may run, is denied nothing by a
    file's mode."""
    raised = error or PermissionError(13, "Permission denied")
    plain = powercap.Zone.read_uj

    def read_uj(self: powercap.Zone) -> int:
        if self.file.parent.name in folders:
            raise raised
        return plain(self)

    monkeypatch.setattr(powercap.Zone, "read_uj", read_uj)
    return raised


def test_counters_for_root_alone_are_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 10**9)
    close(monkeypatch, "intel-rapl:0")
    found = find_zones(tmp_path)
    assert (found.zones, found.trouble) == ((), "")
    assert found.closed.startswith("energy of package: the counters of package-0 are readable only")
    assert "CVE-2020-8694" in found.closed
    assert f"sudo chmod a+r {tmp_path}/intel-rapl*/energy_uj" in found.closed


def two_sockets(root: Path) -> None:
    for socket in range(2):
        zone(root, f"intel-rapl:{socket}", f"package-{socket}", (socket + 1) * 10**9)
        zone(root, f"intel-rapl:{socket}:0", "dram", 10**6)


def test_a_scope_of_which_one_socket_is_closed_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_sockets(tmp_path)
    close(monkeypatch, "intel-rapl:1")
    assert names(tmp_path) == [("dram", "package-0 dram"), ("dram", "package-1 dram")]
    assert find_zones(tmp_path).closed.startswith(
        "energy of package: the counters of package-1 are"
    )


def test_an_error_that_is_no_matter_of_permission_is_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_sockets(tmp_path)
    close(monkeypatch, "intel-rapl:0:0", error=OSError(5, "Input/output error"))
    found = find_zones(tmp_path)
    assert names(tmp_path) == [("package", "package-0"), ("package", "package-1")]
    assert found.closed == (
        "energy of dram: package-0 dram can't be read: [Errno 5] Input/output error"
    )
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("none\n")
    both = find_zones(tmp_path)
    assert both.zones == ()
    assert both.closed.startswith("energy of dram and package: ")
    assert "package-1 can't be read: invalid literal" in both.closed
    assert "root" not in both.closed


def test_what_only_another_interface_closes_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 10**9)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 5 * 10**9)
    close(monkeypatch, "intel-rapl-mmio:0")
    found = find_zones(tmp_path)
    assert [z.file.parent.name for z in found.zones] == ["intel-rapl:0"]
    assert found.closed == ""
    close(monkeypatch, "intel-rapl:0", "intel-rapl-mmio:0")
    assert find_zones(tmp_path).zones == ()


def test_a_die_that_is_closed_may_be_another_counter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0-die-0", 68_000_000_000)
    zone(tmp_path, "intel-rapl:1", "package-0-die-1", 68_000_000_900)
    close(monkeypatch, "intel-rapl:1")
    assert find_zones(tmp_path).zones == ()


def test_a_socket_that_does_not_tell_where_it_wraps_is_still_read(tmp_path: Path) -> None:
    two_sockets(tmp_path)
    (tmp_path / "intel-rapl:1" / "max_energy_range_uj").unlink()
    packages = [z for z in find_zones(tmp_path).zones if z.scope == "package"]
    assert [z.wraps_at_uj for z in packages] == [RANGE_UJ, None]


@pytest.mark.parametrize("there", [False, True])
def test_a_machine_without_counters_says_so(tmp_path: Path, there: bool) -> None:
    root = tmp_path / "powercap"
    if there:
        root.mkdir()
    assert "no RAPL counters" in find_zones(root).trouble
    assert find_zones(root).zones == ()
