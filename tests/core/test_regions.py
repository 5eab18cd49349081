"""A class in a region, a box, and similarity to a reference, as targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.ops import box_iou

import nbcnnviz as nv
from nbcnnviz.core.targets import as_target
from tests import toys


def segmenter(stride: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, stride=stride), nn.ReLU(), nn.Conv2d(6, 4, 1)).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))


def by_hand(score, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    value = score(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


MASK = np.zeros((12, 16), bool)
MASK[2:5, 3:4] = True
REGIONS = {
    "whole": ({}, lambda m: m.mean((1, 2))),
    "place": ({"at": (2, 15)}, lambda m: m[:, 2, 15]),
    "place from the end": ({"at": (-1, -16)}, lambda m: m[:, 11, 0]),
    "box": ({"box": (3, 2, 9, 12)}, lambda m: m[:, 2:12, 3:9].mean((1, 2))),
    "mask": ({"mask": MASK}, lambda m: m[:, 2:5, 3].mean(1)),
    "a mask a picture": (
        {"mask": np.stack([MASK, ~MASK])},
        lambda m: torch.stack([m[0][torch.from_numpy(MASK)].mean(), m[1][torch.from_numpy(~MASK)].mean()]),
    ),
}


@pytest.mark.parametrize(("region", "score"), REGIONS.values(), ids=REGIONS)
def test_a_class_in_a_region_is_the_mean_of_its_map_there(region, score, x: Tensor) -> None:
    module = segmenter()
    trace = nv.Network(module, size=(12, 16), classes=["sky", "sea", "sand", "sun"]).trace(x)
    value, gradient = by_hand(lambda x: score(module(x)[:, 2]), x)
    for index in (2, "sand"):
        target = nv.RegionScore(index, **region)
        torch.testing.assert_close(target(trace).detach(), value)
        torch.testing.assert_close(trace.gradient(target), gradient)
        assert nv.attribute(trace, method="gradient", target=target).values.equal(trace.gradient(target))
    assert "sand (2)" in nv.attribute(trace, target=target).caption


def test_a_place_that_a_class_is_asked_for_sees_only_what_is_near(x: Tensor) -> None:
    trace = nv.Network(segmenter(), size=(12, 16)).trace(x)
    found = nv.attribute(trace, method="saliency", target=nv.RegionScore(1, at=(5, 6))).values[:, 0] > 0
    reach = torch.zeros(12, 16, dtype=torch.bool)
    reach[4:7, 5:8] = True  # a kernel of 3 x 3
    assert not bool((found & ~reach).any())
    assert bool(found.any())


def test_where_a_class_is_predicted(x: Tensor) -> None:
    module = segmenter()
    trace = nv.Network(module, size=(12, 16)).trace(x)
    predicted = module(x).argmax(1)
    index = next(k for k in range(4) if (predicted == k).flatten(1).any(1).all())
    mask = predicted == index
    value, gradient = by_hand(lambda x: (module(x)[:, index] * mask).sum((1, 2)) / mask.sum((1, 2)), x)
    target = nv.RegionScore(index, mask="predicted")
    torch.testing.assert_close(target(trace).detach(), value)
    torch.testing.assert_close(trace.gradient(target), gradient)
    pinned = as_target(target, trace)
    other = nv.Network(module, size=(12, 16)).trace(-x)
    maps = module(-x)[:, index]
    torch.testing.assert_close(pinned(other), (maps * mask).sum((1, 2)) / mask.sum((1, 2)))
    torch.testing.assert_close(as_target(0.5 * target, trace)(other), 0.5 * pinned(other))
    torch.testing.assert_close(as_target([target, target], trace)(other), pinned(other))
    nowhere = [k for k in range(4) if not (predicted == k).any()]
    for k in nowhere:
        with pytest.raises(nv.MethodNotApplicableError, match="nowhere in a picture"):
            trace.gradient(nv.RegionScore(k, mask="predicted"))


@pytest.mark.parametrize(
    ("region", "score"),
    [
        ({"at": (5, 7)}, lambda m: m[:, 2, 3]),
        ({"box": (0, 0, 2, 2)}, lambda m: m[:, 0, 0]),
        ({"box": (3, 4, 6, 5)}, lambda m: m[:, 2, 1:3].mean(1)),
        ({"mask": MASK}, lambda m: (2 * m[:, 1, 1] + m[:, 2, 1]) / 3),
    ],
)
def test_regions_of_maps_smaller_than_the_input(region, score, x: Tensor) -> None:
    module = segmenter(stride=2)
    trace = nv.Network(module, size=(12, 16), scores="segmentation").trace(x)
    torch.testing.assert_close(nv.RegionScore(2, **region)(trace), score(module(x)[:, 2]))


@pytest.mark.parametrize(
    "region",
    [
        {"at": (1, 2), "box": (0, 0, 1, 1)},
        {"at": (1, 2, 3)},
        {"at": 3},
        {"at": ("a", 1)},
        {"box": (3, 0, 1, 1)},
        {"box": (-3, 0, 1, 1)},
        {"box": "here"},
        {"box": ("a", 0, 1, 1)},
        {"mask": "here"},
        {"mask": np.zeros((12, 16))},
        {"mask": np.ones(12)},
    ],
)
def test_what_is_no_region_is_an_error(region) -> None:
    with pytest.raises(nv.NbcnnvizError):
        nv.RegionScore(1, **region)


@pytest.mark.parametrize("box", ["a", None, 1.5, (1, 2), (0, 0, -1, 1)])
def test_what_is_no_box_is_an_error(box) -> None:
    with pytest.raises(nv.FilterRangeError, match="A box"):
        nv.BoxScore(box)
    for label in (1.5, [1, 2]):
        with pytest.raises(nv.NbcnnvizError):
            nv.BoxScore(0, label)


def test_a_region_beyond_the_picture_is_an_error(x: Tensor) -> None:
    trace = nv.Network(segmenter(), size=(12, 16)).trace(x)
    for target in (nv.RegionScore(1, at=(12, 0)), nv.RegionScore(1, box=(0, 0, 17, 5))):
        with pytest.raises(nv.FilterRangeError, match="12"):
            trace.gradient(target)
    with pytest.raises(nv.FilterRangeError, match="3 masks"):
        trace.gradient(nv.RegionScore(1, mask=np.ones((3, 12, 16))))
    with pytest.raises(nv.UnknownClassError):
        trace.gradient(nv.RegionScore(4))
    with pytest.raises(nv.FilterRangeError, match="one class"):
        nv.RegionScore((1, 2))


def test_regions_say_themselves_in_code_and_are_equal_where_it_is() -> None:
    targets = [
        nv.RegionScore(1, at=(2, 3)),
        nv.RegionScore("sea", box=(0, 1, 5, 6.5)),
        nv.RegionScore(2, mask="predicted"),
    ]
    for target in targets:
        again = eval(repr(target), {"nv": nv})
        assert again == target
        assert hash(again) == hash(target)
    assert len(set(targets)) == 3
    assert nv.RegionScore(1, mask=MASK) == nv.RegionScore(1, mask=MASK.astype(float))
    assert nv.RegionScore(1, mask=MASK) != nv.RegionScore(1, mask=~MASK)


def test_a_classifier_has_no_regions_and_no_boxes() -> None:
    trace = nv.Network(toys.classic(), size=12).trace(torch.randn(1, 3, 12, 12))
    with pytest.raises(nv.MethodNotApplicableError, match="no score to each place"):
        trace.gradient(nv.RegionScore(1, at=(0, 0)))
    with pytest.raises(nv.MethodNotApplicableError, match="returns no boxes"):
        trace.gradient(nv.BoxScore(0))


class Finder(nn.Module):
    """Two overlapping boxes a picture, whose scores are the sigmoids of the means of its left and of its right half."""

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        found = []
        for left, right in zip(x[..., :8], x[..., 8:], strict=True):
            boxes = torch.tensor([[0.0, 0, 10, 12], [6.0, 0, 16, 12]])
            scores = torch.stack([left.mean(), right.mean()]).sigmoid()
            found.append({"boxes": boxes, "labels": torch.tensor([2, 1]), "scores": scores})
        return found


def left(x: Tensor) -> Tensor:
    return x[..., :8].mean((1, 2, 3)).sigmoid()


def right(x: Tensor) -> Tensor:
    return x[..., 8:].mean((1, 2, 3)).sigmoid()


def test_a_box_of_the_output_is_a_target(x: Tensor) -> None:
    trace = nv.Network(Finder(), size=(12, 16), classes=["", "cat", "dog"]).trace(x)
    for target, score in (
        (nv.BoxScore(0), left),
        (nv.BoxScore(-1), right),
        (nv.BoxScore((6, 0, 16, 12)), right),
        (nv.BoxScore((6, 0, 16, 12), "cat"), right),
    ):
        value, gradient = by_hand(score, x)
        torch.testing.assert_close(target(trace).detach(), value)
        torch.testing.assert_close(trace.gradient(target), gradient)
    # Intersection 4 x 12, union 16 x 12.
    torch.testing.assert_close(nv.BoxScore((6, 0, 16, 12), "dog")(trace), left(x) / 4)
    box = (5, 0, 12, 12)
    found = box_iou(torch.tensor([box]), torch.tensor([[0, 0, 10, 12], [6, 0, 16, 12]]))[0]
    torch.testing.assert_close(nv.BoxScore(box)(trace), torch.maximum(found[0] * left(x), found[1] * right(x)))
    assert nv.BoxScore((6, 0, 16, 12), "cat").describe(trace.network) == "cat (1) in the box 6, 0, 16, 12"
    for index in (2, -3):
        with pytest.raises(nv.FilterRangeError, match="boxes 0 to 1"):
            trace.gradient(nv.BoxScore(index))


def test_an_explained_box_is_the_same_box_in_every_other_pass(x: Tensor) -> None:
    network = nv.Network(Finder(), size=(12, 16), classes=["", "cat", "dog"])
    trace = network.trace(x)
    assert as_target(nv.BoxScore(1), network.trace(x[:1])) == nv.BoxScore((6, 0, 16, 12), 1)
    torch.testing.assert_close(as_target(nv.BoxScore(1), trace)(network.trace(-x)), right(-x))
    assert eval(repr(nv.BoxScore((6, 0, 16, 12), 1)), {"nv": nv}) == nv.BoxScore((6, 0, 16, 12), 1)


def test_a_box_that_overlaps_none_scores_nothing(x: Tensor) -> None:
    trace = nv.Network(Finder(), size=(12, 16), classes=["", "cat", "dog"]).trace(x)
    assert nv.BoxScore((20, 20, 30, 30))(trace).tolist() == [0, 0]


def test_a_box_of_torchvisions_detection() -> None:
    torch.manual_seed(0)
    module = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=5, box_score_thresh=0.0
    ).eval()
    with torch.no_grad():  # so that boxes differ in their scores
        module.roi_heads.box_predictor.cls_score.weight.mul_(300)
    x = torch.rand(1, 3, 64, 64)
    trace = nv.Network(module, size=64).trace(x)
    value, gradient = by_hand(lambda x: module(x)[0]["scores"][3:4], x)
    found = nv.attribute(trace, method="gradient", target=nv.BoxScore(3))
    torch.testing.assert_close(nv.BoxScore(3)(trace).detach(), value, rtol=1e-4, atol=1e-6)
    size = float(gradient.abs().max())
    assert size > 0
    torch.testing.assert_close(found.values, gradient, rtol=1e-3, atol=1e-3 * size)


class Embeds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = toys.classic(classes=16)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.body(x), dim=1)


def test_similarity_to_a_reference_is_a_target(x: Tensor) -> None:
    module = Embeds().eval()
    network = nv.Network(module, size=(12, 16))
    trace = network.trace(x)
    reference = network.batch("coffee")
    wanted = module(reference).detach()
    value, gradient = by_hand(lambda x: (module(x) * wanted).sum(1), x)
    for target in ("coffee", reference, wanted, wanted[0]):
        similarity = nv.Similarity(target)
        torch.testing.assert_close(similarity(trace).detach(), value)
        torch.testing.assert_close(trace.gradient(similarity), gradient)
    assert eval(repr(nv.Similarity("coffee")), {"nv": nv}).reference == "coffee"
    assert nv.attribute(trace, target=nv.Similarity("coffee")).caption == "similarity to 'coffee'"
    with pytest.raises(nv.MethodNotApplicableError, match="shape"):
        nv.Similarity(torch.ones(7))(trace)


def test_a_reference_is_embedded_once_and_again_after_the_weights_changed(x: Tensor) -> None:
    module = Embeds().eval()
    network = nv.Network(module, size=(12, 16))
    similarity = nv.Similarity("coffee")
    calls = []
    module.body[0].register_forward_hook(lambda *_: calls.append(1))
    similarity(network.trace(x))
    assert len(calls) == 2
    similarity(network.trace(x))
    assert len(calls) == 3
    with torch.no_grad():
        module.body[-1].weight.normal_()
    wanted = module(network.batch("coffee"))
    torch.testing.assert_close(similarity(network.trace(x)), (module(x) * wanted).sum(1))
