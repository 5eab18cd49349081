"""Saliency, gradients, guided backprop and deconvnet against independent implementations."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop, InputXGradient, Saliency
from torch import Tensor, nn
from torchray.attribution.guided_backprop import guided_backprop as torchray_guided_backprop

import nbcnnviz as nv
from tests import toys
from tests.attribution.oracles import CLASS, SIZE, pair
from tests.conftest import relative_error
from tests.reference import gradient as reference_gradient

pytestmark = [
    pytest.mark.filterwarnings("ignore:Setting backward hooks"),
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torchray"),
]


class Case(NamedTuple):
    module: nn.Module
    hookable: nn.Module
    x: Tensor
    trace: nv.Trace


@pytest.fixture(scope="module", params=["resnet18", "vgg16", "squeezenet1_1"])
def case(request: pytest.FixtureRequest) -> Case:
    module, twin = pair(request.param)
    torch.manual_seed(1)
    x = torch.randn(2, 3, SIZE, SIZE)
    return Case(module, twin, x, nv.Network(module, size=SIZE).trace(x))


def attribute(trace: nv.Trace, method: str) -> Tensor:
    return nv.attribute(trace, method=method, target=CLASS).values


def test_saliency_is_captums_reduced_over_channels(case: Case) -> None:
    expected = Saliency(case.module).attribute(case.x.clone(), CLASS, abs=True).amax(1, keepdim=True)
    assert relative_error(attribute(case.trace, "saliency"), expected) < 1e-5


def test_signed_gradient_equals_captum(case: Case) -> None:
    expected = Saliency(case.module).attribute(case.x.clone(), CLASS, abs=False)
    assert relative_error(attribute(case.trace, "gradient"), expected) < 1e-5


def test_input_x_gradient_equals_captum(case: Case) -> None:
    expected = InputXGradient(case.module).attribute(case.x.clone(), CLASS)
    assert relative_error(attribute(case.trace, "input_x_gradient"), expected) < 1e-5


def test_guided_backprop_equals_captum(case: Case) -> None:
    expected = GuidedBackprop(case.hookable).attribute(case.x.clone(), CLASS)
    assert relative_error(attribute(case.trace, "guided_backprop"), expected) < 1e-5


def test_guided_backprop_equals_torchray(case: Case) -> None:
    # TorchRay reduces to the largest magnitude over channels.
    expected = torchray_guided_backprop(case.hookable, case.x.clone(), torch.tensor([CLASS, CLASS]))
    found = attribute(case.trace, "guided_backprop").abs().amax(1, keepdim=True)
    assert relative_error(found, expected) < 1e-5


def test_deconvnet_equals_captum(case: Case) -> None:
    expected = Deconvolution(case.hookable).attribute(case.x.clone(), CLASS)
    assert relative_error(attribute(case.trace, "deconvnet"), expected) < 1e-5


def test_the_oracles_differ_from_the_plain_gradient(case: Case) -> None:
    plain = attribute(case.trace, "gradient")
    for method in ("guided_backprop", "deconvnet"):
        assert relative_error(attribute(case.trace, method), plain) > 0.1


@pytest.mark.parametrize("target", [282, 967])
def test_the_bundled_network_equals_the_reference_on_a_photograph(bundled: nv.Network, target: int) -> None:
    # Its activations are ReLU6, which the released tools do not rule.
    trace = bundled.trace("chelsea")
    x = trace.input.detach()
    plain = Saliency(bundled.module).attribute(x.clone(), target, abs=False)
    saliency = nv.attribute(trace, method="saliency", target=target).values
    assert relative_error(saliency, plain.abs().amax(1, keepdim=True)) < 1e-5
    for method, rule in (("guided_backprop", "guided"), ("deconvnet", "deconvnet")):
        result = nv.attribute(trace, method=method, target=target)
        expected, met = reference_gradient(bundled.module, x, target, rule)
        assert relative_error(result.values, expected) < 1e-5
        assert relative_error(result.values, plain) > 0.1
        assert result.rectifiers == met == 33


@pytest.fixture
def trace() -> nv.Trace:
    return nv.Network(toys.classic(), size=(12, 10)).trace(torch.randn(3, 3, 12, 10))


@pytest.mark.parametrize("method", ["gradient", "saliency", "input_x_gradient", "guided_backprop", "deconvnet"])
def test_a_batch_gives_what_its_pictures_give_one_by_one(trace: nv.Trace, method: str) -> None:
    together = nv.attribute(trace, method=method, target=nv.ClassScore((1, 4, 2))).values
    for i, index in enumerate((1, 4, 2)):
        alone = nv.attribute(trace.network.trace(trace.input[[i]]), method=method, target=index).values
        assert relative_error(together[[i]], alone) < 1e-5


@pytest.mark.parametrize(
    "target", [nv.Channel("4", 3), nv.Unit("5", 2, 1, 4), nv.LayerEnergy("1"), lambda t: t["3"].std()]
)
def test_filters_units_layers_and_functions_can_be_explained_too(trace: nv.Trace, target) -> None:
    result = nv.attribute(trace, method="gradient", target=target)
    assert torch.equal(result.values, trace.gradient(target))
    assert result.values.abs().max() > 0
    if callable(target) and not hasattr(target, "layer"):
        return
    rest = trace.input.detach().clone().requires_grad_()
    output = trace.network.module[: int(target.layer) + 1](rest)
    scalar = {
        nv.Channel: lambda: output[:, 3].mean((1, 2)).sum(),
        nv.Unit: lambda: output[:, 2, 1, 4].sum(),
        nv.LayerEnergy: lambda: (output**2).mean((1, 2, 3)).sum(),
    }[type(target)]()
    assert relative_error(result.values, torch.autograd.grad(scalar, rest)[0]) < 1e-5


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("gradient", lambda maps, gradient: gradient),
        ("saliency", lambda maps, gradient: gradient.abs().amax(1, keepdim=True)),
        ("input_x_gradient", lambda maps, gradient: maps * gradient),
    ],
)
def test_gradients_at_a_layer_are_those_of_the_rest_of_the_network(trace: nv.Trace, method: str, value) -> None:
    module = trace.network.module
    with torch.no_grad():
        maps = module[:4](trace.input)
    maps.requires_grad_()
    (expected,) = torch.autograd.grad(module[4:](maps)[:, 2].sum(), maps)
    found = nv.attribute(trace, method=method, target=2, layer="3")
    assert found.layer == "3"
    assert relative_error(found.values, value(maps.detach(), expected)) < 1e-5


def test_a_rule_that_governs_nothing_is_an_error(trace: nv.Trace) -> None:
    for method in ("guided_backprop", "deconvnet"):
        with pytest.raises(nv.MethodNotApplicableError, match="No rectifier"):
            nv.attribute(trace, method=method, target=0, layer="5")
    linear = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(nv.MethodNotApplicableError, match="plain gradient"):
        nv.attribute(nv.Network(linear, size=8), torch.randn(1, 3, 8, 8), method="guided_backprop", target=0)


def test_a_target_above_the_layer_asked_for_is_an_error(trace: nv.Trace) -> None:
    with pytest.raises(nv.GradientError, match="'4'"):
        nv.attribute(trace, method="gradient", target=nv.Channel("1", 0), layer="4")


def test_rectifiers_are_counted_on_the_way_only(trace: nv.Trace) -> None:
    assert nv.attribute(trace, method="guided_backprop", target=0).rectifiers == 2
    assert nv.attribute(trace, method="guided_backprop", target=nv.Channel("4", 0)).rectifiers == 1
    assert nv.attribute(trace, method="deconvnet", target=0, layer="3").rectifiers == 1
    assert nv.attribute(trace, method="gradient", target=0).rectifiers is None
