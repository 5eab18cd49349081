"""Several scores of one map: each is its own function's, and a linear network gives them by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.metrics import METRICS, deletion, infidelity, insertion, judge, pointing, sensitivity
from tests import toys

SIZE = 12


@pytest.fixture(scope="module")
def trace() -> nv.Trace:
    torch.manual_seed(0)
    net = nv.Network(toys.classic(), size=SIZE)
    return net.trace(torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))


def by_name(*args, **kwargs) -> dict:
    return {judged.metric.name: judged for judged in judge(*args, **kwargs)}


def test_each_score_is_that_of_its_own_function(trace) -> None:
    result = nv.attribute(trace, method="saliency", target=2)
    box = (2, 3, 7, 9)
    found = by_name(result, box=box)
    assert set(found) == set(METRICS)
    assert found["insertion"].value == insertion(trace, result, steps=25).auc
    assert found["deletion"].value == deletion(trace, result, steps=25).auc
    assert found["pointing"].value == float(pointing(result, box))
    assert found["infidelity"].value == float(infidelity(trace, result, samples=24, scaled=True))
    expected = sensitivity(trace, method="saliency", target=2, samples=4)
    assert found["sensitivity"].value == pytest.approx(float(expected))
    inside = result.values[0, 0, 3:9, 2:7].sum() / result.values.sum()
    assert found["inside"].value == pytest.approx(float(inside), rel=1e-5)
    assert found["inside"].chance == pytest.approx(30 / 144)
    assert all(judged.score.meaning.endswith(".") for judged in found.values() if judged.score is not None)


def test_what_a_map_does_not_promise_it_is_not_judged_by(trace) -> None:
    found = by_name(nv.attribute(trace, target=2), ["completeness", "infidelity"])
    assert "does not promise" in found["completeness"].error
    assert "value for every pixel" in found["infidelity"].error
    assert math.isnan(found["completeness"].value)
    assert found["completeness"].chance is None


def test_of_a_linear_network_integrated_gradients_are_complete_and_exact() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 2))
    net = nv.Network(module, preprocess=lambda image: torch.zeros(1, SIZE, SIZE))
    trace = net.trace(torch.randn(1, 1, SIZE, SIZE))
    zero = torch.zeros(1, 1, SIZE, SIZE)
    result = nv.attribute(trace, method="integrated_gradients", target=1, steps=3, baseline=zero)
    weight = module[1].weight.detach()[1].view(1, 1, SIZE, SIZE)
    assert torch.allclose(result.values, weight * trace.input.detach(), atol=1e-6)
    found = by_name(result, ["completeness"])
    assert found["completeness"].value == pytest.approx(0, abs=1e-5)
    exact = by_name(nv.attribute(trace, method="gradient", target=1), ["infidelity"])["infidelity"]
    assert exact.value == pytest.approx(0, abs=1e-8), "the gradient foretells each change of a linear score"


def test_without_a_box_the_map_is_not_asked_to_point(trace) -> None:
    result = nv.attribute(trace, target=2)
    assert not {"pointing", "inside"} & set(by_name(result))
    assert "Mark" in by_name(result, ["pointing"])["pointing"].error


def test_the_scores_come_one_after_the_other(trace) -> None:
    scores = judge(nv.attribute(trace, target=2), ["deletion", "completeness"])
    assert next(scores).metric.name == "completeness", "the cheapest first"
    with pytest.raises(nv.UnknownOptionError, match="metrics are"):
        judge(nv.attribute(trace, target=2), ["beauty"])


def test_options_of_the_method_are_those_of_the_map(trace) -> None:
    options = {"samples": 2, "sigma": 0.3}
    result = nv.attribute(trace, method="smooth_grad", target=2, **options)
    found = by_name(result, ["sensitivity"], options=options)["sensitivity"]
    noise, most = torch.Generator().manual_seed(0), 0.0
    for _ in range(4):
        moved = trace.input.detach() + (torch.rand(trace.input.shape, generator=noise) * 2 - 1) * 0.02
        other = nv.attribute(trace.network, moved, method="smooth_grad", target=2, **options)
        most = max(most, float((other.values - result.values).norm() / result.values.norm()))
    assert found.value == pytest.approx(most, rel=1e-4)
