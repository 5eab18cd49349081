"""Pictures in the making in a real browser: how often the screen changes, what drawing costs, how soon it obeys.

Everything runs on one machine: the kernel, which makes the pictures, the server and the browser, which shows them, share
its cores.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.explorer import to_pixels
from tests.benchmarks.table import Row, at_most, ms

SECONDS = 6

CELLS = (
    """
import math, threading, time
import nbcnnviz as nv
from nbcnnviz import synthesis as s
net = nv.load_network()
ex = nv.explore(net, "chelsea", panels=["explain", "synthesize"])
ex
""",
)

START = """
ex.panel = "synthesize"
panel = ex.panels["synthesize"]

def begin(layer, filter, several=""):
    ex.panel = "synthesize"
    ex.selection.layer = layer
    ex.selection.filter = filter
    ex.wait(60)
    panel._setup.several.value = several
    panel._setup.controls['steps'].value = 100_000
    panel.start()
    while panel.run.task.made < 20:
        time.sleep(0.05)

def counting(seconds):
    "Count in the background."
    global counts
    counts = None
    def work():
        global counts
        counts = counted(seconds)
    threading.Thread(target=work, daemon=True).start()

def counted(seconds):
    def state():
        task = panel.run.task
        return [task.made, task.seconds, task.pace.drawn, task.pace.seconds, time.perf_counter()]
    before = state()
    time.sleep(seconds)
    return [b - a for a, b in zip(before, state())]

def bare(layer, filter, seconds):
    "Seconds a step of the same run without a panel."
    run = s.feature_visualization(net, nv.Channel(layer, filter), steps=10**6)
    for _ in range(20):
        next(run)
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(run)
        steps += 1
    return (time.perf_counter() - start) / steps
"""

# Ahead of the panel's own handler.
HEAR = """
heard = []
ex.panel = "synthesize"
panel._status.on("stop", lambda _: heard.append(panel.run.task.made))
handlers = panel._status._msg_callbacks.callbacks
handlers.insert(0, handlers.pop())
"""

# In the page, so that no driver's round trip is measured.
WATCH = """async (seconds) => {
    const canvas = document.querySelector('.nbv-pictures .nbv-canvas > canvas');
    const draw = CanvasRenderingContext2D.prototype.drawImage;
    let painted = 0, changes = 0;
    CanvasRenderingContext2D.prototype.drawImage = function (...given) {
        if (this.canvas === canvas) painted += 1;
        return draw.apply(this, given);
    };
    const start = performance.now();
    while (performance.now() - start < 1000 * seconds) {
        await new Promise(requestAnimationFrame);
        changes += painted > 0;  // several in one frame of the display are one to the eye
        painted = 0;
    }
    CanvasRenderingContext2D.prototype.drawImage = draw;
    return changes / seconds;
}"""

KEY_TO_PIXELS = to_pixels(
    """const bars = document.querySelector('.nbv-bars');
    bars.focus();
    bars.dispatchEvent(new KeyboardEvent('keydown', {key: what, bubbles: true, cancelable: true}));""",
    "return -1",
    3000,
)

CLICK_TO_END = """async (name) => {
    const named = [...document.querySelectorAll('button')].filter((e) => e.textContent.trim() === name);
    const found = named.find((e) => e.checkVisibility() && !e.disabled);
    const start = performance.now();
    found.click();
    while (!found.disabled && !found.hidden) {
        if (performance.now() - start > 5000) throw new Error(found.outerHTML);
        await new Promise(requestAnimationFrame);
    }
    return performance.now() - start;
}"""


def tables(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Every table of this section."""
    from playwright.sync_api import sync_playwright

    from tests.browser.lab import CHROMIUM, CHROMIUM_FLAGS, Lab, Sheet

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
            sheet = Sheet(browser, lab, *CELLS, height=1800)
            sheet.page.wait_for_selector(".nbv-layout", timeout=120_000)
            sheet.settle()
            sheet.run(START)
            cases = (("conv_stem", 3, ""), ("blocks.2", 3, ""), ("blocks.5", 3, ""), ("blocks.2", 3, "0-7"))
            for layer, index, several in cases:
                what = f"filters {several}" if several else f"filter {index}"
                yield (
                    f"Live: feature visualization of {what} of {layer}, 224 px",
                    _drawing(sheet, layer, index, several),
                )
            yield "Live: what is asked of a run that goes on, blocks.2", _obeying(sheet, max(12, rounds))
            browser.close()
        finally:
            lab.close()


def _drawing(sheet, layer: str, index: int, several: str) -> list[Row]:  # type: ignore[no-untyped-def]
    received: list[int] = []
    bare = None if several else sheet.kernel(f"bare({layer!r}, {index}, 3)")
    sheet.run(f"begin({layer!r}, {index}, {several!r})")
    session = sheet.page.context.new_cdp_session(sheet.page)
    session.send("Network.enable")
    session.on("Network.webSocketFrameReceived", lambda event: received.append(len(event["response"]["payloadData"])))
    sheet.run(f"counting({SECONDS})")
    on_screen = sheet.page.evaluate(WATCH, SECONDS)
    session.detach()
    sheet.page.wait_for_timeout(300)
    steps, _, drawn, drawing, took = sheet.kernel("counts")
    size = sheet.kernel("max(len(picture) for picture in panel._screen.pictures.pictures)")
    sheet.run("panel.stop(); panel.wait(60)")
    step, share = took / steps, drawing / took
    rows = [Row("a step, drawing included", ms(step))]
    if bare is not None:
        rows.append(Row("a step of the same run without a panel", ms(bare), note=f"{step / bare:.2f} of it with one"))
    due = step < 0.05
    rows += [
        Row("frames a second on screen", f"{on_screen:.1f}", ">= 20" if due else "", on_screen >= 20 if due else None),
        Row("frames a second sent", f"{drawn / took:.1f}"),
        Row("a picture", f"{size / 1e3:.1f} kB", "<= 15 kB", size <= 15e3, "of those in passing"),
        Row("bytes a frame, curves included", f"{sum(received) * 0.75 / max(1, drawn) / 1e3:.0f} kB"),
        at_most("drawing, of the run's time", share, 0.1, f"a picture {ms(drawing / max(1, drawn))}"),
    ]
    return rows


def _obeying(sheet, rounds: int) -> list[Row]:  # type: ignore[no-untyped-def]
    sheet.run("ex.panel = 'explain'")
    idle = _moves(sheet, rounds)
    sheet.run("begin('blocks.2', 3)")
    sheet.run("ex.selection.target = 281; ex.wait(60)")
    steps, *_, took = sheet.kernel("counted(3)")
    sheet.run("ex.panel = 'explain'")
    sheet.settle()
    busy = _moves(sheet, rounds)
    on = sheet.kernel("panel.run.task.state") == "running"
    lags = []
    for rate in (0.02, 0.1, 0.05):
        made, _, _, changed = sheet.kernel(
            f"[panel.run.task.made, setattr(panel._setup.controls['learning_rate'], 'value', {rate}), time.sleep(1), "
            "panel.run.newest.frame.provenance.changes[-1][0]]"
        )
        lags.append(changed - (made - 1))  # the first frame is that of step 0
    sheet.run(HEAR)
    sheet.until(lambda: sheet.page.locator(".nbv-pictures:visible").count() > 0)
    stop = sheet.page.evaluate(CLICK_TO_END, "Stop")
    more = sheet.kernel("panel.run.task.made - heard[0]")
    step = took / steps
    worst = sorted(busy)[int(0.95 * (len(busy) - 1))]
    return [
        Row("a step", ms(step)),
        Row("depth slider to the new map's pixels, no run", f"{statistics.median(idle):.0f} ms"),
        Row("the same while a run goes on", f"{statistics.median(busy):.0f} ms", "<= 200 ms",
            statistics.median(busy) <= 200 and on, f"95th percentile {worst:.0f} ms; {len(busy)} moves"),
        Row("steps until the learning rate acts", f"{max(lags)}", "<= 2", max(lags) <= 2),
        Row("steps made after the kernel heard of a click on Stop", f"{more}", "<= 1", more <= 1),
        Row("from the click until it is said to have ended", f"{stop:.0f} ms"),
    ]  # fmt: skip


def _moves(sheet, count: int) -> list[float]:  # type: ignore[no-untyped-def]
    sheet.run("ex.selection.target = 281; ex.selection.layer = 'blocks.3.0.bn1.act'; ex.wait(60)")
    took = []
    for turn in range(-2, count):
        milliseconds = sheet.page.evaluate(KEY_TO_PIXELS, "ArrowRight" if turn % 2 else "ArrowLeft")
        sheet.page.wait_for_timeout(150)
        if turn >= 0 and milliseconds > 0:
            took.append(milliseconds)
    return took
