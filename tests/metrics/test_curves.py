"""Insertion, deletion and ROAD against loops written out, and against the imputation of their own authors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution import Attribution
from nbcnnviz.core.preprocess import blurred
from nbcnnviz.core.targets import as_target
from nbcnnviz.metrics import deletion, insertion, road
from nbcnnviz.metrics.imputation import imputed
from tests import toys

SIZE = 12


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=SIZE)


@pytest.fixture(scope="module")
def trace(net: nv.Network) -> nv.Trace:
    return net.trace(torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))


def result_of(trace: nv.Trace, values: torch.Tensor, target: object = 2) -> Attribution:
    return Attribution(values, as_target(target, trace), "input", trace)


def by_hand(net: nv.Network, before, after, values, steps: int, index: int = 2) -> list[float]:
    """The class's probability pixel by pixel, with the module alone."""
    order = np.argsort(-values.flatten().numpy(), kind="stable")
    found = []
    for i in range(steps + 1):
        now = before.clone().flatten(1)
        for at in order[: round(i / steps * len(order))]:
            now[:, at] = after.flatten(1)[:, at]
        with torch.no_grad():
            found.append(float(net.module(now.view(1, 3, SIZE, SIZE)).softmax(1)[0, index]))
    return found


def test_insertion_shows_the_strongest_pixels_first(net, trace) -> None:
    values = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    curve = insertion(trace, result_of(trace, values), steps=9)
    x = trace.input[0].detach()
    assert np.allclose(curve.values, by_hand(net, blurred(x[None])[0], x, values, 9), atol=1e-6)
    assert curve.auc == pytest.approx(np.trapezoid(curve.values, curve.shares), rel=1e-9)


def test_deletion_takes_the_strongest_pixels_away_first(net, trace) -> None:
    values = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    curve = deletion(trace, result_of(trace, values), steps=9)
    x = trace.input[0].detach()
    mean = x.mean((1, 2), keepdim=True).expand_as(x)
    assert np.allclose(curve.values, by_hand(net, x, mean, values, 9), atol=1e-6)


def test_the_ends_of_the_curves_are_the_two_pictures(trace) -> None:
    result = result_of(trace, torch.rand(1, 1, 4, 4))
    probability = float(trace.probabilities[0, 2])
    assert insertion(trace, result, steps=3).values[-1] == pytest.approx(probability, rel=1e-5)
    assert deletion(trace, result, steps=3).values[0] == pytest.approx(probability, rel=1e-5)


def test_a_map_that_knows_the_one_pixel_that_counts_beats_chance() -> None:
    """A network that looks at one pixel: insertion rises at once, deletion falls at once."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 2, bias=False))
    with torch.no_grad():
        module[1].weight.zero_()
        module[1].weight[1, 5 * SIZE + 7] = 4
    net = nv.Network(module, preprocess=lambda image: torch.zeros(1, SIZE, SIZE))
    x = torch.zeros(1, 1, SIZE, SIZE)
    x[0, 0, 5, 7] = 1
    trace = net.trace(x)
    values = torch.zeros(1, 1, SIZE, SIZE)
    values[0, 0, 5, 7] = 1
    steps = SIZE * SIZE
    shown = insertion(trace, result_of(trace, values, 1), steps=steps)
    gone = deletion(trace, result_of(trace, values, 1), steps=steps)
    high = torch.sigmoid(torch.tensor(4.0)).item()
    assert np.allclose(shown.values[1:], high, atol=1e-6)
    assert shown.values[0] < high
    assert gone.values[0] == pytest.approx(high, abs=1e-6)
    assert (gone.values[1:] < 0.52).all()
    assert shown.auc > shown.chance > gone.auc
    assert gone.auc < gone.chance


def test_chance_is_the_mean_of_maps_whose_areas_are_told(net, trace) -> None:
    """Each is a map of random numbers as coarse as the one judged, scaled up as that is, and judged by hand."""
    curve = insertion(trace, result_of(trace, torch.rand(1, 1, 4, 4)), steps=5, random_maps=3, seed=7)
    x, generator = trace.input[0].detach(), torch.Generator().manual_seed(7)
    expected = []
    for _ in range(3):
        coarse = torch.rand(1, 1, 4, 4, generator=generator)
        values = nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        found = by_hand(net, blurred(x[None])[0], x, values, 5)
        expected.append(np.trapezoid(found, np.linspace(0, 1, 6)))
    assert curve.random == pytest.approx(expected, rel=1e-5)
    assert curve.chance == pytest.approx(np.mean(expected), rel=1e-5)
    assert insertion(trace, result_of(trace, torch.rand(1, 1, 4, 4)), steps=5, random_maps=0).random == ()


def test_another_target_than_a_class_is_measured_by_its_score(net, trace) -> None:
    target = nv.Channel("4", 3)
    curve = insertion(trace, result_of(trace, torch.rand(1, 1, 4, 4), target), steps=2, random_maps=0)
    assert curve.values[-1] == pytest.approx(float(target(trace)[0]), rel=1e-5)
    assert curve.chance is None


def test_the_imputation_is_that_of_its_authors() -> None:
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, 9, 11, generator=generator)
    missing = torch.rand(9, 11, generator=generator) < 0.6
    expected = NoisyLinearImputer(noise=0)(x.clone(), (~missing).float())
    assert torch.allclose(imputed(x, missing), expected, atol=1e-5)
    assert torch.equal(imputed(x, missing)[:, ~missing], x[:, ~missing])


def test_a_plane_is_imputed_exactly_within() -> None:
    """A plane is the mean of its neighbours everywhere but at the edge."""
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    plane = (2 * x - 3 * y)[None]
    missing = torch.zeros(9, 9, dtype=torch.bool)
    missing[3:6, 2:7] = True
    assert torch.allclose(imputed(plane, missing), plane, atol=1e-5)


def test_road_is_deletion_by_imputation(net, trace) -> None:
    values = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    curve = road(trace, result_of(trace, values), shares=(0.25, 0.5), noise=0, random_maps=0)
    order = values.flatten().argsort(descending=True)
    for share, found in zip((0.25, 0.5), curve.values, strict=True):
        mask = torch.zeros(SIZE * SIZE, dtype=torch.bool)
        mask[order[: round(share * len(order))]] = True
        with torch.no_grad():
            x = imputed(trace.input[0].detach(), mask.view(SIZE, SIZE))
            assert found == pytest.approx(float(net.module(x[None]).softmax(1)[0, 2]), abs=1e-6)


def test_the_same_seed_gives_the_same_numbers(trace) -> None:
    result = result_of(trace, torch.rand(1, 1, 4, 4))
    assert road(trace, result, shares=(0.3,)).auc == road(trace, result, shares=(0.3,)).auc
    assert insertion(trace, result, steps=3).chance == insertion(trace, result, steps=3).chance
    assert insertion(trace, result, steps=3).chance != insertion(trace, result, steps=3, seed=9).chance


def test_what_cannot_be_measured_is_refused(trace) -> None:
    result = result_of(trace, torch.full((1, 1, 4, 4), float("nan")))
    with pytest.raises(nv.MethodNotApplicableError, match="NaN"):
        insertion(trace, result)
    with pytest.raises(nv.UnknownOptionError, match="whole number"):
        insertion(trace, result_of(trace, torch.rand(1, 1, 4, 4)), steps=0)
    with pytest.raises(nv.UnknownOptionError, match="between 0 and 1"):
        road(trace, result, shares=(0, 1))
