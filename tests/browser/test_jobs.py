"""Long jobs, several explorers, the user's own network: still in a real browser."""

from __future__ import annotations

import numpy as np
import pytest

from .lab import SLOW, nothing_happens_for

pytestmark = pytest.mark.browser

CELLS = (
    SLOW
    + """
import torchvision
import nbcnnviz as nv

torch.manual_seed(0)
own = nv.Network(torchvision.models.resnet18(weights=None), name="my own", classes=[f"thing {i}" for i in range(1000)])
ex = nv.explore(own, "coffee")
ex
""",
    "other = nv.explore('efficientnet_lite0', 'camera')\nother",
)


@pytest.fixture(scope="module")
def sheet(open_sheet):
    sheet = open_sheet(*CELLS)
    sheet.page.wait_for_function("document.querySelectorAll('.nbv-frame').length === 2", timeout=120_000)
    sheet.wait_for_map()
    sheet.kernel("other.wait(120) and None")
    sheet.at_rest()
    return sheet


def start_slow(sheet):
    sheet.run("ex.selection.method = 'grad_cam'")
    sheet.settle()
    sheet.run("ex.selection.method = 'slow'")
    sheet.page.wait_for_function("!document.querySelector('.nbv-line button').disabled")


def test_two_explorers_do_not_disturb_each_other(sheet):
    assert "thing" in sheet.caption(0)
    assert "tripod" in sheet.caption(1)
    before = np.array(sheet.pixels(2, 1))
    sheet.run("ex.selection.method = 'saliency'")
    sheet.settle()
    assert (np.array(sheet.pixels(2, 1)) == before).all()
    assert sheet.kernel("[ex.result.method, other.result.method]") == ["saliency", "grad_cam"]


def test_a_running_job_shows_progress_and_frames_and_stops_between_two(sheet):
    page = sheet.page
    start_slow(sheet)
    page.wait_for_function("document.querySelector('.nbv-line progress').value > 10")
    first = np.array(sheet.pixels(2))
    sheet.until(lambda: (np.array(sheet.pixels(2)) != first).any())
    page.locator(".nbv-line button").first.click()
    page.wait_for_function("document.querySelector('.nbv-text').textContent === 'Stopped'")
    step = sheet.kernel("ex.result.step")
    assert 10 < step < 1000
    nothing_happens_for(page, 300)
    assert sheet.kernel("ex.result.step") == step


def test_escape_stops_a_run(sheet):
    start_slow(sheet)
    sheet.page.locator(".nbv-line button").first.focus()
    sheet.page.keyboard.press("Escape")
    sheet.page.wait_for_function("document.querySelector('.nbv-text').textContent === 'Stopped'")


def test_a_newer_question_replaces_the_one_that_runs(sheet):
    start_slow(sheet)
    sheet.control("Method").first.select_option(label="Grad-CAM")
    sheet.settle()
    assert sheet.kernel("ex.result.method") == "grad_cam"
    assert sheet.caption(0).startswith("Grad-CAM")


def test_a_cell_that_blocks_the_kernel_does_not_block_the_explorer(sheet):
    """The worker's frames reach the page while the main thread computes."""
    start_slow(sheet)
    steps = sheet.kernel("(ex.result.step, time.sleep(0.6), ex.result.step)")
    assert steps[2] > steps[0] + 10
    sheet.run("ex.selection.method = 'grad_cam'")
    sheet.settle()


def test_the_network_menu_changes_to_the_bundled_network_and_offers_the_way_back(sheet):
    sheet.choose_network("efficientnet_lite0")
    sheet.page.wait_for_function(
        "document.querySelector('.nbv-caption').textContent.includes('espresso')", timeout=60_000
    )
    sheet.settle()
    assert sheet.kernel("ex.selection.network.name") == "efficientnet_lite0"
    sheet.choose_network("my own")
    sheet.page.wait_for_function("document.querySelector('.nbv-caption').textContent.includes('thing')", timeout=60_000)


def test_an_error_of_the_users_network_is_a_sentence(sheet):
    sheet.run(
        "class Bad(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__(); self.c = torch.nn.Conv2d(3, 4, 3); self.broken = False\n"
        "    def forward(self, x):\n"
        "        if self.broken: raise ValueError('the user wrote this')\n"
        "        return self.c(x).mean((2, 3))\n"
        "bad = Bad(); ex.selection.network = nv.Network(bad); ex.wait(60); bad.broken = True\n"
        "ex.selection.image = 'rocket'; ex.wait(60)"
    )
    sheet.page.wait_for_function("document.querySelector('.nbv-error').textContent.includes('the user wrote this')")
    assert "Traceback" not in sheet.error(0)
    sheet.run("bad.broken = False; ex.selection.image = 'coffee'")
    sheet.settle()
    assert sheet.error(0) == ""


def test_closing_ends_the_threads(sheet):
    sheet.run("ex.close(); other.close()")
    assert sheet.kernel("sum(t.name == 'nbcnnviz' for t in __import__('threading').enumerate())") == 0
