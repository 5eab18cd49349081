"""Networks that give a class to each place, or find boxes."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

import nbcnnviz as nv


def segmenter(classes: int = 4, end: nn.Module | None = None, stride: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, padding=1, stride=stride), nn.ReLU(), nn.Conv2d(6, classes, 1)]
    return nn.Sequential(*layers, *([end] if end else [])).eval()


class Named(nn.Module):
    """Maps under a name, as torchvision and transformers return them."""

    def __init__(self, how) -> None:
        super().__init__()
        self.maps, self.how = segmenter(stride=2), how

    def forward(self, x: Tensor):
        return self.how(self.maps(x))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))


def by_hand(score, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(x).sum(), x)
    return gradient


def test_maps_of_the_inputs_size_are_a_segmentation(x: Tensor) -> None:
    module = segmenter()
    network = nv.Network(module, size=(12, 16), classes=["sky", "sea", "sand", "sun"])
    assert network.kind == "segmentation"
    trace = network.trace(x)
    maps = module(x)
    torch.testing.assert_close(trace.score_maps, maps)
    torch.testing.assert_close(trace.scores, maps.mean((2, 3)))
    assert torch.equal(trace.labels, maps.argmax(1))
    torch.testing.assert_close(trace.gradient("sand"), by_hand(lambda x: module(x)[:, 2].mean((1, 2)), x))
    shares = torch.stack([(maps.argmax(1) == k).float().mean((1, 2)) for k in range(4)], 1)
    assert trace.best == shares.argmax(1).tolist()
    found = trace.top(4, picture=1)
    assert [share for *_, share in found] == pytest.approx(shares[1].sort(descending=True).values.tolist())
    assert sum(share for *_, share in found) == pytest.approx(1)


@pytest.mark.parametrize(
    "how",
    [lambda m: {"out": m, "aux": m[:, :1]}, lambda m: type("Output", (), {"logits": m})(), lambda m: {"logits": m}],
    ids=["out", "attribute", "logits"],
)
def test_maps_under_a_name_are_a_segmentation_of_any_size(how, x: Tensor) -> None:
    module = Named(how).eval()
    network = nv.Network(module, size=(12, 16))
    assert network.kind == "segmentation"
    assert network.trace(x).score_maps.shape == (2, 4, 6, 8)


def test_torchvisions_segmentation_is_known(x: Tensor) -> None:
    module = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    )
    network = nv.Network(module.eval(), size=32)
    assert network.kind == "segmentation"
    assert len(network.classes) == 3
    x = torch.randn(1, 3, 32, 48)
    expected = by_hand(lambda x: module(x)["out"][:, 1].mean((1, 2)), x)
    torch.testing.assert_close(
        network.trace(x).gradient(1), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())
    )


@pytest.mark.parametrize(
    ("end", "normalised"),
    [(nn.Softmax(1), lambda z: z.softmax(1)), (nn.Softmax2d(), lambda z: z.softmax(1)), (nn.Sigmoid(), torch.sigmoid)],
)
def test_the_logits_behind_a_map_of_probabilities_are_explained(end, normalised, x: Tensor) -> None:
    module = segmenter(end=end)
    told = None if not isinstance(end, nn.Sigmoid) else "segmentation"
    network = nv.Network(module, size=(12, 16), scores=told)
    assert network.kind == "segmentation"
    assert network.head.behind in network.head.note
    trace = network.trace(x)
    torch.testing.assert_close(trace.score_maps, module[:-1](x))
    torch.testing.assert_close(normalised(trace.score_maps), module(x))
    torch.testing.assert_close(trace.gradient(1), by_hand(lambda x: module[:-1](x)[:, 1].mean((1, 2)), x))
    independent = isinstance(end, nn.Sigmoid)
    assert bool((trace.labels == -1).any()) == bool((module[:-1](x) <= 0).all(1).any() and independent)


def test_one_map_alone_is_told_and_has_places_of_no_class(x: Tensor) -> None:
    module = segmenter(1)
    with pytest.raises(nv.NetworkError, match="scores='segmentation'"):
        nv.Network(module, size=12)
    trace = nv.Network(module, size=12, scores="segmentation", classes=["vessel"]).trace(x)
    assert torch.equal(trace.labels, torch.where(module(x)[:, 0] > 0, 0, -1))
    assert trace.top()[0] == (0, "vessel", pytest.approx((module(x)[0] > 0).float().mean().item()))


@pytest.mark.parametrize(
    "module",
    [segmenter(3), nn.Sequential(segmenter(), nn.ReLU()), segmenter(stride=2)],
    ids=["picture to picture", "rectified", "smaller"],
)
def test_maps_that_need_not_be_class_scores_are_told(module: nn.Module) -> None:
    with pytest.raises(nv.NetworkError, match="scores='segmentation'"):
        nv.Network(module, size=12)
    assert nv.Network(module, size=12, scores="segmentation").kind == "segmentation"


def test_what_is_told_and_is_not_there_is_refused() -> None:
    scores = nn.Sequential(segmenter(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for told in ("segmentation", "detection"):
        with pytest.raises(nv.NetworkError, match=f"scores='{told}' are .*, and this module returns shape"):
            nv.Network(scores, size=12, scores=told)


def test_who_is_no_segmentation_has_no_maps_of_classes(x: Tensor) -> None:
    trace = nv.Network(nn.Sequential(segmenter(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=12).trace(x)
    for ask in (lambda: trace.score_maps, lambda: trace.labels, trace.boxes):
        with pytest.raises(nv.MethodNotApplicableError, match="it is no"):
            ask()


class Finder(nn.Module):
    """Two boxes a picture, whose scores are the sigmoids of the means of its left and of its right half."""

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        found = []
        for left, right in zip(x[..., : x.shape[3] // 2], x[..., x.shape[3] // 2 :], strict=True):
            boxes = torch.tensor([[0.0, 0, 8, 12], [8.0, 0, 16, 12]])
            scores = torch.stack([left.mean(), right.mean()]).sigmoid()
            found.append({"boxes": boxes, "labels": torch.tensor([2, 1]), "scores": scores})
        return found


def test_boxes_are_a_detection(x: Tensor) -> None:
    network = nv.Network(Finder(), size=(12, 16), classes=["", "cat", "dog"])
    assert network.kind == "detection"
    trace = network.trace(x)
    left, right = x[..., :8].mean((1, 2, 3)).sigmoid(), x[..., 8:].mean((1, 2, 3)).sigmoid()
    torch.testing.assert_close(trace.scores.detach(), torch.stack([torch.zeros(2), right, left], 1))
    torch.testing.assert_close(trace.gradient("dog"), by_hand(lambda x: x[..., :8].mean((1, 2, 3)).sigmoid(), x))
    first, second = trace.boxes(1)
    assert (first.label, first.name, first.corners) == (2, "dog", (0, 0, 8, 12))
    assert second.score == pytest.approx(right[1].item())
    assert [name for _, name, _ in trace.top()] == (["dog", "cat"] if left[0] > right[0] else ["cat", "dog"])
    with pytest.raises(nv.NetworkError, match="How many classes"):
        nv.Network(Finder(), size=(12, 16))
    with pytest.raises(nv.NetworkError, match="box of class 2, and has 2 classes"):
        nv.Network(Finder(), size=(12, 16), classes=["", "cat"]).trace(x)


def test_torchvisions_detection_is_known() -> None:
    torch.manual_seed(0)
    module = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=5, box_score_thresh=0.0
    ).eval()
    with torch.no_grad():  # so that boxes differ in their scores
        module.roi_heads.box_predictor.cls_score.weight.mul_(300)
    network = nv.Network(module, size=64)
    assert network.kind == "detection"
    assert len(network.classes) == 5
    assert network.preprocess.mean == (0, 0, 0)
    x = torch.rand(1, 3, 64, 64)
    trace = network.trace(x)
    (found,) = module(x)
    assert [b.score for b in trace.boxes()] == pytest.approx(found["scores"].tolist(), rel=1e-4)
    label = int(found["labels"][0])
    assert trace.best == [label]
    expected = by_hand(lambda x: module(x)[0]["scores"][:1], x)
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(trace.gradient(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
