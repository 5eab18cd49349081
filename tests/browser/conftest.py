from __future__ import annotations

from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api")

from .lab import CHROMIUM, CHROMIUM_FLAGS, ROOT, Lab, Sheet  # noqa: E402


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots land, to be looked at."""
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    assert CHROMIUM, "no Chromium on this machine: make test installs one"
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_sheet(lab, browser):
    """Open notebooks; whatever a page complained of on its console fails the module that opened it."""
    sheets: list[Sheet] = []

    def open_(*cells: str, **options) -> Sheet:
        sheets.append(Sheet(browser, lab, *cells, **options))
        return sheets[-1]

    yield open_
    complaints = [complaint for sheet in sheets for complaint in sheet.complaints]
    for sheet in sheets:
        sheet.close()
    lab.shut_kernels()
    assert not complaints
