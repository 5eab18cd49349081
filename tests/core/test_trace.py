"""A trace against finite differences, against the formulas, and against torch's own backward pass."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.core.errors import StaleTraceError
from tests import toys
from tests.conftest import relative_error

SIZE = (12, 16)


@pytest.fixture(scope="module")
def every() -> tuple[nn.Module, Tensor, nv.Trace]:
    """A network with a layer of each kind, in double precision, its statistics and slopes away from their defaults."""
    torch.manual_seed(0)
    module = toys.EveryLayer().double()
    with torch.no_grad():
        for norm in (module.batch_norm, module.group_norm, module.layer_norm):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
        module.batch_norm.running_mean.uniform_(-0.5, 0.5)
        module.batch_norm.running_var.uniform_(0.5, 1.5)
    module.eval()
    x = torch.randn(2, 2, *SIZE, dtype=torch.double)
    return module, x, nv.Network(module, size=SIZE).trace(x)


LAYERS = [name for name, _ in toys.EveryLayer().named_children()]
PARAMETERS = [name for name, _ in toys.EveryLayer().named_parameters()]


def score(module: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return module(x)[:, 1].sum().item()


def slope(f, step: float = 1e-6) -> float:
    """The derivative of ``f`` at zero, by central differences."""
    return (f(step) - f(-step)) / (2 * step)


def test_input_gradient_equals_finite_differences(every) -> None:
    module, x, trace = every
    direction = torch.randn_like(x)
    expected = slope(lambda step: score(module, x + step * direction))
    assert (trace.gradient(1) * direction).sum().item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_gradient_equals_finite_differences(every, layer: str) -> None:
    module, x, trace = every
    direction = torch.randn_like(trace[layer])

    def perturbed(step: float) -> float:
        hook = module.get_submodule(layer).register_forward_hook(lambda m, args, output: output + step * direction)
        try:
            return score(module, x)
        finally:
            hook.remove()

    gradient = trace.gradient(1, layer)
    assert (gradient * direction).sum().item() == pytest.approx(slope(perturbed), rel=1e-5)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_gradient_equals_finite_differences(every, name: str) -> None:
    module, x, trace = every
    parameters = dict(module.named_parameters())
    direction = torch.randn_like(parameters[name])

    def perturbed(step: float) -> float:
        moved = {name: parameters[name].detach() + step * direction}
        with torch.no_grad():
            return torch.func.functional_call(module, moved, (x,))[:, 1].sum().item()

    gradient = trace.gradient(1, name)
    assert (gradient * direction).sum().item() == pytest.approx(slope(perturbed), rel=1e-5)


def test_every_layer_and_parameter_at_once_equal_one_by_one(every) -> None:
    module, _, trace = every
    layers = trace.gradient(1, nv.ALL_LAYERS)
    assert list(layers) == LAYERS
    for name, gradient in layers.items():
        assert gradient.shape == trace[name].shape
        assert torch.equal(gradient, trace.gradient(1, name))
    parameters = trace.gradient(1, nv.ALL_PARAMETERS)
    assert list(parameters) == PARAMETERS
    assert {name: p.shape for name, p in module.named_parameters()} == {n: g.shape for n, g in parameters.items()}
    some = trace.gradient(1, ["input", "silu", "conv.weight"])
    assert list(some) == ["input", "silu", "conv.weight"]
    assert torch.equal(some["input"], trace.gradient(1))
    assert torch.equal(some["conv.weight"], parameters["conv.weight"])


def test_all_layers_leave_out_what_the_target_does_not_depend_on(every) -> None:
    _, _, trace = every
    found = trace.gradient(nv.Channel("silu", 2), nv.ALL_LAYERS)
    assert list(found) == LAYERS[: LAYERS.index("silu") + 1]
    assert list(trace.gradient(nv.Channel("batch_norm", 2), nv.ALL_PARAMETERS)) == PARAMETERS[:4]


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 5, 3),
        nn.Conv2d(3, 5, (3, 5), stride=(2, 1), padding=(1, 2)),
        nn.Conv2d(3, 5, 3, dilation=2, padding=2),
        nn.Conv2d(4, 6, 3, groups=2, padding=1),
    ],
    ids=["plain", "strided and padded", "dilated", "grouped"],
)
def test_a_conv_units_gradient_is_its_kernel_at_its_receptive_field(conv: nn.Conv2d) -> None:
    channels = conv.in_channels
    module = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU(), conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    trace = nv.Network(module, size=(9, 11)).trace(torch.randn(1, channels, 9, 11))
    unit = nv.Unit("2", 4, 2, 3)
    found = trace.gradient(unit, "1")
    expected = torch.zeros(1, channels, 9, 11)
    per_group = conv.weight.shape[1]
    first = 4 // (conv.out_channels // conv.groups) * per_group
    for (i, c, r, s), weight in zip(
        ((4, *place) for place in torch.cartesian_prod(*map(torch.arange, conv.weight.shape[1:])).tolist()),
        conv.weight[4].flatten().tolist(),
        strict=True,
    ):
        assert i == unit.channel
        y = unit.y * conv.stride[0] - conv.padding[0] + r * conv.dilation[0]
        x = unit.x * conv.stride[1] - conv.padding[1] + s * conv.dilation[1]
        if 0 <= y < 9 and 0 <= x < 11:
            expected[0, first + c, y, x] = weight
    assert relative_error(found, expected) < 1e-6


def test_a_convs_parameter_gradient_is_the_correlation_of_its_input_with_its_output_gradient() -> None:
    module = toys.classic()
    trace = nv.Network(module, size=12).trace(torch.randn(3, 3, 12, 12))
    gradient = trace.gradient(2, ["4", "4.weight", "4.bias"])
    into = trace["3"].detach()
    expected = F.conv2d(into.transpose(0, 1), gradient["4"].transpose(0, 1), padding=1).transpose(0, 1)
    assert relative_error(gradient["4.weight"], expected) < 1e-5
    assert relative_error(gradient["4.bias"], gradient["4"].sum((0, 2, 3))) < 1e-5


def test_scores_probabilities_and_top_are_the_networks() -> None:
    module = toys.classic()
    x = torch.randn(2, 3, 12, 12)
    network = nv.Network(module, size=12, classes=["ant", "bee", "cat", "dog", "eel"])
    trace = network.trace(x)
    with torch.no_grad():
        scores = module(x)
    assert torch.equal(trace.scores.detach(), scores)
    assert relative_error(trace.probabilities.detach(), scores.exp() / scores.exp().sum(1, keepdim=True)) < 1e-6
    for picture in (0, 1):
        top = trace.top(3, picture)
        best = sorted(range(5), key=lambda i: -scores[picture, i].item())[:3]
        assert [index for index, _, _ in top] == best
        assert [name for _, name, _ in top] == [network.classes[i] for i in best]
        assert [p for _, _, p in top] == [pytest.approx(trace.probabilities[picture, i].item()) for i in best]
    assert len(trace.top(99)) == 5
    assert len(trace) == 2
    assert trace.size == (12, 12)
    assert "Sequential" in repr(trace)


def test_every_activation_is_what_its_module_returned() -> None:
    module = toys.classic()
    x = torch.randn(2, 3, 12, 12)
    trace = nv.Network(module, size=12).trace(x)
    assert trace.layers == tuple(str(i) for i in range(9))
    with torch.no_grad():
        for i, layer in enumerate(module):
            x = layer(x)
            assert torch.equal(trace[str(i)].detach(), x)


def test_a_layer_holds_what_it_returned_before_it_was_overwritten() -> None:
    class Shift(nn.Module):
        def forward(self, x):
            x += 1
            return x

    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.shift, self.relu = nn.Conv2d(3, 4, 3), Shift(), nn.ReLU(inplace=True)
            self.both, self.fc = nn.Sequential(self.conv, self.shift), nn.Linear(4, 2)

        def forward(self, x):
            y = self.both(x)
            y.mul_(2)
            y[:, 0] = 0
            y.sub_(1)
            return self.fc(torch.mean(self.relu(y), (2, 3)))

    module = Overwriting().eval()
    x = torch.randn(1, 3, 8, 8)
    trace = nv.Network(module, size=8).trace(x)
    conv = F.conv2d(x, module.conv.weight, module.conv.bias)
    before = 2 * (conv + 1)
    before[:, 0] = 0
    before -= 1
    assert torch.equal(trace["conv"], conv)
    assert torch.equal(trace["shift"], conv + 1)
    assert torch.equal(trace["both"], trace["shift"])
    assert torch.equal(trace["relu"], before.relu())
    # The gradient belongs to the value, too: by hand, from the scores down.
    above = module.fc.weight[1].detach().view(1, -1, 1, 1).expand_as(conv) / 36
    assert relative_error(trace.gradient(1, "relu"), above) < 1e-6
    above = 2 * above * (before > 0)
    above[:, 0] = 0
    for name in ("both", "shift", "conv"):
        assert relative_error(trace.gradient(1, name), above) < 1e-6


def test_a_module_called_several_times_has_one_entry_a_call() -> None:
    module = toys.Reused().eval()
    network = nv.Network(module, size=9)
    assert list(network.layers) == ["conv1", "relu:0", "conv2:0", "relu:1", "conv2:1", "relu:2", "fc"]
    x = torch.randn(1, 3, 9, 9)
    trace = network.trace(x)
    first = module.conv1(x)
    assert torch.equal(trace["conv1"], first)
    assert torch.equal(trace["relu:0"], first.relu())
    assert torch.equal(trace["relu:1"], (first.relu() + trace["conv2:0"]).relu())
    assert not torch.equal(trace["conv2:0"], trace["conv2:1"])
    assert not torch.equal(trace.gradient(0, "conv2:0"), trace.gradient(0, "conv2:1"))
    with pytest.raises(nv.UnknownLayerError, match=r"called 3 times: relu:0, relu:1, relu:2"):
        trace["relu"]


@pytest.mark.parametrize(
    ("channels", "size"), [(1, (28, 28)), (3, (32, 32)), (3, (20, 44)), (4, (16, 24)), (2, (7, 9))]
)
def test_any_number_of_channels_and_any_size_works(channels: int, size: tuple[int, int]) -> None:
    network = nv.Network(toys.classic(channels), size=size)
    x = torch.randn(2, channels, *size)
    trace = network.trace(x)
    assert network.input_shape == (channels, *size)
    for name, method in nv.methods().items():
        result = nv.attribute(trace, method=name, target=1, **toys.few(name))
        assert result.values.shape[0] == 2
        assert result.heatmap.shape == (2, *size)
        assert result.overlay(1).size == (size[1], size[0])
        assert method.needs_layer or result.values.shape[2:] == size


def test_maps_are_not_mistaken_for_channels_last_where_sizes_coincide() -> None:
    # Six channels of 6 x 3, as ResNet's 64 channels of 64 x 32 for a picture of 256 x 128.
    network = nv.Network(toys.classic(), size=(12, 6))
    assert network.layers["3"].shape == (6, 6, 3)
    assert not network.layers["3"].channels_last
    assert network.layers["3"].filters == 6
    trace = network.trace(torch.randn(1, 3, 12, 6))
    assert trace.maps("3").shape == (1, 6, 6, 3)
    assert torch.equal(trace.gradient(nv.Unit("3", 5, 4, 2), "3").nonzero(), torch.tensor([[0, 5, 4, 2]]))


def test_a_batch_gives_what_its_pictures_give_one_by_one(every) -> None:
    _, x, trace = every
    alone = [trace.network.trace(x[[i]]) for i in (0, 1)]
    wrt = ["input", "conv", "hidden"]
    together = trace.gradient(nv.ClassScore((0, 2)), wrt)
    for i, index in enumerate((0, 2)):
        for name, gradient in alone[i].gradient(index, wrt).items():
            assert relative_error(together[name][[i]], gradient) < 1e-9


def test_only_the_layers_named_are_kept() -> None:
    network = nv.Network(toys.classic(), size=12)
    x = torch.randn(1, 3, 12, 12)
    full, few = network.trace(x), network.trace(x, layers=["2", "4"])
    assert few.layers == ("2", "4")
    assert torch.equal(few.scores, full.scores)
    for name in ("input", "2", "4", "0.weight"):
        assert torch.equal(few.gradient(1, name), full.gradient(1, name))
    with pytest.raises(nv.UnknownLayerError, match=r"made without it: name it in trace\(layers="):
        few["5"]
    with pytest.raises(nv.UnknownLayerError, match="'22'"):
        network.trace(x, layers=["22"])


def test_one_forward_pass_answers_every_question() -> None:
    class Counted(toys.Tiny):
        runs = 0

        def forward(self, x):
            type(self).runs += 1
            return super().forward(x)

    trace = nv.Network(Counted().eval(), size=9).trace(torch.randn(1, 3, 9, 9))
    runs = Counted.runs
    for rule in ("gradient", "guided", "deconvnet", "gradient"):
        for target in (0, 3, nv.Channel("conv1", 2), None):
            trace.gradient(target, rule=rule)
    for name in [name for name, known in nv.methods().items() if known.passes is None and name != "cam"]:
        nv.attribute(trace, method=name, target=1, layer="conv1" if nv.methods()[name].needs_layer else None)
    assert Counted.runs == runs


def test_the_same_question_has_the_same_answer_however_many_lie_between() -> None:
    trace = nv.Network(toys.Branching().eval(), size=9).trace(torch.randn(1, 3, 9, 9))
    first = {rule: trace.gradient(2, rule=rule) for rule in ("gradient", "guided", "deconvnet")}
    for rule in reversed(first):
        assert torch.equal(trace.gradient(2, rule=rule), first[rule])


@pytest.mark.parametrize("change", ["step", "load_state_dict", "in place"])
def test_weights_that_changed_since_the_trace_are_an_error(change: str) -> None:
    module = toys.classic()
    trace = nv.Network(module, size=12).trace(torch.randn(1, 3, 12, 12))
    if change == "step":
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        module(torch.randn(1, 3, 12, 12)).sum().backward()
        optimizer.step()
    elif change == "load_state_dict":
        module.load_state_dict(toys.classic().state_dict())
    else:
        with torch.no_grad():
            module[4].weight.mul_(2)
    with pytest.raises(StaleTraceError, match="changed since this trace was made: make a new trace"):
        trace.gradient(0)
    assert issubclass(StaleTraceError, nv.GradientError)


def test_what_the_target_does_not_depend_on_is_named() -> None:
    trace = nv.Network(toys.classic(), size=12).trace(torch.randn(1, 3, 12, 12))
    with pytest.raises(nv.GradientError, match=r"does not depend on '4', '8\.weight'"):
        trace.gradient(nv.Channel("2", 0), ["input", "4", "8.weight"])


def test_a_layer_without_gradient_is_an_error() -> None:
    class Constant(toys.Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.places = nn.Flatten()

        def forward(self, x):
            return super().forward(x) + self.places(torch.ones(1, 1)).sum()

    trace = nv.Network(Constant().eval(), size=9).trace(torch.randn(1, 3, 9, 9))
    with pytest.raises(nv.GradientError, match="'places' does not depend"):
        trace.gradient(0, "places")
    assert "places" not in trace.gradient(0, nv.ALL_LAYERS)


def test_unknown_layers_and_parameters_are_named_with_the_nearest() -> None:
    trace = nv.Network(toys.EveryLayer().eval(), size=SIZE).trace(torch.randn(1, 2, *SIZE))
    with pytest.raises(nv.UnknownLayerError, match=r"There is no layer 'batchnorm'\. Nearest: batch_norm"):
        trace["batchnorm"]
    with pytest.raises(nv.UnknownLayerError, match=r"conv\.weight"):
        trace.gradient(0, "conv.weigth")
    with pytest.raises(nv.UnknownLayerError):
        trace[3]
    with pytest.raises(LookupError):
        trace.gradient(0, ["input", "nothing"])


def test_a_module_that_overwrites_out_of_sight_is_an_error() -> None:
    class Hidden(toys.Tiny):
        def forward(self, x):
            y = self.conv1(x)
            with torch._C.DisableTorchFunction():
                y.mul_(2)
            return self.fc(self.conv2(y).mean((2, 3)))

    with pytest.raises(nv.NetworkError, match="'conv1' was overwritten"):
        nv.Network(Hidden().eval(), size=9)


def test_questions_from_several_threads_do_not_mix() -> None:
    trace = nv.Network(toys.Branching().eval(), size=9).trace(torch.randn(4, 3, 9, 9))
    rules = ("gradient", "guided", "deconvnet")
    expected = {rule: trace.gradient(2, rule=rule) for rule in rules}
    assert not torch.equal(expected["guided"], expected["deconvnet"])

    def ask(rule: str) -> bool:
        return all(torch.equal(trace.gradient(2, rule=rule), expected[rule]) for _ in range(60))

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ask, rules)) == [True, True, True]


def test_traces_one_after_the_other_are_the_same_as_each_alone() -> None:
    network = nv.Network(toys.classic(), size=12)
    run = network.tracer(["2"])
    for _ in range(3):
        x = torch.randn(2, 3, 12, 12)
        one, other = run(x), network.trace(x)
        assert one.layers == ("2",)
        assert torch.equal(one.scores, other.scores)
        assert torch.equal(one.gradient(1), other.gradient(1))
        assert torch.equal(one.gradient(nv.Channel("2", 3)), other.gradient(nv.Channel("2", 3)))
    with pytest.raises(nv.GradientError, match="made for the input's alone"):
        one.gradient(1, "0.weight")
    with pytest.raises(nv.UnknownLayerError, match="Nearest: 2"):
        network.tracer(["22"])


def test_a_pass_that_stops_runs_nothing_beyond_its_layers() -> None:
    class Counted(nn.Conv2d):
        runs = 0

        def forward(self, x):
            type(self).runs += 1
            return super().forward(x)

    module = toys.classic()
    module[4] = Counted(6, 8, 3, padding=1)
    network = nv.Network(module, size=12)
    x = torch.randn(1, 3, 12, 12)
    expected = network.trace(x).gradient(nv.Channel("2", 3))
    Counted.runs = 0
    trace = network.tracer(["0", "2"], stop=True)(x)
    assert Counted.runs == 0
    assert not trace.whole
    assert trace.layers == ("0", "2")
    assert torch.equal(trace.gradient(nv.Channel("2", 3)), expected)
    with pytest.raises(nv.GradientError, match="stopped at layer '2', before the class scores"):
        trace.gradient(0)
    assert network.tracer(["0", "2"])(x).whole
    assert Counted.runs == 1
