"""Weights as they are drawn, against what the modules do with them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import nbcnnviz as nv
from nbcnnviz.inside import weights
from tests import toys
from tests.conftest import relative_error
from tests.untouched import photograph


class Kinds(nn.Module):
    """A layer of each kind that has weights."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 6, 3, groups=2)
        self.depthwise = nn.Conv2d(6, 12, 3, groups=6)
        self.transposed = nn.ConvTranspose2d(12, 8, 3, groups=4)
        self.prelu = nn.PReLU(8)
        self.group_norm = nn.GroupNorm(2, 8, affine=True)
        self.one = nn.Conv2d(8, 1, 1)
        self.relu = nn.ReLU()
        self.hidden = nn.Linear(9, 8)
        self.layer_norm = nn.LayerNorm(8)
        self.ear = nn.Conv1d(1, 4, 3)
        self.fc = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transposed(self.depthwise(self.grouped(self.norm(self.rgb(x)))))
        x = self.relu(self.one(self.group_norm(self.prelu(x))))
        x = self.layer_norm(self.hidden(F.adaptive_avg_pool2d(x, 3).flatten(1)))
        return self.fc(self.ear(x[:, None]).flatten(1))


@pytest.fixture
def module() -> Kinds:
    module = Kinds().eval()
    with torch.no_grad():
        for norm in (module.norm, module.group_norm, module.layer_norm):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
    return module


@pytest.fixture
def network(module: Kinds) -> nv.Network:
    return nv.Network(module, size=16, classes=["ant", "bee", "cat", "dog"])


@pytest.mark.parametrize(
    ("layer", "kind", "shape"),
    [
        ("rgb", "rgb", (8, 3, 3, 3)),
        ("norm", "scales", (8,)),
        ("grouped", "kernels", (6, 4, 3, 3)),
        ("depthwise", "kernels", (12, 1, 3, 3)),
        ("transposed", "kernels", (8, 3, 3, 3)),
        ("prelu", "scales", (8,)),
        ("group_norm", "scales", (8,)),
        ("one", "kernels", (1, 8, 1, 1)),
        ("hidden", "matrix", (8, 9)),
        ("layer_norm", "scales", (8,)),
        ("ear", "kernels", (4, 1, 1, 3)),
        ("fc", "matrix", (4, 24)),
    ],
)
def test_each_kind_has_its_shape_and_its_gradient_the_same(
    network: nv.Network, layer: str, kind: str, shape: tuple[int, ...]
) -> None:
    plain = weights(network, layer)
    trace = network.trace(torch.randn(2, 3, 16, 16))
    found = weights(trace, layer, gradient=True, target=2)
    assert plain.kind == found.kind == kind
    assert plain.values.shape == found.values.shape == found.gradient.shape == shape
    assert torch.equal(plain.values, found.values)
    assert plain.gradient is None
    assert plain.gradient_norms is None
    assert found.parameter == f"{layer}.weight"
    assert len(found) == len(found.filters) == len(found.order) == shape[0]
    assert not found.values.requires_grad
    for norms, values in ((found.norms, found.values), (found.gradient_norms, found.gradient)):
        assert norms.tolist() == pytest.approx([float(v.norm()) for v in values], rel=1e-5)
    own = trace.gradient(2, [f"{layer}.weight"])[f"{layer}.weight"]
    assert sorted(found.gradient.flatten().tolist()) == sorted(own.flatten().tolist())
    assert found.order.tolist() == list(range(shape[0]))
    assert (found.inputs is None) == (kind == "scales")


@pytest.mark.parametrize("layer", ["rgb", "grouped", "depthwise", "transposed"])
def test_kernels_and_their_inputs_are_what_the_convolution_does(network: nv.Network, module: Kinds, layer: str) -> None:
    conv = module.get_submodule(layer)
    found = weights(network, layer)
    x = torch.randn(1, conv.in_channels, 9, 9)
    expected = conv(x).detach() - conv.bias.detach().view(1, -1, 1, 1)
    for f, kernels in enumerate(found.values):
        seen = x[:, found.inputs[f]]
        if isinstance(conv, nn.ConvTranspose2d):
            one = F.conv_transpose2d(seen, kernels[:, None])
        else:
            one = F.conv2d(seen, kernels[None])
        assert relative_error(one, expected[:, [f]]) < 1e-5


def test_the_gradient_is_beside_its_kernel(network: nv.Network, module: Kinds) -> None:
    # A step along one kernel's gradient changes the score by its square, to first order.
    x = torch.randn(1, 3, 16, 16)
    found = weights(network.trace(x), "transposed", gradient=True, target=1)
    step = 1e-3
    moved = module.transposed.weight.detach().clone()
    # Filter 5 of 8 in 4 groups: the second of the third group, of the inputs 6 to 8.
    moved[found.inputs[5], 1] += step * found.gradient[5]
    with torch.no_grad():
        rise = torch.func.functional_call(module, {"transposed.weight": moved}, (x,)) - module(x)
    assert float(rise[0, 1]) == pytest.approx(step * float(found.gradient_norms[5]) ** 2, rel=1e-2)


def test_every_order_is_the_one_it_says(network: nv.Network) -> None:
    trace = network.trace(torch.randn(1, 3, 16, 16))
    by_norm, by_gradient = weights(network, "rgb", by="norm"), weights(trace, "rgb", by="gradient", target=3)
    assert (by_norm.norms[by_norm.order].diff() <= 0).all()
    assert (by_gradient.gradient_norms[by_gradient.order].diff() <= 0).all()
    assert sorted(by_norm.order.tolist()) == list(range(8))
    assert by_norm.order.tolist() != by_gradient.order.tolist()


def test_scales_come_with_their_shifts(network: nv.Network, module: Kinds) -> None:
    trace = network.trace(torch.randn(1, 3, 16, 16))
    found = weights(trace, "norm", gradient=True, target=0)
    assert torch.equal(found.values, module.norm.weight.detach())
    assert torch.equal(found.shifts, module.norm.bias.detach())
    assert torch.equal(found.shift_gradient, trace.gradient(0, "norm.bias"))
    assert weights(network, "prelu").shifts is None
    assert weights(network, "rgb").shifts is None


def test_the_last_linear_layer_has_the_names_of_the_classes(network: nv.Network) -> None:
    assert weights(network, "fc").filters == ("ant", "bee", "cat", "dog")
    assert weights(network, "hidden").filters == tuple("01234567")


def test_several_calls_of_a_module_share_its_weights() -> None:
    network = nv.Network(toys.Reused().eval(), size=9)
    trace = network.trace(torch.randn(1, 3, 9, 9))
    found = weights(trace, "conv2:1", gradient=True, target=1)
    assert torch.equal(found.gradient, trace.gradient(1, "conv2.weight"))
    assert torch.equal(found.values, weights(network, "conv2").values)


def test_layer_scales_are_scales() -> None:
    net = nv.Network(torchvision.models.convnext_tiny(weights=None).eval(), size=64)
    found = weights(net, "features.1.0")
    assert (found.kind, found.parameter) == ("scales", "features.1.0.layer_scale")
    assert found.values.shape == (96,)


def test_a_parametrised_weight_is_the_one_used_and_its_buffers_stay() -> None:
    module = toys.classic()
    parametrizations.spectral_norm(module[0])
    parametrizations.weight_norm(module[4])
    module.train()
    network = nv.Network(module, size=12)
    trace = network.trace(torch.randn(1, 3, 12, 12))
    before = photograph(module)
    spectral, normed = weights(network, "0"), weights(trace, "4")
    assert photograph(module) == before
    module.eval()
    assert relative_error(spectral.values, module[0].weight) < 1e-6
    assert relative_error(normed.values, module[4].weight) < 1e-6
    assert spectral.kind == "rgb"
    with pytest.raises(nv.GradientError, match=r"'4.weight' is made of other parameters.*'4.parametrizations.weight"):
        weights(trace, "4", gradient=True)


def test_what_has_no_weights_is_a_clear_sentence(network: nv.Network) -> None:
    with pytest.raises(nv.MethodNotApplicableError, match=r"'relu', a ReLU, has no weights of its own.*such as 'rgb'"):
        weights(network, "relu")
    with pytest.raises(nv.UnknownLayerError, match=r"'rgbb'.*Nearest: rgb"):
        weights(network, "rgbb")
    with pytest.raises(nv.UnknownLayerError):
        weights(network, "")
    with pytest.raises(nv.UnknownOptionError, match="index, norm, gradient"):
        weights(network, "rgb", by="size")
    for asked in ({"gradient": True}, {"by": "gradient"}):
        with pytest.raises(nv.GradientError, match="needs a forward pass: give a trace"):
            weights(network, "rgb", **asked)
    trace = network.trace(torch.randn(1, 3, 16, 16))
    with pytest.raises(nv.GradientError, match=r"does not depend on 'fc.weight'"):
        weights(trace, "fc", gradient=True, target=nv.Channel("rgb", 0))

    class Volume(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv3d(1, 4, (1, 3, 3)), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(x[:, None]).mean((2, 3, 4)))

    with pytest.raises(nv.MethodNotApplicableError, match=r"Conv3d, has weights of shape \(4, 1, 1, 3, 3\)"):
        weights(nv.Network(Volume().eval(), size=8), "conv")
