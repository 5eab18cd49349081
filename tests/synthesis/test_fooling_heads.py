"""Fooling networks whose scores are no plain logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nbcnnviz as nv
from tests import toys


def one_logit(bias: float, *ends: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    module = nn.Sequential(*toys.classic(classes=1), *ends).eval()
    with torch.no_grad():
        module[8].bias.fill_(bias)
    return module


@pytest.mark.parametrize("ends", [(), (nn.Sigmoid(),), (nn.Flatten(0),)], ids=["logit", "sigmoid", "flat"])
def test_a_binary_network_is_not_fooled_by_a_picture_that_nothing_was_done_to(ends) -> None:
    network = nv.Network(one_logit(-5, *ends), size=12, classes=["cat"])
    frames = list(nv.fool(network, "chelsea", 0, steps=3))
    assert not frames[0].done
    assert not frames[-1].done
    assert "not cat (99%)" in repr(frames[-1])


@pytest.mark.parametrize("how", ["ascent", "pgd"])
@pytest.mark.parametrize("to", ["cat", "not cat", None])
def test_fooling_a_binary_network_crosses_zero(to: str | None, how: str) -> None:
    module = one_logit(0)
    x = nv.Network(module, size=12).batch("chelsea")
    logit = float(module(x).detach())
    with torch.no_grad():  # just on the other side
        module[8].bias.sub_(logit + (0.002 if to != "not cat" else -0.002))
    network = nv.Network(module, size=12, classes=["cat"])
    *_, found = nv.fool(network, "chelsea", to, how=how, steps=60)
    assert found.done
    assert (float(module(found.input).detach()) > 0) == (to != "not cat")


def test_a_softmax_at_the_end_changes_neither_the_run_nor_what_it_shows() -> None:
    torch.manual_seed(1)
    body = toys.classic()
    plain, ended = nv.Network(body, size=12), nv.Network(nn.Sequential(body, nn.Softmax(1)).eval(), size=12)
    for a, b in zip(nv.fool(plain, "chelsea", 3, steps=5), nv.fool(ended, "chelsea", 3, steps=5), strict=True):
        assert a.scores == pytest.approx(b.scores, rel=1e-5)
        torch.testing.assert_close(b.probabilities, F.softmax(body(b.input), 1).detach())


def test_frames_of_a_regression_have_values_and_no_probabilities() -> None:
    network = nv.Network(one_logit(20), size=12, classes=["age"], scores="regression", unit="years")
    *_, frame = nv.class_model(network, "age", steps=2)
    assert frame.probabilities is None
    ((index, name, value),) = frame.top()
    assert (index, name) == (0, "age")
    assert value == pytest.approx(float(network.module(frame.input).detach()), rel=1e-4)
