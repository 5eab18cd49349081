"""What the maps are worth: where they point, whether they depend on the weights, what they predict; beside chance.

No times here. The published numbers are TorchRay's, of another network (ResNet-50) and other pictures (VOC07): they stand
beside ours for their order alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from captum.attr import IntegratedGradients

import nbcnnviz as nv
from nbcnnviz.metrics import cascade, grid_pointing, insertion, mosaic, object_mask, pointing
from tests.benchmarks.table import Row

PUBLISHED = {
    "centre": 69.6,
    "gradient": 72.3,
    "deconvnet": 68.6,
    "guided_backprop": 77.2,
    "excitation_backprop": 84.5,
    "contrastive_excitation_backprop": 90.7,
    "rise": 86.4,
    "grad_cam": 90.4,
    "extremal_perturbation": 88.9,
}
"""The pointing game on VOC07, ResNet-50, all objects, in per cent (Fong et al. 2019, table 1)."""

ORDER = (
    ("centre", "gradient"),
    ("gradient", "guided_backprop"),
    ("guided_backprop", "excitation_backprop"),
    ("excitation_backprop", "grad_cam"),
    ("excitation_backprop", "rise"),
    ("gradient", "grad_cam"),
    ("gradient", "rise"),
)
"""Which is asked to point no better than which."""

SMOOTHED = ("gradient", "deconvnet", "guided_backprop")
"""What is blurred by a fiftieth of the picture before it points, there as here."""

AT_THE_MIDDLE = ("excitation_backprop", "contrastive_excitation_backprop")
"""What looks at a layer in the middle, there as here."""

CELLS = (("chelsea", "coffee", "motorcycle", "camera"), ("rocket", "camera", "coffee", "chelsea"))
"""The photographs of each mosaic."""


def tables(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Every table of this section; fewer pictures and masks for fewer rounds."""
    net, quick = nv.load_network(), rounds <= 7
    yield "Pointing game, bundled network: % of objects (and of classes, on average)", pointing_game(net, quick)
    yield "Grid pointing: share of the positive values in the right one of four cells, chance 25 %", grids(net, quick)
    yield "Rank correlation with the map of the network without its weights", randomised(net)
    yield "Insertion: area under the curve of Grad-CAM, beside random maps as coarse", inserted(net, quick)
    yield "Integrated gradients, 50 steps: what is missing to completeness, in %", complete(net, quick)


def pointing_game(net: nv.Network, quick: bool, names: Iterable[str] = tuple(PUBLISHED)) -> list[Row]:
    """How often each method's maximum lies on the object, within 15 pixels."""
    counted = hits(net, [name for name in names if name == "centre" or name in nv.methods()], 8 if quick else 30, quick)
    shares = {name: 100 * _mean([v for values in found.values() for v in values]) for name, found in counted.items()}
    count = sum(len(values) for values in counted["chance"].values())
    rows = []
    for name, share in shares.items():
        note = f"by class {100 * _mean([_mean(v) for v in counted[name].values()]):.1f}"
        note += f"; TorchRay {PUBLISHED[name]}" if name in PUBLISHED else f"; {count} objects"
        rows.append(Row(name, f"{share:.1f}", note=note))
    for low, high in ORDER:
        if low in shares and high in shares:
            note = "76.3 to 75.9 for VGG-16 there, too" if (low, high) == ("gradient", "guided_backprop") else ""
            rows.append(
                Row(f"{high} - {low}", f"{shares[high] - shares[low]:+.1f}", ">= 0", shares[high] >= shares[low], note)
            )
    return rows


def hits(net: nv.Network, names: list[str], count: int, quick: bool) -> dict[str, dict[str, list[float]]]:
    """By method and by kind of object: 1 or 0 for each object of the samples and of random composed pictures."""
    pictures = [
        (nv.load_image(name), nv.sample_boxes(name)) for name in nv.samples("photographs") + nv.samples("composed")
    ]
    pictures += [(one.picture, one.objects) for one in nv.composed(count, seed=0)]
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in ("chance", *names)}
    for picture, objects in pictures:
        trace = net.trace(picture)
        for kind in dict.fromkeys(thing.name for thing in objects):
            things = [thing for thing in objects if thing.name == kind]
            mask = torch.stack([object_mask(net, picture, thing) for thing in things]).any(0)
            target = likeliest(trace, things[0].classes)
            for name in names:
                score = pointing(map_to_point(trace, name, target, quick), mask, smooth=0.02 if name in SMOOTHED else 0)
                found[name][kind].append(score.value)
            found["chance"][kind].append(float(score.chance or 0))
    return found


def likeliest(trace: nv.Trace, classes: Iterable[str]) -> nv.ClassScore:
    """Of the classes that an object may be taken for, the one with the highest score."""
    return max(map(nv.ClassScore, classes), key=lambda target: float(target(trace).detach()[0]))


def map_to_point(trace: nv.Trace, name: str, target: nv.ClassScore, quick: bool) -> nv.Attribution:
    """The map of a method, of gradients the largest magnitude over the channels."""
    if name == "centre":
        values = torch.zeros(1, 1, *trace.size)
        values[..., trace.size[0] // 2, trace.size[1] // 2] = 1
        return nv.Attribution(values, target, "input", trace, method=name)
    layer = {"layer": middle(trace.network)} if name in AT_THE_MIDDLE else {}
    result = nv.attribute(trace, method=name, target=target, **layer, **cheap(name, quick))
    return replaced(result, result.values.abs().amax(1, keepdim=True)) if name in SMOOTHED else result


def middle(net: nv.Network) -> str:
    """The last layer whose maps have twice the side of the last maps: layer3 of a ResNet."""
    last = net.layers[net.last_maps or ""].places or (1, 1)
    return [name for name, known in net.layers.items() if known.spatial and known.places == (2 * last[0], 2 * last[1])][
        -1
    ]


def replaced(result: nv.Attribution, values: torch.Tensor) -> nv.Attribution:
    """A map with other values."""
    return replace(result, values=values.detach())


def cheap(name: str, quick: bool) -> dict[str, Any]:
    """Options that keep the methods of many passes to some hundred passes, or to some dozens."""
    many, few = (128, 8) if quick else (1000, 32)
    options: dict[str, dict[str, Any]] = {
        "rise": {"masks": many},
        "score_cam": {"channels": 2 * few},
        "occlusion": {"window": 64, "stride": 32},
        "integrated_gradients": {"steps": few},
        **{noisy: {"samples": few} for noisy in ("smooth_grad", "smooth_grad_squared", "var_grad")},
    }
    found = options.get(name, {})
    known = nv.methods()[name].options
    for option, value in (("samples", 4 * few), ("steps", 4 * few)):
        if not found and option in known:
            found = {option: value}
    return found


def grids(net: nv.Network, quick: bool) -> list[Row]:
    """The share of each method, over every cell of the mosaics."""
    shares: dict[str, list[float]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for names in CELLS[: 1 if quick else None]:
        tiles = mosaic(net, list(names))
        trace = net.trace(tiles.input)
        for name in nv.methods():
            try:
                for which, c in enumerate(tiles.classes):
                    result = nv.attribute(trace, method=name, target=c, **cheap(name, quick))
                    shares[name].append(grid_pointing(result, tiles, which).value)
            except nv.NbcnnvizError as error:
                reasons[name] = str(error)
    rows = [Row("chance", "25.0")]
    for name, found in sorted(shares.items(), key=lambda item: -_mean(item[1])):
        each = " ".join(f"{100 * share:.0f}" for share in found)
        rows.append(Row(name, f"{100 * _mean(found):.1f}", note=each))
    return [*rows, *(Row(name, "-", note=reason[:80]) for name, reason in reasons.items())]


def randomised(net: nv.Network) -> list[Row]:
    """Gradient and Grad-CAM change with the weights, and guided backprop does not (Adebayo et al. 2018)."""
    rows = []
    for name in ("saliency", "input_x_gradient", "grad_cam", "guided_backprop", "deconvnet"):
        stages = list(cascade(net, "chelsea", method=name, stages=4))
        told = " ".join(f"{stage.correlation:.2f}" for stage in stages)
        rows.append(Row(name, f"{stages[1].correlation:.2f}", note=f"after a quarter of the modules; all: {told}"))
    return rows


def inserted(net: nv.Network, quick: bool) -> list[Row]:
    """Of every sample."""
    rows = []
    for name in nv.samples():
        trace = net.trace(name)
        curve = insertion(trace, nv.attribute(trace, method="grad_cam"), steps=16 if quick else 50, random_maps=3)
        rows.append(
            Row(name, f"{curve.auc:.3f}", f"> {curve.chance:.3f}", curve.auc > (curve.chance or 0), trace.top(1)[0][1])
        )
    return rows


def complete(net: nv.Network, quick: bool) -> list[Row]:
    """Ours beside Captum's, which is as far off: the kinks of ReLU6 ask for more steps."""
    rows, captum = [], IntegratedGradients(net.module)
    for name in nv.samples("photographs")[: 3 if quick else None]:
        trace = net.trace(name)
        x, c = trace.input.detach(), trace.top(1)[0][0]
        zero = torch.zeros_like(x)
        result = nv.attribute(trace, method="integrated_gradients", target=c, baseline=zero)
        difference = float((trace.scores.detach() - net.scores(zero))[0, c])
        theirs = captum.attribute(x, zero, target=c, n_steps=50, method="gausslegendre", internal_batch_size=10)
        ours, other = (
            100 * abs(float(v.double().sum()) - difference) / abs(difference) for v in (result.values, theirs)
        )
        rows.append(Row(name, f"{ours:.2f}", note=f"Captum {other:.2f}"))
    return rows


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
