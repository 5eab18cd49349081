"""What of the explorer is on the screen, at the sizes of usual windows: ``python -m tests.layout``, or ``make layout``.

In a real JupyterLab, light and dark: the share of the main acts that are visible without scrolling, controls that are cut
off or lie over one another, the clicks to each act, and how far things shift (the browser's own measure) while a method
streams, a class changes, a tab turns. Screenshots land in ``artifacts/``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.browser.lab import CHROMIUM, CHROMIUM_FLAGS, ROOT, SLOW, Lab, Sheet

CELL = f"{SLOW}\nimport nbcnnviz as nv\nex = nv.explore()\nex"

# The window, and whether the side bar is open. The first gives the notebook a pane of 900 x 640.
SIZES = {
    "900 x 640 pane": (978, 761, False),
    "1280 x 800": (1280, 800, True),
    "1366 x 768": (1366, 768, False),
    "1700 x 1100": (1700, 1100, False),
}

COMMON = {
    "pictures": ".nbv-strip", "network": ".nbv-at-network select", "layers": ".nbv-bars",
    "layer's name": ".nbv-depth-path", "tabs": ".lm-TabBar", "status": ".nbv-at-status .nbv-line", "tools": ".nbv-toolbar",
}  # fmt: skip
CLASSES = {"class search": ".nbv-classes input", "fifth class": ".nbv-class:nth-child(5)"}
METHOD = {"method": ".nbv-at-method select"}
PANELS = {
    "explain": {
        **CLASSES, **METHOD, "picture with map": ".nbv-view[data-view=overlay]", "map": ".nbv-view[data-view=map]",
        "opacity": ".nbv-controls input[type=range]", "scale": ".nbv-colourbar", "pin": ".nbv-controls button",
    },
    "features": {"first maps": ".nbv-tile:nth-child(1)", "one map large": ".nbv-frame .nbv-view"},
    "weights": {"kernels": ".nbv-tile:nth-child(1)"},
    "gradients": {"first chart": ".bqplot"},
    "synthesize": {"start": ".nbv-at-main .jupyter-button:has-text('Start')"},
    "compare": {
        **METHOD, "views": ".nbv-compare .widget-toggle-buttons", "first map": ".nbv-at-main .nbv-tile:nth-child(1)",
    },
    "dataset": {
        "scan": ".nbv-at-main .jupyter-button:has-text('Scan')", "how far": ".nbv-at-main .nbv-status",
        "first patch": ".nbv-at-main .nbv-tile:nth-child(1)",
    },
}  # fmt: skip

PANE = """() => {
    const explorer = document.querySelector('.nbv-root');
    explorer.scrollIntoView({block: 'start'});
    let pane = explorer.parentElement;
    while (pane.scrollHeight <= pane.clientHeight + 1 || getComputedStyle(pane).overflowY === 'visible') {
        if (!pane.parentElement || pane.parentElement === document.body) break;
        pane = pane.parentElement;
    }
    const {left, top, right, bottom} = (document.querySelector('.jp-WindowedPanel-outer') ?? pane).getBoundingClientRect();
    return [left, top, right, bottom];
}"""

CUT = """(root) => {
    const shown = (e) => e.checkVisibility({opacityProperty: true, visibilityProperty: true});
    const words = root.querySelectorAll('button, label, .widget-label, .lm-TabBar-tabLabel, figcaption, .nbv-told');
    return [...words].filter((e) => shown(e) && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1
        && getComputedStyle(e).overflowX !== 'visible' && !e.matches('.nbv-about')).map((e) => e.textContent.slice(0, 60));
}"""

OVERLAPS = """(root) => {
    const shown = (e) => e.checkVisibility({opacityProperty: true, visibilityProperty: true});
    const all = [...root.querySelectorAll('button, select, input:not([type=file]), [role=slider], [role=option]')]
        .filter((e) => shown(e) && e.getBoundingClientRect().width > 2 && !e.closest('.noUi-base, .nbv-tiles, .nbv-boxes'));
    const found = [];
    for (const [i, a] of all.entries()) for (const b of all.slice(i + 1)) {
        if (a.contains(b) || b.contains(a)) continue;
        const scrolled = (e) => e.closest('.nbv-scroll, .nbv-strip, .nbv-layers, .nbv-options');
        if (scrolled(a) !== scrolled(b)) continue; // one may be scrolled out of sight
        const [p, q] = [a.getBoundingClientRect(), b.getBoundingClientRect()];
        const across = Math.min(p.right, q.right) - Math.max(p.left, q.left);
        const down = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
        if (across > 2 && down > 2) found.push([a, b].map((e) => (e.ariaLabel || e.title || e.textContent).slice(0, 30)).join(' / '));
    }
    return found;
}"""

SHIFTS = """() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            if (entry.hadRecentInput) continue; // the reader's own doing
            const what = entry.sources.map((s) => s.node?.className ?? s.node?.nodeName).join(', ');
            window.shifts.push([entry.value, String(what).slice(0, 80)]);
        }
    }).observe({type: 'layout-shift', buffered: false});
}"""


def main() -> int:
    """Print all of it; 1 if something is not as it should be."""
    faults: list[str] = []
    (ROOT / "artifacts").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
            width, height, _ = SIZES["900 x 640 pane"]
            sheet = Sheet(browser, lab, CELL, width=width, height=height)
            sheet.wait_for_map()
            sheet.hide_sidebar()
            print("clicks:", clicks(sheet, faults))
            sheet.run(
                "ex.selection.image, ex.selection.target, ex.selection.layer = 'chelsea', None, 'blocks.2.0.conv_dw'"
            )
            sheet.run("ex.panel = 'dataset'; ex.wait(60); panel = ex.panels['dataset']; panel.layers.value = True")
            sheet.run("panel.start(); panel.wait(60); ex.wait(60)")
            for dark in (False, True):
                sheet.theme(dark)
                for name, size in SIZES.items():
                    for panel in PANELS:
                        print(look(sheet, name, size, panel, "dark" if dark else "light", faults))
            sheet.theme(False)
            print("shifts:", shifts(sheet, faults))
        finally:
            lab.close()
    print("\n".join(["", *dict.fromkeys(faults)]) if faults else "\nNothing is hidden, cut off, or shifts.")
    return bool(faults)


def look(sheet: Sheet, name: str, size: tuple[int, int, bool], panel: str, theme: str, faults: list[str]) -> str:
    """What of a panel is visible at a size."""
    width, height, bar = size
    page = sheet.page
    if (page.viewport_size or {}) != {"width": width, "height": height}:
        page.set_viewport_size({"width": width, "height": height})
    if bar != page.locator("#jp-left-stack").is_visible():
        sheet.command("application:toggle-left-area")
    if sheet.kernel("ex.panel") != panel:
        sheet.run(f"ex.panel = {panel!r}; ex.wait(60)")
    page.wait_for_timeout(500)
    sheet.settle()
    left, top, right, bottom = page.evaluate(PANE)
    page.wait_for_timeout(100)
    hidden = []
    wanted = {**COMMON, **PANELS[panel]}
    for act, selector in wanted.items():
        box = page.locator(f".nbv-root {selector}").locator("visible=true").first
        at = box.bounding_box() if box.count() else None
        inside = at is not None and (
            at["x"] >= left - 1 and at["y"] >= top - 2
            and at["x"] + at["width"] <= right + 1 and at["y"] + min(at["height"], 200) <= bottom + 1
        )  # fmt: skip
        if not inside:
            hidden.append(act)
    root = page.locator(".nbv-root").first
    cut, over = root.evaluate(CUT), root.evaluate(OVERLAPS)
    page.screenshot(path=ROOT / "artifacts" / f"layout-{panel}-{width}-{theme}.png")
    where = f"{name}, {theme}, {panel}"
    faults += [f"{where}: not visible: {', '.join(hidden)}"] * bool(hidden)
    faults += [f"{where}: cut off: {', '.join(cut)}"] * bool(cut)
    faults += [f"{where}: overlapping: {', '.join(over[:3])}"] * bool(over)
    shown = 1 - len(hidden) / len(wanted)
    return f"{where:40} {shown:5.0%} of {len(wanted)} visible, {len(cut)} cut off, {len(over)} overlapping"


ACTS = (
    ("another class", 1, ["class"], "ex.selection.target is not None"),
    ("another layer", 1, ["bars"], "ex.selection.layer != before.layer"),
    ("another picture", 1, ["picture"], "ex.selection.source == 'coffee'"),
    ("another method", 2, ["menu", "saliency"], "ex.selection.method == 'saliency'"),
    ("a filter's features", 2, ["tab Features", "tile"], "ex.selection.filter is not None"),
    ("a running synthesis", 2, ["tab Synthesize", "start"], "ex.panels['synthesize'].run is not None"),
)


def clicks(sheet: Sheet, faults: list[str]) -> str:
    """Each act as a reader does it, and how many clicks it took."""
    page = sheet.page
    bars = page.locator(".nbv-bars").first
    do: dict[str, Any] = {
        "class": lambda: sheet.classes.nth(1).click(),
        "bars": lambda: bars.click(position={"x": 300, "y": 20}),
        "picture": lambda: sheet.choose_picture("coffee"),
        "menu": lambda: None,  # that it opens is the browser's doing
        "saliency": lambda: sheet.control("Method").select_option(label="Saliency"),
        "tile": lambda: page.locator(".nbv-tile").nth(3).click(),
        "start": lambda: page.get_by_role("button", name="Start").first.click(),
    }
    told = []
    for act, most, steps, done in ACTS:
        sheet.run("before = ex.selection.snapshot")
        for step in steps:
            if step.startswith("tab "):
                page.locator(".lm-TabBar-tab", has_text=step[4:]).first.click()
                page.wait_for_timeout(1500)
            else:
                do[step]()
        sheet.until(lambda done=done: sheet.kernel(done))
        told.append(f"{act} {len(steps)}")
        faults += [f"{act} takes {len(steps)} clicks, not {most}"] * (len(steps) > most)
    sheet.run("ex.panels['synthesize'].stop(); ex.panel = 'explain'; ex.selection.filter = None")
    sheet.run("ex.selection.method = 'grad_cam'; ex.wait(60)")
    return ", ".join(told)


def shifts(sheet: Sheet, faults: list[str]) -> str:
    """The most that the layout shifts while a method streams, a class, a picture or an error comes, a tab turns."""
    sheet.run("ex.panel = 'explain'; ex.selection.image = 'chelsea'; ex.wait(60)")
    sheet.settle()
    sheet.page.wait_for_timeout(800)
    sheet.page.evaluate(SHIFTS)
    told = []
    for what, act in {
        "a method streams": "ex.selection.method = 'slow'; time.sleep(2); ex.stop(); ex.selection.method = 'grad_cam'; ex.wait(60)",
        "a class changes": "ex.selection.target = 285; ex.wait(60); ex.selection.target = 8; ex.wait(60)",
        "another picture": "ex.selection.image = 'coffee'; ex.wait(60)",
        "an error": "ex.selection.layer = 'classifier'; ex.wait(60); ex.selection.layer = 'blocks.4'; ex.wait(60)",
        "a map is pinned": "ex.panels['explain'].pin(); time.sleep(0.5); ex.panels['explain'].unpin()",
        "a tab turns": "Gradients, Weights, Explain",
    }.items():
        sheet.page.evaluate("window.shifts.length = 0")
        if what == "a tab turns":
            for tab in act.split(", "):
                sheet.page.locator(".lm-TabBar-tab", has_text=tab).first.click()
                sheet.page.wait_for_timeout(1500)
        else:
            sheet.run(act)
        sheet.settle()
        sheet.page.wait_for_timeout(700)
        found = sheet.page.evaluate("window.shifts")
        total = sum(value for value, _ in found)
        told.append(f"{what} {total:.3f}")
        if total > 0.02:
            faults.append(f"{what}: a shift of {total:.3f}: {max(found)[1]}")
    return ", ".join(told)


if __name__ == "__main__":
    sys.exit(main())
