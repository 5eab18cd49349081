"""`attribute(network, picture)` runs only what its question needs, and says the same as a whole trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import get_model

import nbcnnviz as nv
from tests.toys import Branching, Reused, Stateful, classic, few
from tests.untouched import photograph

ZOO = ("resnet18", "vgg11", "squeezenet1_1", "mobilenet_v2", "densenet121", "googlenet")


@pytest.fixture(scope="module", params=ZOO)
def zoo_network(request):
    return nv.Network(get_model(request.param, weights=None, init_weights=True) if request.param == "googlenet"
                      else get_model(request.param, weights=None))  # fmt: skip


@pytest.mark.parametrize("method", [name for name in nv.methods() if name != "cam"])
def test_the_map_is_that_of_a_whole_trace(zoo_network, method):
    x = torch.randn(1, 3, 96, 96)
    short = nv.attribute(zoo_network, x, method=method, target=7, **few(method))
    whole = nv.attribute(zoo_network.trace(x), method=method, target=7, **few(method))
    assert torch.equal(short.values, whole.values)
    assert (short.layer, short.rectifiers) == (whole.layer, whole.rectifiers)


@pytest.mark.parametrize("layer", ["features.0", "features.8", "features.19"])
def test_a_layer_that_is_written_over_is_kept_as_it_was(layer):
    network = nv.Network(get_model("vgg11", weights=None))
    x = torch.randn(1, 3, 64, 64)
    short = nv.attribute(network, x, target=3, layer=layer)
    assert torch.equal(short.values, nv.attribute(network.trace(x), target=3, layer=layer).values)
    assert short.values.any()


@pytest.mark.parametrize("make", [Branching, Reused, classic])
@pytest.mark.parametrize("method", ["grad_cam", "saliency", "guided_backprop", "deconvnet", "input_x_gradient"])
def test_gradients_at_any_layer_are_those_of_a_whole_trace(make, method):
    network = nv.Network(make(), size=24)
    x = torch.randn(2, 3, 24, 24)
    trace = network.trace(x)
    for layer in [name for name, known in network.layers.items() if known.spatial]:
        for target in (1, nv.Channel(layer, 2)):
            try:
                whole = nv.attribute(trace, method=method, target=target, layer=layer)
            except nv.NbcnnvizError as error:
                with pytest.raises(type(error)):
                    nv.attribute(network, x, method=method, target=target, layer=layer)
            else:
                short = nv.attribute(network, x, method=method, target=target, layer=layer)
                assert torch.equal(short.values, whole.values)


def test_the_trace_of_a_one_shot_map_refuses_what_it_was_not_made_for():
    network = nv.Network(classic(), size=16)
    result = nv.attribute(network, torch.randn(1, 3, 16, 16), method="grad_cam")
    with pytest.raises(nv.GradientError, match="from a layer on"):
        result.trace.gradient(wrt="input")
    with pytest.raises(nv.UnknownLayerError, match="made without it"):
        result.trace["0"]


class Drawing(nn.Module):
    """Adds noise to its maps, whatever the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = classic()

    def forward(self, x):
        return self.body(x + 0.1 * torch.randn_like(x))


class OverView(nn.Module):
    """Rectifies a view in place, which autograd hides from the rules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        x = self.conv(x)
        x.flatten(2).relu_()
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("make", [Drawing, Stateful, OverView])
@pytest.mark.parametrize("method", ["saliency", "grad_cam"])
def test_networks_that_need_watching_are_watched_in_one_shot_too(make, method):
    network = nv.Network(make(), size=16)
    before = photograph(network.module)
    nv.attribute(network, torch.randn(1, 3, 16, 16), method=method, target=0)
    after = photograph(network.module)
    # The picture above was drawn from the global generator by this test itself.
    before.pop("random state"), after.pop("random state")
    assert after == before


@pytest.mark.parametrize("method", ["saliency", "grad_cam"])
def test_one_shot_leaves_the_random_state_of_a_drawing_network(method):
    network = nv.Network(Drawing(), size=16)
    x = torch.randn(1, 3, 16, 16)
    before = torch.get_rng_state()
    nv.attribute(network, x, method=method, target=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_rectifier_over_a_view_is_ruled_in_one_shot_too():
    network = nv.Network(OverView(), size=16)
    assert nv.attribute(network, torch.randn(1, 3, 16, 16), method="guided_backprop", target=0).rectifiers == 1


def test_frozen_and_training_networks_give_the_same_map():
    module = classic()
    x = torch.randn(1, 3, 16, 16)
    expected = nv.attribute(nv.Network(module, size=16), x, target=1).values
    module.requires_grad_(False).train()
    before = photograph(module)
    assert torch.equal(nv.attribute(nv.Network(module, size=16), x, target=1).values, expected)
    with torch.no_grad():
        assert torch.equal(nv.attribute(nv.Network(module, size=16), x, target=1).values, expected)
    with torch.inference_mode():
        assert torch.equal(nv.attribute(nv.Network(module, size=16), x, target=1).values, expected)
    assert photograph(module) == before
