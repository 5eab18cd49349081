"""Where a network goes on with what an in-place call returns, the result is put beside: the same numbers, and one copy less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import nbcnnviz as nv
from tests.conftest import relative_error

X = torch.linspace(-1, 1, 2 * 3 * 9 * 9).reshape(2, 3, 9, 9)


class Net(nn.Module):
    """Overwrites what its first convolution returned, in some way."""

    def __init__(self, way: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.way = way
        self.conv1, self.conv2, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.way(self.conv1(x))
        return self.fc(self.conv2(y).mean((2, 3)))


def ignores_what_is_returned(x: Tensor) -> Tensor:
    F.relu(x, inplace=True)
    return x * 2


def goes_round(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True) * 2 + x


def goes_round_by_a_view(x: Tensor) -> Tensor:
    view = x.flatten(2)
    y = F.relu(x, inplace=True)
    return y + view.view_as(y)


def adds(x: Tensor) -> Tensor:
    x += 1
    x *= 2
    return x


def adds_to_two_names(x: Tensor) -> Tensor:
    y = x
    x += 1
    return torch.cat([x, y], 1)[:, :4] + y


def widens(x: Tensor) -> Tensor:
    x += torch.ones(1, dtype=torch.float64)
    return x


def returns_another_name(x: Tensor) -> Tensor:
    y = x
    x += 1
    return y


SAFE = {
    "relu": lambda x: F.relu(x, inplace=True),
    "silu": lambda x: F.silu(x, inplace=True),
    "relu6": nn.ReLU6(inplace=True),
    "adds": adds,
    "widens": widens,
}
UNSAFE = {
    f.__name__: f
    for f in (ignores_what_is_returned, goes_round, goes_round_by_a_view, adds_to_two_names, returns_another_name)
}


@pytest.mark.parametrize("name", [*SAFE, *UNSAFE])
def test_what_is_overwritten_is_kept_and_the_numbers_are_the_modules(name: str) -> None:
    module = Net({**SAFE, **UNSAFE}[name]).eval()
    network = nv.Network(module, size=9)
    assert network._habits.beside is (name in SAFE), "found out by the reads, and by the scores"
    trace = network.trace(X)
    x = X.clone().requires_grad_()
    scores = module(x)
    assert torch.equal(trace.scores, scores)
    assert torch.equal(trace.gradient(1), torch.autograd.grad(scores[:, 1].sum(), x)[0])
    assert torch.equal(trace["conv1"], F.conv2d(X, module.conv1.weight, module.conv1.bias))


def test_rectifiers_put_beside_are_ruled() -> None:
    inplace, plain = Net(nn.ReLU(inplace=True)).eval(), Net(nn.ReLU()).eval()
    plain.load_state_dict(inplace.state_dict())
    one, other = (nv.Network(m, size=9).trace(X) for m in (inplace, plain))
    for rule in ("gradient", "guided", "deconvnet"):
        assert torch.equal(one.gradient(1, rule=rule), other.gradient(1, rule=rule))
    layers = one.gradient(1, nv.ALL_LAYERS)
    for name, gradient in other.gradient(1, nv.ALL_LAYERS).items():
        assert torch.equal(layers[name], gradient)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2"])
def test_a_copy_is_saved_in_the_usual_networks(name: str) -> None:
    module = getattr(torchvision.models, name)().eval()
    network = nv.Network(module, size=64)
    assert network._habits.beside
    x = torch.randn(1, 3, 64, 64)
    trace, own = network.trace(x), x.clone().requires_grad_()
    scores = module(own)
    assert torch.equal(trace.scores, scores)
    assert relative_error(trace.gradient(1), torch.autograd.grad(scores[0, 1], own)[0]) < 1e-6


class Demanding(nn.Module):
    """Overwrites what its convolution returned, and accepts no pass of a kind.

    ``"no guard"``: it has to be watched; ``"beside"``: what it overwrites has to stay where it was.
    """

    def __init__(self, refuses: str) -> None:
        super().__init__()
        self.refuses = refuses
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.refuses == "no guard" and not torch._C._len_torch_function_stack():
            raise RuntimeError("not watched")
        x = self.norm(self.conv(x))
        place = x.data_ptr()
        x = F.relu(x, inplace=True)
        if self.refuses == "beside" and x.data_ptr() != place:
            raise RuntimeError("not in its place")
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("refuses", ["no guard", "beside", "neither"])
def test_what_fails_as_one_habit_is_tried_leaves_the_other(refuses: str) -> None:
    module = Demanding(refuses).eval()
    network = nv.Network(module, size=9)
    assert network._habits.beside is (refuses != "beside")
    assert network._habits.restored == (None if refuses == "no guard" else {"norm"})
    trace = network.trace(X)
    assert torch.equal(trace["norm"], module.norm(module.conv(X)))
    if refuses != "no guard":
        assert torch.equal(trace.scores, module(X))
