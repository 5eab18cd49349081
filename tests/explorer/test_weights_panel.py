from __future__ import annotations

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
from nbcnnviz.explorer.panels.weights import WeightsPanel
from nbcnnviz.explorer.widgets.charts import ColumnChart
from nbcnnviz.render import DIVERGING
from nbcnnviz.render.plots import Plot, Ruler
from tests import toys
from tests.explorer.conftest import PATIENCE


def panel_of(ex: Explorer) -> WeightsPanel:
    """The panel once the explorer is idle; what went wrong, if anything did, is raised."""
    ex.wait(PATIENCE)
    if ex.error:
        raise ex.error
    return ex.panels["weights"]


def gradient(net: nv.Network, image: object, index: int, parameter: str) -> Tensor:
    """d score / d parameter of a network of plain modules, by plain autograd."""
    weight = dict(net.module.named_parameters())[parameter]
    return torch.autograd.grad(net.module(net.batch(image))[0, index], weight)[0]


def tiles_of(frame) -> np.ndarray:
    """The values that the bytes of a tile frame stand for."""
    n, h, w, channels = frame.shape
    places = np.frombuffer(frame.values, np.uint8).reshape(n, h, w, channels).astype(np.float64)
    low, high = frame.lows[0], frame.highs[0]
    return low + places / 255 * (high - low)


def close(shown: np.ndarray, true: Tensor, high: float) -> bool:
    """Whether what is shown is true, to half a step of 255 from -high to high."""
    return bool(np.abs(shown - true.detach().double().numpy()).max() <= high / 255 * 1.01)


def choose(frame, index: object) -> None:
    frame._handle_custom_msg({"type": "choose", "index": index}, [])


def click(chart: ColumnChart, column: int) -> None:
    chart._columns._handle_custom_msgs(None, {"event": "element_click", "data": {"index": column + 1}})


def visible(panel: WeightsPanel) -> set[str]:
    """Which parts of the panel are on screen."""
    names = ("_offers", "_overview", "_bars", "_close_up", "_more_bars", "_detail")
    parts = {name: getattr(panel, name) for name in names}
    parts |= {"_pager": panel._pager.widget, "_input_pager": panel._input_pager.widget}
    return {name[1:] for name, part in parts.items() if part.layout.display != "none"}


def every_layer() -> nv.Network:
    """A network of two input channels with a layer of each kind."""

    def red_and_blue(picture: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(picture.resize((12, 12)), np.float32)[..., ::2] / 255).permute(2, 0, 1)

    return nv.Network(toys.EveryLayer().eval(), red_and_blue, name="every")


# Kernels.


def test_filters_on_colour_pictures_are_tiles_in_colour_beside_their_gradient(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="0", target=3, panels=["weights"])
    panel = panel_of(ex)
    weight, slope = toy.module[0].weight, gradient(toy, "chelsea", 3, "0.weight")
    for frame, true in ((panel._tiles, weight), (panel._slopes, slope)):
        assert frame.shape == [6, 3, 3, 3]
        high = float(true.detach().abs().max())
        assert (frame.lows, frame.highs) == ([pytest.approx(-high)], [pytest.approx(high)])
        assert close(tiles_of(frame), true.permute(0, 2, 3, 1), high)
        assert frame.indices == list(range(6))
        assert frame.chosen == 0
    assert "crane" in panel._slopes.caption
    ends = [f"±{high:.3g}" for high in (panel._tiles.highs[0], panel._slopes.highs[0])]
    assert " and ".join(ends).replace("e-0", "e-") in panel._about.value
    assert visible(panel) == {"overview", "close_up", "detail"}
    kernels = panel._kernels
    assert kernels.labels == ["red", "green", "blue"]
    assert close(tiles_of(kernels)[..., 0], weight[0], kernels.highs[0])
    assert close(tiles_of(panel._kernel_slopes)[..., 0], slope[0], panel._kernel_slopes.highs[0])


def test_a_tile_has_the_kernels_of_all_inputs_and_a_click_looks_at_them_one_by_one(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="4", panels=["weights"])
    panel, weight = panel_of(ex), toy.module[4].weight.detach()
    shown = tiles_of(panel._tiles)[..., 0]
    assert shown.shape == (8, 7, 11)  # 2 x 3 kernels of 3 x 3, and a line between
    for filter_ in range(8):
        for input_ in range(6):
            row, column = divmod(input_, 3)
            part = shown[filter_, 4 * row : 4 * row + 3, 4 * column : 4 * column + 3]
            assert close(part, weight[filter_, input_], panel._tiles.highs[0])
    assert close(shown[:, 3], torch.zeros(8, 11), panel._tiles.highs[0])
    choose(panel._tiles, 5)
    panel_of(ex)
    assert ex.selection.filter == panel.result.filter == panel._tiles.chosen == panel._slopes.chosen == 5
    assert panel._kernels.shape == [6, 3, 3, 1]
    assert close(tiles_of(panel._kernels)[..., 0], weight[5], panel._kernels.highs[0])
    assert panel._kernels.labels == [str(i) for i in range(6)]
    choose(panel._slopes, 2)  # either of the two
    panel_of(ex)
    assert ex.selection.filter == 2


def test_the_gradient_is_that_of_the_class_also_while_a_filter_is_selected(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="4", target=1, filter=3, panels=["weights"])
    panel, slope = panel_of(ex), gradient(toy, "chelsea", 1, "4.weight")
    assert torch.allclose(panel.result.weights.gradient, slope, atol=1e-7)
    assert panel.result.words == "bee (1)"
    ex.selection.filter = 4
    assert panel_of(ex).result.filter == 4
    assert torch.allclose(panel.result.weights.gradient, slope, atol=1e-7)
    ex.selection.target = 0
    assert torch.allclose(panel_of(ex).result.weights.gradient, gradient(toy, "chelsea", 0, "4.weight"), atol=1e-7)
    ex.selection.target = nv.Channel("4", 2)
    assert panel_of(ex).result.words == "channel 2 of 4"


@pytest.mark.parametrize("by", ["norm", "gradient"])
def test_filters_and_their_inputs_are_sorted_together(explore, toy: nv.Network, by: str) -> None:
    ex = explore(toy, layer="4", target=2, panels=["weights"])
    panel = panel_of(ex)
    panel._sort.value = by
    panel_of(ex)
    weight = toy.module[4].weight.detach()
    judged = weight if by == "norm" else gradient(toy, "chelsea", 2, "4.weight")
    order = np.argsort(-np.linalg.norm(judged.numpy().reshape(8, -1), axis=1)).tolist()
    assert panel._tiles.indices == panel._slopes.indices == order
    assert panel.result.filter == order[0]  # none is selected: the first
    assert ex.selection.filter is None
    inputs = np.argsort(-np.linalg.norm(judged[order[0]].numpy().reshape(6, -1), axis=1)).tolist()
    assert panel._kernels.labels == panel._kernel_slopes.labels == [str(i) for i in inputs]
    assert close(tiles_of(panel._kernels)[..., 0], weight[order[0]][inputs], panel._kernels.highs[0])
    norm = np.linalg.norm(judged[order[0]].numpy())
    assert float(panel._tiles.labels[0].partition(": ")[2]) == pytest.approx(norm, rel=0.01)


def test_kernels_of_grouped_and_depthwise_and_transposed_layers_name_the_inputs_they_see(explore) -> None:
    net = every_layer()
    ex = explore(net, panels=["weights"])
    for layer, inputs in (("grouped", [6, 7]), ("depthwise", [7]), ("transposed", [0, 1, 2, 3, 4, 5, 6, 7])):
        ex.selection.layer = layer
        panel = panel_of(ex)
        choose(panel._tiles, 7 if layer != "transposed" else 5)
        panel = panel_of(ex)
        assert panel._kernels.labels == [str(i) for i in inputs]
        assert ("in groups" in panel._about.value) == (layer != "transposed")
    module = net.module.get_submodule("transposed")
    assert close(tiles_of(panel._kernels)[..., 0], module.weight[:, 5], panel._kernels.highs[0])
    ex.selection.layer = "depthwise"
    shown = tiles_of(panel_of(ex)._tiles)[..., 0]  # filter by filter, as it is
    assert close(shown, net.module.depthwise.weight[:, 0], panel._tiles.highs[0])


def test_every_layer_of_every_kind_shows_something_or_says_why_not(explore) -> None:
    net = every_layer()
    ex = explore(net, panels=["weights"])
    kinds = {}
    for layer, known in net.layers.items():
        ex.selection.layer = layer
        ex.wait(PATIENCE)
        panel = ex.panels["weights"]
        assert (ex.error is None) == bool(known.parameters), layer
        kinds[layer] = panel.result.weights.kind if panel.result else "offers"
        assert ("offers" in visible(panel)) == (kinds[layer] == "offers")
    assert {kinds[n] for n in ("conv", "grouped", "dilated", "depthwise", "transposed")} == {"kernels"}
    assert {kinds[n] for n in ("batch_norm", "group_norm", "layer_norm", "prelu")} == {"scales"}
    assert {kinds[n] for n in ("hidden", "fc")} == {"matrix"}
    assert {kinds[n] for n in ("silu", "max_pool", "upsample", "flatten")} == {"offers"}


# Linear layers and normalisations.


def test_a_linear_layer_is_a_matrix_with_bars_to_choose_a_row_and_bars_of_the_row(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="8", target=1, panels=["weights"])
    panel, weight = panel_of(ex), toy.module[8].weight.detach()
    slope = gradient(toy, "chelsea", 1, "8.weight")
    assert visible(panel) == {"overview", "bars", "close_up", "more_bars"}
    assert panel._tiles.shape == [1, 5, 8, 1]
    assert close(tiles_of(panel._tiles)[0, ..., 0], weight, panel._tiles.highs[0])
    assert close(tiles_of(panel._slopes)[0, ..., 0], slope, panel._slopes.highs[0])
    norms, slope_norms = (panel._charts[f"first {i} True"] for i in range(2))
    assert norms.plot.values == pytest.approx(weight.norm(dim=1).numpy(), rel=1e-5)
    assert slope_norms.plot.values == pytest.approx(slope.norm(dim=1).numpy(), rel=1e-5)
    row, slope_row = (panel._charts[f"second {i} False"] for i in range(2))
    assert panel.result.filter == 1  # the row that makes the score
    assert row.plot.values == pytest.approx(weight[1].numpy())
    click(norms, 4)
    panel_of(ex)
    assert ex.selection.filter == 4
    assert row.plot.values == pytest.approx(weight[4].numpy())
    assert slope_row.plot.values == pytest.approx(slope[4].numpy(), abs=1e-9)
    assert norms.plot.chosen == 4
    choose(panel._tiles, 0)  # the one tile is no filter
    assert ex.selection.filter == 4


def test_a_matrix_too_large_for_the_screen_keeps_the_strongest_of_each_block(explore) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1280), nn.ReLU(), nn.Linear(1280, 1000))
    net = nv.Network(module.eval(), size=8, name="wide")
    ex = explore(net, layer="4", panels=["weights"])
    panel = panel_of(ex)
    _, rows, columns, _ = panel._tiles.shape
    assert (rows, columns) == (200, 256)  # of 5 x 5 each
    weight = module[4].weight.detach().numpy()
    strongest = np.empty((200, 256))
    for row in range(200):
        for column in range(256):
            block = weight[5 * row : 5 * row + 5, 5 * column : 5 * column + 5].ravel()
            strongest[row, column] = block[np.abs(block).argmax()]
    assert close(tiles_of(panel._tiles)[0, ..., 0], torch.tensor(strongest), panel._tiles.highs[0])
    panel._sort.value = "norm"
    panel_of(ex)
    top = np.argsort(-np.linalg.norm(weight, axis=1), kind="stable")[:5]
    block = weight[top][:, :5].ravel()
    assert tiles_of(panel._tiles)[0, 0, 0, 0] == pytest.approx(
        block[np.abs(block).argmax()], abs=panel._tiles.highs[0] / 100
    )


def test_scales_and_shifts_are_bars_beside_their_gradients(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="1", target=4, panels=["weights"])
    panel, module = panel_of(ex), toy.module[1]
    assert visible(panel) == {"bars", "more_bars"}
    charts = [panel._charts[f"{place} {i} True"] for place in ("first", "second") for i in range(2)]
    expected = [
        module.weight,
        gradient(toy, "chelsea", 4, "1.weight"),
        module.bias,
        gradient(toy, "chelsea", 4, "1.bias"),
    ]
    for chart, true in zip(charts, expected, strict=True):
        assert chart.plot.values == pytest.approx(true.detach().numpy(), rel=1e-4, abs=1e-9)
        assert chart.plot.bars
    click(charts[3], 2)
    assert panel_of(ex).selection.filter == 2
    assert [chart.plot.chosen for chart in charts] == [2] * 4


# Where there is nothing, or too much.


@pytest.mark.parametrize(
    ("layer", "says", "near"), [("2", "Layer '2', a ReLU", ("1", "4")), ("7", "Layer '7', a Flatten", ("4", "8"))]
)
def test_a_layer_without_weights_says_so_and_shows_the_way(explore, toy: nv.Network, layer, says, near) -> None:
    ex = explore(toy, layer=layer, panels=["weights"])
    panel = ex.panels["weights"]
    assert isinstance(ex.error, nv.MethodNotApplicableError)
    assert says in ex._status.error
    assert f"such as {near[0]!r}" in ex._status.error
    assert visible(panel) == {"offers"}
    assert [button.description for button in panel._offers.children] == [f"go to {name}" for name in near]
    with pytest.raises(nv.NbcnnvizError, match="no weights to save yet"):
        ex.save("nothing.npz")
    panel._offers.children[1].click()
    assert panel_of(ex).result.layer == ex.selection.layer == near[1]
    assert visible(panel) >= {"overview"}


def test_a_container_leads_to_what_is_in_it(explore) -> None:
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU())
    module = nn.Sequential(inner, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)).eval()
    ex = explore(nv.Network(module, size=16, name="nested"), layer="0", panels=["weights"])
    assert [b.description for b in ex.panels["weights"]._offers.children] == ["go to 0.0", "go to 0.2"]


def test_a_network_without_any_weights_says_that(explore) -> None:
    module = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    ex = explore(nv.Network(module, size=8, name="bare"), panels=["weights"])
    assert "No layer of bare has weights" in ex._status.error
    assert ex.panels["weights"]._offers.children == ()


def test_a_network_without_maps_asks_for_a_layer(explore, mlp: nv.Network) -> None:
    ex = explore(mlp, panels=["weights"])
    assert "No layer is chosen: choose one that has, such as '1'" in ex._status.error
    panel = ex.panels["weights"]
    panel._layers.value = "3"
    assert panel_of(ex).result.weights.kind == "matrix"
    assert ex.selection.layer == "3"


def test_the_menu_has_the_layers_with_weights_and_follows_the_selection(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="4", panels=["weights"])
    panel = panel_of(ex)
    assert [value for _, value in panel._layers.options] == ["0", "1", "4", "8"]
    assert panel._layers.value == "4"
    ex.selection.layer = "2"
    ex.wait(PATIENCE)
    assert panel._layers.value is None
    assert ex.selection.layer == "2"
    ex.selection.network = nv.Network(toys.Tiny().eval(), size=16, name="tiny")
    panel_of(ex)
    assert [value for _, value in panel._layers.options] == ["conv1", "conv2", "fc"]


def test_ten_thousand_filters_come_in_pages(explore) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 10_000, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    net = nv.Network(module, size=4, name="many")
    ex = explore(net, layer="1", target=0, panels=["weights"])
    panel = panel_of(ex)
    assert panel._tiles.shape[0] == 64
    assert "1 to 64 of 10,000 filters" in panel._pager._text.value
    assert not panel._pager._next.disabled
    assert panel._pager._back.disabled
    panel._pager._next.click()
    assert panel_of(ex)._tiles.indices == list(range(64, 128))
    panel._pager.page.value = 100
    assert panel_of(ex)._tiles.indices == list(range(99 * 64, 100 * 64))
    ex.selection.filter = 7000  # from another panel: its page is turned to
    assert 7000 in panel_of(ex)._tiles.indices
    assert panel._tiles.chosen == 7000
    panel._pager._back.click()
    assert 7000 not in panel_of(ex)._tiles.indices  # and the reader may go on turning
    ex.selection.layer = "0"
    panel_of(ex)
    ex.selection.layer, ex.selection.filter = "1", 7000
    assert 7000 in panel_of(ex)._tiles.indices  # until something else was looked at
    panel._sort.value = "norm"
    assert 7000 in panel_of(ex)._tiles.indices
    weight = module[1].weight.detach().numpy().reshape(10_000, -1)
    order = np.argsort(-np.linalg.norm(weight.astype(np.float64), axis=1), kind="stable")
    assert len(set(panel._tiles.indices) & set(order[panel.result.page * 64 :][:64].tolist())) > 60


def test_inputs_come_in_pages_too(explore) -> None:
    module = nn.Sequential(nn.Conv2d(3, 200, 1), nn.Conv2d(200, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    ex = explore(nv.Network(module, size=4, name="deep"), layer="1", panels=["weights"])
    panel = panel_of(ex)
    assert panel._kernels.labels == [str(i) for i in range(96)]
    panel._input_pager.page.value = 3
    assert panel_of(ex)._kernels.labels == [str(i) for i in range(192, 200)]
    choose(panel._tiles, 2)
    assert panel_of(ex)._kernels.labels == [str(i) for i in range(96)]


def test_nan_and_infinite_weights_are_marked_and_counted(explore) -> None:
    module = toys.classic()
    with torch.no_grad():
        module[4].weight[2, 0, 0, 0] = torch.nan
        module[4].weight[2, 1, 0, 0] = torch.inf
        module[4].weight[6, 0, 1, 1] = -torch.inf
    ex = explore(nv.Network(module, size=16, name="broken"), layer="4", target=0, panels=["weights"])
    panel = panel_of(ex)
    assert panel._tiles.broken == [0, 0, 2, 0, 0, 0, 1, 0]
    assert "3 weights are NaN or infinite, in 2 of 8 filters" in panel._about.value
    finite = module[4].weight.detach()
    finite = finite[finite.isfinite()].abs().max()
    assert panel._tiles.highs == [pytest.approx(float(finite))]
    assert np.isfinite(tiles_of(panel._tiles)).all()
    ex.selection.filter = 2
    assert panel_of(ex)._kernels.broken == [1, 1, 0, 0, 0, 0]
    for layer in ("0", "1", "8"):
        ex.selection.layer = layer
        assert panel_of(ex).result.layer == layer  # whose gradients are all NaN


def test_weights_of_zero_are_in_the_middle_of_the_scale(explore) -> None:
    module = toys.classic()
    nn.init.zeros_(module[4].weight)
    nn.init.zeros_(module[8].weight)
    ex = explore(nv.Network(module, size=16, name="nought"), layer="4", target=0, panels=["weights"])
    panel = panel_of(ex)
    assert set(panel._tiles.values) <= {127, 128}
    assert panel._tiles.colours == DIVERGING
    assert "zero everywhere" in panel._about.value
    ex.selection.layer = "8"
    assert set(panel_of(ex)._tiles.values) <= {127, 128}


# Gradients that there are not.


def test_a_target_that_does_not_depend_on_the_weights_leaves_them_alone(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="4", target=nv.Channel("0", 1), panels=["weights"])
    panel = panel_of(ex)
    assert panel._slopes.layout.display == panel._kernel_slopes.layout.display == "none"
    assert "No gradient is shown" in panel._about.value
    assert "does not depend on" in panel._about.value
    panel._sort.value = "gradient"
    assert "Sorted by norm instead" in panel_of(ex)._about.value
    names: dict = {}
    exec(ex.code().replace("net = ...", "net = toy"), names | {"toy": toy}, names)
    assert torch.equal(names["chosen"], toy.module[4].weight[panel.result.filter])
    ex.selection.target = 1
    assert panel_of(ex)._slopes.layout.display is None


def test_filters_that_the_selection_cannot_name_can_be_looked_at(explore) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.mix, self.head = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 10), nn.Linear(10, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mix(self.patches(x).flatten(2).transpose(1, 2)).mean(1))

    net = nv.Network(Tokens().eval(), size=8, name="tokens")  # four tokens of ten numbers
    ex = explore(net, layer="mix", panels=["weights"])
    panel = panel_of(ex)
    click(panel._charts["first 0 True"], 9)
    assert panel_of(ex).result.filter == 9
    assert ex.selection.filter is None
    assert panel._charts["second 0 False"].plot.values == pytest.approx(net.module.mix.weight[9].detach().numpy())


# No more work than is asked for.


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The backward passes made, each with what it was for."""
    made: list[tuple] = []
    backward = Trace.backward

    def counted(trace: Trace, of, sources, rule="gradient"):
        made.append((of, len(sources)))
        return backward(trace, of, sources, rule)

    monkeypatch.setattr(Trace, "backward", counted)
    return made


def test_sorting_turning_and_choosing_need_no_backward_pass(explore, toy: nv.Network, passes: list) -> None:
    ex = explore(toy, panels=["weights"])  # the first look at a network warms it up
    ex.selection.layer = "0"
    panel = panel_of(ex)
    passes.clear()
    ex.selection.layer = "4"
    assert panel_of(ex)
    assert len(passes) == 1
    panel._sort.value = "gradient"
    panel_of(ex)
    choose(panel._tiles, 3)
    panel_of(ex)
    panel._sort.value = "norm"
    panel_of(ex)
    assert len(passes) == 1
    ex.selection.target = toy.trace("chelsea").top(2)[1][0]
    panel_of(ex)
    assert len(passes) == 2


def test_the_network_is_not_changed_by_looking(explore) -> None:
    module = toys.classic()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    ex = explore(nv.Network(module, size=16), layer="0", panels=["weights"])
    for layer in ("1", "4", "8"):
        ex.selection.layer = layer
        panel_of(ex)
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_weights_that_training_has_changed_are_shown_as_they_are(explore) -> None:
    module = toys.classic()
    ex = explore(nv.Network(module, size=16), layer="4", target=0, panels=["weights"])
    panel_of(ex)
    with torch.no_grad():
        module[4].weight.mul_(3)
    ex.selection.filter = 2
    panel = panel_of(ex)
    assert panel._tiles.highs == [pytest.approx(float(module[4].weight.detach().abs().max()))]
    assert torch.allclose(
        panel.result.weights.gradient, gradient(ex.selection.network, "chelsea", 0, "4.weight"), atol=1e-6
    )


def test_another_picture_lets_the_gradient_go(explore, toy: nv.Network) -> None:
    ex = explore(toy, layer="4", target=0, panels=["weights"])
    panel = panel_of(ex)
    first = panel.result.weights.gradient
    ex.selection.image = "coffee"
    second = panel_of(ex).result.weights.gradient
    assert torch.allclose(second, gradient(toy, "coffee", 0, "4.weight"), atol=1e-7)
    assert not torch.allclose(first, second)
    panel.forget()
    assert panel.result is panel._known is panel.preview() is None
    choose(panel._tiles, 1)  # clicks on what is gone are ignored
    click(ColumnChart(choose=panel._bar_chosen), 0)
    assert ex.selection.filter is None


@pytest.mark.parametrize("index", [None, "1", -1, 99, 2.0, True])
def test_a_message_that_names_no_filter_is_ignored(explore, toy: nv.Network, index: object) -> None:
    ex = explore(toy, layer="4", panels=["weights"])
    choose(panel_of(ex)._tiles, index)
    assert panel_of(ex).selection.filter is None


# Files and code.


@pytest.mark.parametrize("layer", ["0", "1", "4", "8"])
def test_what_is_shown_can_be_saved_and_made_again(explore, toy: nv.Network, layer: str, tmp_path: Path) -> None:
    ex = explore(toy, layer=layer, panels=["weights"])
    panel = panel_of(ex)
    panel._sort.value = "gradient"
    panel_of(ex)
    assert ex._tools.formats == list(panel.formats)
    for ending in panel.formats:
        ex.save(tmp_path / f"weights.{ending}")
    with Image.open(tmp_path / "weights.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert picture.width == 1920
        assert np.array_equal(np.asarray(panel.preview()), np.asarray(picture))
    assert (pixels != 255).any(2).mean() > 0.01
    left, right = pixels[:, :960], pixels[:, 960:]
    assert (left != 255).any() and (right != 255).any()  # noqa: PT018
    page = (tmp_path / "weights.html").read_text()
    assert "nbcnnviz.inside" in page
    assert f"Weights of {layer} of toy" in page
    names: dict = {}
    exec(ex.code().replace("net = ...", "net = toy"), names | {"toy": toy}, names)
    shown, found = names["shown"], panel.result
    with np.load(tmp_path / "weights.npz") as saved:
        assert np.array_equal(saved["weights"], shown.values.numpy())
        assert np.array_equal(saved["gradient"], shown.gradient.numpy())
        assert np.array_equal(saved["order"], shown.order.numpy())
        assert np.array_equal(saved["norms"], shown.norms.numpy())
    assert shown.order.tolist() == found.order.tolist()
    assert torch.equal(names["its_gradient"], found.weights.gradient[found.filter])


def test_the_picture_that_is_saved_has_the_tiles_in_the_colours_of_the_screen(
    explore, toy: nv.Network, tmp_path: Path
) -> None:
    from nbcnnviz.render import Scale, coloured

    ex = explore(toy, layer="4", panels=["weights"])
    panel = panel_of(ex)
    panel._tiles.colours = "PuOr_r"
    ex.save(tmp_path / "w.png")
    pixels = np.asarray(Image.open(tmp_path / "w.png").convert("RGB"))
    weight, high = toy.module[4].weight.detach(), panel._tiles.highs[0]
    corner = coloured(weight[0, 0], Scale(-high, high), "PuOr_r")
    wide = 96
    cell = wide / 11
    for row in range(3):
        for column in range(3):
            y, x = 70 + int((row + 0.5) * 61 / 7), 20 + int((column + 0.5) * cell)
            assert np.array_equal(pixels[y, x], corner[row, column])


def test_closing_leaves_no_widget(toy: nv.Network) -> None:
    panels = ["layers", "weights", "predictions"]
    nv.explore(toy, panels=panels).wait(PATIENCE).close()
    before = set(_instances)
    ex = nv.explore(toy, layer="1", panels=panels).wait(PATIENCE)
    for layer in ("0", "2", "8", "4"):
        ex.selection.layer = layer
        ex.wait(PATIENCE)
    ex.close()
    assert set(_instances) == before


# Charts, which the Gradients panel has too.


def test_decades_run_from_one_power_of_ten_to_another() -> None:
    ruler = Ruler.decades(np.array([0.02, 0.0, np.nan, np.inf, -3.0, 150.0]))
    assert (ruler.low, ruler.high) == (pytest.approx(0.01), pytest.approx(1000))
    assert ruler.place([0.01, 1000.0, np.sqrt(10)]) == pytest.approx([0, 1000, 500])
    assert ruler.measures(np.array([0.02, 0.0, np.nan, np.inf, -3.0])).tolist() == [True, False, False, False, False]
    assert Ruler.decades(np.array([1.0])).high == 10
    assert Ruler.decades(np.array([0.0, np.nan])).high == 1
    counts = Ruler.decades(np.array([1.0, 300.0]), low=0.5)
    assert (counts.low, counts.high) == (0.5, 1000)
    assert counts.place(1.0) > 0
    assert counts.ticks[0] == 1
    assert len(Ruler.decades(np.array([1e-30, 1e30])).ticks) < 7


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [-0.02, 0.5], [-7.0, -3.0], [0.0, 0.0], [1e-12, 3e-12], [5e7]])
def test_even_rulers_hold_zero_and_all_values_with_a_few_round_ticks(values: list[float]) -> None:
    ruler = Ruler.even(np.array([*values, np.nan]))
    assert ruler.low <= min(0, *values) <= max(0, *values) <= ruler.high
    assert 2 <= len(ruler.ticks) <= 6
    assert 0 in [pytest.approx(tick, abs=1e-20) for tick in ruler.ticks]
    assert ruler.place(ruler.low) == 0
    assert ruler.place(ruler.high) == 1000
    steps = np.diff(ruler.ticks)
    assert np.allclose(steps, steps[0])


def test_a_chart_draws_what_has_a_place_and_marks_what_has_none() -> None:
    chart = ColumnChart(choose=lambda _: None)
    values = np.array([0.1, 0.0, np.nan, 10.0, np.nan])
    chart.show(Plot("a", values, Ruler.decades(values), bars=False, broken=np.arange(5) == 4))
    assert chart._line.x.tolist() == [0, 3]
    assert chart._line.y.tolist() == [0, 1000]
    assert chart._zeros.x.tolist() == [1]
    assert chart._broken.x.tolist() == [4]  # what is only missing is not marked
    assert not chart._bars.visible
    assert (chart._x.min, chart._x.max) == (-0.5, 4.5)
    for mark in (chart._line, chart._zeros, chart._broken, chart._columns):
        assert np.isfinite(mark.y).all()
    chart.show(Plot("b", np.array([1.0, -2.0, np.nan]), Ruler.even(np.array([1.0, -2.0])), chosen=1))
    assert not any(mark.visible for mark in (chart._line, chart._zeros, chart._broken))
    assert chart._bars.x.tolist() == [-1, 0, 1, 2, 3]  # one outside at each end
    assert chart._bars.y.tolist() == pytest.approx([2000 / 3, 1000, 0, 2000 / 3, 2000 / 3])
    assert chart._bars.base == pytest.approx(2000 / 3)
    assert [tint > 0 for tint in chart._columns.opacities] == [False, False, True, False, False]


def test_a_chart_of_nothing_is_empty() -> None:
    chart = ColumnChart()
    chart.show(Plot("none", np.zeros(0), Ruler.even(np.zeros(0))))
    chart.show(Plot("nan", np.full(3, np.nan), Ruler.decades(np.full(3, np.nan)), bars=False))
    assert not chart._line.visible
    assert chart.figure.layout.visibility == "hidden"  # no axis with ticks 0 0 0 1 1 1
    assert "no values" in chart.pointed_at.value
    chart.show(Plot("some", np.arange(3.0), Ruler.even(np.arange(3.0))))
    assert chart.figure.layout.visibility == "visible"
    assert "no values" not in chart.pointed_at.value


@pytest.mark.parametrize(
    "data", [None, {}, {"index": None}, {"index": 0}, {"index": 4}, {"index": "1"}, {"index": 1.0}]
)
def test_a_message_that_names_no_column_is_ignored(data: object) -> None:
    heard: list[int] = []
    chart = ColumnChart(choose=heard.append)
    for event in ({"event": "element_click", "data": data}, {"event": "hover", "data": data}):
        chart._columns._handle_custom_msgs(None, event)
        chart.show(Plot("a", np.arange(3.0), Ruler.even(np.arange(3.0)), hints=["x", "<y>", "z"]))
        chart._columns._handle_custom_msgs(None, event)
    assert heard == []
    chart._columns._handle_custom_msgs(None, {"event": "hover", "data": {"index": 2}})
    chart._columns._handle_custom_msgs(None, {"event": "element_click", "data": {"index": 2}})
    assert heard == [1]
    assert "&lt;y&gt;" in chart.pointed_at.value
