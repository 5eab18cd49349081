"""Gradients of everything at once, on a network of real size and on one of great width."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.core.trace import EVERYTHING
from tests.counting import operations


def test_every_gradient_of_a_resnet_is_autograds_own_bit_for_bit() -> None:
    module = torchvision.models.resnet18(weights=None).eval()
    x = torch.randn(2, 3, 64, 64)
    kept: dict[str, Tensor] = {}
    # One layer that is called once, from each kind and depth; the ReLUs, called twice and in place, have tests of their own.
    names = [name for name, part in module.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear, nn.MaxPool2d))]
    handles = [
        module.get_submodule(name).register_forward_hook(lambda m, args, output, name=name: kept.update({name: output}))
        for name in names
    ]
    own = x.clone().requires_grad_()
    score = module(own)[:, 281].sum()
    for handle in handles:
        handle.remove()
    parameters = dict(module.named_parameters())
    expected = torch.autograd.grad(score, [own, *kept.values(), *parameters.values()])
    trace = nv.Network(module, size=64).trace(x)
    found = trace.gradient(281, EVERYTHING)
    assert torch.equal(trace.gradient(281), expected[0])
    for name, gradient in zip([*kept, *parameters], expected[1:], strict=True):
        assert torch.equal(found[name], gradient), name
    assert found.keys() == {*trace.layers, *parameters}
    assert trace.gradient(281, nv.ALL_LAYERS).keys() == set(trace.layers)
    assert all(p.grad is None for p in parameters.values())


def test_everything_leaves_out_what_the_target_does_not_depend_on() -> None:
    module = torchvision.models.resnet18(weights=None).eval()
    trace = nv.Network(module, size=64).trace(torch.randn(1, 3, 64, 64))
    found = trace.gradient(nv.Channel("layer1", 3), EVERYTHING)
    assert "layer1" in found
    assert "layer1.1.conv2.weight" in found
    assert not any(name.startswith(("layer2", "fc")) for name in found)


def test_a_scalar_that_does_not_depend_on_what_is_asked_is_a_clear_sentence() -> None:
    module = torchvision.models.resnet18(weights=None).eval()
    trace = nv.Network(module, size=64).trace(torch.randn(1, 3, 64, 64))
    with pytest.raises(nv.GradientError, match="The target does not depend on 'layer3'"):
        trace.gradient(nv.Channel("layer1", 3), "layer3")
    with pytest.raises(nv.GradientError, match="does not depend on the trace"):
        trace.gradient(lambda t: t.scores.detach().sum(), "layer3")
    with pytest.raises(nv.GradientError, match=r"shape \(1, 1000\). Sum it"):
        trace.gradient(lambda t: t.scores, "layer3")


def test_a_network_of_ten_thousand_channels_takes_no_more_operations_than_one_of_ten() -> None:
    counts = {}
    for channels in (10, 10_000):
        module = nn.Sequential(
            nn.Conv2d(3, channels, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)
        )
        network = nv.Network(module.eval(), size=8)
        trace = network.trace(torch.randn(1, 3, 8, 8))
        counts[channels] = operations(lambda: trace.gradient(2, EVERYTHING))  # noqa: B023
    assert counts[10_000] == counts[10]
    found = trace.gradient(2, EVERYTHING)
    assert found["1"].shape == (1, 10_000, 8, 8)
    assert torch.equal(
        trace.gradient(nv.Channel("1", 9_999), "1")[0].flatten(1).any(1).nonzero(), torch.tensor([[9_999]])
    )
    with pytest.raises(nv.FilterRangeError, match="10000 channels, 0 to 9999"):
        trace.gradient(nv.Channel("1", 10_000), "input")
