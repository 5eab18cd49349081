"""Scores without a graph: of batches, and from a layer on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.core.targets import as_target
from tests import toys


class Residual(nn.Module):
    """A shortcut from before the layer ``body`` to after it, and a rectifier in place that is called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.body, self.tail = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 5, 3, stride=2)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu(self.body(x) + x)
        return self.fc(self.relu(self.tail(x)).mean((2, 3)))


class Dense(nn.Module):
    """A concatenation of the layer ``body``'s output with what comes before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x) * 2)
        return self.fc(torch.cat([x, F.relu(self.body(x))], 1).mean((2, 3)))


class Discarding(nn.Module):
    """A rectifier in place whose result is thrown away: what it was given has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)
        self.body, self.fc = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.relu(x)
        return self.fc((self.body(x) + x).mean((2, 3)))


class Counting(nn.Module):
    """Flattens by the batch size of its input, so that it must be given as many pictures as the layer has outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Conv2d(3, 4, 3, stride=4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).reshape(x.shape[0], 4, -1).mean(2))


class Mixing(nn.Module):
    """Its scores depend on the other pictures of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x)
        return self.fc((maps - maps.mean(0)).mean((2, 3)) + len(maps))


class Replaced(nn.Module):
    """A module, one of whose layers returns a given tensor, at one call: the whole pass to compare with."""

    def __init__(self, module: nn.Module, layer: str, output: Tensor) -> None:
        super().__init__()
        self.module = module
        name, _, call = layer.partition(":")
        self.calls, self.at, self.output = 0, int(call or 0), output
        module.get_submodule(name).register_forward_hook(self._replace)

    def _replace(self, module: nn.Module, args: object, output: Tensor) -> Tensor | None:
        self.calls += 1
        return self.output.clone() if self.calls == self.at + 1 else None

    def forward(self, x: Tensor) -> Tensor:
        self.calls = 0
        return self.module(x)


def whole(make, layer: str, x: Tensor, outputs: Tensor) -> Tensor:
    """The scores of whole passes, one for each output put in the layer's place."""
    with torch.no_grad():
        return torch.cat([Replaced(make(), layer, output[None])(x) for output in outputs])


@pytest.mark.parametrize(
    ("module", "layer", "cached", "repeated"),
    [
        (Residual, "body", True, False),
        (Residual, "relu:0", True, False),
        (Residual, "relu:1", True, False),
        (Residual, "tail", True, False),
        (Dense, "body", True, True),
        (Dense, "stem", True, False),
        (Discarding, "body", False, False),
        (Counting, "body", True, True),
    ],
)
def test_from_a_layer_on_gives_what_whole_passes_give(module, layer: str, cached: bool, repeated: bool) -> None:
    def make() -> nn.Module:
        torch.manual_seed(3)
        return module().eval()

    network, x = nv.Network(make(), size=13), torch.randn(1, 3, 13, 13)
    run = network.scorer(replace=layer, picture=x)
    outputs = torch.randn(7, *run.output.shape[1:])
    expected = whole(make, layer, x, outputs)
    torch.testing.assert_close(run(outputs), expected, atol=1e-5, rtol=1e-4)
    assert (run.cached, run.repeated) == (cached, repeated)
    torch.testing.assert_close(run.score, network.trace(x).scores.detach())
    torch.testing.assert_close(run.output, network.trace(x)[layer].detach())
    torch.testing.assert_close(run(run.output), run.score)
    contrast = network.scorer(nv.ClassScore(1) - nv.ClassScore(2), replace=layer, picture=x)
    torch.testing.assert_close(contrast(outputs), expected[:, 1] - expected[:, 2], atol=1e-5, rtol=1e-4)


def test_a_target_before_the_layer_or_at_it_is_scored_too() -> None:
    network, x = nv.Network(Residual().eval(), size=13), torch.randn(1, 3, 13, 13)
    outputs = torch.randn(3, 6, 13, 13)
    at = network.scorer(nv.Channel("body", 2), replace="body", picture=x)
    torch.testing.assert_close(at(outputs), outputs[:, 2].mean((1, 2)))
    before = network.scorer(nv.Channel("stem", 2), replace="body", picture=x)
    torch.testing.assert_close(before(outputs), network.trace(x)["stem"][:, 2].mean((1, 2)).expand(3).detach())


def test_channels_last_layers_take_maps_as_a_trace_has_them() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2d(3, 6, 3, padding=1), nn.LayerNorm(6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.norm(self.conv(x).permute(0, 2, 3, 1)).square().mean((1, 2)))

    network, x = nv.Network(Last().eval(), size=8), torch.randn(1, 3, 8, 8)
    run, trace = network.scorer(replace="norm", picture=x), network.trace(x)
    maps = torch.cat([trace.maps("norm"), 2 * trace.maps("norm")])
    means = trace["norm"].square().mean((1, 2)).detach()
    fc = network.module.fc
    torch.testing.assert_close(run(maps), fc(torch.cat([means, 4 * means])).detach())
    with pytest.raises(
        nv.MethodNotApplicableError, match=r"returns shape \(6, 8, 8\) for a picture, and the stack has"
    ):
        run(torch.randn(2, 5, 8, 8))


def test_where_pictures_mix_it_is_said() -> None:
    network = nv.Network(Mixing().eval(), size=9)
    with pytest.raises(nv.MethodNotApplicableError, match="other scores than the same picture in a batch"):
        network.scorer(replace="body", picture=torch.randn(1, 3, 9, 9))


def test_what_cannot_be_meant_is_said() -> None:
    network = nv.Network(toys.classic(), size=12)
    with pytest.raises(nv.UnknownLayerError):
        network.scorer(0, replace="nowhere", picture=torch.randn(1, 3, 12, 12))
    with pytest.raises(nv.ArgumentTypeError, match="say whose"):
        network.scorer(0, replace="4")  # type: ignore[call-overload]
    with pytest.raises(nv.MethodNotApplicableError, match="one picture, and 2"):
        network.scorer(0, replace="4", picture=torch.randn(2, 3, 12, 12))
    with pytest.raises(nv.UnknownClassError):
        network.scorer(99)
    with pytest.raises(nv.ArgumentTypeError, match="preprocessed batch"):
        network.scorer(0)("chelsea")  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [None, 2, nv.Channel("4", 1), nv.ClassScore(1) - 2 * nv.LayerEnergy("0"), [0, 1, 2]])
def test_scores_are_those_of_a_trace_without_a_graph(target) -> None:
    network, x = nv.Network(toys.classic(), size=12), torch.randn(3, 3, 12, 12)
    trace = network.trace(x)
    expected = trace.scores if target is None else as_target(target)(trace)
    run = network.scorer(target)
    for found in (network.scores(x, target), run(x), run(x)):
        torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-4)
        assert not found.requires_grad
    function = network.scorer(lambda t: t["4"].mean((1, 2, 3)))
    torch.testing.assert_close(function(x), trace["4"].mean((1, 2, 3)).detach(), atol=1e-5, rtol=1e-4)


def test_the_pass_ends_at_the_deepest_layer_that_the_target_looks_at() -> None:
    class Trap(nn.Module):
        armed = False

        def forward(self, x: Tensor) -> Tensor:
            assert not self.armed, "the pass went on"
            return x

    network = nv.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Trap(), nn.Flatten(), nn.Linear(400, 2)), size=12)
    x = torch.randn(2, 3, 12, 12)
    Trap.armed = True
    expected = network.module[0](x)[:, 1].mean((1, 2)).detach()
    torch.testing.assert_close(network.scores(x, nv.Channel("0", 1)), expected)
    with pytest.raises(nv.NetworkError, match="the pass went on"):
        network.scores(x)


def test_a_network_that_needs_another_layout_is_run_in_it() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 36, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(x).view(len(x), -1))

    network, x = nv.Network(Viewing().eval(), size=6), torch.randn(4, 3, 6, 6)
    run = network.scorer()
    for _ in range(2):
        torch.testing.assert_close(run(x), network.module(x).detach(), atol=1e-5, rtol=1e-4)


def test_the_old_name_of_a_tracer_stands_for_one_version() -> None:
    network, x = nv.Network(toys.classic(), size=12), torch.randn(1, 3, 12, 12)
    with pytest.warns(DeprecationWarning, match="now Network.tracer"):
        run = network.again(["2"])
    assert run(x).layers == ("2",)


def test_the_network_is_left_as_it_was() -> None:
    module = Residual().eval()
    network, x = nv.Network(module, size=13), torch.randn(1, 3, 13, 13)
    before = network.trace(x).scores.detach()
    run = network.scorer(replace="body", picture=x)
    run(torch.randn(2, 6, 13, 13))
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in module.modules())
    assert torch.equal(network.trace(x).scores, before)
