"""Completeness, infidelity and sensitivity: exact on linear networks, and Captum's numbers on others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution import Attribution
from nbcnnviz.core.targets import as_target
from nbcnnviz.metrics import completeness, infidelity, sensitivity
from tests import toys

X = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def linear() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 5)), size=12)


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=12)


def test_input_x_gradient_of_a_linear_network_is_complete(linear) -> None:
    trace = linear.trace(X)
    score = completeness(trace, nv.attribute(trace, method="input_x_gradient", target=3))
    assert score.value < 1e-5
    assert score.details["difference"] == pytest.approx(
        float(linear.module(X)[0, 3] - linear.module(0 * X)[0, 3]), rel=1e-5
    )


def test_what_is_missing_is_a_share_of_the_difference(linear) -> None:
    trace = linear.trace(X)
    exact = nv.attribute(trace, method="input_x_gradient", target=3)
    half = Attribution(exact.values / 2, exact.target, "input", trace)
    assert completeness(trace, half).value == pytest.approx(0.5, rel=1e-4)


def test_a_baseline_may_be_given(linear) -> None:
    trace = linear.trace(X)
    start = torch.randn(1, 3, 12, 12)
    values = (X - start) * trace.gradient(3)
    assert completeness(trace, Attribution(values, as_target(3, trace), "input", trace), start).value < 1e-5


def test_the_gradient_of_a_linear_network_foretells_every_change(linear) -> None:
    trace = linear.trace(X)
    exact = nv.attribute(trace, method="gradient", target=3)
    assert infidelity(trace, exact).value < 1e-9
    zero = Attribution(torch.zeros_like(exact.values), exact.target, "input", trace)
    found = infidelity(trace, zero)
    assert found.value == pytest.approx(found.chance)
    doubled = Attribution(exact.values * 2, exact.target, "input", trace)
    assert infidelity(trace, doubled).value > 1e-4
    assert infidelity(trace, doubled, scaled=True).value < 1e-9


@pytest.mark.parametrize("scaled", [False, True])
def test_infidelity_is_captums(net, scaled) -> None:
    import captum.metrics

    trace = net.trace(X)
    result = nv.attribute(trace, method="gradient", target=3)
    spread = 0.1 * float(X.max() - X.min())
    generator = torch.Generator().manual_seed(5)

    def perturb(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        noise = spread * torch.stack([torch.randn(X.shape[1:], generator=generator) for _ in range(len(inputs))])
        return noise, inputs - noise

    expected = captum.metrics.infidelity(
        net.module, perturb, X, result.values, target=3, n_perturb_samples=20, normalize=scaled
    )
    ours = infidelity(trace, result, samples=20, seed=5, scaled=scaled)
    assert ours.value == pytest.approx(float(expected), rel=1e-3)


def test_sensitivity_is_captums(net) -> None:
    import captum.attr
    import captum.metrics

    trace = net.trace(X)
    generator = torch.Generator().manual_seed(0)

    def perturb(inputs: torch.Tensor, radius: float = 0.02) -> torch.Tensor:
        return inputs + torch.cat([(torch.rand(1, 3, 12, 12, generator=generator) * 2 - 1) * radius for _ in inputs])

    expected = captum.metrics.sensitivity_max(
        captum.attr.InputXGradient(net.module).attribute, X, perturb_func=perturb, n_perturb_samples=6, target=3
    )
    ours = sensitivity(trace, method="input_x_gradient", target=3, samples=6)
    assert ours.value == pytest.approx(float(expected), rel=1e-3)


def test_a_constant_gradient_is_not_sensitive(linear) -> None:
    assert sensitivity(linear.trace(X), method="gradient", target=1).value < 1e-6


def test_a_coarse_map_has_no_infidelity(net) -> None:
    trace = net.trace(X)
    with pytest.raises(nv.MethodNotApplicableError, match="every pixel"):
        infidelity(trace, nv.attribute(trace, method="grad_cam", target=1))
    with pytest.raises(nv.UnknownOptionError, match="whole number"):
        infidelity(trace, nv.attribute(trace, method="gradient"), samples=0)
