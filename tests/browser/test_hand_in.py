"""The form at the end of a notebook: its button makes one HTML file, in JupyterLab and in Voila."""

from __future__ import annotations

from pathlib import Path

import pytest

import nbcnnviz as nv

from .hosts import Host

pytestmark = pytest.mark.browser

CELLS = (
    "from nbcnnviz import teaching\nteaching.check('saliency', lambda gradient: gradient.abs().amax(1, keepdim=True))",
    "from PIL import Image\nImage.new('RGB', (60, 40), 'orange')",
    "teaching.hand_in('03 Saliency', exercises=['saliency', 'probability-gradient'], answers=['as I wrote', ''])",
)


def filled_in(page, folder: Path, student: str) -> nv.teaching.HandIn:
    """Fill in the form, press the button, and read the file that the browser got."""
    box = page.locator(".widget-text:has(label:text-is('Your name')) input")
    box.wait_for(timeout=120_000)
    button = page.locator("button", has_text="Save what I hand in")
    button.click()
    page.locator(".nbv-error", has_text="Write your name first").wait_for()
    box.fill(student)
    page.locator(".widget-textarea textarea").last.fill("as I typed")
    page.locator(".widget-textarea textarea").last.blur()
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename.startswith(student)
    download.value.save_as(folder / "work.html")
    page.locator(".nbv-text", has_text=f"{student} - 03 Saliency.html is saved").wait_for()
    assert page.locator(".nbv-error", has_text="Write your name first").is_hidden()
    [handed] = nv.teaching.handed_in(folder)
    assert (handed.student, handed.lesson) == (student, "03 Saliency")
    return handed


def test_in_jupyterlab_the_file_has_answers_code_verdicts_and_pictures(open_sheet, tmp_path, artifacts) -> None:
    sheet = open_sheet(*CELLS, height=1200)
    handed = filled_in(sheet.page, tmp_path, "Ada Lovelace")
    sheet.page.screenshot(path=artifacts / "hand-in-form.png")
    assert handed.answers == ("as I wrote", "as I typed")
    solved, left = handed.attempts
    assert (solved.right, solved.code) == (True, CELLS[0])
    assert (left.right, left.tries) == (False, 0)
    read = sheet.page.context.browser.new_page()
    read.goto((tmp_path / "work.html").as_uri())
    assert read.locator("img").evaluate_all("all => all.map((e) => [e.naturalWidth, e.naturalHeight])") == [[60, 40]]
    read.screenshot(path=artifacts / "hand-in-page.png", full_page=True)
    read.close()


def test_in_voila_the_file_has_answers_and_what_explorers_show(browser, tmp_path, artifacts) -> None:
    cell = f"import nbcnnviz as nv\nex = nv.explore(None, 'coffee')\nfrom nbcnnviz import teaching\n{CELLS[2]}"
    (tmp_path / "server").mkdir()
    host = Host("voila", tmp_path / "server", browser, cell)
    try:
        folder = tmp_path / "handed in"
        folder.mkdir()
        handed = filled_in(host.page, folder, "Zoe")
        host.page.screenshot(path=artifacts / "hand-in-voila.png")
        assert handed.answers == ("as I wrote", "as I typed")
        assert (folder / "work.html").read_text(encoding="utf-8").count("image/jpeg;base64") == 1
        assert host.complaints == []
    finally:
        host.close()
