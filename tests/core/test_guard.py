"""What a forward pass overwrites is kept, and what it does to the outside is undone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nbcnnviz.core.guard import Guard, storage

WRITES = {
    "relu_": lambda x: x.relu_(),
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu in place, by place": lambda x: F.relu(x, True),
    "+=": lambda x: x.__iadd__(1),
    "*=": lambda x: x.__imul__(2),
    "/=": lambda x: x.__itruediv__(2),
    "**=": lambda x: x.__ipow__(2),
    "setitem": lambda x: x.__setitem__(0, 5.0),
    "mul_": lambda x: x.mul_(3),
    "torch.exp out": lambda x: torch.exp(torch.ones_like(x), out=x),
    "copy_": lambda x: x.copy_(torch.ones_like(x)),
    "zero_": lambda x: x.zero_(),
    "masked_fill_": lambda x: x.masked_fill_(x > 0, 2.0),
    "dropout in place": lambda x: F.dropout(x, 0.5, True, True),
    "uniform_": lambda x: x.uniform_(),
    "through a view": lambda x: x.view(-1).add_(1),
    "through a slice": lambda x: x[1:].add_(1),
    "through a transpose": lambda x: x.t().sigmoid_(),
    "keyword": lambda x: F.relu(input=x, inplace=True),
    "torch.relu_": lambda x: torch.relu_(x),
}

READS = {
    "relu": lambda x: x.relu(),
    "F.relu": lambda x: F.relu(x),
    "+": lambda x: x + 1,
    "**": lambda x: x**2 + 2**x,
    "reflected": lambda x: 1 - 2 / x,
    "getitem": lambda x: x[0],
    "view": lambda x: x.view(-1),
    "item": lambda x: x.sum().item(),
    "comparison": lambda x: x > 0,
    "int": lambda x: int(x.sum()),
    "invert": lambda x: ~(x > 0),
    "dropout that is off": lambda x: F.dropout(x, 0.5, False),
}


@pytest.mark.parametrize("name", WRITES)
def test_every_write_is_told_of_before_it_happens(name: str) -> None:
    x = torch.randn(3, 4)
    value, told = x.clone(), []
    with Guard(lambda t: told.append((storage(t), x.clone())), own=[]):
        WRITES[name](x)
    assert not torch.equal(x, value), "the call does write"
    assert [s for s, _ in told] == [storage(x)]
    assert torch.equal(told[0][1], value), "told in time"


@pytest.mark.parametrize("name", READS)
def test_a_call_that_writes_nothing_is_let_pass(name: str) -> None:
    x = torch.randn(3, 4)
    told: list[Tensor] = []
    with Guard(told.append, own=[]):
        READS[name](x)
    assert told == []


@pytest.mark.parametrize("name", WRITES)
def test_what_is_the_networks_own_is_put_back(name: str) -> None:
    own, other = torch.randn(3, 4), torch.randn(3, 4)
    value = own.clone()
    with Guard(lambda t: None, own=[other, own]):
        WRITES[name](own)
        assert not torch.equal(own, value), "the pass itself sees what it wrote"
    assert torch.equal(own, value)


@pytest.mark.parametrize("name", ["+=", "setitem", "through a slice", "torch.exp out"])
def test_what_is_the_networks_own_is_put_back_after_an_error(name: str) -> None:
    own = torch.randn(3, 4)
    value = own.clone()

    def fail() -> None:
        with Guard(lambda t: None, own=[own]):
            WRITES[name](own)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(own, value)


@pytest.mark.parametrize("norm", [F.batch_norm, F.instance_norm])
def test_running_statistics_are_put_back(norm) -> None:
    mean, var, x = torch.zeros(4), torch.ones(4), torch.randn(2, 4, 5, 5)
    with Guard(lambda t: None, own=[mean, var]):
        norm(x, mean, var, None, None, True)
        norm(x, running_mean=mean, running_var=var, **{"training" if norm is F.batch_norm else "use_input_stats": True})
        assert mean.abs().max() > 0
    assert torch.equal(mean, torch.zeros(4))
    assert torch.equal(var, torch.ones(4))


DRAWS = {
    "torch.rand": lambda: torch.rand(3),
    "torch.randn": lambda: torch.randn(3),
    "randint": lambda: torch.randint(5, (3,)),
    "randperm": lambda: torch.randperm(5),
    "rand_like": lambda: torch.rand_like(torch.ones(3)),
    "bernoulli": lambda: torch.full((3,), 0.5).bernoulli(),
    "normal_": lambda: torch.ones(3).normal_(),
    "uniform_": lambda: torch.ones(3).uniform_(),
    "dropout": lambda: F.dropout(torch.ones(3), 0.5),
    "dropout of torch": lambda: torch.dropout(torch.ones(3), 0.5, True),
    "dropout2d": lambda: F.dropout2d(torch.ones(1, 3, 2, 2), 0.5),
    "alpha dropout": lambda: F.alpha_dropout(torch.ones(3), 0.5, True),
    "rrelu": lambda: F.rrelu(-torch.ones(3), training=True),
    "gumbel_softmax": lambda: F.gumbel_softmax(torch.ones(1, 3)),
    "multinomial": lambda: torch.multinomial(torch.ones(3), 2),
    "trunc_normal_": lambda: torch.nn.init.trunc_normal_(torch.ones(3)),
    "kaiming_normal_": lambda: torch.nn.init.kaiming_normal_(torch.ones(3, 3)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_global_random_state_is_put_back(name: str) -> None:
    state = torch.get_rng_state()
    with Guard(lambda t: None, own=[]):
        DRAWS[name]()
        assert not torch.equal(torch.get_rng_state(), state), "the call does draw"
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_that_is_off_leaves_the_random_state_to_others() -> None:
    # Another thread may draw meanwhile: what it drew must not be drawn again.
    with Guard(lambda t: None, own=[]):
        F.dropout(torch.ones(3), 0.5, training=False)
        F.rrelu(torch.ones(3))
        with torch._C.DisableTorchFunction():
            torch.rand(1)
        state = torch.get_rng_state()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_guard_is_gone_when_its_context_ends() -> None:
    told: list[Tensor] = []
    x = torch.ones(2)
    with Guard(told.append, own=[]):
        pass
    x.add_(1)
    assert told == []
    assert torch.equal(x, torch.full((2,), 2.0))
