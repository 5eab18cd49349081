from __future__ import annotations

import re
import threading
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from PIL import Image
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer import Explorer
from nbcnnviz.explorer.panels.gradients import GradientsPanel
from nbcnnviz.explorer.widgets.charts import ColumnChart
from nbcnnviz.inside.figures.gradients.plots import depth_plots
from tests import toys
from tests.explorer.conftest import PATIENCE


def panel_of(ex: Explorer) -> GradientsPanel:
    """The panel once the explorer is idle; what went wrong, if anything did, is raised."""
    ex.wait(PATIENCE)
    if ex.error:
        raise ex.error
    return ex.panels["gradients"]


def layer_by_layer(net: nv.Network, image: object, index: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs of the modules of a Sequential, and d score / d output, by plain autograd."""
    outputs, x = {}, net.batch(image).requires_grad_()
    for name, module in net.module.named_children():
        x = outputs[name] = module(x)
    grads = torch.autograd.grad(x[0, index], list(outputs.values()))
    return {name: t.detach() for name, t in outputs.items()}, dict(zip(outputs, grads, strict=True))


def rms(tensors: dict[str, Tensor]) -> list[float]:
    return [float(t.double().square().mean().sqrt()) for t in tensors.values()]


def click(chart: ColumnChart, column: int) -> None:
    chart._columns._handle_custom_msgs(None, {"event": "element_click", "data": {"index": column + 1}})


def point(chart: ColumnChart, column: int) -> None:
    chart._columns._handle_custom_msgs(None, {"event": "hover", "data": {"index": column + 1}})


# Over depth.


def test_norms_over_depth_are_those_of_plain_autograd(explore, toy: nv.Network) -> None:
    ex = explore(toy, target=3, layer="4", panels=["gradients"])
    panel = panel_of(ex)
    outputs, grads = layer_by_layer(toy, "chelsea", 3)
    gradient, activation, ratio = (chart.plot for chart in panel._depths)
    assert panel.result.depth.layers == tuple(outputs)
    assert gradient.values == pytest.approx(rms(grads), rel=1e-4)
    assert activation.values == pytest.approx(rms(outputs), rel=1e-5)
    expected = []
    for module in toy.module:
        weight = getattr(module, "weight", None)
        slope = 0.0
        if weight is not None:
            (slope,) = torch.autograd.grad(toy.module(toy.batch("chelsea"))[0, 3], weight)
        expected.append(np.nan if weight is None else float(1e-2 * slope.norm() / weight.detach().norm()))
    assert ratio.values == pytest.approx(expected, rel=1e-4, nan_ok=True)
    assert ratio.reference == 1e-3
    panel._norms.value = "L2 norm"
    panel_of(ex)
    assert panel._depths[0].plot.values == pytest.approx([float(g.norm()) for g in grads.values()], rel=1e-4)
    assert panel._depths[1].plot.values == pytest.approx([float(a.norm()) for a in outputs.values()], rel=1e-5)
    assert "L2 norm" in panel._depths[0].plot.title


def test_points_stand_at_their_logarithm(explore, toy: nv.Network) -> None:
    panel = panel_of(explore(toy, target=3, panels=["gradients"]))
    for chart in panel._depths:
        plot, line = chart.plot, chart._line
        shown = np.isfinite(plot.values) & (plot.values > 0)
        assert line.x.tolist() == np.flatnonzero(shown).tolist()
        low, high = np.log10([plot.ruler.low, plot.ruler.high])
        assert line.y == pytest.approx((np.log10(plot.values[shown]) - low) / (high - low) * 1000)
        assert plot.ruler.low <= plot.values[shown].min()
        assert plot.values[shown].max() <= plot.ruler.high
    assert panel._depths[2].plot.ruler.low < 1e-3 < panel._depths[2].plot.ruler.high


def test_a_click_on_a_column_selects_the_layer_and_marks_it_everywhere(explore, toy: nv.Network) -> None:
    ex = explore(toy, panels=["gradients"])
    panel = panel_of(ex)
    for chart, column, layer in zip(panel._depths, (0, 4, 8), ("0", "4", "8"), strict=True):
        click(chart, column)
        assert panel_of(ex).result.layer == ex.selection.layer == layer
        assert [c.plot.chosen for c in panel._depths] == [column] * 3
        assert [i for i, tint in enumerate(panel._depths[0]._columns.opacities) if tint > 0] == [column + 1]
        assert f"{column + 1} of 9, {layer} (" in panel._selected.value


def test_what_is_pointed_at_is_named(explore, toy: nv.Network) -> None:
    panel = panel_of(explore(toy, target=0, panels=["gradients"]))
    point(panel._depths[1], 4)
    said = unescape(panel._depths[1].pointed_at.value)
    assert "5 of 9, 4 (Conv2d): activation" in said
    assert "update / weight" in said
    assert panel._depths[1]._columns.tooltip is None  # it would cover the curve
    point(panel._depths[1], 2)
    assert "3 of 9, 2 (ReLU)" in panel._depths[1].pointed_at.value
    assert "update" not in panel._depths[1].pointed_at.value


def test_a_container_is_marked_where_the_layer_is_whose_output_it_returns(explore) -> None:
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    module = nn.Sequential(inner, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    ex = explore(nv.Network(module, size=16, name="nested"), layer="0", target=0, panels=["gradients"])
    frame = panel_of(ex).result
    assert "0" not in frame.depth.layers
    assert frame.depth.layers[frame.at] == "0.1"


def test_the_ratio_follows_the_learning_rate(explore, toy: nv.Network, passes: list) -> None:
    ex = explore(toy, target=1, panels=["gradients"])
    panel = panel_of(ex)
    before = panel._depths[2].plot.values
    passes.clear()
    panel._rate.value = 0.5
    panel_of(ex)
    assert panel._depths[2].plot.values == pytest.approx(before * 50, nan_ok=True)
    assert "0.5" in panel._depths[2].plot.title
    assert panel.result.depth.learning_rate == 0.5
    assert passes == []


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_that_is_none_is_refused(explore, toy: nv.Network, rate: float) -> None:
    ex = explore(toy, panels=["gradients"])
    panel = panel_of(ex)
    panel._rate.value = rate
    ex.wait(PATIENCE)
    assert "A learning rate is a number above zero" in str(ex.error)
    assert panel._rate.value == 0.01
    assert panel.result.depth.learning_rate == 0.01


def test_a_gradient_of_zero_is_marked_as_such(explore) -> None:
    module = toys.classic()
    nn.init.zeros_(module[8].weight)
    ex = explore(nv.Network(module, size=16, name="flat"), target=0, layer="8", panels=["gradients"])
    panel = panel_of(ex)
    zeros = panel._depths[0]._zeros
    assert zeros.visible
    assert zeros.x.tolist() == list(range(8))  # all but the scores themselves
    assert "exactly zero" in panel._about.value
    ratio = panel._depths[2]
    assert ratio._zeros.x.tolist() == [0, 1, 4]
    assert ratio._broken.x.tolist() == [8]  # something over nothing
    for chart in panel._depths:
        assert np.isfinite(chart._line.y).all()


def test_a_target_before_most_layers_leaves_them_out(explore, toy: nv.Network) -> None:
    ex = explore(toy, target=nv.Channel("1", 2), layer="4", panels=["gradients"])
    panel = panel_of(ex)
    assert panel._depths[0]._line.x.tolist() == [0, 1]
    assert not panel._depths[0]._broken.visible
    assert panel._depths[1]._line.x.tolist() == list(range(9))
    assert set(panel.result.histograms) == {"activations", "weights"}
    assert [chart.plot.title.partition(":")[0] for chart in panel._spreads[:2]] == ["Activations", "Weights"]
    ex.selection.layer = "8"
    assert set(panel_of(ex).result.histograms) == {"activations", "weights"}
    assert "no gradient" in panel._selected.value


def test_nan_and_infinity_are_marked_counted_and_named(explore) -> None:
    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            fault = torch.zeros_like(x)
            fault[0, 0, 0, :3] = torch.nan
            fault[0, 1, 0, 0] = torch.inf
            return x + fault

    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), Faulty(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    ex = explore(nv.Network(module.eval(), size=16, name="faulty"), target=0, layer="1", panels=["gradients"])
    panel = panel_of(ex)
    activation = panel._depths[1]
    assert activation._broken.visible
    assert activation._broken.x.tolist() == [1, 2, 3, 4, 5]
    assert activation._line.x.tolist() == [0]
    assert "4 in 1" in panel._about.value
    assert re.search(r"and in \d+ more", panel._about.value)
    title = panel._spreads[0].plot.title
    assert "3 NaN and 1 infinite" in title
    assert f"{4 * 14 * 14:,} values" in title


# Histograms.


def test_histograms_count_what_numpy_counts(explore, toy: nv.Network) -> None:
    ex = explore(toy, target=2, layer="4", panels=["gradients"])
    panel = panel_of(ex)
    outputs, grads = layer_by_layer(toy, "chelsea", 2)
    (slope,) = torch.autograd.grad(toy.module(toy.batch("chelsea"))[0, 2], toy.module[4].weight)
    true = [outputs["4"], grads["4"], toy.module[4].weight.detach(), slope]
    for chart, values in zip(panel._spreads, true, strict=True):
        values = values.double().numpy().ravel()
        counts, _ = np.histogram(values, bins=64, range=(values.min(), values.max()))
        shown = np.nan_to_num(chart.plot.values)
        assert shown.sum() == values.size
        assert np.abs(shown - counts).sum() <= 4  # where a value is on an edge, but for rounding
        assert f"{values.size:,} values" in chart.plot.title
    ticks = panel._spreads[2].plot.ticks
    assert float(ticks[-0.5]) == pytest.approx(float(true[2].min()), rel=0.01)
    assert float(ticks[63.5]) == pytest.approx(float(true[2].max()), rel=0.01)


def test_counts_are_on_a_logarithmic_axis_or_a_linear_one(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="4", panels=["gradients"])
    panel = panel_of(ex)
    chart = panel._spreads[0]
    counts = np.nan_to_num(chart.plot.values)
    heights = chart._bars.y[1:-1]
    one = np.log10(1 / 0.5) / np.log10(chart.plot.ruler.high / 0.5) * 1000
    assert (heights[counts == 0] == 0).all()
    assert (heights[counts > 0] >= one - 1e-6).all()  # a single value is seen
    assert not chart._zeros.visible
    panel._counts.value = "linear"
    panel_of(ex)
    heights = chart._bars.y[1:-1]
    assert heights == pytest.approx(counts / chart.plot.ruler.high * 1000)


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0])
def test_values_that_are_all_the_same_make_one_bar(explore, value: float) -> None:
    module = toys.classic()
    nn.init.constant_(module[4].weight, value)
    ex = explore(nv.Network(module, size=16, name="constant"), layer="4", panels=["gradients"])
    plot = panel_of(ex)._spreads[2].plot
    assert np.isfinite(plot.values).sum() == 1
    assert np.nansum(plot.values) == 6 * 8 * 9
    assert "all the same" in plot.title


def test_a_layer_without_weights_has_two_histograms_and_a_network_without_maps_none(
    explore, toy: nv.Network, mlp: nv.Network
) -> None:
    ex = explore(toy, layer="2", panels=["gradients"])
    assert len(panel_of(ex)._spread_box.children) == 2
    ex.selection.layer = "0"
    assert len(panel_of(ex)._spread_box.children) == 4
    ex = explore(mlp, panels=["gradients"])
    assert panel_of(ex)._spread_box.children == ()
    assert "no column" in ex.panels["gradients"]._selected.value
    click(ex.panels["gradients"]._depths[0], 1)
    assert len(panel_of(ex)._spread_box.children) == 4


# Classes and filters.


def test_the_gradient_is_of_the_class_until_the_filter_is_asked_for(explore, toy: nv.Network) -> None:
    ex = explore(toy, target=1, layer="4", filter=3, panels=["gradients"])
    panel = panel_of(ex)
    _, grads = layer_by_layer(toy, "chelsea", 1)
    assert panel._depths[0].plot.values == pytest.approx(rms(grads), rel=1e-4)
    panel._of.value = "filter"
    assert panel_of(ex).result.words == "channel 3 of 4"
    values = panel._depths[0].plot.values
    assert np.isnan(values[5:]).all()
    places = toy.layers["4"].shape[1] * toy.layers["4"].shape[2]
    assert values[4] == pytest.approx(np.sqrt(1 / places / places * places / (8 * places)), rel=1e-4)
    ex.selection.filter = None
    assert panel_of(ex).result.words == "bee (1)"
    assert panel._of_box.layout.display == "none"


# Dead filters.


def with_a_dead_filter(*dead: int) -> nn.Sequential:
    module = toys.classic()
    with torch.no_grad():
        for filter_ in range(8):  # the others live whatever they see
            module[4].bias[filter_] = 100.0
        for filter_ in dead:
            module[4].bias[filter_] = -100.0
    return module


def test_dead_filters_are_counted_listed_and_selected(explore) -> None:
    ex = explore(nv.Network(with_a_dead_filter(2, 5), size=16, name="dead"), target=0, panels=["gradients"])
    panel = panel_of(ex)
    assert panel.result.dead.filters["5"] == (2, 5)
    assert panel._dead_layers.options[-1] == ("5: 2 of 8", "5")
    assert panel._dead_layers.value == ex.selection.layer == "5"
    assert [value for _, value in panel._dead_filters.options] == [2, 5]
    assert panel._dead_filters.value is None
    panel._dead_filters.value = 5
    panel_of(ex)
    assert (ex.selection.layer, ex.selection.filter) == ("5", 5)
    assert panel.result.words.endswith("(0)")  # and the charts stay those of the class
    ex.selection.layer = "0"
    assert panel_of(ex)._dead_filters.options == ()
    assert panel._dead_layers.value is None
    panel._dead_layers.value = "5"
    panel_of(ex)
    assert ex.selection.layer == "5"
    assert panel._dead_filters.value is ex.selection.filter is None  # another layer was looked at meanwhile


def silent(module: nn.Module, net: nv.Network, images: list) -> dict[str, set[int]]:
    """Which channels of the rectifiers of a Sequential are zero on all images."""
    found: dict[str, set[int]] = {}
    for image in images:
        x = net.batch(image)
        for name, part in module.named_children():
            x = part(x)
            if isinstance(part, nn.ReLU):
                dead = {c for c in range(x.shape[1]) if not x[:, c].any()}
                found[name] = found.get(name, dead) & dead
    return found


def test_the_pictures_that_were_seen_add_up_once_each(explore) -> None:
    torch.manual_seed(3)
    module = toys.classic()
    with torch.no_grad():
        module[4].bias.sub_(0.35)
    net = nv.Network(module, size=16, name="sparse")
    ex = explore(net, panels=["explain", "gradients"])
    ex.panel = "gradients"
    seen = ["chelsea"]
    for image in ("coffee", "chelsea", "camera", "camera"):
        ex.selection.image = image
        seen.append(image)
        frame = panel_of(ex).result
        assert frame.dead.pictures == len(set(seen))
        assert {layer: set(dead) for layer, dead in frame.dead.filters.items()} == silent(module, net, seen)
    ex.panel = "explain"
    ex.selection.image = "coins"  # seen too, while the panel is hidden
    ex.wait(PATIENCE)
    ex.panel = "gradients"
    assert panel_of(ex).result.dead.pictures == 4
    panel = panel_of(ex)
    panel._all_samples.click()
    frame = panel_of(ex).result
    assert frame.dead.pictures == len(nv.samples())
    assert {layer: set(dead) for layer, dead in frame.dead.filters.items()} == silent(module, net, list(nv.samples()))
    assert f"all {len(nv.samples())} pictures" in panel._dead_text.value


def test_the_count_over_all_samples_shows_how_far_it_is_and_does_not_draw_the_charts_again(
    explore, toy: nv.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    ex = explore(toy, panels=["gradients"])
    panel = panel_of(ex)
    told, drawn = [], []
    monkeypatch.setattr(ex._status, "show", lambda task, error: told.append((task.completed, task.total)))
    monkeypatch.setattr(panel, "_draw", drawn.append)
    panel._all_samples.click()
    panel_of(ex)
    assert told[-1] == (len(nv.samples()), len(nv.samples()))
    assert drawn == []
    ex.selection.target = toy.trace("chelsea").top(2)[1][0]
    panel_of(ex)
    assert len(drawn) == 1
    assert panel._counts_made == panel._counts_asked == 1


def test_the_count_over_all_samples_can_be_stopped(explore, monkeypatch: pytest.MonkeyPatch) -> None:
    net = nv.Network(toys.classic(), size=16, name="stopped")
    ex = explore(net, panels=["gradients"])
    panel = panel_of(ex)
    begun, go_on = threading.Event(), threading.Event()
    trace = net.trace

    def slow(image: object) -> Trace:
        begun.set()
        go_on.wait(PATIENCE)
        return trace(image)

    monkeypatch.setattr(net, "trace", slow)
    panel._all_samples.click()
    assert begun.wait(PATIENCE)
    ex.stop()
    go_on.set()
    panel_of(ex)
    assert panel.result.dead.pictures < len(nv.samples())
    assert ex._status.status == "Stopped"


def test_counting_begins_anew_with_other_weights_and_with_another_network(explore) -> None:
    module = with_a_dead_filter(2)
    ex = explore(nv.Network(module, size=16, name="one"), panels=["gradients"])
    ex.selection.image = "coffee"
    assert panel_of(ex).result.dead.pictures == 2
    with torch.no_grad():
        module[4].bias[2] = 100.0
    ex.selection.image = "camera"
    frame = panel_of(ex).result
    assert frame.dead.pictures == 1
    assert frame.dead.filters["5"] == ()
    ex.selection.network = nv.Network(with_a_dead_filter(7), size=16, name="other")
    frame = panel_of(ex).result
    assert frame.dead.pictures == 1
    assert frame.dead.filters["5"] == (7,)


def test_a_network_without_such_a_rectifier_says_so(explore) -> None:
    ex = explore(nv.Network(toys.Tiny(nn.functional.silu).eval(), size=16, name="smooth"), panels=["gradients"])
    panel = panel_of(ex)
    assert "No layer of smooth ends in a rectifier that cuts at zero" in panel._dead_text.value
    assert panel._lists.layout.display == panel._all_samples.layout.display == "none"


def test_where_all_live_that_is_said(explore) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(module[0].bias, 100.0)
    panel = panel_of(explore(nv.Network(module.eval(), size=8, name="live"), panels=["gradients"]))
    assert "None: each of 4 filters" in panel._dead_text.value
    assert panel._lists.layout.display == "none"


# No more work than is asked for.


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The backward passes made, each with the number of its answers."""
    made: list[int] = []
    backward = Trace.backward

    def counted(trace: Trace, of, sources, rule="gradient"):
        made.append(len(sources))
        return backward(trace, of, sources, rule)

    monkeypatch.setattr(Trace, "backward", counted)
    return made


def test_one_backward_pass_answers_for_everything(explore, toy: nv.Network, passes: list[int]) -> None:
    ex = explore(toy, target=1, layer="4", panels=["gradients"])
    panel = panel_of(ex)
    passes.clear()
    ex.selection.target = 0
    panel_of(ex)
    assert len(passes) == 1
    ex.selection.layer = "8"
    panel_of(ex)
    assert passes[1:] == [2]  # the layer and its weight, down to it
    ex.selection.layer = "4"
    panel_of(ex)
    panel._norms.value = "L2 norm"
    panel_of(ex)
    panel._counts.value = "linear"
    panel_of(ex)
    ex.selection.filter = 2
    panel_of(ex)
    assert len(passes) == 2


def test_forgetting_lets_the_trace_go_and_clicks_meanwhile_are_ignored(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="4", panels=["gradients"])
    panel = panel_of(ex)
    panel.forget()
    click(panel._depths[0], 1)
    point(panel._depths[0], 1)
    assert panel_of(ex).selection.layer == "4"
    with pytest.raises(nv.NbcnnvizError, match="no gradients to save yet"):
        ex.save("nothing.npz")


# Files and code.


def test_what_is_shown_can_be_saved_and_made_again(explore, tmp_path: Path) -> None:
    net = nv.Network(with_a_dead_filter(1), size=16, name="saved")
    ex = explore(net, layer="4", panels=["gradients"])
    panel = panel_of(ex)
    panel._rate.value = 0.2
    panel_of(ex)
    for ending in panel.formats:
        ex.save(tmp_path / f"g.{ending}")
    names: dict = {}
    exec(ex.code().replace("net = ...", "net = given"), names | {"given": net}, names)
    norms, spread, dead = names["norms"], names["spread"], names["dead"]
    with np.load(tmp_path / "g.npz") as saved:
        for name in ("activation", "gradient", "weight", "weight_gradient", "ratio"):
            assert np.allclose(saved[name], getattr(norms, name), rtol=1e-5, equal_nan=True)
        assert tuple(saved["layers"]) == norms.layers
        for what, found in spread.items():
            assert np.array_equal(saved[f"{what.replace(' ', '_')}_counts"], found.counts)
        listed = list(zip(saved["dead_layers"].tolist(), saved["dead_filters"].tolist(), strict=True))
    assert listed == [(layer, i) for layer, filters in dead.filters.items() for i in filters]
    assert ("5", 1) in listed
    with Image.open(tmp_path / "g.png") as picture:
        assert np.array_equal(np.asarray(panel.preview()), np.asarray(picture))
    panel.forget()
    assert panel.preview() is None
    page = (tmp_path / "g.html").read_text()
    assert "histograms(trace" in page


def test_the_picture_that_is_saved_has_each_point_where_it_belongs(explore, toy: nv.Network, tmp_path: Path) -> None:
    ex = explore(toy, layer="4", target=2, panels=["gradients"])
    panel = panel_of(ex)
    ex.save(tmp_path / "g.png")
    pixels = np.asarray(Image.open(tmp_path / "g.png").convert("RGB")).astype(int)
    left, right, top, bottom = 120, 2 * (960 - 26), 52, 2 * (152 - 24)
    for row, plot in enumerate(depth_plots(panel.result)):
        colour = np.array([int(plot.colour[i : i + 2], 16) for i in (1, 3, 5)])
        for column, value in enumerate(plot.values):
            if np.isfinite(value) and value > 0:
                x = left + (column + 0.5) * (right - left) / 9
                y = 2 * 152 * row + bottom - float(plot.ruler.place(value)) / 1000 * (bottom - top)
                assert np.abs(pixels[round(y), round(x)] - colour).max() <= 2


def test_closing_leaves_no_widget(toy: nv.Network) -> None:
    panels = ["layers", "gradients", "predictions"]
    nv.explore(toy, panels=panels).wait(PATIENCE).close()
    before = set(_instances)
    ex = nv.explore(toy, layer="4", panels=panels).wait(PATIENCE)
    for layer in ("2", "0", "3"):
        ex.selection.layer = layer
        ex.wait(PATIENCE)
    ex.close()
    assert set(_instances) == before
