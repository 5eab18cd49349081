"""The front end in a real browser: what a drag costs, what a frame weighs, and how soon a click is answered on each host."""

from __future__ import annotations

import base64
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.explorer import CLICK_TO_PIXELS
from tests.benchmarks.table import Row

CELL = "import nbcnnviz as nv\nex = nv.explore()\nex"

# Every frame of the display moves the slider; what is painted of it is counted on the overlay's canvas.
DRAG = """async ([name, seconds]) => {
    const labels = [...document.querySelectorAll('.nbv-controls label')];
    const input = labels.find((label) => label.textContent.includes(name)).querySelector('input');
    const canvas = document.querySelectorAll('.nbv-frame .nbv-canvas')[1].querySelector(':scope > canvas');
    const draw = CanvasRenderingContext2D.prototype.drawImage;
    let painted = 0, paints = 0, frames = 0;
    CanvasRenderingContext2D.prototype.drawImage = function (...given) {
        if (this.canvas === canvas) painted += 1;
        return draw.apply(this, given);
    };
    const start = performance.now();
    while (performance.now() - start < 1000 * seconds) {
        input.value = String(0.1 + 0.01 * ((7 * frames) % 80)); // another one every frame
        input.dispatchEvent(new Event('input', {bubbles: true}));
        await new Promise(requestAnimationFrame);
        frames += 1;
        paints += painted > 0;
        painted = 0;
    }
    CanvasRenderingContext2D.prototype.drawImage = draw;
    return [frames / seconds, paints / seconds];
}"""


def tables(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Every table of this section."""
    from playwright.sync_api import sync_playwright

    from tests.browser.hosts import Host
    from tests.browser.lab import CHROMIUM, CHROMIUM_FLAGS, Lab, Sheet

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        lab = Lab(Path(folder))
        try:
            sheet = Sheet(browser, lab, CELL)
            sheet.wait_for_map()
            yield "In the browser alone: dragging a slider of the frame", _drags(sheet)
            yield "What travels", _weights(sheet)
            sheet.close()
        finally:
            lab.close()
        for name in ("notebook", "voila"):
            with tempfile.TemporaryDirectory() as own:
                host = Host(name, Path(own), browser, CELL)
                try:
                    host.page.wait_for_function(
                        "document.querySelectorAll('.nbv-frame .nbv-canvas > canvas').length >= 3", timeout=120_000
                    )
                    host.page.wait_for_function("document.querySelector('.nbv-caption').textContent", timeout=120_000)
                    host.page.wait_for_timeout(3000)
                    yield (
                        f"From a click on a class bar to the map's pixels: {name}",
                        _clicks(host.page, max(40, 2 * rounds)),
                    )
                finally:
                    host.close()
        browser.close()


def _drags(sheet) -> list[Row]:  # type: ignore[no-untyped-def]
    rows = []
    for name in ("Opacity", "Threshold"):
        before = sheet.sent
        frames, paints = sheet.page.evaluate(DRAG, [name, 3])
        sent = sheet.sent - before
        rows.append(
            Row(f"{name}: frames painted a second", f"{paints:.0f}", f"{frames:.0f}", paints >= 0.95 * frames,
                "of those that the display shows")
        )  # fmt: skip
        rows.append(Row(f"{name}: messages to the kernel", str(sent), "0", sent == 0))
    return rows


def _weights(sheet) -> list[Row]:  # type: ignore[no-untyped-def]
    """The messages that bring a map, and those that bring a picture, with their headers."""
    received: list[bytes] = []

    def hear(event: dict) -> None:
        frame = event["response"]
        data = frame["payloadData"]
        received.append(base64.b64decode(data) if frame["opcode"] == 2 else data.encode())

    session = sheet.page.context.new_cdp_session(sheet.page)
    session.send("Network.enable")
    session.on("Network.webSocketFrameReceived", hear)
    frame = str(sheet.kernel("ex.panels['explain'].widget.model_id")).encode()

    def weight(change: str) -> float:
        received.clear()
        sheet.run(change)
        sheet.settle()
        sheet.page.wait_for_timeout(300)
        return max(len(message) for message in received if frame in message) / 1e3

    sheet.run("ex.selection.layer = 'blocks.4'")
    sheet.settle()
    shape = sheet.kernel("ex.panels['explain'].widget.shape")
    maps = [weight(f"ex.selection.target = {target}") for target in (281, 285, 8, 153)]
    pictures = [weight(f"ex.selection.image = {name!r}") for name in ("coffee", "astronaut", "motorcycle", "chelsea")]
    session.detach()
    heaviest, photograph = max(maps), max(pictures)
    return [
        Row(f"a map of {shape[0]} x {shape[1]}", f"{heaviest:.2f} kB", "<= 1.5 kB", heaviest <= 1.5, "the whole message, the heaviest of four"),
        Row("a photograph", f"{photograph:.1f} kB", "<= 15 kB", photograph <= 15, "the heaviest of four"),
    ]  # fmt: skip


def _clicks(page, clicks: int) -> list[Row]:  # type: ignore[no-untyped-def]
    """Beyond what the status line says that the computation took."""
    beyond = []
    for turn in range(-6, clicks):
        milliseconds = page.evaluate(CLICK_TO_PIXELS, 1 + turn % 2)
        page.wait_for_timeout(150)
        told = page.locator(".nbv-text").first.inner_text()
        if turn >= 0:
            beyond.append(milliseconds - float(told.split(" ms")[0]))
    median = statistics.median(beyond)
    worst = sorted(beyond)[int(0.95 * len(beyond))]
    return [
        Row("beyond computing", f"{median:.0f} ms", "<= 60 ms", median <= 60,
            f"95th percentile {worst:.0f} ms; {clicks} clicks")
    ]  # fmt: skip
