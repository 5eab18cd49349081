"""Occlusion and RISE: loops written out, Captum, and what they promise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution.incremental import Chain, leading_chain
from nbcnnviz.attribution.perturbation import random_masks
from tests import toys

X = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=24)


def occluded(
    module: nn.Module, x: torch.Tensor, index: int, window: int, stride: int, fill: torch.Tensor
) -> torch.Tensor:
    """Occlusion as a loop, with the module alone."""
    height, width = x.shape[2:]
    total, covers = torch.zeros(height, width), torch.zeros(height, width)

    def places(length: int) -> list[int]:
        found = list(range(0, length - window + 1, stride))
        return found if found[-1] == length - window else [*found, length - window]

    with torch.no_grad():
        before = module(x)[0, index]
        for r in places(height):
            for c in places(width):
                changed = x.clone()
                changed[..., r : r + window, c : c + window] = fill[..., r : r + window, c : c + window]
                total[r : r + window, c : c + window] += before - module(changed)[0, index]
                covers[r : r + window, c : c + window] += 1
    return total / covers


@pytest.mark.parametrize(("window", "stride"), [(8, 4), (7, 5), (5, 5)])
def test_occlusion_is_the_drop_averaged_over_the_squares(net, window, stride) -> None:
    found = nv.attribute(net, X, method="occlusion", target=3, window=window, stride=stride, batch=7).values
    for n in range(2):
        x = X[n : n + 1]
        fill = x.mean((2, 3), keepdim=True).expand_as(x)
        assert torch.allclose(found[n, 0], occluded(net.module, x, 3, window, stride, fill), rtol=1e-3, atol=1e-6)


def test_occlusion_is_captums(net) -> None:
    import captum.attr

    expected = captum.attr.Occlusion(net.module).attribute(
        X[:1], target=3, sliding_window_shapes=(3, 6, 6), strides=(3, 3, 3), baselines=0.0
    )
    found = nv.attribute(
        net, X[:1], method="occlusion", target=3, window=6, stride=3, baseline=torch.zeros(1, 3, 24, 24)
    )
    assert torch.allclose(found.values[0, 0], expected[0, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["vgg11_bn", "alexnet", "resnet18", "squeezenet1_1", "densenet121"])
def test_what_a_square_does_not_change_need_not_be_computed(name) -> None:
    """The same to 1e-5, whether the network begins with a chain or not."""
    import torchvision

    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, num_classes=6).eval()
    net = nv.Network(module, size=96)
    x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    found = nv.attribute(net, x, method="occlusion", target=3, window=32, stride=32, baseline="black").values
    from nbcnnviz.attribution.sampling import baseline

    fill = baseline(net.trace(x), "black")
    expected = occluded(module, x, 3, 32, 32, fill)
    assert torch.allclose(found[0, 0], expected, rtol=1e-3, atol=1e-5 * float(module(x).detach().abs().max()))


def test_a_chain_gives_the_maps_of_whole_passes() -> None:
    """Strides, dilation, padding, overlapping pools; windows at every edge."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 5, 5, stride=2, padding=2), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(5, 6, 3, padding=2, dilation=2), nn.LeakyReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 4, 3), nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    module[1].running_mean.normal_()
    net = nv.Network(module, size=96)
    x = torch.randn(1, 3, 96, 96)
    steps = [step for _, step in leading_chain(net, x)]
    assert len(steps) == 9
    starts = torch.tensor([(0, 0), (0, 80), (80, 80), (33, 17), (34, 18), (35, 19), (36, 20), (80, 3)])
    windows = torch.randn(8, 3, 16, 16)
    chain = Chain(x, steps, starts, (16, 16))
    assert chain.length >= 6
    found = chain(windows, torch.arange(8))
    whole = x.repeat(8, 1, 1, 1)
    for i, (r, c) in enumerate(starts.tolist()):
        whole[i, :, r : r + 16, c : c + 16] = windows[i]
    with torch.no_grad():
        expected = module[: chain.length](whole)
    assert torch.allclose(found, expected, atol=1e-5)


def test_occlusion_starts_coarse_and_knows_every_place_at_once(net) -> None:
    frames = list(nv.attribute.stream(net, X, method="occlusion", target=3, window=8, stride=2, batch=9))
    assert frames[-1].step == frames[-1].steps == 81
    last = frames[-1].values.flatten()
    quality = [float(torch.corrcoef(torch.stack([f.values.flatten(), last]))[0, 1]) for f in frames]
    assert quality[0] > 0.5
    assert quality[-2] > 0.9


def test_rise_is_the_sum_over_its_masks(net) -> None:
    found = nv.attribute(net, X, method="rise", target=3, masks=50, cells=4, seed=5, batch=7)
    masks = random_masks(range(50), (24, 24), 4, 0.5, 5)
    with torch.no_grad():
        for n in range(2):
            p = net.module(X[n] * masks[:, None]).softmax(1)[:, 3]
            expected = (p[:, None, None] * masks).sum(0) / masks.sum(0)
            assert torch.allclose(found.values[n, 0], expected, rtol=1e-4, atol=1e-6)


def test_masks_are_grids_of_zeros_and_ones_scaled_up_and_shifted() -> None:
    masks = random_masks(range(400), (30, 45), 5, 0.3, 0)
    assert masks.shape == (400, 30, 45)
    assert (masks >= 0).all()
    assert (masks <= 1 + 1e-6).all()
    assert float(masks.mean()) == pytest.approx(0.3, abs=0.02)
    # Every place is as likely to be shown as another, away from chance and from the edge's rule.
    assert float(masks.mean(0).std()) < 0.04
    # A mask is an upsampled grid: on one phase of the shift it is bilinear, its second difference zero but at cell edges.
    assert (masks[:, 1:-1, 1:-1].diff(2, dim=1).abs() < 1e-5).float().mean() > 0.6


def test_the_map_does_not_depend_on_the_batch(net) -> None:
    one, other = (nv.attribute(net, X, method="rise", masks=40, batch=b) for b in (1, 16))
    assert torch.allclose(one.values, other.values, rtol=1e-4, atol=1e-7)
    assert torch.allclose(one.error, other.error, rtol=1e-3)
    assert torch.equal(random_masks(range(3, 5), (24, 24), 7, 0.5, 1), random_masks(range(8), (24, 24), 7, 0.5, 1)[3:5])


def test_the_standard_error_of_rise_is_that_of_many_runs(net) -> None:
    runs = [nv.attribute(net, X[:1], method="rise", target=3, masks=60, cells=4, seed=s) for s in range(40)]
    spread = torch.stack([r.values for r in runs]).std(0)
    told = torch.stack([r.error for r in runs]).mean(0)
    assert float((told / spread).median()) == pytest.approx(1, abs=0.2)


def test_of_one_mask_no_error_is_known_and_what_none_shows_has_the_nearest_value(net) -> None:
    first, *_, last = nv.attribute.stream(net, X[:1], method="rise", target=3, masks=30, cells=4, batch=1, p=0.3)
    shown = random_masks(range(1), (24, 24), 4, 0.3, 0)[0] > 0
    assert 0 < int(shown.sum()) < shown.numel(), "else it is no case"
    assert bool(first.error.isnan().all()), "it would be zero, and say that the map is certain"
    assert torch.allclose(first.values, first.values[0, 0][shown][0])
    assert bool(last.error.isfinite().all())


def test_one_run_of_rise_serves_every_class(net, monkeypatch) -> None:
    trace = net.trace(X)
    first = nv.attribute(trace, method="rise", target=1, masks=30)
    from nbcnnviz.core.scoring import Scorer

    passes = []
    real = Scorer.__call__
    monkeypatch.setattr(Scorer, "__call__", lambda self, x: passes.append(len(x)) or real(self, x))
    second = nv.attribute(trace, method="rise", target=2, masks=30)
    assert passes == []
    assert torch.equal(second.values, nv.attribute(net.trace(X), method="rise", target=2, masks=30).values)
    assert passes
    assert not torch.equal(first.values, second.values)


def test_other_targets_than_a_class_are_measured_by_their_score(net) -> None:
    target = nv.Channel("4", 2)
    found = nv.attribute(net.trace(X), method="rise", target=target, masks=20, cells=4)
    masks = random_masks(range(20), (24, 24), 4, 0.5, 0)
    with torch.no_grad():
        scores = net.module[:5](X[0] * masks[:, None])[:, 2].mean((1, 2))
    expected = (scores[:, None, None] * masks).sum(0) / masks.sum(0)
    assert torch.allclose(found.values[0, 0], expected, rtol=1e-4, atol=1e-6)


def test_they_look_at_the_input_alone(net) -> None:
    for method in ("rise", "occlusion"):
        with pytest.raises(nv.NbcnnvizError, match="input alone"):
            nv.attribute(net, X, method=method, layer="4")


def test_options_out_of_range_are_refused(net) -> None:
    for options in ({"masks": 0}, {"cells": 1}, {"p": 1.5}, {"batch": 0}, {"seed": -1}):
        with pytest.raises(nv.NbcnnvizError, match=next(iter(options))):
            nv.attribute(net, X, method="rise", **options)


@pytest.mark.parametrize("method", ["occlusion", "rise", "score_cam", "ablation_cam", "recipro_cam"])
@pytest.mark.parametrize(
    "target",
    [
        None,
        nv.ClassScore((1, 4)),
        nv.ClassScore((1, 4)) - nv.ClassScore((0, 2)),
        nv.Each([nv.Channel("5", 3), nv.Channel("5", 2)]),
    ],
    ids=["each one's own", "a class each", "a contrast each", "something else each"],
)
def test_each_picture_is_asked_what_it_would_be_asked_alone(net, method, target) -> None:
    asked = {"method": method, **toys.few(method)}
    both = nv.attribute(net, X, target=target, **asked).values
    for i in range(2):
        own = None if target is None else target.of_picture(i)
        alone = nv.attribute(net, X[i : i + 1], target=own, **asked).values
        assert torch.allclose(both[i : i + 1], alone, atol=1e-5)
