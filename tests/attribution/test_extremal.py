"""Extremal perturbations: TorchRay's, a network that reads one region only, and the area asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution.smooth_masks import SmoothMasks, blurs, off_area, perturbed
from tests import toys

X = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic().eval(), size=40)


class Reads(nn.Module):
    """The mean of the red channel within rows 4 to 12 and columns 20 to 28, and nothing else; and its opposite."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = x[:, 0, 4:12, 20:28].mean((1, 2))
        return torch.stack([seen, -seen], 1)


def inside(mask: torch.Tensor) -> float:
    """The share of a mask's mass within what `Reads` reads, grown by the mask's own width."""
    return float(mask[2:14, 18:30].sum() / mask.sum())


class Places(nn.Module):
    """Each place of the picture counts for or against two classes, as drawn."""

    def __init__(self) -> None:
        super().__init__()
        drawn = torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(1))
        self.weights = nn.Parameter(nn.functional.interpolate(drawn, size=(40, 40), mode="bicubic")[:, 0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 300 * torch.tanh((x[:, :1] * self.weights).mean((2, 3)))


@pytest.mark.parametrize("variant", ["preserve", "delete", "dual"])
def test_it_is_torchrays(variant) -> None:
    # At its start a mask has many equal values, which sorting puts in any order: the two runs do not agree to each digit.
    from torchray.attribution.extremal_perturbation import extremal_perturbation

    module, x = Places(), X[:1].abs()
    asked = {"areas": [0.1, 0.3], "sigma": 6, "variant": variant}
    net = nv.Network(module, size=40)
    options = asked | {"stride": 2, "steps": 60, "baseline": torch.zeros_like(x)}
    found = nv.attribute(net, x, method="extremal_perturbation", target=1, **options).values
    expected, _ = extremal_perturbation(module, x, 1, perturbation="fade", max_iter=60, step=2, **asked)
    expected = expected.mean(0, keepdim=True)
    assert float(expected.std()) > 0.15
    assert float((found - expected).abs().mean()) < 0.01
    assert float(torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1]) > 0.998


@pytest.mark.parametrize(("sigma", "stride"), [(6, 2), (21, 7), (6, 3)])
def test_its_masks_are_torchrays(sigma, stride) -> None:
    from torchray.attribution.extremal_perturbation import MaskGenerator

    theirs, smooth = MaskGenerator((40, 40), stride, sigma), SmoothMasks((40, 40), stride, sigma, X)
    parameters = torch.rand(2, 1, *smooth.grid, generator=torch.Generator().manual_seed(4))
    for mine, other in zip(smooth(parameters), theirs.generate(parameters), strict=True):
        assert torch.allclose(mine, other, atol=1e-5)


@pytest.mark.parametrize("size", [(7, 9), (32, 33), (50, 41)])
@pytest.mark.parametrize(("sigma", "stride"), [(2, 1), (2.3, 2), (6, 4), (7.5, 5), (21, 7)])
def test_masks_reach_the_far_edges_whatever_the_lengths(size, sigma, stride) -> None:
    smooth = SmoothMasks(size, stride, sigma, X)
    mask, _ = smooth(torch.ones(1, 1, *smooth.grid))
    assert mask.shape == (1, 1, *size)
    assert float(mask[..., 1:-1, 1:-1].min()) > 0.3


def test_its_blurs_and_what_a_mask_makes_of_them_are_torchrays() -> None:
    from torchray.attribution.extremal_perturbation import Perturbation

    mask = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(2))
    theirs = Perturbation(X[:1], num_levels=8, max_blur=6.6)
    levels = blurs(X[:1], 6.6, 8)
    assert torch.allclose(levels[:, 0], theirs.pyramid, atol=1e-5)
    assert torch.allclose(perturbed(levels, mask[:, None])[:, 0], theirs.apply(mask), atol=1e-5)


def test_a_mask_and_its_gradient_are_those_of_the_sum_written_out_in_double_precision() -> None:
    smooth = SmoothMasks((9, 11), 3, 4.0, torch.zeros((), dtype=torch.float64))
    parameters = torch.rand(2, 1, *smooth.grid, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    parameters.requires_grad_()
    mask, whole = smooth(parameters)
    for y, x in ((0, 0), (4, 7), (8, 10)):
        heights, values = [], []
        first = (y + 4) // 3 - 4, (x + 4) // 3 - 4  # the margin is 4; ceil(8 / 3) + 1 parameters before it
        for row in range(first[0], first[0] + 7):  # 2 (ceil(4 / 3) + 1) + 1 of them, also where there is none
            for column in range(first[1], first[1] + 7):
                z = ((y - 3 * row) ** 2 + (x - 3 * column) ** 2) ** 0.5 / 4
                heights.append(torch.exp(torch.tensor(-2 * max(z - 0.5, 0.0) ** 2, dtype=torch.float64)))
                known = 0 <= row < smooth.grid[0] and 0 <= column < smooth.grid[1]
                values.append(parameters[0, 0, row, column] if known else torch.zeros((), dtype=torch.float64))
        t = torch.stack(heights) * torch.stack(values)
        assert torch.isclose(mask[0, 0, y, x], (t * torch.softmax(20 * t, 0)).sum())
    assert torch.autograd.gradcheck(lambda p: smooth(p)[0], parameters)
    assert whole.shape[2:] == smooth.whole
    assert bool((mask == whole[..., 4:13, 4:15]).all())


def test_the_area_is_met_by_a_mask_of_zeros_and_ones_alone() -> None:
    mask = torch.zeros(3, 1, 10, 10)
    mask[0, 0, :2] = mask[1, 0, 4:8, :5] = 1
    mask[2] = 0.2
    off = off_area(mask, torch.tensor([0.2, 0.3, 0.2], dtype=torch.float64))
    assert off.tolist() == pytest.approx([0, 0.1, 0.2 * 0.8**2 + 0.8 * 0.2**2])


def test_the_mask_finds_the_only_region_that_the_network_reads_and_has_the_area_asked_for() -> None:
    x = torch.ones(1, 3, 32, 32)
    net = nv.Network(Reads(), size=32)
    asked = {"steps": 300, "sigma": 4, "stride": 2, "baseline": torch.zeros_like(x), "flip": False}
    result = nv.attribute(net, x, method="extremal_perturbation", target=0, area=0.06, **asked)
    mask = result.values[0, 0]
    assert result.remarks == ()
    assert inside(mask) > 0.75
    assert inside(torch.ones(32, 32)) < 0.15
    assert float(mask.sum()) == pytest.approx(0.06 * 41 * 41, rel=0.25), "the margin is part of the area"
    away = nv.attribute(net, x, method="extremal_perturbation", target=0, area=0.06, variant="delete", **asked)
    assert inside(away.values[0, 0]) > 0.75, "without it the score is least"


def test_pictures_of_a_batch_and_areas_are_masked_each_for_itself_whatever_the_batch(net) -> None:
    asked = {"steps": 6, "target": [1, 3]}
    both = nv.attribute(net, X, method="extremal_perturbation", areas=[0.1, 0.4], **asked).values
    small = nv.attribute(net, X, method="extremal_perturbation", areas=[0.1, 0.4], batch=1, **asked).values
    assert torch.allclose(both, small, atol=1e-5)
    for i, target in enumerate((1, 3)):
        parts = [
            nv.attribute(net, X[i : i + 1], method="extremal_perturbation", area=area, steps=6, target=target).values
            for area in (0.1, 0.4)
        ]
        assert torch.allclose(both[i], (parts[0] + parts[1])[0] / 2, atol=1e-5)


def test_each_step_is_a_frame_and_the_first_are_those_of_a_shorter_run(net) -> None:
    trace = net.trace(X[:1])
    frames = list(nv.attribute.stream(trace, method="extremal_perturbation", target=1, steps=5))
    assert [(f.step, f.steps) for f in frames] == [(i, 5) for i in range(1, 6)]
    assert torch.equal(frames[2].values, nv.attribute(trace, method="extremal_perturbation", target=1, steps=3).values)
    assert not torch.equal(frames[0].values, frames[4].values)


def test_a_mask_that_has_not_shrunk_to_its_area_says_so(net) -> None:
    (remark,) = nv.attribute(net, X[:1], method="extremal_perturbation", target=1, steps=2).remarks
    assert "not 10%" in remark


def test_a_target_with_a_place_is_not_mirrored(net) -> None:
    unit = nv.Unit("3", 1, 5, 2)
    shown, turned = (
        nv.attribute(net, X[:1], method="extremal_perturbation", target=unit, steps=4, flip=flip).values
        for flip in (True, False)
    )
    assert torch.equal(shown, turned)
    shown, turned = (
        nv.attribute(net, X[:1], method="extremal_perturbation", target=1, steps=4, flip=flip).values
        for flip in (True, False)
    )
    assert not torch.equal(shown, turned)


@pytest.mark.parametrize("areas", ["all", [], [0.1, 1.5], [True], 0])
def test_areas_that_are_none_are_refused(net, areas) -> None:
    with pytest.raises(nv.OptionValueError, match=r"one number or several from 0\.001 to 0\.999"):
        nv.attribute(net, X[:1], method="extremal_perturbation", target=1, areas=areas)


def test_it_looks_at_the_input_alone(net) -> None:
    with pytest.raises(nv.UnknownOptionError, match="input alone"):
        nv.attribute(net, X[:1], method="extremal_perturbation", target=1, layer="3")
