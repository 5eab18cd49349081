"""The explorer's screen: classes, layers, views, the first minute, full screen, what never moves."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

CELL = """
import nbcnnviz as nv
ex = nv.explore()
ex
"""


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL, width=978, height=761, tour=True)
    sheet.wait_for_map()
    sheet.hide_sidebar()
    return sheet


def shown_views(sheet) -> list[str]:
    return [view.get_attribute("data-view") for view in sheet.page.locator(".nbv-view:visible").all()]


def test_the_first_time_there_is_a_tour_which_is_over_once_it_is_closed(sheet, artifacts):
    tour = sheet.page.get_by_role("dialog", name="Guided tour")
    tour.wait_for()
    seen = []
    for at in range(4):
        seen.append(tour.locator("b").inner_text())
        sheet.page.screenshot(path=artifacts / f"tour-{at}.png")
        box = tour.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 978
        tour.get_by_role("button", name="Done" if at == 3 else "Next").click()
    assert len(set(seen)) == 4
    assert not tour.is_visible()
    assert sheet.page.evaluate("localStorage.getItem('nbcnnviz-tour')") == "closed"


def test_shift_click_explains_a_class_rather_than_another(sheet):
    first, second = (sheet.kernel(f"ex.session.trace.top(2)[{at}][0]") for at in (0, 1))
    sheet.classes.nth(1).click(modifiers=["Shift"])
    sheet.until(
        lambda: sheet.kernel("repr(ex.selection.target)") == f"nv.ClassScore({first}) - nv.ClassScore({second})"
    )
    sheet.settle()
    signs = [row.get_attribute("data-sign") for row in sheet.classes.all()]
    assert signs[:3] == ["+", "\u2212", ""]
    assert " - " in sheet.caption()


def test_shift_enter_does_the_same_and_runs_no_cell(sheet):
    count = "window.jupyterapp.shell.currentWidget.content.widgets[0].model.executionCount"
    before = sheet.page.evaluate(count)
    sheet.classes.nth(0).click()
    sheet.settle()
    sheet.page.locator(".nbv-classlist").focus()
    for key in ("Home", "ArrowDown", "ArrowDown", "Shift+Enter"):
        sheet.page.keyboard.press(key)
    third = sheet.kernel("ex.session.trace.top(3)[2][0]")
    sheet.until(lambda: f"- nv.ClassScore({third})" in str(sheet.kernel("repr(ex.selection.target)")))
    assert sheet.page.evaluate(count) == before
    sheet.page.get_by_role("button", name="Explain the top class").click()
    sheet.until(lambda: sheet.kernel("ex.selection.target is None"))


def test_views_are_chosen_and_remembered(sheet):
    assert shown_views(sheet) == ["overlay", "map"]
    sheet.page.get_by_role("button", name="Show or hide: picture").click()
    assert shown_views(sheet) == ["picture", "overlay", "map"]
    sheet.page.get_by_role("button", name="Show or hide: map").click()
    assert shown_views(sheet) == ["picture", "overlay"]
    sheet.run("from IPython.display import display; display(ex.frame)")
    assert sheet.page.evaluate("localStorage.getItem('nbcnnviz-views')") == "overlay,picture"
    sheet.page.get_by_role("button", name="Show or hide: map").first.click()
    sheet.page.get_by_role("button", name="Show or hide: picture").first.click()
    assert shown_views(sheet) == ["overlay", "map"]


def test_a_tree_opens_from_the_strip_and_closes_when_a_layer_is_chosen(sheet):
    tree = sheet.page.locator(".nbv-layermap")
    assert not tree.is_visible()
    sheet.page.get_by_role("button", name="All layers as a tree").click()
    assert tree.is_visible()
    sheet.page.locator(".nbv-layer[title^='blocks.2,']").click()
    sheet.settle()
    assert not tree.is_visible()
    assert sheet.kernel("ex.selection.layer") == "blocks.2"
    search = sheet.page.get_by_label("Search layers")
    search.fill("relu")
    names = sheet.page.locator(".nbv-layer:visible .nbv-called").all_inner_texts()
    assert len(names) == len(set(names)) > 20, "each by its whole path"
    search.fill("")
    sheet.page.keyboard.press("Escape")


CUT_TABS = """() => [...document.querySelectorAll('.nbv-at-main > .lm-TabBar .lm-TabBar-tabLabel')]
    .filter((name) => name.scrollWidth > name.clientWidth).map((name) => name.textContent)"""


def test_the_names_of_the_tabs_are_whole_in_the_narrowest_pane(sheet):
    size = sheet.page.viewport_size
    try:
        for width in (500, 380):
            sheet.page.set_viewport_size({"width": width, "height": 768})
            assert sheet.steady(lambda: sheet.page.evaluate(CUT_TABS)) == []
    finally:
        sheet.page.set_viewport_size(size)
        sheet.at_rest()


def test_nothing_moves_when_something_goes_wrong(sheet):
    places = "(all) => all.map((e) => [e.className, e.getBoundingClientRect().top, e.getBoundingClientRect().height])"
    parts = sheet.page.locator(".nbv-root :is(.lm-TabBar, .nbv-views, .nbv-classes, .nbv-depth, .nbv-controls)")
    before = parts.evaluate_all(places)
    sheet.run("ex.selection.layer = 'classifier'; ex.wait(60)")
    sheet.page.wait_for_function("!document.querySelector('.nbv-error').hidden")
    assert parts.evaluate_all(places) == before
    stale = sheet.page.locator(".nbv-view[data-view=map] .nbv-canvas")
    sheet.until(lambda: stale.evaluate("e => getComputedStyle(e).opacity") == "0.5")
    sheet.run("ex.selection.layer = 'blocks.4'; ex.wait(60)")
    sheet.settle()
    sheet.until(lambda: stale.evaluate("e => getComputedStyle(e).opacity") == "1")
    assert parts.evaluate_all(places) == before
    sheet.run("ex.panels['explain'].pin()")
    sheet.page.wait_for_function("document.querySelector('.nbv-view[data-view=pinned]:not([hidden])')")
    assert parts.evaluate_all(places) == before, "what is pinned takes the place of the map"
    sheet.run("ex.panels['explain'].unpin()")


def test_help_has_the_formula_and_the_source_of_the_method(sheet, artifacts):
    sheet.page.get_by_role("button", name="Help", exact=True).click()
    dialog = sheet.page.get_by_role("dialog", name="Help and keys")
    text = dialog.inner_text()
    assert "Selvaraju et al. 2017" in text
    assert "receptive field" in text
    sheet.page.screenshot(path=artifacts / "help.png")
    sheet.page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_the_whole_explorer_fills_the_screen_with_larger_type(sheet, artifacts):
    page = sheet.page
    height = "document.querySelector('.nbv-depth-path').getBoundingClientRect().height"
    before = page.evaluate(height)
    page.get_by_role("toolbar").get_by_role("button", name="Full screen").click()
    page.wait_for_function("document.fullscreenElement?.classList.contains('nbv-root')")
    sheet.until(lambda: page.evaluate(height) > 1.2 * before)
    for selector in (".nbv-classes", ".nbv-bars", ".nbv-at-method", ".nbv-view[data-view=map]", ".nbv-strip"):
        assert page.locator(selector).first.is_visible()
    page.screenshot(path=artifacts / "full-screen.png")
    second = sheet.kernel("ex.session.trace.top(2)[1][0]")
    sheet.classes.nth(1).click()
    sheet.until(lambda: sheet.kernel("ex.selection.target") == second)
    page.evaluate("document.exitFullscreen()")
    page.wait_for_function("!document.fullscreenElement")


def test_end_leads_to_the_last_place_of_a_slider_that_has_grown(sheet):
    sheet.run("ex.panel = 'features'; ex.selection.layer = 'bn2'; ex.wait(60)")
    sheet.settle()
    pager = "ex.panels['features'].pager"
    handle = sheet.page.locator(".nbv-at-main .noUi-handle:visible").first
    handle.focus()
    sheet.page.keyboard.press("End")
    sheet.until(lambda: sheet.kernel(f"{pager}.value == {pager}.max > 2"))
