"""The same explorer in the other hosts: Notebook 7 and Voila; and its map in marimo."""

from __future__ import annotations

import numpy as np
import pytest

import nbcnnviz as nv

from .hosts import Host
from .lab import until

pytestmark = pytest.mark.browser

CELL = "import nbcnnviz as nv\nex = nv.explore()\nex"


@pytest.fixture(scope="module", params=["notebook", "voila"])
def host(request, browser, tmp_path_factory, artifacts):
    host = Host(request.param, tmp_path_factory.mktemp(request.param), browser, CELL)
    host.page.wait_for_function("document.querySelectorAll('.nbv-canvas > canvas').length >= 3", timeout=120_000)
    host.page.wait_for_function("document.querySelector('.nbv-caption').textContent !== ''", timeout=120_000)
    until(host.page, lambda: all((host.pixels(view)[..., 3] > 0).all() for view in range(3)))
    yield host
    host.page.screenshot(path=artifacts / f"host-{request.param}.png")
    complaints = host.complaints
    host.close()
    assert not complaints


def changed(host: Host, act, caption: str) -> None:
    """Act, and wait until the caption says so and the map is another."""
    before = host.pixels(2)
    act()
    host.page.wait_for_function(f"document.querySelector('.nbv-caption').textContent.includes({caption!r})")
    until(host.page, lambda: np.abs(host.pixels(2) - before).max() > 8)


def choose_layer(host: Host, name: str) -> None:
    host.page.locator(".nbv-depth input[type=search]").fill(name)
    host.page.locator(f".nbv-layer[title^='{name},']").click()


def test_the_picture_and_its_map_are_shown(host: Host) -> None:
    trace = nv.load_network().trace("chelsea")
    shown = host.pixels(0)[..., :3]
    assert np.abs(shown - np.asarray(trace.pictures[0], np.int16)).mean() < 4
    assert np.abs(host.pixels(1)[..., :3] - shown).mean() > 3
    assert "tiger cat" in host.caption()


def test_a_click_on_a_bar_explains_that_class(host: Host) -> None:
    second = nv.load_network().trace("chelsea").top(2)[1][1]
    changed(host, lambda: host.page.locator(".nbv-classlist [role=option]").nth(1).click(), second)


def test_a_click_on_the_layer_map_chooses_the_layer(host: Host) -> None:
    changed(host, lambda: choose_layer(host, "blocks.3"), "blocks.3")


def test_a_thumbnail_chooses_a_picture(host: Host) -> None:
    before = host.pixels(0)
    host.page.locator(".nbv-strip [title=coffee]").click()
    host.page.wait_for_function("document.querySelector('.nbv-classlist').textContent.includes('espresso')")
    until(host.page, lambda: (host.pixels(0) != before).any())


def test_opacity_is_set_in_the_browser(host: Host) -> None:
    before = host.pixels(1)
    slider = host.page.locator(".nbv-controls label:has-text('Opacity') input").first
    slider.evaluate("e => { e.value = '0.1'; e.dispatchEvent(new Event('input', {bubbles: true})); }")
    until(host.page, lambda: (host.pixels(1) != before).any())


def test_marimo_shows_the_map_without_ipywidgets(browser, tmp_path, artifacts) -> None:
    """There is no ipycanvas, so that the same bytes are painted on canvases of the frame's own."""
    pytest.importorskip("marimo")
    host = Host("marimo", tmp_path, browser, "import nbcnnviz as nv\nex = nv.explore()\nex.wait(60)\nex")
    try:
        host.page.locator(".nbv-canvas > canvas").nth(2).wait_for(timeout=120_000)
        host.page.locator(".nbv-caption", has_text="tiger cat").wait_for(timeout=60_000)
        until(host.page, lambda: all((host.pixels(view)[..., 3] > 0).all() for view in range(3)))
        host.page.screenshot(path=artifacts / "host-marimo.png")
        test_the_picture_and_its_map_are_shown(host)
        result = nv.attribute(nv.load_network().trace("chelsea"), method="grad_cam")
        expected = np.asarray(result.overlay(opacity=0.7), np.int16)
        assert np.abs(host.pixels(1)[..., :3] - expected).mean() < 4  # the photograph travels compressed
        map_ = host.pixels(2)
        test_opacity_is_set_in_the_browser(host)
        assert (host.pixels(2) == map_).all()
        assert host.complaints == []
    finally:
        host.close()
