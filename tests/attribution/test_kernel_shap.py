"""KernelSHAP: Shapley values from all subsets, Captum on the same regions, and frames."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution.kernel_shap import _regions, _standard_errors
from tests import toys
from tests.untouched import photograph

X = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
BASE = torch.zeros(1, 3, 24, 24)


class Crossed(nn.Module):
    """The mean of each quarter of the picture, and a product of two of them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quarters = nn.functional.adaptive_avg_pool2d(x[:, :1], 2).flatten(1)
        total = quarters @ torch.tensor([1.0, -2.0, 0.5, 3.0]) + 4 * quarters[:, 0] * quarters[:, 3]
        return torch.stack([total, -total], 1)


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic().eval(), size=24)


def shapley(module: nn.Module, x: torch.Tensor, index: int, window: int) -> torch.Tensor:
    """The Shapley value of each cell from all subsets, spread over its pixels, (H, W) float64."""
    cells = [(r, c) for r in range(0, x.shape[2], window) for c in range(0, x.shape[3], window)]

    def score(kept) -> float:
        shown = torch.zeros_like(x)
        for at in kept:
            r, c = cells[at]
            shown[..., r : r + window, c : c + window] = x[..., r : r + window, c : c + window]
        with torch.no_grad():
            return float(module(shown)[0, index])

    found = torch.zeros(x.shape[2:], dtype=torch.float64)
    for i, (r, c) in enumerate(cells):
        others = [j for j in range(len(cells)) if j != i]
        value = sum(
            (score((*s, i)) - score(s)) / (len(cells) * comb(len(others), k))
            for k in range(len(cells))
            for s in combinations(others, k)
        )
        found[r : r + window, c : c + window] = value / window**2
    return found


def test_values_are_shapleys_by_all_subsets() -> None:
    module = Crossed()
    expected = shapley(module, X[:1], 0, 12)
    found = nv.attribute(
        nv.Network(module, size=24), X[:1], method="kernel_shap", target=0, window=12, samples=600, baseline=BASE
    )
    assert torch.allclose(found.values[0, 0].double(), expected, atol=0.03 * float(expected.abs().max()))


def test_of_a_linear_network_they_are_exact_with_few_samples() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 1, 8, 8), nn.Flatten(), nn.Linear(9, 3))
    found = nv.attribute(
        nv.Network(module, size=24), X[:1], method="kernel_shap", target=2, window=8, samples=40, baseline=BASE
    )
    with torch.no_grad():
        parts = nn.functional.conv2d(X[:1], module[0].weight, stride=8)[0, 0] * module[2].weight[2].view(3, 3)
    expected = parts.repeat_interleave(8, 0).repeat_interleave(8, 1) / 64
    assert torch.allclose(found.values[0, 0], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_it_is_captums_on_the_same_regions(net) -> None:
    from captum.attr import KernelShap

    labels = _regions(net.trace(X[:1]), 0, "grid", 8)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = KernelShap(net.module).attribute(
            X[:1], baselines=BASE, target=1, feature_mask=labels[None, None], n_samples=52, perturbations_per_eval=4
        )
    found = nv.attribute(net, X[:1], method="kernel_shap", target=1, window=8, samples=50, seed=5, baseline=BASE).values
    assert torch.allclose(found[0, 0], expected[0, 0] / 64, rtol=1e-2, atol=1e-7)


def test_the_values_add_up_to_the_change_of_the_score(net) -> None:
    result = nv.attribute(net, X, method="kernel_shap", target=1, window=8, samples=60)
    with torch.no_grad():
        change = (net.module(X) - net.module(X.mean((2, 3), keepdim=True).expand_as(X)))[:, 1]
    assert torch.allclose(result.values.flatten(1).sum(1), change, rtol=1e-3, atol=1e-5)
    assert bool((result.completeness <= 1e-3 * change.abs() + 1e-5).all())


def test_frames_come_after_each_batch_and_each_is_what_so_many_samples_give(net) -> None:
    trace = net.trace(X[:1])
    ask = {"method": "kernel_shap", "target": 1, "window": 8}
    frames = list(nv.attribute.stream(trace, samples=30, batch=10, **ask))
    assert [f.step for f in frames] == [10, 20, 30]
    assert [f.completeness is None for f in frames] == [True, True, False]
    for frame in frames:
        assert torch.allclose(frame.values, nv.attribute(trace, samples=frame.step, batch=7, **ask).values, atol=1e-6)
    assert not torch.allclose(frames[-1].values, nv.attribute(trace, samples=30, seed=1, **ask).values)


def test_pictures_of_a_batch_are_explained_each_for_itself(net) -> None:
    both = nv.attribute(net, X, method="kernel_shap", target=[1, 2], window=8, samples=20).values
    for i in range(2):
        alone = nv.attribute(net, X[i : i + 1], method="kernel_shap", target=i + 1, window=8, samples=20).values
        assert torch.allclose(both[i], alone[0], atol=1e-6)


def test_the_standard_error_is_the_spread_over_many_seeds(net) -> None:
    trace = net.trace(X[:1])
    ask = {"method": "kernel_shap", "target": 1, "window": 8, "samples": 30}
    runs = [nv.attribute(trace, **ask, seed=seed) for seed in range(12)]
    assert runs[0].error.shape == runs[0].values.shape
    spread = torch.stack([run.values for run in runs]).std(0)[..., ::8, ::8]
    told = torch.stack([run.error for run in runs]).square().mean(0).sqrt()[..., ::8, ::8]
    assert 0.6 < float((told / spread).mean()) < 1.9


def test_the_standard_error_is_right_region_by_region() -> None:
    """Of a game with products, fitted many times by its normal equations, the sum held by a multiplier."""
    numbers = torch.Generator().manual_seed(3)
    m, n, runs = 6, 80, 3000
    sizes = torch.arange(1, m)
    chances = (m - 1) / (sizes * (m - sizes))
    count = sizes[torch.multinomial(chances, n * runs, replacement=True, generator=numbers)]
    ranks = torch.rand(n * runs, m, generator=numbers).argsort(1).argsort(1)
    sets = (ranks < count[:, None]).double().view(runs, n, m)

    def game(z: torch.Tensor) -> torch.Tensor:
        return z @ torch.arange(m).double() + 5 * z[..., 0] * z[..., 1] - 3 * z[..., 2] * z[..., 3] * z[..., 5]

    scores, whole = game(sets), game(torch.ones(m).double())
    square = torch.zeros(runs, m + 1, m + 1, dtype=torch.float64)
    square[:, :m, :m] = sets.mT @ sets
    square[:, m, :m] = square[:, :m, m] = 1
    right = torch.cat([(sets.mT @ scores[..., None])[..., 0], whole.expand(runs, 1)], 1)
    values = torch.linalg.solve(square, right)[:, :m]
    told = torch.stack([_standard_errors(*one) for one in zip(sets[:300], scores, values, strict=False)])
    ratio = told.square().mean(0).sqrt() / values.std(0)
    assert float(ratio.min()) > 0.95
    assert float(ratio.max()) < 1.15


def test_of_fewer_sets_than_regions_no_error_is_known_and_of_what_is_no_estimate_it_is_zero(net) -> None:
    trace = net.trace(X[:1])
    frames = list(nv.attribute.stream(trace, method="kernel_shap", target=1, window=8, samples=30, batch=5))
    assert bool(frames[0].error.isnan().all())
    assert bool(frames[-1].error.isfinite().all())
    assert not nv.attribute(trace, method="kernel_shap", target=1, window=24, samples=3).error.any()
    torch.manual_seed(0)
    linear = nv.Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 3)), size=24)
    found = nv.attribute(linear, X[:1], method="kernel_shap", target=2, window=8, samples=40, baseline=BASE)
    assert float(found.error.max()) < 1e-4 * float(found.values.abs().max())


def test_superpixels_are_one_value_each_and_follow_the_picture() -> None:
    torch.manual_seed(0)
    x = torch.ones(1, 3, 24, 24)
    x[..., 9:] = -1
    network = nv.Network(toys.classic().eval(), size=24)
    labels = _regions(network.trace(x), 0, "superpixels", 8)
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert not set(labels[:, :9].unique().tolist()) & set(labels[:, 9:].unique().tolist())
    values = nv.attribute(
        network, x, method="kernel_shap", target=1, regions="superpixels", window=8, samples=20
    ).values
    for label in labels.unique():
        assert len(values[0, 0][labels == label].unique()) == 1


def test_one_region_has_the_whole_change(net) -> None:
    result = nv.attribute(net, X, method="kernel_shap", target=1, window=24, samples=3)
    with torch.no_grad():
        change = (net.module(X) - net.module(X.mean((2, 3), keepdim=True).expand_as(X)))[:, 1]
    assert torch.allclose(result.values[:, 0], change[:, None, None].expand(-1, 24, 24) / 24**2, rtol=1e-4)


def test_network_and_random_numbers_are_left_as_they_were(net) -> None:
    before = photograph(net.module)
    nv.attribute(net, X, method="kernel_shap", target=1, window=8, samples=10)
    assert photograph(net.module) == before


def test_it_looks_at_the_input_alone(net) -> None:
    with pytest.raises(nv.UnknownOptionError, match="input alone"):
        nv.attribute(net, X[:1], method="kernel_shap", target=1, layer="3")
