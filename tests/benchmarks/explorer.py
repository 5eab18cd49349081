"""The explorer in a real browser: from a click to the new map's pixels, beyond the computation itself."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.table import Row

CELL = """
import time
import nbcnnviz as nv
ex = nv.explore()
took = []
answer = ex.session._answer
def timed(*asked):
    start = time.perf_counter()
    yield from answer(*asked)
    took.append(time.perf_counter() - start)
ex.session._answer = timed
ex
"""


def to_pixels(act: str, late: str, patience: int) -> str:
    """Milliseconds from something done to the map's new pixels, looked at every frame; ``late``: what if none come
    for so many milliseconds.

    In the page, so that no driver's round trip is measured. Both are JavaScript; ``what`` is the page's argument.
    """
    return f"""async (what) => {{
    const canvas = document.querySelectorAll('.nbv-frame .nbv-canvas')[2].querySelector(':scope > canvas');
    const sum = () => {{
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let total = 0;
        for (let i = 0; i < data.length; i += 4) total += data[i] * (1 + (i % 9973));
        return total;
    }};
    const before = sum();
    const start = performance.now();
    {act}
    while (sum() === before) {{
        if (performance.now() - start > {patience}) {late};
        await new Promise(requestAnimationFrame);
    }}
    return performance.now() - start;
}}"""


CLICK_TO_PIXELS = to_pixels(
    "document.querySelectorAll('.nbv-class')[what].dispatchEvent(new MouseEvent('click', {bubbles: true}));",
    "throw new Error('no new map')",
    5000,
)


def tables(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Yield the table of the explorer's figures."""
    from playwright.sync_api import sync_playwright

    from tests.browser.lab import CHROMIUM, CHROMIUM_FLAGS, Lab, Sheet

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
            sheet = Sheet(browser, lab, CELL)
            sheet.wait_for_map()
            yield "Explorer: EfficientNet-Lite0, Grad-CAM, loopback", _clicks(sheet, max(40, 2 * rounds))
            yield "Explorer: dragging the layer slider over 50 values in two seconds", _drag(sheet)
            browser.close()
        finally:
            lab.close()


def _clicks(sheet, clicks: int) -> list[Row]:  # type: ignore[no-untyped-def]
    beyond, whole = [], []
    for turn in range(-6, clicks):
        milliseconds = sheet.page.evaluate(CLICK_TO_PIXELS, 1 + turn % 2)
        sheet.page.wait_for_timeout(120)
        computing = 1000 * sheet.kernel("took[-1]")
        if turn >= 0:
            whole.append(milliseconds)
            beyond.append(milliseconds - computing)
    median = statistics.median(beyond)
    worst = sorted(beyond)[int(0.95 * len(beyond))]
    return [
        Row("click on a bar to the map's pixels, beyond computing", f"{median:.0f} ms", "<= 60 ms", median <= 60,
            f"95th percentile {worst:.0f} ms; {clicks} clicks"),
        Row("the same, computing included", f"{statistics.median(whole):.0f} ms"),
    ]  # fmt: skip


def _drag(sheet) -> list[Row]:  # type: ignore[no-untyped-def]
    handle = sheet.control("Depth")
    handle.focus()
    sheet.page.keyboard.press("Home")
    sheet.settle()
    sheet.run("del took[:]")
    for _ in range(50):
        sheet.page.keyboard.press("ArrowRight")
        sheet.page.wait_for_timeout(38)
    waited = sheet.page.evaluate(
        """async () => {
            const start = performance.now();
            let last = start, text = document.querySelector('.nbv-caption').textContent;
            while (performance.now() - last < 600) {
                await new Promise(requestAnimationFrame);
                const now = document.querySelector('.nbv-caption').textContent;
                if (now !== text) { text = now; last = performance.now(); }
            }
            return last - start;
        }"""
    )
    mapped = "[ex._sides.map.names[row] for row in ex._sides.map.order if ex._sides.map.sides[row]]"
    ended = sheet.kernel(f"ex.result.layer == ex.selection.layer == {mapped}[50]")
    return [
        Row("ends on the last value's map", "yes" if ended else "no", "yes", bool(ended)),
        Row("the last change after the last key", f"{waited:.0f} ms"),
        Row("maps computed to the end on the way", str(sheet.kernel("len(took)"))),
    ]
