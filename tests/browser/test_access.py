"""The whole explorer for those who do not see it, or use no mouse: names, tooltips, keys, contrast, what is said."""

from __future__ import annotations

import pytest

from .lab import ROOT

pytestmark = pytest.mark.browser

CELL = """
import ipywidgets as w
import nbcnnviz as nv
from IPython.display import display
ex = nv.explore()
display(w.Button(description="before"))
display(ex)
display(w.Button(description="after"))
"""

PANELS = ("explain", "features", "weights", "gradients", "synthesize", "compare", "dataset")

# Each panel with all that it can show.
TURN_TO = """
ex.panel = {name!r}
ex.wait(60)
ex.selection.layer, ex.selection.filter = {layer!r}, {filter}
ex.wait(60)
if {name!r} == "features":
    ex.selection.unit = (1, 1)
    ex.wait(60)
if {name!r} == "synthesize":
    panel = ex.panels["synthesize"]
    if panel.run is None:
        panel._setup.controls['steps'].value = 3
        panel.widget.children[-3].selected_index = 0
        panel.start()
        panel.wait(60)
if {name!r} == "dataset":
    panel = ex.panels["dataset"]
    if panel.run is None:
        panel.layers.value = True
        panel.start()
        panel.wait(60)
        ex.wait(60)
        panel.make_card()
"""

EXPLORER = ".jp-OutputArea-output > .nbcnnviz"

CONTROLS = """(root) => {
    const all = root.querySelectorAll(
        "input:not([type=file]), select, textarea, button, [role=slider], [contenteditable=true], [role=tab]"
    );
    const words = (id) => document.getElementById(id)?.textContent ?? "";
    return [...all].map((e) => {
        const labels = [...(e.labels ?? [])].map((label) => label.textContent);
        const named = (e.getAttribute("aria-labelledby") ?? "").split(" ").map(words);
        const own = e.matches("button, [role=tab]") ? e.textContent : "";
        const name = [e.getAttribute("aria-label") ?? "", ...named, ...labels, own, e.title].find((n) => n.trim()) ?? "";
        const tip = e.closest("[title]:not([title=''])");
        return [e.outerHTML.slice(0, 200), name.trim(), root.contains(tip) ? tip.title : ""];
    });
}"""


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(CELL, height=1600)
    sheet.wait_for_map()
    sheet.hide_sidebar()
    axe = ROOT / "js" / "node_modules" / "axe-core" / "axe.min.js"
    if axe.exists():
        sheet.page.evaluate(axe.read_text())
    return sheet


def turn_to(sheet, name: str, layer: str = "blocks.3", filter_: int | None = 3) -> None:
    sheet.run(TURN_TO.format(name=name, layer=layer, filter=filter_))
    sheet.settle()
    sheet.steady(lambda: controls(sheet))  # which get their names a moment after they come


def controls(sheet) -> list[list[str]]:
    """Of each control of the explorer: how it begins, its name, its tooltip."""
    return sheet.page.locator(EXPLORER).first.evaluate(CONTROLS)


AXE = """async ([root, rules]) => {
    const all = await axe.run(root, {runOnly: rules});
    return all.violations.map((v) => [v.id, v.help, v.nodes.map((n) => n.html + n.failureSummary)]);
}"""


@pytest.mark.parametrize("name", PANELS)
def test_axe_finds_nothing(sheet, artifacts, name):
    if not sheet.page.evaluate("'axe' in window"):
        pytest.skip("axe-core is not installed: run npm ci in js/")
    turn_to(sheet, name)
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    assert sheet.page.evaluate(AXE, [EXPLORER, rules]) == []
    sheet.theme(True)
    try:
        assert sheet.page.evaluate(AXE, [EXPLORER, rules]) == []
        sheet.page.screenshot(path=artifacts / f"access-{name}-dark.png")
    finally:
        sheet.theme(False)


@pytest.mark.parametrize("name", PANELS)
def test_every_control_has_a_name_and_a_tooltip(sheet, name):
    turn_to(sheet, name)
    found = controls(sheet)
    assert len(found) > 30
    assert [how for how, named, _ in found if not named] == []
    cut = "(all) => all.filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)"
    assert sheet.page.locator(f"{EXPLORER} button:visible").evaluate_all(cut) == [], "words that are cut off"
    assert [how for how, _, told in found if not told and 'role="tab"' not in how] == []


def test_names_follow_what_the_kernel_changes(sheet):
    """A slider that is made anew has a name, a tooltip that changes is the control's, a button says that it is pressed."""
    turn_to(sheet, "explain", filter_=None)
    turn_to(sheet, "features")
    handle = sheet.page.locator(".nbv-at-main .noUi-handle").first
    handle.evaluate("e => e.removeAttribute('aria-label')")
    sheet.run("ex.panels['features'].pager.tooltip = 'other words'")
    sheet.until(lambda: handle.get_attribute("aria-label") == "other words")
    assert handle.evaluate("e => e.closest('[title]').title") == "other words"
    sheet.run("ex.panels['features'].pager.tooltip = 'Turn the pages'")
    turn_to(sheet, "explain", filter_=None)
    chosen = sheet.page.locator(".nbv-class[aria-selected=true]")
    assert chosen.get_attribute("aria-label").startswith(sheet.kernel("ex.result.trace.top(1)[0][1]"))
    sheet.run("ex.selection.filter = 1")
    sheet.settle()
    sheet.until(lambda: chosen.count() == 0)
    assert sheet.page.get_by_label("Filter of this layer").input_value() == "1"


WHERE = """() => {
    const e = document.activeElement;
    if (e.textContent === "before" || e.textContent === "after") return e.textContent;
    // The unit card scrolls in a box of its own, which Chromium lets the keys reach.
    const scrolls = getComputedStyle(e).overflowY === "auto" && e.scrollHeight > e.clientHeight;
    const acts = e.matches("a, button, input, select, summary, textarea, [role], [contenteditable=true]");
    if (!acts && !scrolls) return e.outerHTML.slice(0, 200);
    const places = {
        ".nbv-depth": "layers", ".nbv-layermap": "tree", ".nbv-intake": "picture", "[role=tab]": "tabs",
        ".widget-tab-contents": "panel", ".nbv-at-network": "network", ".nbv-at-method": "method",
        ".nbv-toolbar": "tools", ".nbv-status": "status", ".nbv-classes": "classes",
    };
    const found = Object.entries(places).find(([selector]) => e.closest(selector));
    return found ? found[1] : e.outerHTML.slice(0, 200);
}"""


@pytest.mark.parametrize(("name", "key"), [*((name, "Tab") for name in PANELS), ("explain", "Shift+Tab")])
def test_tab_goes_in_through_the_explorer_and_out_of_it(sheet, name, key):
    turn_to(sheet, name)
    backwards = key != "Tab"
    first, last = ("after", "before") if backwards else ("before", "after")
    sheet.page.get_by_role("button", name=first, exact=True).focus()
    stops = []
    for _ in range(120):
        sheet.page.keyboard.press(key)
        stops.append(sheet.page.evaluate(WHERE))
        if stops[-1] == last:
            break
    assert stops[-1] == last
    passed = [stop for at, stop in enumerate(stops[:-1]) if at == 0 or stops[at - 1] != stop]
    method = [] if sheet.control("Method").is_disabled() else ["method"]
    status = ["status"] if sheet.error() else []  # which may be longer than its line, and is read in full then
    expected = ["network", "picture", "tools", *method, "layers", "tree", *status, "tabs", "panel", "classes"]
    assert passed == (expected[::-1] if backwards else expected)


def test_the_tabs_are_turned_by_keys(sheet):
    turn_to(sheet, "explain", filter_=None)
    sheet.page.locator(f"{EXPLORER} .lm-TabBar-tab.lm-mod-current").first.focus()
    sheet.page.keyboard.press("ArrowRight")
    sheet.page.keyboard.press("Enter")
    sheet.until(lambda: sheet.kernel("ex.panel") == "features")
    sheet.settle()


# Keys that tests of frames press: what they do is tested there.
ELSEWHERE = {"b", "e", "g", "k", "K", "f", "?", "←", "→", "↑", "↓", "Enter"}
LEADS = {
    "N": ".nbv-at-network select", "P": ".nbv-strip", "M": ".nbv-at-method select", "K": ".nbv-classes input",
    "L": ".nbv-depth input[type=search]", "D": ".nbv-bars", "F": ".nbv-depth input[type=number]",
}  # fmt: skip
SETTINGS = "[maps.opacity, maps.threshold, maps.colours, maps.contours, maps.compare]"
SCALE = "() => new DOMMatrix(getComputedStyle(document.querySelector('.nbv-view:not([hidden]) .nbv-canvas > canvas')).transform).a"


def test_every_key_that_is_listed_does_what_it_says(sheet):
    turn_to(sheet, "explain", filter_=None)
    page = sheet.page
    sheet.run("maps = ex.panels['explain'].widget; maps.opacity, maps.threshold, maps.colours = 0.5, 0.5, 'viridis'")
    sheet.settle()
    views = page.locator(".nbv-frame .nbv-views").first
    views.focus()
    page.keyboard.press("?")
    listed = set(page.get_by_role("dialog", name="Help and keys").locator("kbd").all_inner_texts())
    page.keyboard.press("Escape")
    views.focus()
    plain = [0.5, 0.5, "viridis", False, "overlay"]
    names = list(sheet.kernel("maps.colour_names"))
    for key, at, expected in (
        *(("o", 0, 0.6), ("O", 0, 0.4), ("t", 1, 0.55), ("T", 1, 0.45)),
        *(("c", 2, names[names.index("viridis") + 1]), ("C", 2, names[names.index("viridis") - 1])),
        *(("l", 3, True), ("v", 4, "blink")),
    ):
        page.keyboard.press(key)
        wanted = [*plain[:at], expected, *plain[at + 1 :]]
        sheet.until(lambda wanted=wanted: sheet.kernel(SETTINGS) == wanted)  # what keys change is saved when they rest
        sheet.run("maps.opacity, maps.threshold, maps.colours, maps.contours, maps.compare = " + repr(plain))
        sheet.at_rest()
    for key, scale in (("+", 1.5), ("=", 2.25), ("-", 1.5), ("0", 1)):
        page.keyboard.press(key)
        sheet.until(lambda scale=scale: page.evaluate(SCALE) == pytest.approx(scale))
    for key, ending in (("p", ".png"), ("P", ".svg")):
        with page.expect_download() as download:
            page.keyboard.press(key)
        assert download.value.suggested_filename.endswith(ending)
    tested = {"o", "O", "t", "T", "c", "C", "l", "v", "+", "=", "\u2212", "0", "p", "P"}
    with_alt = {f"Alt+{key}" for key in (*LEADS, "Z", "Shift+Z", "C", "S")}  # the next two tests
    assert listed - ELSEWHERE - with_alt == tested
    assert with_alt <= listed


def test_letters_with_alt_lead_to_the_controls(sheet):
    turn_to(sheet, "explain", filter_=None)
    page = sheet.page
    page.locator(".nbv-frame .nbv-views").first.focus()
    for letter, selector in LEADS.items():
        page.keyboard.press(f"Alt+{letter.lower()}")
        assert page.evaluate("(selector) => document.activeElement.matches(selector)", selector), letter


def test_the_keys_with_alt_undo_copy_and_lead_to_the_files(sheet):
    turn_to(sheet, "explain", filter_=None)
    page = sheet.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    before = sheet.kernel("ex.selection.target")
    sheet.run("ex.selection.target = 281")
    sheet.settle()
    page.locator(".nbv-frame .nbv-views").first.focus()
    page.keyboard.press("Alt+z")
    sheet.until(lambda: sheet.kernel("ex.selection.target") == before)
    page.keyboard.press("Alt+c")
    page.wait_for_function("document.querySelector('.nbv-toolbar .nbv-message').textContent === 'Code copied'")
    page.keyboard.press("Alt+s")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Save as"


def test_what_goes_on_is_said_in_a_live_region(sheet):
    turn_to(sheet, "synthesize", filter_=None)
    line = sheet.page.locator(".nbv-status:visible").last  # other panels that were opened keep theirs
    heard = "window.heard = new Set()"
    sheet.page.evaluate(heard)
    line.get_by_role("status").evaluate(
        "e => new MutationObserver(() => heard.add(e.textContent)).observe(e, {childList: true, characterData: true, subtree: true})"
    )
    sheet.run("ex.panels['synthesize']._setup.controls['steps'].value = 4000; ex.panels['synthesize'].start()")
    sheet.page.wait_for_function("[...heard].filter((words) => words.startsWith('Step ')).length > 2", timeout=60_000)
    line.get_by_role("button", name="Stop").click()
    sheet.kernel("ex.panels['synthesize'].wait(60) and None")
    sheet.page.wait_for_function("[...heard].at(-1).startsWith('Ended at step')")
    assert line.get_by_role("status").get_attribute("aria-live") == "polite"
