"""The page in a real browser: headless Chromium, driven as a person would use it."""

from __future__ import annotations

import base64
import csv
import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from browsing import NEEDS_BROWSER, browser, load, serious_violations
from hostile_run import HOSTILE, IMAGE, LINK, PORTABILITY, write_hostile_run

from bench.present.page.page import make_page, render
from bench.present.page.portability import portability
from bench.record.portability import PortabilityReport
from bench.store.run import read_run

pytestmark = NEEDS_BROWSER
__all__ = ["browser"]  # a fixture
ROWS = 22  #: of the hostile run, those that failed or are simulated included


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    run = read_run(write_hostile_run(folder))
    matrix = portability(PortabilityReport.model_validate(PORTABILITY, extra="ignore"))
    path = folder / "report.html"
    path.write_text(render(make_page([run], matrix)), encoding="utf-8")
    return path


@pytest.fixture
def fresh(browser: Any, page_path: Path) -> Any:
    """The page, freshly loaded at 1280 x 900 with everything drawn."""
    return load(browser, page_path, 1280)


@pytest.fixture
def page(browser: Any, page_path: Path) -> Any:
    """The same, of an earlier test where that left it whole: drawing takes seconds."""
    if not browser.execute_script("return window.left_whole === true"):
        load(browser, page_path, 1280)
        browser.execute_script("window.left_whole = true")
    click(browser, "#clear")
    return browser


def visible_rows(page: Any) -> list[list[str]]:
    found: list[list[str]] = page.execute_script(
        "return [...document.querySelectorAll('#results-table tbody tr')]"
        ".filter((r) => !r.hidden).map((r) => [...r.cells].map((c) => c.textContent.trim()))"
    )
    return found


def click(page: Any, selector: str) -> None:
    page.execute_script("document.querySelector(arguments[0]).click()", selector)


def test_it_loads_without_errors_and_without_a_request(fresh: Any) -> None:
    page = fresh
    assert [entry for entry in page.get_log("browser") if entry["level"] != "INFO"] == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    # The page that Chromium opens with may still be loading parts of its own.
    ours = [request for request in sent if not request["documentURL"].startswith("chrome:")]
    asked = [request["request"]["url"] for request in ours]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []
    assert sum(url.startswith("file:") for url in asked) == 1


def test_hostile_names_are_text_everywhere(page: Any) -> None:
    assert page.execute_script("return document.querySelectorAll('img').length") == 0
    hrefs = page.execute_script(
        "return [...document.querySelectorAll('a')].map((a) => "
        "a.getAttribute('href') || a.getAttribute('xlink:href'))"
    )
    assert all(href and href.startswith(("#", "blob:")) for href in hrefs)
    text = page.execute_script("return document.body.textContent")
    assert text.count(HOSTILE) > 20
    labels = page.execute_script(
        "return [...document.querySelectorAll('.plot text')].map((t) => t.textContent)"
    )
    for name in (HOSTILE, IMAGE, LINK):
        assert any(name in label for label in labels), name
    assert page.execute_script("return document.title").startswith(HOSTILE)


def test_every_figure_has_a_name_words_and_its_data(page: Any) -> None:
    figures = page.execute_script(
        "return [...document.querySelectorAll('figure')].map((f) => ({id: f.id,"
        "drawn: !!f.querySelector('.main-svg'),"
        "name: document.getElementById(f.querySelector('.plot').getAttribute('aria-labelledby'))"
        ".textContent,"
        "words: document.getElementById(f.querySelector('.plot').getAttribute('aria-describedby'))"
        ".textContent,"
        "rows: f.querySelectorAll('tbody tr').length, link: (f.querySelector('p a') || {}).hash}))"
    )
    names = {figure["id"] for figure in figures}
    wanted = "front1 speedup kept like1 latency ecdf1 throughput by-batch accuracy1 memory size "
    wanted += "start-picture noise"
    assert {f"a-{name}" for name in wanted.split()} <= names
    for figure in figures:
        assert figure["drawn"], figure
        assert figure["name"], figure
        assert len(figure["words"]) > 60, figure
        assert figure["rows"] > 0 or figure["link"] == "#a-speedup-data", figure


def test_hovering_over_a_point_shows_its_interval(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    point = page.find_element(By.CSS_SELECTOR, "#a-latency .points path.point")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(page).move_to_element(point).perform()
    found = WebDriverWait(page, 10).until(
        lambda b: b.execute_script(
            "const t = document.querySelector('#a-latency .hoverlayer .hovertext');"
            "return t && t.textContent"
        )
    )
    assert HOSTILE in found
    assert " µs to " in found


def test_words_and_menus_filter_the_results(page: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    assert len(visible_rows(page)) == ROWS
    page.find_element(By.ID, "find").send_keys("openvino offline")
    found = visible_rows(page)
    assert len(found) == 9
    assert all("openvino" in row[2] and "offline" in " ".join(row) for row in found)
    assert page.find_element(By.ID, "count").text == f"9 of {ROWS} rows"
    Select(page.find_element(By.CSS_SELECTOR, ".filters select")).select_by_visible_text(IMAGE)
    assert {row[0] for row in visible_rows(page)} == {IMAGE}
    click(page, "#clear")
    assert len(visible_rows(page)) == ROWS


def test_a_head_sorts_by_value_and_tells_how(fresh: Any) -> None:
    page = fresh
    heads = "return [...document.querySelectorAll('#results-table th')].map((h) => "
    titles = page.execute_script(heads + "h.textContent.trim())")
    place = next(i for i, title in enumerate(titles) if title.startswith("Latency"))
    button = f"#results-table th:nth-child({place + 1}) button"
    for wanted in ("ascending", "descending"):
        click(page, button)
        assert page.execute_script(heads + "h.getAttribute('aria-sort'))")[place] == wanted
        values = page.execute_script(
            "return [...document.querySelectorAll('#results-table tbody tr')]"
            ".map((r) => r.cells[arguments[0]].dataset.v.trim().split(' ')[0])",
            place,
        )
        numbers = [float(value) for value in values if value]
        assert len(numbers) == 6
        assert numbers == sorted(numbers, reverse=wanted == "descending")
        assert not any(values[len(numbers) :]), "what is absent stays last"


def copied(page: Any, kind: str) -> str:
    """What a button of the results puts on the clipboard."""
    page.execute_script(
        "window.copied = ''; Object.defineProperty(navigator, 'clipboard', {configurable: true,"
        "value: {writeText: async (text) => { window.copied = text; }}})"
    )
    click(page, f"button[data-copy={kind}][data-table=results]")
    text: str = page.execute_script("return window.copied")
    return text


def test_csv_holds_the_rows_that_are_shown_in_full_precision(page: Any) -> None:
    page.execute_script(
        "const f = document.getElementById('find'); f.value = 'single-stream onnxruntime';"
        "f.dispatchEvent(new Event('input'))"
    )
    rows = list(csv.DictReader(io.StringIO(copied(page, "csv"))))
    assert [row["model"] for row in rows] == [HOSTILE, IMAGE, LINK]
    assert float(rows[1]["median_ns"]) == 20e3
    assert float(rows[1]["median_low_ns"]) < 20e3 < float(rows[1]["median_high_ns"])
    assert float(rows[1]["accuracy"]) == 0.9


def test_a_name_that_begins_like_a_formula_is_none_in_csv(page: Any) -> None:
    text = page.execute_script("return csvField('=1+1', true) + csvField('-1', false)")
    assert text == "'=1+1-1"


def test_markdown_is_a_table_in_which_names_are_text(page: Any) -> None:
    lines = copied(page, "markdown").splitlines()
    assert len(lines) == ROWS + 2
    assert lines[0].startswith("| Model | Target | Status |")
    assert set(lines[1]) <= set("| -:")
    assert not any("<script>" in line.replace("\\<", "") for line in lines)
    bars = {line.replace("\\|", "").count("|") for line in lines}
    assert len(bars) == 1


def test_it_copies_through_the_real_clipboard(fresh: Any) -> None:
    page = fresh
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    button = page.find_element(By.CSS_SELECTOR, "button[data-copy=markdown][data-table=results]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()  # a browser lets a person's click copy, and no script's
    said = WebDriverWait(page, 10).until(
        lambda b: b.execute_script(
            "return document.querySelector('#results .said').textContent || null"
        )
    )
    assert said == f"Copied {ROWS} rows"


def test_a_link_to_data_opens_it(page: Any) -> None:
    is_open = "return document.getElementById('a-speedup-data').open"
    assert not page.execute_script(is_open)
    click(page, "#a-kept a[href='#a-speedup-data']")
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page, 10).until(lambda b: b.execute_script(is_open))


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_body_never_scrolls_sideways(browser: Any, page_path: Path, width: int) -> None:
    page = load(browser, page_path, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    wide = page.execute_script(
        "return [...document.querySelectorAll('.plot .main-svg')]"
        ".filter((s) => s.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert wide == 0
    # Nor does anything within it: a table is as wide as the page.
    inner = page.execute_script(
        "return [...document.querySelectorAll('main *')].filter((e) => "
        "['auto', 'scroll'].includes(getComputedStyle(e).overflowX) || "
        "['auto', 'scroll'].includes(getComputedStyle(e).overflowY)).map((e) => e.outerHTML)"
    )
    assert inner == []


def test_everything_is_reached_by_keyboard(fresh: Any) -> None:
    page = fresh
    from selenium.webdriver.common.keys import Keys

    reached = []
    for _ in range(60):
        page.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(
            page.execute_script(
                "const a = document.activeElement; return a.id || a.dataset.copy || "
                "(a.closest('th') ? 'sort' : a.tagName.toLowerCase())"
            )
        )
    assert {"theme", "find", "select", "clear", "sort", "markdown", "csv", "summary"} <= set(
        reached
    )
    outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_light_and_dark_follow_the_system_and_the_button(browser: Any, page_path: Path) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    label = "return getComputedStyle(document.querySelector('#a-latency .xtick text')).fill"
    light = load(browser, page_path, 1280)
    seen = [(light.execute_script(ground), light.execute_script(label))]
    dark = load(browser, page_path, 1280, dark=True)
    seen.append((dark.execute_script(ground), dark.execute_script(label)))
    click(dark, "#theme")
    seen.append((dark.execute_script(ground), dark.execute_script(label)))
    dark.execute_script("localStorage.clear()")
    assert seen[0][0] == "rgb(255, 255, 255)"
    assert seen[0] != seen[1]
    assert seen[0] == seen[2]


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, True)], ids=["phone", "dark"])
def test_axe_finds_nothing_serious(browser: Any, page_path: Path, width: int, dark: bool) -> None:
    page = load(browser, page_path, width, dark)
    # All tables are made alike: those of the first two pictures stand for the others.
    page.execute_script(
        "[...document.querySelectorAll('details.data')].slice(0, 2).forEach((d) => d.open = true)"
    )
    assert serious_violations(page) == []


def test_paper_gets_light_pages_without_controls(browser: Any, page_path: Path) -> None:
    page = load(browser, page_path, 1280, dark=True)
    data = base64.b64decode(
        page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    )
    assert data.startswith(b"%PDF")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    hidden = page.execute_script(
        "return ['nav', '.toolbar', '.filters', '#theme'].map((s) => "
        "getComputedStyle(document.querySelector(s)).display)"
    )
    assert set(hidden) == {"none"}
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    head = page.execute_script("return getComputedStyle(document.querySelector('thead')).display")
    widths = page.execute_script(
        "return [...document.querySelectorAll('.plot')].map((p) => p.layout.width)"
    )
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert ground == "rgb(255, 255, 255)"
    assert head == "table-header-group", "a head is repeated on every sheet"
    assert max(widths) <= 688  # A4 within the page's margins, in CSS pixels


def test_pictures_are_written_as_files(page_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    from bench.present.page.png import SCALE, TITLE_HEIGHT, WIDTH, write_pictures

    (run,) = [path for path in page_path.parent.iterdir() if path.is_dir()]
    pictures = make_page([read_run(run)]).pictures[:2]
    assert write_pictures(pictures, tmp_path) == 2
    for picture in pictures:
        data = (tmp_path / f"{picture.name}.png").read_bytes()
        height = (picture.height + TITLE_HEIGHT) * SCALE
        assert struct.unpack(">II", data[16:24]) == (WIDTH * SCALE, height)
