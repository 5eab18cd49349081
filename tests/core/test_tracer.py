"""Traces of many batches: with batch norms folded and strided convolutions rearranged, the gradients of the network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import nbcnnviz as nv


class Stem(nn.Module):
    """A strided convolution over few channels, batch norms, a shortcut."""

    def __init__(self, kernel: int, stride: int, padding: int | tuple[int, int]) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, kernel, stride, padding, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).sigmoid()
        return self.fc((self.bn2(self.conv2(x)) + x).sigmoid().mean((2, 3)))


def made(kernel: int = 3, stride: int = 2, padding: int | tuple[int, int] = 1) -> nn.Module:
    torch.manual_seed(4)
    module = Stem(kernel, stride, padding).eval()
    for norm in (module.bn1, module.bn2):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.2, 3)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return module


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 1), (7, 2, 3), (5, 2, (0, 2)), (4, 3, 1), (2, 2, 0), (3, 4, 1)]
)
def test_scores_and_gradients_are_those_of_the_network_in_float64(kernel, stride, padding, channels_last: bool) -> None:
    module = made(kernel, stride, padding)
    exact, before = copy.deepcopy(module).double(), copy.deepcopy(module.state_dict())
    run = nv.Network(module, size=(17, 20)).tracer(channels_last=channels_last, pictures=16)
    for _ in range(2):
        x = torch.randn(3, 3, 17, 20)
        reference = x.double().requires_grad_()
        scores = exact(reference)
        (gradient,) = torch.autograd.grad(scores[:, 1].sum(), reference)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        trace = run(x.contiguous(memory_format=layout))
        torch.testing.assert_close(trace.scores.detach(), scores.float().detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(trace.gradient(1), gradient.float(), atol=1e-6, rtol=1e-4)
    assert run.folds == 2
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not any("forward" in vars(part) for part in module.modules())


def test_a_layer_kept_returns_what_it_does_and_its_gradient_is_that_of_the_network() -> None:
    network, x = nv.Network(made(), size=9), torch.randn(2, 3, 9, 9)
    run = network.tracer(["conv1"], pictures=16)
    trace, plain = run(x), network.trace(x)
    torch.testing.assert_close(trace["conv1"], plain["conv1"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(trace.gradient(1, "conv1"), plain.gradient(1, "conv1"), atol=1e-6, rtol=1e-4)
    assert run.folds == 1


@pytest.mark.parametrize(("layers", "pictures"), [((), None), ((), 15), (None, 100)])
def test_few_pictures_or_all_layers_are_traced_by_the_network_as_it_is(layers, pictures: int | None) -> None:
    network, x = nv.Network(made(), size=9), torch.randn(2, 3, 9, 9)
    run = network.tracer(layers, pictures=pictures)
    assert torch.equal(run(x).scores, network.trace(x).scores)
    assert run.folds == 0


def test_what_the_network_raises_is_told_by_the_pass_itself() -> None:
    run = nv.Network(made(), size=9).tracer(pictures=16)
    with pytest.raises(nv.NetworkError):
        run(torch.randn(2, 5, 9, 9))


def test_the_graph_of_a_trace_for_one_gradient_is_freed_by_it() -> None:
    network, x = nv.Network(made(), size=9), torch.randn(2, 3, 9, 9)
    trace = network.tracer(once=True)(x)
    assert torch.equal(trace.gradient(1), network.tracer()(x).gradient(1))
    with pytest.raises(nv.GradientError):
        trace.gradient(1)
