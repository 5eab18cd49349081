"""The cascade re-initialises from the top, in a copy, and tells a map that depends on the weights from one that does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.metrics import cascade, sanity
from nbcnnviz.metrics.sanity import reinitialise
from tests import toys


@pytest.fixture
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=16)


X = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_modules_are_drawn_anew_from_the_top_down(net) -> None:
    stages = list(cascade(net, X, method="gradient"))
    assert [s.module for s in stages] == ["", "8", "4", "1", "0"]
    assert stages[0].correlation == 1
    assert [s.step for s in stages] == [0, 1, 2, 3, 4]
    assert {s.steps for s in stages} == {4}


def test_the_network_itself_stays_as_it_was(net) -> None:
    before = {n: p.clone() for n, p in net.module.state_dict().items()}
    state = torch.get_rng_state()
    list(cascade(net, X, method="gradient"))
    assert all(torch.equal(p, before[n]) for n, p in net.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_stage_is_the_map_of_the_network_with_those_weights_replaced(net) -> None:
    import copy

    stages = list(cascade(net, X, method="gradient", target=1))
    module = copy.deepcopy(net.module)
    for name, seed in (("8", 4), ("4", 3)):
        torch.manual_seed(seed)
        module.get_submodule(name).reset_parameters()
    x = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module(x)[0, 1], x)
    assert torch.allclose(stages[2].result.values, expected, atol=1e-7)


def test_the_target_stays_what_the_network_itself_named(net) -> None:
    top = net.trace(X).top(1)[0][0]
    for stage in cascade(net, X):
        assert stage.result.target.indices(stage.result.trace) == (top,)


def test_modules_are_taken_in_groups_when_fewer_stages_are_asked_for(net) -> None:
    stages = list(cascade(net, X, stages=2))
    assert len(stages) == 3
    assert stages[-1].module == "0"


def test_a_gradient_depends_on_the_weights_and_input_does_not() -> None:
    """In a linear network the gradient is the weights; a map of the input alone never changes."""
    torch.manual_seed(0)
    net = nv.Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)), size=16)
    assert abs(sanity(net, X, method="gradient", target=0).value) < 0.2
    score = sanity(
        net, X, method="gradient", target=lambda t: (t.input.square() / 2).flatten(1).sum(1) + 0 * t.scores[:, 0]
    )
    assert score.value == pytest.approx(1)


def test_the_same_seed_gives_the_same_weights(net) -> None:
    one, other = (list(cascade(net, X, method="gradient", seed=3))[-1].result.values for _ in range(2))
    assert torch.equal(one, other)


def test_the_methods_own_seed_is_another_than_that_of_the_weights(net) -> None:
    ask = {"method": "rise", "masks": 5, "target": 1}
    plain, other = (next(cascade(net, X, options=options, **ask)).result.values for options in (None, {"seed": 3}))
    assert torch.equal(plain, nv.attribute(net, X, **ask).values)
    assert torch.equal(other, nv.attribute(net, X, seed=3, **ask).values)
    assert not torch.equal(plain, other)


def test_weights_of_a_module_that_cannot_reset_keep_their_spread() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(200, 200) * 3)

    module = Own()
    before = module.weight.detach().clone()
    reinitialise(module, 7)
    assert module.weight.detach().std() == pytest.approx(3, rel=0.05)
    assert abs(torch.corrcoef(torch.stack([before.flatten(), module.weight.detach().flatten()]))[0, 1]) < 0.05


def test_a_network_without_weights_is_refused() -> None:
    net = nv.Network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=16)
    with pytest.raises(nv.NetworkError, match="no weights"):
        list(cascade(net, X, method="gradient"))
