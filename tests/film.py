"""The animated picture of the explorer in the README: ``python -m tests.film``, or ``make film``.

A real JupyterLab at the size of a laptop's pane: what a user does is done in the page, and the page is photographed meanwhile.
A dot shows where the mouse is, which no screenshot has.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, sync_playwright

from tests.browser.lab import CHROMIUM, CHROMIUM_FLAGS, ROOT, Lab, Sheet

PATH = ROOT / "notebooks" / "images" / "explorer-live.webp"
MOST_BYTES = 2_000_000
WINDOW = (978, 881)
"""Gives the notebook a pane of 900 x 760."""
HEIGHT = 760
CELL = "import nbcnnviz as nv\nex = nv.explore(None, 'cat_above_cup', target='Egyptian cat')\nex"
BETWEEN = 0.25
"""Seconds that a frame stays."""
STEPS, STAYS = 64, 0.12
"""Of the picture by gradient ascent, which is shown faster than it grows: a frame every other step."""

CONTROLS = "ex.panels['synthesize']._setup.controls"

DOT = """() => {
    const dot = document.createElement('div');
    dot.style.cssText = 'position: fixed; z-index: 99999; width: 16px; height: 16px; margin: -8px; border-radius: 50%;' +
        'background: #e08a1ecc; border: 2px solid white; box-shadow: 0 0 3px #0008; pointer-events: none; left: -50px';
    document.body.append(dot);
    document.addEventListener('mousemove', (e) => {
        dot.style.left = `${e.clientX}px`;
        dot.style.top = `${e.clientY}px`;
    }, true);
}"""
SHOW = "document.querySelector('.nbv-root').scrollIntoView({block: 'start'})"


class Camera:
    """Takes frames of a page; what does not change is one frame that stays longer."""

    def __init__(self, sheet: Sheet) -> None:
        self.page = sheet.page
        self.sheet = sheet
        self.frames: list[Image.Image] = []
        self.durations: list[int] = []
        box = self.page.locator(".nbv-root").first.bounding_box()
        assert box is not None
        self.clip = {"x": box["x"], "y": max(box["y"], 0), "width": box["width"], "height": HEIGHT}

    def roll(self, seconds: float) -> None:
        """Take frames for a while. How long it takes to take them is not seen."""
        for _ in range(round(seconds / BETWEEN)):
            self.page.wait_for_timeout(1000 * BETWEEN)
            self.take(BETWEEN)

    def take(self, stays: float) -> None:
        """Take one frame; where nothing has changed, the last one stays longer."""
        frame = Image.open(io.BytesIO(self.page.screenshot(clip=self.clip, caret="hide"))).convert("RGB")
        if self.frames and frame.tobytes() == self.frames[-1].tobytes():
            self.durations[-1] += round(1000 * stays)
        else:
            self.frames.append(frame)
            self.durations.append(round(1000 * stays))

    def click(self, place: Locator, stay: float) -> None:
        """Go to a place, click, and see what comes."""
        self.point(place)
        place.click()
        self.roll(stay)

    def point(self, place: Locator) -> None:
        """Go to the middle of a place."""
        box = place.bounding_box()
        assert box is not None
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + min(box["height"] / 2, 200), steps=4)
        self.roll(0.25)

    def cut(self, act: Callable[[], object]) -> None:
        """Do what is not to be seen."""
        act()
        self.sheet.settle()


def play(camera: Camera, sheet: Sheet) -> None:
    """The scenes."""
    page = sheet.page
    camera.roll(0.8)
    camera.click(sheet.classes.filter(has_text="espresso").first, 1.2)  # another class
    method = page.locator(".nbv-at-method select").first
    camera.point(method)
    method.select_option(label="Guided Grad-CAM")  # another method
    camera.roll(1.2)
    method.select_option(label="Grad-CAM")
    for share in (0.75, 0.5, 0.25):  # along the layers
        bars = page.locator(".nbv-bars").first
        box = bars.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.7 * box["height"])
        camera.roll(0.6)
    camera.click(tab(sheet, "Features"), 1.0)
    camera.click(page.locator(".nbv-tile").nth(5), 1.0)
    camera.click(tab(sheet, "Synthesize"), 0.4)
    camera.cut(lambda: sheet.run(f"ex.selection.target = 'daisy'; ex.wait(60); {CONTROLS}['steps'].value = {STEPS}"))
    start = page.locator(".nbv-at-main .jupyter-button:has-text('Start')").first
    camera.point(start)
    start.click()
    for past in range(2, STEPS + 1, 2):
        sheet.until(partial(reached, sheet, past), 60)
        page.wait_for_timeout(100)  # until it is on the screen
        camera.take(STAYS)
    camera.take(1.5)


def reached(sheet: Sheet, past: int) -> bool:
    """Whether the run has come to a step."""
    step = "getattr(getattr(ex.panels['synthesize'].run, 'newest', None), 'step', 0)"
    return int(str(sheet.kernel(step))) >= past


def tab(sheet: Sheet, title: str) -> Locator:
    """A panel's tab."""
    return sheet.page.locator(f".nbv-root .lm-TabBar-tabLabel:text-is('{title}')")


def main() -> None:
    """Film, and write the file."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
            sheet = Sheet(browser, lab, CELL, width=WINDOW[0], height=WINDOW[1])
            sheet.wait_for_map()
            sheet.hide_sidebar()
            sheet.page.wait_for_timeout(1000)  # the side bar takes its time to go
            sheet.page.evaluate(DOT)
            sheet.page.evaluate(SHOW)
            sheet.settle()
            camera = Camera(sheet)
            play(camera, sheet)
            assert sheet.complaints == []
            browser.close()
        finally:
            lab.close()
    write(camera.frames, camera.durations)


def write(frames: list[Image.Image], durations: list[int]) -> None:
    """As an animated picture that goes round."""
    first, *others = frames
    for quality in (70, 55, 40):
        first.save(PATH, save_all=True, append_images=others, duration=durations, loop=0, quality=quality, method=4)
        if PATH.stat().st_size < MOST_BYTES:
            break
    print(
        f"{PATH.relative_to(ROOT)}: {first.width} x {first.height}, {len(frames)} frames, {sum(durations) / 1000:.1f} s, "
        f"{PATH.stat().st_size / 1e3:.0f} kB"
    )


if __name__ == "__main__":
    main()
