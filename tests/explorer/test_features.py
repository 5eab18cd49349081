"""The Features panel: its grid, its order, its pages, a filter, a unit, files and code; against plain torch and numpy."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ipywidgets.widgets.widget import _instances
from PIL import Image
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz import inside
from nbcnnviz.explorer import Explorer
from nbcnnviz.explorer.front import parts_of
from nbcnnviz.explorer.panels import features as module
from nbcnnviz.explorer.panels.features import FeaturesPanel
from nbcnnviz.inside.figures import kept
from nbcnnviz.inside.figures.features import A_PAGE, TILE
from nbcnnviz.render import coloured
from nbcnnviz.session.selection import Selection
from tests.explorer.conftest import PATIENCE

RULES = {"Gradient": "gradient", "Guided backprop": "guided", "Deconvnet": "deconvnet"}


@pytest.fixture
def open_features(explore) -> Callable[..., tuple[Explorer, FeaturesPanel]]:
    def open_(*args, **kwargs):
        ex = explore(*args, **{"panels": ["features", "predictions"], **kwargs})
        return ex, ex.panels["features"]

    return open_


def settled(ex: Explorer) -> None:
    """Wait until the explorer is idle; what went wrong, if anything did, is raised."""
    ex.wait(PATIENCE)
    if ex.error:
        raise ex.error


def choose(panel: FeaturesPanel, index: int) -> None:
    """Click a tile, as the browser tells of it."""
    panel.tiles._handle_custom_msg({"type": "choose", "index": index}, [])


def point(panel: FeaturesPanel, row: int, column: int) -> None:
    """Click a place of the large map."""
    panel.large._handle_custom_msg({"type": "pixel", "row": row, "column": column}, [])


def grid(panel: FeaturesPanel) -> np.ndarray:
    """The bytes of the tiles, (n, h, w)."""
    return np.frombuffer(panel.tiles.values, np.uint8).reshape(panel.tiles.shape[:3])


def in_bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """What a colour scale makes of values: 0 at its low end and 255 at its high."""
    return np.rint((values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))).astype(np.uint8)


def many(channels: int, size: int = 12) -> nv.Network:
    """A network with a layer of many maps."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, channels, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, 3),
    )
    return nv.Network(net.eval(), size=size, name="many")


class Recorded:
    """A canvas that remembers what is drawn on it."""

    def __init__(self) -> None:
        self.rectangles: list[tuple[float, ...]] = []
        self.dots: list[tuple[float, float]] = []
        self.rings: list[tuple[float, ...]] = []

    def save(self) -> None:
        """Marks on a picture of few pixels are drawn on a canvas of more: what is scaled is remembered as it was drawn."""

    def scale(self, x: float, y: float) -> None:
        assert x == y > 1

    restore = save

    def stroke_rect(self, *box: float) -> None:
        self.rectangles.append(box)

    def stroke_circle(self, *circle: float) -> None:
        self.rings.append(circle)

    def fill_circles(self, x, y, radius) -> None:
        self.dots += zip(x.tolist(), y.tolist(), strict=True)


def marks(frame) -> Recorded:
    """What lies over a map."""
    canvas = Recorded()
    if frame._marks._last is not None:
        frame._marks._last(canvas)
    return canvas


# The grid.


@pytest.mark.parametrize("layer", ["0", "2", "4", "5"])
def test_a_tile_shows_its_filters_activations_on_its_own_scale(open_features, toy: nv.Network, layer: str) -> None:
    _, panel = open_features(toy, layer=layer)
    panel.order.value = "index"
    settled(_)
    values = toy.trace("chelsea")[layer].detach().numpy()[0]
    assert panel.tiles.indices == list(range(len(values)))
    for shown, expected, low, high in zip(grid(panel), values, panel.tiles.lows, panel.tiles.highs, strict=True):
        assert high == pytest.approx(abs(expected).max(), rel=1e-6) or not expected.any()
        assert low == (-high if (values < 0).any() else 0)
        if expected.any():
            np.testing.assert_allclose(shown, in_bytes(expected, low, high), atol=1)
        else:
            assert (shown == (128 if low else 0)).all()


def test_on_one_scale_for_all_tiles_are_comparable_over_all_pages(open_features) -> None:
    net = many(2 * A_PAGE + 5)
    ex, panel = open_features(net, layer="2")
    panel.shared.value = True
    settled(ex)
    values = net.trace("chelsea")["2"].detach().numpy()[0]
    seen = []
    for page in range(3):
        panel.pager.value = page + 1
        settled(ex)
        assert panel.tiles.highs == [pytest.approx(abs(values).max())]
        low, high = panel.tiles.lows[0], panel.tiles.highs[0]
        np.testing.assert_allclose(grid(panel), in_bytes(values[panel.tiles.indices], low, high), atol=1)
        seen += panel.tiles.indices
    assert sorted(seen) == list(range(len(values)))


def test_maps_larger_than_a_tile_are_sent_as_the_mean_of_what_falls_together(open_features) -> None:
    net = nv.Network(
        nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)).eval(),
        size=(4 * TILE, 2 * TILE),
    )
    ex, panel = open_features(net, layer="0")
    panel.order.value = "index"
    settled(ex)
    assert panel.tiles.shape == [5, TILE, TILE // 2, 1]
    values = net.trace("chelsea")["0"].detach().numpy()[0]
    expected = values.reshape(5, TILE, 4, TILE // 2, 4).mean((2, 4))
    for shown, map_, low, high in zip(grid(panel), expected, panel.tiles.lows, panel.tiles.highs, strict=True):
        np.testing.assert_allclose(shown, in_bytes(map_, low, high), atol=1)
    assert panel.large.shape == [4 * TILE, 2 * TILE], "the large map is at its own resolution"


# The order.


def test_filters_are_ordered_by_what_plain_numpy_says(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="5", target=1)
    values = toy.trace("chelsea")["5"].detach().numpy()[0]
    weights = toy.module[8].weight.detach().numpy()[1]
    judged = {
        "index": -np.arange(8.0),
        "activation": values.max((1, 2)),
        "mean": values.mean((1, 2)),
        # The score is a Linear layer over the average of these maps: the gradient is a weight over the number of places.
        "contribution": weights * values.mean((1, 2)),
    }
    for by, value in judged.items():
        panel.order.value = by
        settled(ex)
        assert panel.tiles.indices == np.argsort(-value, kind="stable").tolist()
        if by != "index":
            said = [float(hint.rpartition(" ")[2]) for hint in panel.tiles.hints]
            np.testing.assert_allclose(said, np.sort(value)[::-1], rtol=6e-3, atol=1e-9)
    assert panel.tiles.caption == "5: 8 maps of 12 x 10, by gradient x activation for bee (1)"


def test_contributions_are_those_to_the_class_also_while_a_filter_is_explained(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4", target=2)
    panel.order.value = "contribution"
    settled(ex)
    first = panel.tiles.indices
    assert first == inside.ranking(toy.trace("chelsea"), "4", "contribution", target=2).filters.tolist()
    choose(panel, first[3])
    settled(ex)
    assert panel.tiles.indices == first
    assert "for cat (2)" in panel.tiles.caption
    ex.selection.target = 0
    settled(ex)
    assert panel.tiles.indices == inside.ranking(toy.trace("chelsea"), "4", "contribution", target=0).filters.tolist()


def test_sorting_needs_no_forward_pass(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4")
    passes: list[int] = []
    with toy.module.register_forward_pre_hook(lambda *_: passes.append(1)):
        for by in ("contribution", "mean", "index", "activation"):
            panel.order.value = by
            settled(ex)
    assert passes == []


# What a change costs.


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """The parts of answers that were computed, by name."""
    names: list[str] = []

    def count(name: str) -> None:
        make = getattr(kept, f"{name}_of")
        monkeypatch.setattr(kept, f"{name}_of", lambda *args: [names.append(name), make(*args)][1])

    for name in ("stack", "order", "page", "large", "unit_map", "unit_view"):
        count(name)
    return names


def test_an_answer_computes_only_what_the_change_asks_for(open_features, toy: nv.Network, made: list[str]) -> None:
    ex, panel = open_features(toy, layer="4")
    assert made == ["stack", "order", "page", "large"]

    def costs(act: Callable[[], object]) -> list[str]:
        made.clear()
        act()
        settled(ex)
        return list(made)

    second = panel.tiles.indices[1]
    assert costs(lambda: choose(panel, second)) == ["large"]
    assert costs(lambda: point(panel, 2, 3)) == ["unit_map", "unit_view"]
    assert costs(lambda: point(panel, 5, 6)) == ["unit_map", "unit_view"]
    assert costs(lambda: setattr(panel.signed, "value", False)) == ["unit_view"]
    assert costs(lambda: setattr(panel.map, "value", "Deconvnet")) == ["unit_map", "unit_view"]
    assert costs(lambda: setattr(panel.switches, "value", True)) == []
    assert costs(lambda: setattr(panel.shared, "value", True)) == ["page"]
    assert costs(lambda: setattr(panel.order, "value", "mean")) == ["order", "page"]
    assert costs(lambda: setattr(panel.order, "value", "activation")) == ["page"]
    assert costs(panel._whole.click) == []
    assert costs(lambda: setattr(ex.selection, "target", 3)) == ["large"], "of the first in the order"
    assert costs(lambda: setattr(ex.selection, "method", "saliency")) == []


def test_a_click_sends_the_grid_no_second_time(open_features, toy: nv.Network, monkeypatch) -> None:
    ex, panel = open_features(toy, layer="4")
    sent: list[str] = []
    panel.tiles.observe(lambda change: sent.append(change.name))
    choose(panel, panel.tiles.indices[2])
    settled(ex)
    assert sent == ["chosen"]
    point(panel, 1, 1)
    settled(ex)
    assert sent == ["chosen"]


# Pages.


def test_pages_are_turned_by_buttons_and_slider(open_features) -> None:
    net = many(2 * A_PAGE + 5)
    ex, panel = open_features(net, layer="2")
    order = inside.ranking(net.trace("chelsea"), "2", "activation").filters.tolist()

    def shows(page: int) -> bool:
        settled(ex)
        assert panel._page_label.value == f"Page {page + 1} of 3"
        assert panel.pager.value == page + 1
        assert (panel._back.disabled, panel._next.disabled) == (page == 0, page == 2)
        return panel.tiles.indices == order[page * A_PAGE : (page + 1) * A_PAGE]

    assert shows(0)
    assert panel.pager.max == 3
    panel._next.click()
    assert shows(1)
    panel.pager.value = 3
    assert shows(2)
    panel._next.click()  # there is none
    assert shows(2)
    panel._back.click()
    assert shows(1)
    for _ in range(5):
        panel._back.click()
    assert shows(0)


def test_the_page_turns_to_a_filter_that_is_selected_elsewhere(open_features) -> None:
    net = many(2 * A_PAGE + 5)
    ex, panel = open_features(net, layer="2", filter=7)
    order = inside.ranking(net.trace("chelsea"), "2", "activation").filters.tolist()
    assert panel.pager.value == order.index(7) // A_PAGE + 1
    for filter_ in (order[0], order[-1], order[A_PAGE]):
        ex.selection.filter = filter_
        settled(ex)
        assert filter_ in panel.tiles.indices
        assert panel.tiles.chosen == filter_
        assert panel.pager.value == order.index(filter_) // A_PAGE + 1
    panel._back.click()  # and stays where the reader turns it
    settled(ex)
    assert panel.pager.value == 1
    panel._next.click()
    panel.order.value = "index"
    settled(ex)
    assert panel.tiles.indices == list(range(A_PAGE)), "another order is looked at from its start"


def test_a_page_turned_while_another_is_computed_is_not_lost(open_features, toy: nv.Network, monkeypatch) -> None:
    """The reader clicks on one thread while the answer to an earlier question is made on another."""
    ex, panel = open_features(toy, layer="4")
    begun, go_on = threading.Event(), threading.Event()

    def slow(*given):
        begun.set()
        assert go_on.wait(30)
        return made(*given)

    made = module.pages_of
    monkeypatch.setattr("nbcnnviz.explorer.panels.features.pages_of", slow)
    panel.order.value = "contribution"
    assert begun.wait(30)
    panel._turn_to(3)  # as a click does, before it asks
    go_on.set()
    settled(ex)
    assert panel._page == 3


def test_a_layer_of_one_page_has_no_pager(open_features) -> None:
    net = many(2 * A_PAGE + 5)
    ex, panel = open_features(net, layer="2")
    panel.pager.value = 3
    settled(ex)
    assert panel._pages.layout.display is None
    ex.selection.layer = "0"
    settled(ex)
    assert panel._pages.layout.display == "none"
    ex.selection.layer = "2"
    settled(ex)
    assert panel.pager.value == 1


def test_ten_thousand_channels_are_a_hundred_pages(open_features) -> None:
    ex, panel = open_features(many(10_000, size=8), layer="2")
    assert panel._page_label.value == "Page 1 of 105"
    assert len(panel.tiles.values) == A_PAGE * 64
    ex.selection.filter = 9_999
    settled(ex)
    assert 9_999 in panel.tiles.indices


# The filter.


def test_a_click_on_a_tile_selects_the_filter_and_shows_it_large(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4")
    index = panel.tiles.indices[5]
    choose(panel, index)
    settled(ex)
    assert ex.selection.filter == panel.tiles.chosen == panel.result.filter == index
    values = toy.trace("chelsea")["4"].detach().numpy()[0, index]
    shown = np.frombuffer(panel.large.values, np.uint8).reshape(panel.large.shape)
    np.testing.assert_allclose(shown, in_bytes(values, panel.large.low, panel.large.high), atol=1)
    assert f"Filter {index} of 4" in panel.large.caption
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert f"at row {row}, column {column}" in panel.large.caption
    (x, y, _), _ = marks(panel.large).rings
    assert (x, y) == ((column + 0.5) * 2, (row + 0.5) * 2)  # 12 x 10 places on 24 x 20 pixels


def test_without_a_filter_the_first_in_the_order_is_shown_and_not_selected(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4")
    first = panel.tiles.indices[0]
    assert ex.selection.filter is None
    assert panel.tiles.chosen == -1
    assert panel.result.large.filter == first
    point(panel, 4, 7)
    settled(ex)
    assert (ex.selection.filter, ex.selection.unit) == (first, (4, 7))
    ex.selection.target = 1  # the class instead
    settled(ex)
    assert panel.tiles.chosen == -1


def test_a_click_on_what_is_no_longer_selected_is_not_heard(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="0")
    shown = panel.result
    ex.selection.layer = "4"
    settled(ex)
    panel.result = shown  # as while the answer is under way
    choose(panel, 5)
    point(panel, 23, 19)
    panel._strongest.click()
    assert ex.selection.filter is None
    panel.result = None
    choose(panel, 5)
    point(panel, 3, 3)
    panel._strongest.click()
    assert ex.selection.filter is None
    assert ex.error is None


def test_messages_that_make_no_sense_get_a_sentence(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4")
    choose(panel, 99)
    ex.wait(PATIENCE)
    assert "there is no 99" in ex._status.error
    panel.tiles._handle_custom_msg({"type": "choose"}, [])
    panel.large._handle_custom_msg({"type": "pixel", "row": "x"}, [])
    ex.wait(PATIENCE)
    assert ex.selection.unit is None


# The unit.


@pytest.mark.parametrize("how", list(RULES))
def test_a_units_map_is_its_gradient_under_the_rule(open_features, toy: nv.Network, how: str) -> None:
    ex, panel = open_features(toy, layer="4", filter=3)
    panel.map.value = how
    point(panel, 6, 5)
    settled(ex)
    assert ex.selection.unit == (6, 5)
    expected = toy.trace("chelsea").gradient(nv.Unit("4", 3, 6, 5), rule=RULES[how])[0]
    assert torch.equal(panel.result.unit_view.unit_map.values, expected)
    shown = np.frombuffer(panel.unit.values, np.uint8).reshape(panel.unit.shape)
    np.testing.assert_allclose(
        shown, in_bytes(expected.sum(0).numpy(), panel.unit.low, panel.unit.high).clip(0, 255), atol=1
    )
    panel.signed.value = False
    settled(ex)
    assert panel.unit.low == 0
    assert torch.equal(panel.result.unit_view.map, expected.abs().amax(0))


def test_the_plain_gradient_is_that_of_plain_torch(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4", filter=3)
    point(panel, 6, 5)
    settled(ex)
    x = toy.trace("chelsea").input.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(toy.module[:5](x)[0, 3, 6, 5], x)
    torch.testing.assert_close(panel.result.unit_view.unit_map.values, expected[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("layer", "unit", "box"),
    [
        ("0", (2, 3), (1, 2, 4, 5)),  # 3 x 3, padded by 1
        ("0", (0, 19), (0, 18, 2, 20)),  # at a corner of the picture
        ("4", (6, 5), (9, 7, 17, 15)),  # 3 x 3, pooled by 2, 3 x 3: 8 pixels, 2 apart, from -3 on
        ("4", (0, 9), (0, 15, 5, 20)),
    ],
)
def test_the_rectangle_is_what_the_unit_sees(open_features, toy: nv.Network, layer: str, unit, box) -> None:
    ex, panel = open_features(toy, layer=layer, filter=2)
    point(panel, *unit)
    settled(ex)
    assert tuple(panel.result.unit_view.box) == box
    assert tuple(inside.receptive_field(toy.trace("chelsea"), layer, *unit)) == box
    top, left, bottom, right = box
    assert f"sees {bottom - top} x {right - left} pixels" in panel.unit.caption
    x, y, width, height = marks(panel.unit).rectangles[0]
    line = 2  # it stays within the picture
    np.testing.assert_allclose((y, x, y + height, x + width), box, atol=line)
    assert len(marks(panel.large).rectangles) == 4, "the box and the unit's own place, each in black and in colour"
    outside = panel.result.unit_view.unit_map.values.clone()
    outside[:, top:bottom, left:right] = 0
    assert not outside.any()


def test_the_whole_filter_comes_back(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4", filter=3)
    assert panel._of_unit.layout.display == "none"
    assert panel._whole.disabled
    panel._strongest.click()
    settled(ex)
    best = inside.strongest(toy.trace("chelsea"), "4", 3)
    assert ex.selection.unit == (best.row, best.column)
    assert panel._of_unit.layout.display is None
    assert not panel._whole.disabled
    panel._whole.click()
    settled(ex)
    assert (ex.selection.filter, ex.selection.unit) == (3, None)
    assert panel._of_unit.layout.display == "none"
    assert marks(panel.large).rings


def test_zeilers_projection_with_the_switches_of_its_max_pools(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4")
    panel._strongest.click()
    settled(ex)
    assert panel.switches.disabled
    assert panel.switches.tooltip == "Only the Zeiler projection keeps the switches"
    panel.map.value = "Zeiler projection"
    settled(ex)
    seen, trace = panel.result.unit_view, toy.trace("chelsea")
    assert torch.equal(seen.unit_map.values, inside.project(trace, "4", panel.result.large.filter).values)
    # By hand: the unit's value through the transposed filters, the unpooling, the rectifier.
    conv1, norm, _, _, conv2 = toy.module[:5]
    before = F.relu(norm(conv1(trace.input.detach())))
    _, where = F.max_pool2d(before, 2, return_indices=True)
    seed = torch.zeros(1, 8, 12, 10)
    seed[0, panel.result.large.filter, seen.place.row, seen.place.column] = seen.place.value
    down = F.max_unpool2d(F.conv_transpose2d(seed, conv2.weight, padding=1), where, 2, output_size=before.shape)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    expected = F.conv_transpose2d(down.relu() * scale[:, None, None], conv1.weight, padding=1)
    torch.testing.assert_close(seen.unit_map.values, expected[0].detach(), rtol=1e-4, atol=1e-6)

    assert not panel.switches.disabled
    assert not marks(panel.unit).dots
    panel.switches.value = True
    settled(ex)
    dots = marks(panel.unit).dots
    assert len(dots) == len(seen.unit_map.switches[0]) > 0
    # Each is the place of a maximum that something went through.
    passed = down[0].nonzero()[:, 1:] + 0.5
    assert {(x, y) for x, y in dots} == {(x, y) for y, x in passed.tolist()}


def test_where_there_is_no_max_pool_the_box_says_so(open_features) -> None:
    ex, panel = open_features(many(8), layer="2")
    panel.map.value = "Zeiler projection"
    panel._strongest.click()
    settled(ex)
    assert panel.switches.disabled
    assert panel.switches.description == "No max-pool below"
    panel.map.value = "Gradient"
    settled(ex)
    assert panel.switches.description == "Max-pool switches"


def test_a_rule_that_rules_nothing_is_said_to_be_the_gradient(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="0")
    panel.map.value = "Guided backprop"
    panel._strongest.click()
    settled(ex)
    assert "no rectifier on the way: the same as the gradient" in panel.unit.caption
    ex.selection.layer = "4"
    panel._strongest.click()
    settled(ex)
    panel._strongest.click()
    settled(ex)
    assert "Guided backprop, applied at 1 rectifier" in panel.unit.caption


# What else a layer may be.


class Odd(nn.Module):
    """Returns tokens in no order at one layer and, at another, whatever is put into two of its channels."""

    def __init__(self, broken: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.maps = nn.Identity()
        self.tokens = nn.Linear(6, 6)
        self.fc = nn.Linear(6, 3)
        self.broken = broken
        self.register_buffer("order", torch.randperm(144, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        marked = x.clone()
        marked[:, 4, 0, :3] = self.broken
        marked[:, 1, 2, 2] = self.broken
        tokens = self.tokens(self.maps(marked).flatten(2).transpose(1, 2).nan_to_num(0, 0, 0)[:, self.order])
        return self.fc(tokens.mean(1) + x.mean((2, 3)))


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "4 NaN and 0"), (np.inf, "0 NaN and 4"), (-np.inf, "0 NaN and 4")]
)
def test_values_that_are_no_numbers_are_marked_and_counted(open_features, value: float, words: str) -> None:
    torch.manual_seed(0)
    ex, panel = open_features(nv.Network(Odd(value).eval(), size=12), layer="maps")
    for by in ("activation", "index", "mean", "contribution"):
        panel.order.value = by
        settled(ex)
        assert f"; 2 of them with {words} infinite values" in panel.tiles.caption
        assert dict(zip(panel.tiles.indices, panel.tiles.broken, strict=True)) == {0: 0, 1: 1, 2: 0, 3: 0, 4: 3, 5: 0}
        assert np.isfinite([*panel.tiles.lows, *panel.tiles.highs]).all()
    choose(panel, 4)
    settled(ex)
    assert "3 of 144 values are NaN or infinite" in panel.large.caption
    assert np.isfinite([panel.large.low, panel.large.high]).all()
    if np.isnan(value):
        panel.order.value = "activation"
        settled(ex)
        assert set(panel.tiles.indices[:2]) == {1, 4}, "they are to be seen"


def test_a_layer_of_tokens_gets_a_sentence(open_features) -> None:
    ex, panel = open_features(nv.Network(Odd(0).eval(), size=12), layer="maps")
    before = panel.tiles.caption
    ex.selection.layer = "tokens"
    ex.wait(PATIENCE)
    assert "not maps (N, C, h, w)" in ex._status.error
    assert panel.tiles.caption == before
    ex.selection.layer = "conv"
    settled(ex)
    assert ex._status.error == ""
    assert panel.tiles.caption.startswith("conv")


@pytest.mark.parametrize("layer", ["6", "8"])
def test_the_units_of_a_layer_without_maps_are_tiles_and_a_click_shows_what_made_one_fire(
    open_features, toy: nv.Network, layer: str
) -> None:
    ex, panel = open_features(toy, layer=layer)
    trace = toy.trace("chelsea")
    values = trace[layer].detach().flatten()
    assert panel.tiles.shape == [len(values), 1, 1, 1]
    assert panel.tiles.indices == values.argsort(descending=True).tolist()
    assert "units without places" in panel.tiles.caption
    assert panel._strongest.disabled
    point(panel, 0, 0)  # there is no choice
    assert ex.selection.filter is None
    choose(panel, 3)
    settled(ex)
    assert torch.equal(panel.result.unit_view.unit_map.values, trace.gradient(nv.Unit(layer, 3))[0])
    assert "sees the whole picture" in panel.unit.caption
    assert panel.large.caption.startswith(f"Unit 3 of {layer}: {float(values[3]):.3g}")


def test_a_network_without_maps_gets_a_sentence_until_a_layer_is_named(open_features, mlp: nv.Network) -> None:
    ex, panel = open_features(mlp)
    assert "No layer of mlp has maps" in ex._status.error
    assert panel.code("x") == ["trace = net.trace(x)"]
    ex.selection.layer = "1"
    settled(ex)
    assert panel.tiles.shape == [7, 1, 1, 1]


def test_a_target_that_does_not_depend_on_the_layer_gets_a_sentence(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4", target=nv.Channel("0", 1))
    assert panel.tiles.indices
    panel.order.value = "contribution"
    ex.wait(PATIENCE)
    assert "does not depend on '4'" in ex._status.error


# Along with the rest.


def test_another_picture_is_followed_and_the_trace_before_let_go(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4", filter=2)
    panel.order.value = "contribution"
    panel.map.value = "Zeiler projection"
    point(panel, 3, 3)
    settled(ex)
    trace = weakref.ref(ex.session.trace)
    before = panel.unit.values
    ex.selection.image = "coffee"
    settled(ex)
    gc.collect()
    assert trace() is None
    expected = inside.project(toy.trace("coffee"), "4", 2, place=(3, 3)).values
    torch.testing.assert_close(panel.result.unit_view.unit_map.values, expected)
    assert panel.unit.values != before


def test_another_network_is_followed(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="4", filter=2)
    ex.selection.network = many(A_PAGE + 1)
    settled(ex)
    assert panel.tiles.caption.startswith(f"2: {A_PAGE + 1} maps")


def test_colours_that_the_reader_chose_stay(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="0")
    assert panel.tiles.colours == "RdBu_r"
    panel.tiles.colours = "coolwarm"
    ex.selection.layer = "2"
    settled(ex)
    assert panel.tiles.colours == "inferno"
    ex.selection.layer = "4"
    settled(ex)
    assert panel.tiles.colours == "coolwarm"


def test_every_widget_of_it_is_a_part_of_what_the_explorer_closes(toy: nv.Network) -> None:
    selection = Selection(toy, "chelsea")
    before = set(_instances)
    panel = FeaturesPanel(selection, lambda act: act(), lambda: None)
    parts = parts_of(panel.widget)
    assert set(_instances) - before <= {part.model_id for part in parts}
    for part in parts:
        part.close()


# Files and code.


def run(code: str, **given: object) -> dict:
    names: dict = dict(given)
    exec(code, names)
    return names


@pytest.mark.parametrize("by", ["index", "activation", "mean", "contribution"])
@pytest.mark.parametrize("filter_", [None, 5])
def test_the_code_makes_the_page_and_the_map(open_features, bundled: nv.Network, by: str, filter_) -> None:
    ex, panel = open_features(bundled, layer="blocks.4", filter=filter_)
    panel.order.value = by
    panel._next.click()
    settled(ex)
    names = run(ex.code())
    assert names["order"].filters[A_PAGE : 2 * A_PAGE].tolist() == panel.tiles.indices
    assert torch.equal(names["page"], panel.result.page.maps)
    assert torch.equal(names["map_"], panel.result.large.values)
    assert "unit_map" not in names


@pytest.mark.parametrize("how", [*RULES, "Zeiler projection"])
@pytest.mark.parametrize("signed", [True, False])
def test_the_code_makes_the_units_map(open_features, bundled: nv.Network, how: str, signed: bool) -> None:
    ex, panel = open_features(bundled, layer="blocks.1", target="tabby")
    panel.order.value, panel.map.value, panel.signed.value = "contribution", how, signed
    settled(ex)
    panel._strongest.click()
    settled(ex)
    names = run(ex.code())
    assert names["order"].filters.tolist() == panel.tiles.indices
    assert torch.equal(names["unit_map"], panel.result.unit_view.unit_map.values)
    assert torch.equal(names["shown"], panel.result.unit_view.map)
    assert names["box"] == panel.result.unit_view.box


def test_the_code_names_targets_of_any_kind(open_features, toy: nv.Network) -> None:
    ex, panel = open_features(toy, layer="2", target=nv.Channel("4", 1))
    panel.order.value = "contribution"
    settled(ex)
    names = run("\n".join(["import nbcnnviz as nv", *panel.code("'chelsea'")]), net=toy)
    assert names["order"].filters.tolist() == panel.tiles.indices
    ex.selection.target = lambda trace: trace.scores.sum()
    settled(ex)
    assert "target = ...  # your function of the trace" in panel.code("x")
    ex.selection.layer = "8"
    ex.selection.filter = 2
    settled(ex)
    assert "box = inside.receptive_field(trace, '8', 0, 0)" in panel.code("x")


def test_what_is_shown_is_saved_as_numbers(open_features, toy: nv.Network, tmp_path) -> None:
    ex, panel = open_features(toy, layer="4", filter=6)
    panel.order.value = "mean"
    panel.map.value = "Zeiler projection"
    panel._strongest.click()
    settled(ex)
    ex.save(tmp_path / "features.npz")
    saved, trace = np.load(tmp_path / "features.npz"), toy.trace("chelsea")
    values = trace["4"].detach()[0]
    np.testing.assert_array_equal(saved["activations"], values)
    np.testing.assert_array_equal(saved["judged"], values.mean((1, 2)).sort(descending=True).values)
    assert saved["filters"].tolist() == panel.tiles.indices
    assert (saved["order"], saved["filter"]) == ("mean", 6)
    place = tuple(saved["unit"])
    np.testing.assert_array_equal(saved["unit_map"], inside.project(trace, "4", 6).values)
    assert tuple(saved["receptive_field"]) == tuple(inside.receptive_field(trace, "4", *place))
    assert saved["switches_0"].shape == (len(panel.result.unit_view.unit_map.switches[0]), 3)


def test_what_is_shown_is_saved_as_a_picture_and_as_a_page(open_features, toy: nv.Network, tmp_path) -> None:
    ex, panel = open_features(toy, layer="4", filter=6)
    ex.save(tmp_path / "filter.png")
    panel._strongest.click()
    settled(ex)
    ex.save(tmp_path / "unit.png")
    filter_, unit = (Image.open(tmp_path / f"{name}.png") for name in ("filter", "unit"))
    assert unit.height > filter_.height, "it has the unit's map too"
    page = panel.result.page
    colours = coloured(page.maps[1], page.scales[1], panel.tiles.colours)
    left, width, height = 8 + TILE + 8, TILE, round(TILE * 12 / 10)
    rows, columns = (
        ((np.arange(n) + 0.5) * size / n).astype(int) for n, size in ((12, height), (10, width))
    )  # the pixel in the middle of each place
    np.testing.assert_array_equal(np.asarray(unit)[8 + rows][:, left + columns], colours)
    for ending in ("svg", "html"):
        ex.save(tmp_path / f"features.{ending}")
        text = (tmp_path / f"features.{ending}").read_text()
        assert "4: 8 maps of 12 x 10, by strongest activation" in text
    assert "inside.ranking" in text
    with pytest.raises(nv.ExportError):
        ex.save(tmp_path / "features.docx")


def test_nothing_can_be_saved_before_there_is_anything(open_features, mlp: nv.Network, tmp_path) -> None:
    ex, _ = open_features(mlp)
    with pytest.raises(nv.NbcnnvizError, match="no feature maps to save yet"):
        ex.save(tmp_path / "features.png")


class Capped(nn.Module):
    """A layer whose strongest units are cut at 6, and one filter that is cut everywhere."""

    def __init__(self, scales: tuple[float, ...] = (1.0, 30.0, 1e4)) -> None:
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(3, len(scales), 1), nn.ReLU6(), nn.Linear(len(scales), 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor(scales)[:, None, None, None].expand(-1, 3, 1, 1))
            self.conv.bias.copy_(torch.tensor([0.0 if s < 1e4 else 1e6 for s in scales]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(self.conv(x)).mean((2, 3)))


@pytest.fixture
def capped() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(Capped().eval(), size=12, name="capped")


def test_the_strongest_unit_is_one_that_has_a_gradient(open_features, capped: nv.Network) -> None:
    ex, panel = open_features(capped, layer="act", filter=1)
    values = capped.trace("chelsea")["act"].detach()[0, 1]
    assert values.max() == 6
    panel._strongest.click()
    settled(ex)
    settled(ex)
    row, column = ex.selection.unit
    assert values[row, column] == values[values < 6].max()
    assert panel.result.unit_view.unit_map.values.any()
    assert "zero everywhere" not in panel.unit.caption


def test_where_no_unit_has_a_gradient_it_is_said_why(open_features, capped: nv.Network) -> None:
    ex, panel = open_features(capped, layer="act", filter=2)
    panel._strongest.click()
    ex.wait(PATIENCE)
    assert "has a gradient at the input: each is behind a rectifier that is flat there" in str(ex.error)
    assert ex.selection.unit is None
    point(panel, 0, 0)
    settled(ex)
    assert "zero everywhere: a small change of the picture does not change the unit" in panel.unit.caption


def test_filters_that_share_the_strongest_activation_are_in_the_order_of_their_means(open_features) -> None:
    torch.manual_seed(0)
    net = nv.Network(Capped((20.0, 60.0, 30.0, 0.01)).eval(), size=12, name="capped")
    _, panel = open_features(net, layer="act")
    means = net.trace("chelsea")["act"].detach()[0].mean((1, 2)).tolist()
    assert panel.tiles.indices == [*sorted(range(3), key=lambda i: -means[i]), 3]
    assert "by strongest activation, which 3 of them share (6): these by their mean" in panel.tiles.caption
