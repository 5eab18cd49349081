"""Watching a network learn, in a real browser: what moves while the cell runs, and what the reader can do meanwhile."""

from __future__ import annotations

import re

import numpy as np
import pytest

from .lab import nothing_happens_for

pytestmark = pytest.mark.browser

CELLS = (
    """
import torch, torchvision
from torch import nn
import nbcnnviz as nv

torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
)
optimiser = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
pictures = [torchvision.transforms.functional.to_tensor(nv.load_image(name)) * 2 - 1
            for name in ("coffee", "grass", "rocket", "brick")]
go_on = True

def batch():
    labels = torch.randint(0, 4, (16,))
    places = torch.randint(0, 300, (16, 2)).tolist()
    return torch.stack([pictures[i][:, y:y + 32, x:x + 32] for i, (y, x) in zip(labels.tolist(), places)]), labels

def learn(steps):
    for step in range(steps):
        x, y = batch()
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        if not go_on:
            break
""",
    "pass",
)
LOOP = """with nv.watch(net, every=5) as w:
    learn(10**6)"""

# Its promise is not waited for: it is kept when the loop ends.
RUN = """(code) => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = 1;
    notebook.activeCell.model.sharedModel.setSource(code);
    void window.jupyterapp.commands.execute('notebook:run-cell');
}"""

REGISTRIES = "__import__('tests.training.loops').training.loops.registries()"
CURVE = """([plot, curve]) => document.querySelectorAll('.nbv-watch .bqplot')[plot]
    .querySelectorAll('.curve path.line')[curve].getAttribute('d').length"""


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(*CELLS, height=1150)
    sheet.page.evaluate(RUN, LOOP)
    sheet.page.wait_for_selector(".nbv-watch .nbv-status b", timeout=120_000)
    sheet.hide_sidebar()
    return sheet


def status(sheet) -> str:
    return sheet.page.locator(".nbv-watch .nbv-status").first.inner_text()


def steps(sheet) -> int:
    return int(status(sheet).split()[0].replace(",", ""))


def canvas(sheet, index: int) -> np.ndarray:
    """The pixels of the filters (0) or of the feature map (1)."""
    values = sheet.page.evaluate(
        """(index) => {
            const canvas = document.querySelectorAll('.nbv-watch canvas.nbv-pixelated')[index];
            const context = canvas.getContext('2d');
            return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
        }""",
        index,
    )
    return np.array(values, np.int16)


def busy(sheet) -> bool:
    """Whether the cell of the loop runs; the kernel as a whole is idle at times, for messages beside it."""
    return sheet.page.locator(".jp-Notebook-cell .jp-InputPrompt").nth(1).inner_text() == "[*]:"


def button(sheet):
    return sheet.page.locator(".nbv-watch button").first


# The first tests find the loop running and leave it running, in this order.


def test_curves_filters_and_map_move_while_the_loop_has_the_kernel(sheet):
    sheet.page.wait_for_function("document.querySelectorAll('.nbv-watch canvas.nbv-pixelated').length === 2")
    sheet.until(lambda: steps(sheet) > 0 and canvas(sheet, 0).any() and canvas(sheet, 1).any())
    before = steps(sheet), sheet.page.evaluate(CURVE, [1, 0]), canvas(sheet, 0), canvas(sheet, 1)
    sheet.until(lambda: steps(sheet) > before[0] > 0)
    sheet.until(lambda: sheet.page.evaluate(CURVE, [1, 0]) != before[1])
    sheet.until(lambda: np.abs(canvas(sheet, 0) - before[2]).max() > 0)
    sheet.until(lambda: np.abs(canvas(sheet, 1) - before[3]).max() > 8)
    assert busy(sheet)


def test_the_layer_of_the_map_is_chosen_while_the_loop_runs(sheet):
    menu = sheet.page.locator(".nbv-watch select")
    side = "document.querySelectorAll('.nbv-watch canvas.nbv-pixelated')[1].width"
    assert sheet.page.evaluate(side) == 32
    menu.select_option(label="4")
    sheet.page.wait_for_function(f"{side} === 16", timeout=20_000)
    assert busy(sheet)
    menu.select_option(label="0")
    sheet.page.wait_for_function(f"{side} === 32", timeout=20_000)


def test_watching_is_stopped_and_goes_on_while_the_loop_runs(sheet):
    button(sheet).click()
    sheet.page.wait_for_function("document.querySelector('.nbv-watch .nbv-status').textContent.includes('stopped')")
    assert busy(sheet)
    seen = steps(sheet)
    nothing_happens_for(sheet.page, 1200)
    assert steps(sheet) == seen
    button(sheet).click()
    sheet.page.wait_for_function(
        "(seen) => parseInt(document.querySelector('.nbv-watch .nbv-status').textContent.replace(',', '')) > seen",
        arg=seen,
        timeout=20_000,
    )
    assert busy(sheet)


def test_an_interrupt_ends_the_loop_and_the_watch_with_the_last_state_on_screen(sheet):
    sheet.command("notebook:interrupt-kernel")
    sheet.page.wait_for_function(
        "!document.querySelectorAll('.jp-Notebook-cell')[1].querySelector('.jp-InputPrompt').textContent.includes('*')"
    )
    sheet.page.wait_for_function("document.querySelector('.nbv-watch .nbv-status').textContent.includes('stopped')")
    assert "KeyboardInterrupt" in sheet.page.locator(".jp-Notebook-cell").nth(1).inner_text()
    assert steps(sheet) == sheet.kernel("w.steps") > 20
    assert sheet.kernel("w.watching") is False
    assert sheet.kernel(REGISTRIES) == [0, 0, 0]
    assert sheet.kernel("sum(t.name == 'nbcnnviz watch' for t in __import__('threading').enumerate())") == 0


def test_the_filters_have_the_colours_of_the_weights(sheet):
    from nbcnnviz.render.kernels import kernel_grid

    kernels = np.array(sheet.kernel("w.filters.tolist()"), np.float32)
    expected = kernel_grid(kernels, chosen=0).astype(np.int16)
    shown = canvas(sheet, 0).reshape(expected.shape)
    assert np.abs(shown - expected).max() == 0


def test_another_channel_is_drawn_and_framed_without_a_step(sheet):
    before = canvas(sheet, 0), canvas(sheet, 1)
    handle = sheet.page.locator(".nbv-watch .noUi-handle")
    handle.focus()
    for _ in range(3):
        sheet.page.keyboard.press("ArrowRight")
    sheet.until(lambda: sheet.kernel("w.channel") == 3)
    sheet.until(lambda: np.abs(canvas(sheet, 0) - before[0]).max() > 100)
    sheet.until(lambda: np.abs(canvas(sheet, 1) - before[1]).max() > 8)


@pytest.mark.parametrize("width", [700, 1000, 1700])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_screenshots(sheet, artifacts, width, dark):
    sheet.page.set_viewport_size({"width": width, "height": 1150})
    sheet.theme(dark)
    sheet.at_rest()
    panel = sheet.page.locator(".nbv-watch").first
    panel.scroll_into_view_if_needed()
    panel.screenshot(path=artifacts / f"watching-{width}-{'dark' if dark else 'light'}.png")
    box = panel.bounding_box()
    assert box["x"] + box["width"] <= width
    for plot in panel.locator(".bqplot").all():
        inner = plot.bounding_box()
        assert inner["width"] > 200
        assert inner["x"] >= box["x"] - 4
        assert inner["x"] + inner["width"] <= box["x"] + box["width"] + 4
    for text in panel.locator(".bqplot text").all()[:3]:
        colour = text.evaluate("e => getComputedStyle(e).fill")
        assert (float(re.findall(r"[\d.]+", colour)[0]) > 100) == dark, colour


def test_nan_is_marked_and_said(sheet, artifacts):
    sheet.page.set_viewport_size({"width": 1500, "height": 1150})
    sheet.run("torch.nn.init.constant_(net[4].weight, float('nan'))")
    sheet.run("w.start(); learn(30); w.stop()")
    sheet.page.locator(".nbv-watch .nbv-error").first.wait_for()
    sheet.at_rest()
    said = sheet.page.locator(".nbv-watch .nbv-error").all_inner_texts()
    assert any(text.startswith("The loss is NaN or infinite in") for text in said)
    assert any(text.startswith("Gradients are NaN or infinite in") for text in said)
    marks = sheet.page.evaluate(
        "[...document.querySelectorAll('.nbv-watch .bqplot')].map((p) => p.querySelectorAll('.object_grp').length)"
    )
    assert min(marks[:3]) > 0
    sheet.page.screenshot(path=artifacts / "watching-nan.png")


def test_a_second_watch_at_the_end_of_a_cell_and_one_that_is_dropped(sheet):
    sheet.run(
        "from IPython.display import display; net[4].reset_parameters(); net[0].reset_parameters()\n"
        "net[1].reset_parameters(); net[1].reset_running_stats(); net[8].reset_parameters()\n"
        "optimiser = torch.optim.SGD(net.parameters(), 0.05)\n"
        "second = nv.watch(net, every=2, layer='2'); third = nv.watch(net, every=3)\n"
        "learn(7); del third; learn(7); second.stop()"
    )
    assert sheet.kernel("[second.steps, second.records]") == [14, 7]
    assert sheet.kernel(REGISTRIES) == [0, 0, 0]
    assert "application/vnd.jupyter.widget-view+json" in sheet.kernel("list(second._repr_mimebundle_())")
    sheet.run("second.close()")


def test_a_network_of_many_layers_fits(sheet, artifacts):
    sheet.run("big = torchvision.models.resnet50(weights=None, num_classes=4)")
    sheet.run(
        "ob = torch.optim.SGD(big.parameters(), 0.01); wb = nv.watch(big, every=1)\n"
        "for _ in range(4): ob.zero_grad(); nn.functional.cross_entropy(big(torch.randn(2, 3, 64, 64)), torch.tensor([0, 1])).backward(); ob.step()\n"
        "wb.stop()"
    )
    sheet.page.evaluate(RUN, "wb")
    sheet.page.wait_for_function("document.querySelectorAll('.nbv-watch .nbv-key').length === 32")
    sheet.at_rest()
    panel = sheet.page.locator(".nbv-watch").first
    panel.scroll_into_view_if_needed()
    panel.screenshot(path=artifacts / "watching-resnet50.png")
    assert panel.locator(".nbv-key").count() == 32
    assert "of 107 layers" in panel.locator(".nbv-keys").inner_text()
