"""What a pass overwrites is had all the same, without a guard: as from a network that overwrites nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import nbcnnviz as nv

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
LAYERS = ("conv", "norm", "relu", "branch", "branch.0", "branch.1", "down", "squeeze", "excite", "fc")


class Block(nn.Module):
    """A residual block with squeeze and excitation, which overwrites what it can, or nothing."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace
        self.conv, self.norm, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace)
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.down = nn.BatchNorm2d(8)
        self.squeeze, self.act, self.excite = nn.Conv2d(8, 2, 1), nn.ReLU(inplace), nn.Conv2d(2, 8, 1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(x)))
        y, beside = self.branch(x), self.down(x)
        y = y.add_(beside) if self.inplace else y + beside
        y = y * self.excite(self.act(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        return self.fc(self.relu(y).mean((2, 3)))


def twins() -> tuple[nv.Network, nv.Network]:
    """The network that overwrites, and the one that does not."""
    free, other = Block(True), Block(False)
    with torch.no_grad():
        for norm in (free.norm, free.branch[1], free.down):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_()
            norm.running_mean.normal_()
    other.load_state_dict(free.state_dict())
    return nv.Network(free.eval(), size=16), nv.Network(other.eval(), size=16)


def test_the_guard_is_left_out_and_every_output_is_right() -> None:
    network, other = twins()
    assert network._habits.restored == {"norm", "branch", "branch.1", "squeeze"}
    assert other._habits.restored == frozenset()
    trace, expected = network.trace(X), other.trace(X)
    assert trace.layers == expected.layers
    for layer in trace.layers:
        assert torch.equal(trace[layer], expected[layer]), layer
        assert trace[layer] is trace[layer], "computed once"
    assert trace["branch"] is trace["branch.1"], "a container returns the very tensor of its last module"


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("dtype", "mixed"), [(torch.float64, False), (torch.bfloat16, False), (torch.bfloat16, True)])
def test_normalisations_of_any_kind(affine: bool, dtype: torch.dtype, mixed: bool) -> None:
    network, other = twins()
    norm = nn.BatchNorm2d(8, affine=affine).eval()
    for each in (network, other):
        each.module.norm = norm
        each.module.to(dtype)
        if mixed:
            norm.float()  # as mixed precision has it
    assert torch.equal(network.trace(X)["norm"], other.trace(X)["norm"])


def test_without_a_graph_too() -> None:
    network, other = twins()
    for layer in network.trace(X).layers:
        found = network.tracer([layer], stop=True)(X)
        assert torch.equal(found[layer], other.trace(X)[layer]), layer


@pytest.mark.parametrize("of", [2, *(nv.Channel(layer, 1) for layer in LAYERS[:-1])], ids=str)
def test_gradients_of_and_at_what_was_overwritten(of: nv.Target | int) -> None:
    network, other = twins()
    trace, expected = network.trace(X), other.trace(X)
    for wrt in ("input", *LAYERS, "conv.weight", "norm.weight", "branch.1.bias"):
        try:
            there = expected.gradient(of, wrt=wrt)
        except nv.NbcnnvizError as error:
            with pytest.raises(type(error)):
                trace.gradient(of, wrt=wrt)
        else:
            torch.testing.assert_close(trace.gradient(of, wrt=wrt), there, rtol=1e-5, atol=1e-7)


def test_many_targets_at_once_at_what_was_overwritten() -> None:
    network, other = twins()
    of = [nv.Channel("norm", i) for i in range(4)]
    found, expected = (n.trace(X).gradients(of, wrt="conv") for n in (network, other))
    torch.testing.assert_close(found, expected)
    assert found.any()


@pytest.mark.parametrize("method", ["deconvnet", "guided_backprop", "excitation_backprop", "lrp", "input_x_gradient"])
def test_methods_that_read_the_graph_from_what_was_overwritten(method: str) -> None:
    of = nv.Channel("branch.1", 1)
    found, expected = (nv.attribute(n.trace(X), method=method, target=of).values for n in twins())
    torch.testing.assert_close(found, expected)
    assert found.any()


def test_an_output_is_what_it_was_whatever_the_network_learns_since() -> None:
    network, other = twins()
    trace, expected = network.trace(X), other.trace(X)["norm"].detach().clone()
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.mul_(2)
        network.module.norm.running_mean.add_(1)
    assert torch.equal(trace["norm"], expected)


def test_what_it_is_computed_from_was_written_to_since() -> None:
    trace = twins()[0].trace(X)
    with torch.no_grad():
        trace["conv"].zero_()
    with pytest.raises(nv.StaleTraceError, match="make a new trace"):
        trace["norm"]


class Capricious(nn.Module):
    """Overwrites what no noise of zero mean makes it overwrite."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if x.mean() > 0.5:
            y.mul_(2)
        return self.fc(y.mean((2, 3)))


def test_a_pass_that_overwrites_what_the_first_did_not_is_run_again_with_a_guard() -> None:
    network = nv.Network(Capricious().eval(), size=8)
    assert network._habits.restored == frozenset()
    x = torch.ones(1, 3, 8, 8)
    trace = network.trace(x)
    assert torch.equal(trace["conv"], network.module.conv(x))
    assert torch.equal(trace.scores, network.module(x))


@pytest.mark.parametrize("hook", ["forward", "forward_pre"])
def test_a_normalisation_that_a_users_hook_changes_is_right(hook: str) -> None:
    network, other = twins()
    for each in (network, other):
        register = getattr(each.module.norm, f"register_{hook}_hook")
        register((lambda m, a, y: y + 1) if hook == "forward" else (lambda m, a: (a[0] + 1,)))
    assert torch.equal(network.trace(X)["norm"], other.trace(X)["norm"])
