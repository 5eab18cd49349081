"""The panel of a watch, without a browser: what is sent, when, and that it ends."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from nbcnnviz.explorer import watching
from nbcnnviz.explorer.front.canvas import MANAGER
from nbcnnviz.explorer.watching import WatchPanel
from nbcnnviz.render import DIVERGING, lookup_table
from nbcnnviz.render.kernels import kernel_grid
from nbcnnviz.render.plots import Ruler, round_ticks
from nbcnnviz.training import Watch, watch
from nbcnnviz.training.record import Curves
from tests.explorer.conftest import PATIENCE
from tests.training.loops import learn, small
from tests.training.test_watching import nothing_stays


@pytest.fixture(autouse=True)
def _shown_by_the_panel(monkeypatch):
    monkeypatch.setattr(Watch, "screen", WatchPanel)
    monkeypatch.setattr(MANAGER, "_send_custom", lambda commands, buffers=(): None)
    yield
    nothing_stays()
    assert not [t for t in threading.enumerate() if t.name == "nbcnnviz watch"]


def watched(
    steps: int = 6, every: int = 1, module: nn.Module | None = None, **options: object
) -> tuple[Watch, WatchPanel]:
    """A watch that has a panel and is over."""
    module = small() if module is None else module
    w = watch(module, every=every, **options)
    panel = w.widget
    learn(module, torch.optim.SGD(module.parameters(), 0.1), steps)
    w.stop()
    return w, panel


def complaints(panel: WatchPanel) -> str:
    return panel._wrong.value


def test_the_last_state_is_on_screen_when_the_watch_is_over() -> None:
    w, panel = watched(steps=7)
    assert "<b>7</b> steps" in panel._status.value
    assert "stopped" in panel._status.value
    assert panel._button.description == "Go on"
    h = w.history
    np.testing.assert_allclose(panel._loss.y.ravel()[:7], h["loss"])
    np.testing.assert_allclose(panel._gradient.lines.y[:, :7], h["gradient_norm"].T)
    np.testing.assert_allclose(panel._ratio.lines.y[:, :7], h["update_ratio"].T)
    np.testing.assert_array_equal(panel._dead.lines.y[:, :7], h["dead_share"].T)
    assert complaints(panel) == ""
    w.close()


def test_every_line_ends_in_a_number_after_a_gap() -> None:
    """bqplot puts a label where a line ends, and complains to the page where that is no number."""
    w, panel = watched()
    for plot in (panel._loss, panel._gradient, panel._ratio, panel._dead):
        y = np.atleast_2d(plot.lines.y)
        assert np.isnan(y[:, -2]).all()
        assert np.isfinite(y[:, -1]).all()
        assert (y[:, -1] >= plot._y.min).all()
    w.close()


def curves(loss: np.ndarray) -> Curves:
    """A run of which only the loss is known."""
    return Curves(np.arange(len(loss)), loss, np.nan, np.arange(0), None, None, None)


def test_the_smoothed_loss_is_a_running_mean_that_leaves_out_what_is_no_number() -> None:
    w, panel = watched(steps=1)
    loss = np.array([4.0, 2.0, np.nan, 3.0, np.inf, 1.0])
    panel._smoothed.clear()
    panel._draw_loss(curves(loss))
    seen, means = [], []
    for value in loss:
        if np.isfinite(value):
            seen.append(value)
        means.append(seen[-1])
    assert panel._smoothed[0] == 4
    assert panel._smoothed[1] == 3
    assert panel._smoothed[2] == 3
    assert panel._smoothed[4] == panel._smoothed[3]
    assert np.isfinite(panel._smoothed).all()
    assert list(panel._loss.crosses.x) == [2, 4]
    panel._draw_loss(curves(np.append(loss, 1.0)))
    assert len(panel._smoothed) == 7
    w.close()


def test_nothing_recorded_yet_is_said() -> None:
    w = watch(small())
    panel = w.widget
    assert "Waiting for the first step" in panel._status.value
    w.stop()
    assert "No step of an optimiser" in complaints(panel)
    w.close()


def test_nan_is_marked_and_named() -> None:
    module = small()
    w = watch(module, every=1)
    panel = w.widget
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    learn(module, optimiser, 2)
    with torch.no_grad():
        module[0].weight.fill_(torch.nan)
    learn(module, optimiser, 2)
    w.stop()
    assert "The loss is NaN or infinite in 2 of 4 records, first in step 2." in complaints(panel)
    assert "Gradients are NaN or infinite in 0, 1, 3 and 1 more, first in step 2." in complaints(panel)
    assert list(panel._loss.crosses.x) == list(panel._gradient.crosses.x) == list(panel._ratio.crosses.x) == [2, 3]
    assert "NaN or infinite" in panel._map_caption.value
    w.close()


def test_a_run_without_a_loss_or_without_gradients_is_told_what_to_do() -> None:
    module = small().requires_grad_(False)
    w = watch(module, every=1)
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(3):
        optimiser.step()
    w.stop()
    said = complaints(w.widget)
    assert "w.loss(loss)" in said
    assert "is everything frozen" in said
    w.close()


def test_an_error_in_the_watch_is_shown() -> None:
    w, panel = watched()
    w.error = ZeroDivisionError("of ours")
    panel._draw_what_is_there()
    assert "the training went on" in complaints(panel)
    w.close()


def test_an_error_in_drawing_is_shown_and_never_raised(monkeypatch) -> None:
    monkeypatch.setattr(watching, "kernel_grid", lambda *_: 1 / 0)
    w, panel = watched()
    assert "ZeroDivisionError" in complaints(panel)
    w.close()


def test_drawing_takes_its_share_and_no_more(monkeypatch) -> None:
    drawn, pauses = [], []

    def slow(self: WatchPanel) -> None:
        drawn.append(self)
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass

    class Over(threading.Event):
        """It says how long it is waited for, and cuts that short."""

        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout)
            return super().wait(0.001)

    monkeypatch.setattr(WatchPanel, "_draw_what_is_there", slow)
    module = small()
    w = watch(module, every=1)
    panel = w.widget
    panel._over = Over()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    while len(pauses) < 3:
        learn(module, optimiser, 1)
    w.stop()
    assert all(pause >= 1 for pause in pauses), "10 ms of computing are a hundredth of a second"
    assert len(drawn) == 1 + len(pauses) + 1, "when it is made, before each pause, and the last state"
    assert w.drawing >= 0.01 * len(pauses)
    w.close()


def test_the_controls_choose_layer_and_channel_and_follow_python() -> None:
    w, panel = watched()
    panel._channel.value = 4
    assert w.channel == 4
    w.channel = 2
    panel._draw_what_is_there()
    assert panel._channel.value == 2
    panel._layer.value = "3"
    assert (w.layer, w.channel) == ("3", 0)
    assert (panel._channel.max, panel._channel.value) == (7, 0)
    assert "It was not recorded" in panel._map_caption.value
    w.close()


def test_the_button_stops_and_goes_on() -> None:
    module = small()
    w = watch(module, every=1)
    panel = w.widget
    panel._button.click()
    assert not w.watching
    assert panel._button.description == "Go on"
    panel._button.click()
    assert w.watching
    deadline = time.monotonic() + PATIENCE
    while panel._button.description != "Stop watching":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    w.close()


def test_a_watch_that_is_dropped_lets_its_panel_be() -> None:
    module = small()
    w = watch(module, every=1)
    panel = w.widget
    learn(module, torch.optim.SGD(module.parameters(), 0.1), 2)
    gone = weakref.ref(w)
    del w
    deadline = time.monotonic() + PATIENCE
    while gone() is not None or panel._thread.is_alive():
        gc.collect()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    panel._button.click()
    assert "This watch is gone" in complaints(panel)
    panel.close()


def test_closing_removes_every_widget_it_made() -> None:
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    w, panel = watched()
    assert len(set(_instances) - before) > 30
    w.close()
    panel.close()
    kept = [_instances[i] for i in set(_instances) - before]
    assert not [widget for widget in kept if widget is not MANAGER]


def test_a_network_of_one_layer_and_one_of_many_are_drawn() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 10, 4))
    w, panel = watched(module=module)
    assert "no convolution" in panel._filters_caption.value
    assert "not maps" in panel._map_caption.value
    assert complaints(panel) == ""
    w.close()
    deep = nn.Sequential(
        nn.Conv2d(3, 2, 1), *(nn.Conv2d(2, 2, 1) for _ in range(60)), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    w, panel = watched(module=nn.Sequential(deep, nn.Linear(2, 4)))
    assert panel._gradient.lines.y.shape[0] == 32
    assert panel._shown[0] == 0
    assert panel._shown[-1] == 61
    assert len(set(panel._gradient.lines.colors)) == 32
    w.close()


def test_many_records_are_thinned_to_what_a_screen_has_and_the_last_is_kept() -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 1))
    w = watch(module, every=1)
    optimiser = torch.optim.SGD(module.parameters(), 0.0)
    for _ in range(700):
        module(torch.ones(1, 1, 1, 1)).sum().backward()
        optimiser.step()
    w.stop()
    panel = w.widget
    assert len(panel._gradient.lines.x) == 258
    assert len(panel._loss.lines.x) == 514
    assert panel._gradient.lines.x[-3] == panel._loss.lines.x[-3] == 699
    w.close()


# The picture of the kernels.


def test_kernels_of_three_channels_are_coloured_and_grey_where_zero() -> None:
    kernels = np.zeros((2, 3, 2, 2), np.float32)
    kernels[1, 0, 0, 0], kernels[1, 2, 1, 1] = 0.5, -0.5
    grid = kernel_grid(kernels)
    side, gap = 12, 2
    first, second = grid[gap : gap + 24, gap : gap + 24], grid[gap : gap + 24, 2 * gap + 24 : 2 * gap + 48]
    assert (first == [128, 128, 128, 255]).all()
    assert (second[:side, :side] == [255, 128, 128, 255]).all()
    assert (second[side:, side:] == [128, 128, 0, 255]).all()
    assert (grid[:gap] == 0).all()


@pytest.mark.parametrize("channels", [1, 5])
def test_other_kernels_are_on_a_signed_scale(channels: int) -> None:
    kernels = np.zeros((1, channels, 1, 3), np.float32)
    kernels[0, :, 0] = [-2.0, 0.0, 2.0]
    grid = kernel_grid(kernels)
    row = grid[2, 2:-2]
    for i, place in enumerate((0, 128, 255)):
        assert (row[i * 8 : (i + 1) * 8, :3] == lookup_table(DIVERGING)[place]).all()


def test_the_chosen_kernel_has_a_frame_and_what_is_no_number_a_mark() -> None:
    kernels = np.ones((4, 3, 2, 2), np.float32)
    kernels[2, 1, 0, 1] = np.nan
    plain, framed = kernel_grid(kernels), kernel_grid(kernels, chosen=3)
    assert plain.shape == framed.shape == (54, 54, 4)
    changed = (plain != framed).any(2)
    assert changed[26:, 26:].any()
    assert not changed[:26].any()
    assert not changed[28:52, 28:52].any()
    assert (plain[28:40, 14:26] == [255, 0, 255, 255]).all()


def test_kernels_all_zero_are_grey() -> None:
    assert (kernel_grid(np.zeros((1, 3, 3, 3), np.float32))[2:-2, 2:-2, :3] == 128).all()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 7), (0.02, 0.021), (-3, 5), (0, 123456), (1e-9, 2e-9)])
def test_ticks_are_few_and_round_and_within(low: float, high: float) -> None:
    ticks = np.array(round_ticks(low, high))
    assert 2 <= len(ticks) <= 7
    assert (ticks >= low - 1e-9 * abs(high)).all()
    assert (ticks <= high * (1 + 1e-9)).all()


@pytest.mark.parametrize(("low", "high", "count"), [(0.1, 1, 2), (1e-5, 10, 4), (1e-12, 1e3, 6)])
def test_decades_are_powers_of_ten(low: float, high: float, count: int) -> None:
    decades = Ruler.decades(np.array([low, high])).ticks
    assert len(decades) <= 7
    np.testing.assert_allclose(np.log10(decades), np.round(np.log10(decades)))
    assert decades[0] == pytest.approx(low)
    assert len(decades) >= count
