"""Screenshots of every panel for the documentation: ``python -m tests.screenshots [panel ...]``, or ``make screenshots``.

Each panel in a real JupyterLab, 700, 1100 and 1700 pixels wide, in light and dark; and the page that shows them,
``notebooks/panels.md``.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from nbcnnviz.explorer.language import languages
from tests.browser.lab import CHROMIUM, CHROMIUM_FLAGS, ROOT, Lab, Sheet

FOLDER = ROOT / "notebooks" / "images"
PAGE = ROOT / "notebooks" / "panels.md"
WIDTHS = (700, 1100, 1700)
THEMES = ("light", "dark")

CELL = "import nbcnnviz as nv\nex = nv.explore()\nex"
PANELS = {
    "explain": (
        "The map of a method over the picture: here Grad-CAM, with one of another class pinned beside it.",
        "ex.selection.layer = 'blocks.4'; ex.selection.target = 282; ex.wait(60); panel = ex.panels['explain']\n"
        "panel.pin(); ex.selection.target = 285; ex.wait(60); panel.widget.contours = True",
    ),
    "features": (
        "The maps of a layer, and the one chosen: its strongest unit, what that sees, and its map on the input.",
        "ex.selection.layer = 'blocks.2'; ex.selection.filter = 12; ex.wait(60)",
    ),
    "weights": (
        "The kernels of a layer, and what the class would change of them.",
        "ex.selection.layer = 'conv_stem'; ex.selection.filter = 5; ex.wait(60)",
    ),
    "gradients": (
        "Gradients, activations and update-to-weight ratios over depth; the histograms of a layer.",
        "ex.selection.layer = 'blocks.3'; ex.selection.filter = None; ex.wait(60)",
    ),
    "synthesize": (
        "A picture of a class by gradient ascent, after 128 steps.",
        "panel = ex.panels['synthesize']; ex.selection.target = 'daisy'; ex.wait(60)\n"
        "panel._setup.controls['steps'].value = 128; panel.start(); panel.wait(120)",
    ),
    "compare": (
        "Maps of every method of a few passes, each with its rank correlation with the one selected.",
        "ex.selection.target = 'tabby'; ex.selection.method = 'layer_cam'; ex.selection.layer = None; ex.wait(60)",
    ),
    "dataset": (
        "The patches of many pictures that a filter answers to most strongly, found by a scan.",
        "panel = ex.panels['dataset']; ex.selection.layer = 'blocks.2'; ex.selection.filter = 12\n"
        "panel.layers.value = True; panel.start(); panel.wait(120); ex.wait(60)",
    ),
}


def main() -> None:
    """Take them all, or those of the panels named, and write the page."""
    chosen = sys.argv[1:] or list(PANELS)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
            sheet = Sheet(browser, lab, CELL, width=max(WIDTHS), height=3000)
            sheet.wait_for_map()
            sheet.page.set_viewport_size({"width": 1500, "height": 3000})
            _take(sheet, "light", FOLDER / "explorer.webp")
            for name in chosen:
                prepare = PANELS[name][1]
                sheet.run(f"ex.panel = {name!r}; ex.wait(60)\n{prepare}")
                for width in WIDTHS:
                    sheet.page.set_viewport_size({"width": width, "height": 3000})
                    for theme in THEMES:
                        _take(sheet, theme, FOLDER / f"{name}-{width}-{theme}.webp")
            _take_translations(browser, lab)
            browser.close()
        finally:
            lab.close()
    PAGE.write_text(_page(), encoding="utf-8")


def _take_translations(browser: Browser, lab: Lab) -> None:
    """The explorer in each other language, of which the system needs the fonts."""
    for language in sorted({*languages()} - {"en"}):
        sheet = Sheet(
            browser, lab, CELL.replace("explore()", f"explore(language={language!r})"), width=1500, height=3000
        )
        sheet.wait_for_map()
        _take(sheet, "light", FOLDER / f"explorer-{language}.webp")
        sheet.close()


def _take(sheet: Sheet, theme: str, path: Path) -> None:
    sheet.hide_sidebar()
    sheet.theme(theme == "dark")
    sheet.settle()
    sheet.page.mouse.move(1, 1)
    sheet.page.wait_for_timeout(900)
    shot = sheet.page.locator(".nbcnnviz").first.screenshot()
    Image.open(io.BytesIO(shot)).convert("RGB").save(path, quality=80, method=6)
    print(path.relative_to(ROOT), f"{path.stat().st_size / 1e3:.0f} kB")


def _page() -> str:
    lines = [
        "# The panels of the explorer",
        "",
        "As they are in JupyterLab, at three widths of the browser's window, in light and dark. `make screenshots` takes",
        "them anew.",
    ]
    for name, (says, _) in PANELS.items():
        lines += ["", f"## {name.capitalize()}", "", says]
        for width in WIDTHS:
            shots = [f"![{name}, {width} px, {t}](images/{name}-{width}-{t}.webp)" for t in THEMES]
            lines += ["", f"{width} px:", "", *shots]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
