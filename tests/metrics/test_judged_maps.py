"""What the judges say of the methods on the bundled network, and of methods where the answer is exact.

The tables of all methods and pictures are those of ``python -m tests.benchmarks judging``.
"""

from __future__ import annotations

import gc

import psutil
import pytest
import torch
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.metrics import cascade, grid_pointing, insertion, mosaic, object_mask, pointing

PICTURES = ("chelsea", "coffee", "camera", "cat_above_cup", "cat_and_tripod")


@pytest.mark.parametrize(("method", "changes"), [("saliency", True), ("grad_cam", True), ("guided_backprop", False)])
def test_what_a_map_depends_on_shows_when_the_top_modules_are_drawn_anew(bundled, method, changes) -> None:
    """Adebayo et al. 2018: the gradient and Grad-CAM change, guided backprop goes on restoring edges."""
    stages = cascade(bundled, "chelsea", method=method, stages=4)
    assert next(stages).correlation == 1
    correlation = next(stages).correlation
    assert correlation < 0.6 if changes else correlation > 0.95


@pytest.mark.parametrize("name", PICTURES)
def test_what_grad_cam_shows_first_brings_the_class_sooner_than_chance(bundled, name) -> None:
    trace = bundled.trace(name)
    curve = insertion(trace, nv.attribute(trace, method="grad_cam"), steps=10, random_maps=2)
    assert curve.auc > 1.1 * curve.chance
    assert curve.values[0] < 0.02 * curve.values[-1], "nothing of the class is left in what it begins with"


def test_grad_cam_points_at_pasted_objects_better_than_gradients_and_these_better_than_the_centre(bundled) -> None:
    hits: dict[str, list[float]] = {"centre": [], "gradient": [], "grad_cam": []}
    for one in nv.composed(12, seed=1):
        trace = bundled.trace(one.picture)
        for thing in one.objects:
            where = object_mask(bundled, one.picture, thing)
            target = max(map(nv.ClassScore, thing.classes), key=lambda asked: float(asked(trace).detach()[0]))
            gradient = nv.attribute(trace, method="saliency", target=target)
            hits["gradient"].append(pointing(gradient, where, smooth=0.02).value)
            hits["grad_cam"].append(pointing(nv.attribute(trace, method="grad_cam", target=target), where).value)
            centre = torch.zeros(1, 1, *trace.size)
            centre[..., trace.size[0] // 2, trace.size[1] // 2] = 1
            hits["centre"].append(pointing(nv.Attribution(centre, target, "input", trace), where).value)
    shares = {name: sum(values) / len(values) for name, values in hits.items()}
    assert len(hits["centre"]) == 24
    assert shares["centre"] < shares["gradient"] < shares["grad_cam"], shares
    assert shares["grad_cam"] > 0.9


def test_in_a_mosaic_grad_cam_finds_the_picture_whose_class_is_asked(bundled) -> None:
    tiles = mosaic(bundled, ["chelsea", "coffee", "motorcycle", "camera"])
    trace = bundled.trace(tiles.input)
    for method, least in (("grad_cam", 0.6), ("layer_cam", 0.3)):
        shares = [
            grid_pointing(nv.attribute(trace, method=method, target=c), tiles, which).value
            for which, c in enumerate(tiles.classes)
        ]
        assert sum(shares) / 4 > least, (method, shares)
    guided = [
        grid_pointing(nv.attribute(trace, method="guided_backprop", target=c), tiles, which).value
        for which, c in enumerate(tiles.classes)
    ]
    assert sum(guided) / 4 < 0.4, "it shows all four pictures, whichever class is asked"


class Cells(nn.Module):
    """Four cells that know nothing of one another: class c is what the c-th quarter of the picture says of it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        )
        self.maps = nn.Identity()
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        quarters = [self.features(part.contiguous()) for row in x.chunk(2, 2) for part in row.chunk(2, 3)]
        maps = self.maps(torch.cat([torch.cat(quarters[:2], 3), torch.cat(quarters[2:], 3)], 2))
        parts = [part for row in maps.chunk(2, 2) for part in row.chunk(2, 3)]
        return torch.cat([self.head(part.mean((2, 3))) for part in parts], 1)


EXACT = {
    "saliency": {}, "gradient": {}, "input_x_gradient": {}, "guided_backprop": {}, "deconvnet": {},
    "integrated_gradients": {"steps": 4}, "smooth_grad": {"samples": 3}, "smooth_grad_squared": {"samples": 3},
    "var_grad": {"samples": 3}, "occlusion": {"window": 4, "stride": 4}, "hires_cam": {"layer": "maps"},
    "layer_cam": {"layer": "maps"},
    "excitation_backprop": {}, "contrastive_excitation_backprop": {}, "lrp": {},
}  # fmt: skip


@pytest.mark.parametrize("method", EXACT)
def test_what_has_no_part_in_the_score_gets_exactly_nothing(method) -> None:
    """DiFull (Rao et al. 2022, arXiv 2205.10435): in a mosaic of disconnected cells the others' share is zero."""
    torch.manual_seed(0)
    net = nv.Network(Cells(), size=32)
    trace = net.trace(torch.randn(1, 3, 32, 32))
    for which in range(4):
        result = nv.attribute(trace, method=method, target=which, **EXACT[method])
        side = result.values.shape[2] // 2
        row, column = divmod(which, 2)
        own = torch.zeros(result.values.shape[2:], dtype=torch.bool)
        own[row * side : (row + 1) * side, column * side : (column + 1) * side] = True
        found = result.values.detach()
        assert found[..., own].abs().max() > 0
        # Occlusion takes the difference of two scores, each rounded.
        assert found[..., ~own].abs().max() <= (1e-6 if method == "occlusion" else 0)


def test_rise_stops_within_a_batch_and_takes_no_more_memory_as_it_goes_on(bundled) -> None:
    frames = nv.attribute.stream(bundled, "chelsea", method="rise", masks=4000, batch=8)
    held, process = [], psutil.Process()
    for frame in frames:
        if frame.step in (80, 240):
            gc.collect()
            held.append(process.memory_info().rss)
        if frame.step == 240:
            break
    frames.close()
    assert frame.steps == 4000
    assert frame.step == 240, "a frame a batch: whoever stops waits for one batch at most"
    assert bool(frame.error.isfinite().all()), "what was found until then stays, with its standard error"
    # The masked pictures of those 160 masks alone are 96 MB.
    assert held[1] - held[0] < 40e6
    assert next(frames, None) is None
