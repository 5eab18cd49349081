"""What the maps are worth: where they point, whether they depend on the weights, what they predict; beside chance.

No times here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, islice

import torch
from captum.attr import IntegratedGradients

import nbcnnviz as nv
from nbcnnviz.metrics import cascade, grid_pointing, insertion, mosaic
from tests.benchmarks import pointing
from tests.benchmarks.pointing import cheap, mean
from tests.benchmarks.table import Row

CELLS = (("chelsea", "coffee", "motorcycle", "camera"), ("rocket", "camera", "coffee", "chelsea"))
"""The photographs of each mosaic."""


def tables(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Every table of this section; fewer pictures and masks for fewer rounds, and RISE with all its masks for many."""
    net, quick = nv.load_network(), rounds <= 7
    yield (
        "Pointing game, bundled network: % of objects by class on average, all / difficult",
        pointing.table(net, 8 if quick else 30, few(quick)),
    )
    if rounds >= 40:
        yield "The same with RISE's 4,000 masks, on seven pictures", rise_pointing(net)
    yield "Grid pointing: share of the positive values in the right one of four cells, chance 25 %", grids(net, quick)
    yield "Rank correlation with the map of the network without its weights", randomised(net)
    yield "Insertion: area under the curve of Grad-CAM, beside random maps as coarse", inserted(net, quick)
    yield "Integrated gradients, 50 steps: what is missing to completeness, in %", complete(net, quick)


def few(quick: bool) -> int:
    """How many passes the methods of many passes have, or a fourth of them."""
    return 8 if quick else 32


def rise_pointing(net: nv.Network) -> list[Row]:
    """RISE as published, beside the others of the order, on seven pictures: twenty minutes on one thread.

    One run of a picture's masks serves all its objects.
    """
    photographs = islice(pointing.known("photographs"), 2)
    pictures = chain(photographs, pointing.two_objects(3), pointing.one_object(2))
    names = dict.fromkeys(chain.from_iterable(pointing.ORDER))
    return pointing.rows(pointing.hits(net, pictures, names, few(False), {"rise": {"masks": 4000}}))


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
                    result = nv.attribute(trace, method=name, target=c, **cheap(name, few(quick)))
                    shares[name].append(grid_pointing(result, tiles, which).value)
            except nv.NbcnnvizError as error:
                reasons[name] = str(error)
    rows = [Row("chance", "25.0")]
    for name, found in sorted(shares.items(), key=lambda item: -mean(item[1])):
        each = " ".join(f"{100 * share:.0f}" for share in found)
        rows.append(Row(name, f"{100 * mean(found):.1f}", note=each))
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
    """Of every sample; of how many random maps the area is above, since these differ."""
    rows, count = [], 8 if quick else 24
    for name in nv.samples():
        trace = net.trace(name)
        curve = insertion(trace, nv.attribute(trace, method="grad_cam"), steps=16 if quick else 50, random_maps=count)
        chance, below = curve.chance or 0, sum(area < curve.auc for area in curve.random)
        _, label, probability = trace.top(1)[0]
        note = f"above {below} of {count}; {label}, {100 * probability:.0f} %"
        rows.append(Row(name, f"{curve.auc:.3f}", f"> {chance:.3f}", curve.auc > chance, note))
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
