"""Every page that bench writes: on a phone, in the dark, and on paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import NEEDS_BROWSER, browser, load, opened, serious_violations
from compared_runs import MACHINE, in_memory, measured, on_disk
from fake_records import STUDENT, TEACHER, a_cell, a_record
from hostile_run import PORTABILITY
from measured_runs import measured_run
from shown_certificates import made_certificate

from bench.present.page.certificate import certificate_html, certificate_page
from bench.present.page.page import make_page, render
from bench.present.publication.write import PAGE, publish
from bench.present.trend.site import write_site
from bench.record.portability import PortabilityReport
from bench.store.certificates import StoredEvidence
from bench.store.run import read_run
from bench.trials.portability.matrix_html import report_html

pytestmark = NEEDS_BROWSER
__all__ = ["browser"]  # a fixture
#: What fits between the margins of a sheet of A4, in CSS pixels.
PAPER = 688


def _energy(folder: Path) -> Path:
    path = folder / "energy.html"
    path.write_text(render(make_page([read_run(measured_run(folder / "run"))])), encoding="utf-8")
    return path


def _several(folder: Path) -> Path:
    times = ((1e5, 1.01e5), (2e5, 2.01e5), (3e5, 3.01e5))
    cells = (a_cell(TEACHER), a_cell(STUDENT))
    runs = [
        in_memory([measured(t, cell) for cell in cells], name, label=f"{name} with a longer label")
        for name, t in zip("abc", times, strict=True)
    ]
    path = folder / "several.html"
    path.write_text(render(make_page(runs)), encoding="utf-8")
    return path


def _certificate(folder: Path) -> Path:
    certificate = made_certificate(folder)
    path = folder / "index.html"
    page = certificate_page(certificate, StoredEvidence(folder, certificate).read)
    path.write_text(certificate_html(page), encoding="utf-8")
    return path


def _portability(folder: Path) -> Path:
    path = folder / "portability.html"
    report = PortabilityReport.model_validate(PORTABILITY, extra="ignore")
    path.write_text(report_html(report), encoding="utf-8")
    return path


def _publication(folder: Path) -> Path:
    publish([read_run(measured_run(folder / "run"))], folder / "out", "A publication")
    return folder / "out" / PAGE


def _site(folder: Path) -> Path:
    """A site whose second run is slower; its pages are below it."""
    runs = [
        on_disk(
            folder / str(day),
            [a_record(a_cell(model), 2e5 * (1 + (day > 5))) for model in (TEACHER, STUDENT)],
            created_at=f"2026-01-{day:02}T10:00:00+00:00",
            facts={**MACHINE, "git_commit": str(day % 10) * 40},
            label="a label of some length" if day == 1 else "",
        )
        for day in range(1, 13)
    ]
    write_site(runs, folder / "site", "Trends")
    return folder / "site"


def _cell(folder: Path) -> Path:
    return next((_site(folder) / "cells").glob("*.html"))


def _run_of_a_site(folder: Path) -> Path:
    return next((_site(folder) / "runs").glob("*/index.html"))


MADE: dict[str, Callable[[Path], Path]] = {
    "energy": _energy,
    "several runs": _several,
    "certificate": _certificate,
    "portability": _portability,
    "publication": _publication,
    "trend": lambda folder: _site(folder) / "index.html",
    "trend of a cell": _cell,
    "run of a trend": _run_of_a_site,
}


@pytest.fixture(scope="module", params=MADE)
def page_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MADE[request.param](tmp_path_factory.mktemp("page"))


def shown(browser: Any, path: Path, width: int) -> Any:
    """The page in the dark; with its pictures drawn, where a script draws them."""
    drawn = 'class="plot"' in path.read_text("utf-8")
    return (load if drawn else opened)(browser, path, width, dark=True)


def test_a_phone_shows_it_in_the_dark_without_scrolling_sideways(
    browser: Any, page_path: Path
) -> None:
    page = shown(browser, page_path, 390)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    assert [entry for entry in page.get_log("browser") if entry["level"] != "INFO"] == []
    cut = page.execute_script(
        "return [...document.querySelectorAll('svg text')].map((t) => [t.textContent, "
        "t.getBoundingClientRect()]).filter(([t, r]) => r.width && (r.left < -1 || "
        "r.right > innerWidth + 1)).map(([t]) => t)"
    )
    assert cut == []
    small = page.execute_script(
        "return [...document.querySelectorAll('.trend text, .small-plot text')].filter((t) => "
        "t.getBoundingClientRect().height && t.getBoundingClientRect().height < 9)"
        ".map((t) => t.textContent)"
    )
    assert small == [], "too small to read"
    faint = page.execute_script(  # axe does not look at what a style writes
        "return [...document.querySelectorAll('.heat td[data-h]')].filter((t) => "
        "getComputedStyle(t, '::before').color !== getComputedStyle(t).color).length"
    )
    assert faint == 0
    page.execute_script("document.querySelectorAll('nav details').forEach((d) => d.open = true)")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    assert serious_violations(page) == []


def test_paper_is_light_and_cuts_nothing(browser: Any, page_path: Path) -> None:
    page = shown(browser, page_path, PAPER)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    ground, ink = page.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    )
    wide = page.execute_script("return document.documentElement.scrollWidth")
    heads = page.execute_script(
        "return [...document.querySelectorAll('thead')].map((h) => getComputedStyle(h).display)"
    )
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert (ground, ink) == ("rgb(255, 255, 255)", "rgb(27, 31, 36)")
    assert wide <= PAPER
    assert set(heads) <= {"table-header-group"}, "a head is repeated on every sheet"


def test_the_links_of_several_runs_are_grouped_by_run(browser: Any, tmp_path: Path) -> None:
    page = load(browser, _several(tmp_path), 1280)
    links = "return [...document.querySelectorAll('nav a')].filter((a) => a.checkVisibility())"
    outside = page.execute_script(f"{links}.map((a) => a.textContent)")
    assert outside == ["Between the runs", "Results"]
    groups = page.execute_script(
        "return [...document.querySelectorAll('nav summary')].map((s) => s.textContent)"
    )
    assert [name[:7] for name in groups] == ["Run A: ", "Run B: ", "Run C: "]
    page.execute_script("document.querySelectorAll('nav summary')[1].click()")
    opened_links = page.execute_script(f"{links}.map((a) => a.getAttribute('href'))")
    assert len(opened_links) > 4
    assert all(link.startswith("#b") or "-b" in link for link in opened_links[2:])
    dead = [
        link
        for link in opened_links
        if not page.execute_script("return document.getElementById(arguments[0].slice(1))", link)
    ]
    assert dead == []
