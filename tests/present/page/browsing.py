"""Headless Chromium for the tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

NEEDS_BROWSER = [
    pytest.mark.xdist_group("browser"),  # one worker makes the pages and starts browsers
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="needs Chromium and its driver (Debian: chromium, chromium-driver)",
    ),
    pytest.mark.skipif(find_spec("selenium") is None, reason="needs selenium (the extra `test`)"),
]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With its path given, selenium's own manager has nothing to look for, and downloads nothing.
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def load(browser: Any, path: Path, width: int, dark: bool = False) -> Any:
    """The page with everything drawn."""
    from selenium.webdriver.support.ui import WebDriverWait

    opened(browser, path, width, dark)
    WebDriverWait(browser, 60).until(
        lambda b: b.execute_script(
            "return document.querySelectorAll('.plot').length > 0 && "
            "[...document.querySelectorAll('.plot')].every((p) => p.dataset.drawn)"
        )
    )
    return browser


def opened(browser: Any, path: Path, width: int, dark: bool = False) -> Any:
    for log in ("browser", "performance"):
        browser.get_log(log)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get("about:blank")
    browser.get(path.as_uri())
    return browser


def serious_violations(page: Any) -> list[tuple[str, list[str]]]:
    """What axe finds serious or worse; what is inside a plotly picture is presentational, since the
    picture has a name and words."""
    axe = pytest.importorskip("axe_core_python")
    page.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text())
    page.set_script_timeout(120)
    found = page.execute_async_script(
        "const done = arguments[0];"
        "axe.run({exclude: [['.main-svg']]}).then((r) => done(r.violations))"
    )
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    return [(v["id"], [n["html"][:160] for n in v["nodes"]][:3]) for v in serious]
