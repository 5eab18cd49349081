"""The explorer in Chinese: what is on the screen is, and what the kernel is told is not."""

from __future__ import annotations

import re

import pytest

from tests.explorer.test_language import NAMES

pytestmark = pytest.mark.browser

CELL = """
import nbcnnviz as nv
ex = nv.explore(language="zh")
ex
"""

TEXTS = """() => {
    const root = document.querySelector(".nbcnnviz");
    const texts = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const at = walker.currentNode.parentElement;
        if (!at.closest("style, .nbv-name, .nbv-layer, .nbv-legend")) texts.push(walker.currentNode.data);
    }
    for (const at of root.querySelectorAll("[title], [placeholder]")) texts.push(at.title, at.placeholder ?? "");
    return texts.map((text) => text.replace(/\\s+/g, " ").trim());
}"""

CUT = """() => [...document.querySelectorAll(".nbcnnviz :is(button, label, option, .lm-TabBar-tabLabel)")]
    .filter((at) => at.checkVisibility() && at.clientWidth > 1 && at.scrollWidth > at.clientWidth + 1)
    .map((at) => at.textContent)"""


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL, width=1366, height=768)
    sheet.wait_for_map()
    sheet.hide_sidebar()
    return sheet


def test_a_menu_is_in_chinese_and_its_values_are_not(sheet):
    assert sheet.page.locator(".nbcnnviz").first.get_attribute("lang") == "zh-CN"
    sheet.control("方法").select_option(label="显著图")
    sheet.until(lambda: sheet.caption().startswith("显著图"))
    assert sheet.kernel("ex.selection.method") == "saliency"
    assert "method='saliency'" in sheet.kernel("ex.code()")


def test_every_panel_is_in_chinese_and_no_label_is_cut(sheet, artifacts):
    for panel in ("explain", "features", "weights", "gradients", "synthesize", "compare", "dataset"):
        sheet.run(f"ex.panel = {panel!r}; ex.wait(60)")
        sheet.at_rest()
        english = [text for text in sheet.page.evaluate(TEXTS) if re.search(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}", text)]
        assert not [text for text in english if text not in NAMES and not re.search("[\u4e00-\u9fff]", text)], panel
        assert not sheet.page.evaluate(CUT), panel
        sheet.page.locator(".nbcnnviz").first.screenshot(path=artifacts / f"zh-{panel}.png")
