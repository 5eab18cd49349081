"""Class activation maps without gradients: what the score does as a layer's maps are shown, taken away or kept alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.attribution.cams import head_weight, weighted_sum
from nbcnnviz.attribution.method import About, Frames, method
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.attribution.sampling import batch_size, batches
from nbcnnviz.core.errors import MethodNotApplicableError, NbcnnvizError
from nbcnnviz.core.options import option
from nbcnnviz.core.targets import ClassScore, Target
from nbcnnviz.core.targets.batches import one_by_one
from nbcnnviz.core.trace import Trace
from nbcnnviz.render import upscaled

_LEAST_SHARE = 0.01


@method(
    "Score-CAM",
    family="cams",
    needs_layer=True,
    cost="channels x F",
    passes=lambda options, trace: _channels(options, trace) * len(trace),
    about=About(
        formula=(
            r"\mathrm{relu}\Big(\sum_k w_k A_k\Big),\quad w = \mathrm{softmax}_k\, S\big(I \odot "
            r"\uparrow\! \tfrac{A_k - \min}{\max - \min}\big)"
        ),
        source="Wang et al. 2020, equations 3 to 5 (arXiv 1910.01279)",
        promises="Weights are measured, not differentiated: it works where gradients are saturated or missing.",
        weaknesses=(
            "One pass a channel. The softmax of logits lets a few channels decide; masked pictures are "
            "unlike any the network was trained on."
        ),
        oracle="A loop by hand; correlation above 0.999 with the maps of pytorch-grad-cam `ScoreCAM`",
    ),
)
def score_cam(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    channels: int | None = option(
        None, low=1, high=65536, kind="int", help="Only so many channels, those of the largest variance; none: all."
    ),
    batch: int | None = option(
        None, low=1, high=4096, kind="int", screen=False, help="Masked pictures a pass; none: as memory allows."
    ),
) -> Frames:
    """relu(sum_k w_k A_k), w the softmax over k of the score of the picture masked by A_k, scaled up, from 0 to 1.

    Wang et al. 2020, equations 3 to 5. With fewer ``channels`` it is their quick form: those whose maps vary most. A
    frame has the channels tried so far. A channel that is the same everywhere masks everything: those share one pass.
    """
    maps, x = trace.maps(layer), trace.input.detach()
    n, count = maps.shape[:2]
    variance = maps.flatten(2).var(2, unbiased=False)
    flat = maps.amax((2, 3)) == maps.amin((2, 3))
    order = variance.masked_fill(flat, -1).argsort(dim=1, descending=True, stable=True)
    tried = min(count, channels or count)
    passes = min(tried, max(1, count - int(flat.sum(1).min())))
    asked = [None if _alone(target) else target.of_picture(i) for i in range(1 if _alone(target) else n)]
    score = [trace.network.scorer(part, pictures=passes * (n // len(asked))) for part in asked]
    scores = torch.full((n, count), -torch.inf, dtype=torch.float64)

    def ask(picture: int, pictures: Tensor) -> Tensor:
        given = score[min(picture, len(score) - 1)](pictures)
        return (given if not _alone(target) else _class_of(given, target, trace, picture)).double().cpu()

    for i in range(n) if passes < tried else ():
        scores[i, order[i, passes:tried].cpu()] = ask(i, torch.zeros_like(x[i : i + 1]))

    def run(begin: int, end: int) -> Tensor:
        found = []
        for i in range(n):
            masks = upscaled(maps[i : i + 1, order[i, begin:end]], trace.size)[0]
            low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
            masks = (masks - low) / (high - low).clamp_min(1e-12)
            masks[flat[i, order[i, begin:end]]] = 0  # scaled up, rounding makes numbers of it
            found.append(ask(i, x[i] * masks[:, None]))
        return torch.stack(found)

    size = batch_size(trace.network, graph=False, batch=batch)
    for done, found in batches(passes, size, run):
        places = order[:, done - found.shape[1] : done].cpu()
        scores.scatter_(1, places, found)
        weights = scores.softmax(1).to(maps)
        yield Attribution(weighted_sum(maps, weights).relu(), target, layer, trace, step=done, steps=passes)


@method(
    "Ablation-CAM",
    family="cams",
    needs_layer=True,
    cost="channels x F from the layer",
    passes=lambda options, trace: _ablations(options, trace),
    about=About(
        formula=r"\mathrm{relu}\Big(\sum_k w_k A_k\Big),\quad w_k = \frac{y - y_k}{y}",
        source="Desai & Ramaswamy 2020, equation 3",
        promises=(
            "Each weight is a measured drop of the score. With an average and a Linear layer it is known "
            "in closed form, for no pass at all."
        ),
        weaknesses=(
            "Weighs by the score itself, which must not be near zero; channels that act together are "
            "taken away one by one only."
        ),
        oracle="A loop by hand; correlation above 0.999 with the maps of pytorch-grad-cam `AblationCAM`",
    ),
)
def ablation_cam(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    batch: int | None = option(
        None, low=1, high=4096, kind="int", screen=False, help="Channels a pass; none: as memory allows."
    ),
) -> Frames:
    """relu(sum_k w_k A_k), w_k = (y - y_k) / y: how much the score drops without channel k (Desai & Ramaswamy 2020, eq. 3).

    Where the scores are one linear layer over the maps' average, in closed form: y - y_k = W[c,k] mean(A_k). Elsewhere
    the network runs from the layer on.

    A score y of nearly zero cannot be a measure, and is refused.
    """
    maps = trace.maps(layer)
    n, count = maps.shape[:2]
    y = _score_of(trace, target).double().cpu()
    if bool((y.abs() <= 1e-6 * trace.scores.detach().abs().amax().cpu().clamp_min(1e-12)).any()):
        raise MethodNotApplicableError(
            "Ablation-CAM measures each drop by the score itself, which is nearly zero here: choose another class, or "
            "Score-CAM."
        )
    closed = _closed_form(trace, target, layer)
    if closed is not None:
        weights = (closed.double().cpu() / y[:, None]).to(maps)
        yield Attribution(weighted_sum(maps, weights).relu(), target, layer, trace)
        return
    ways = [_from_layer(trace, target, layer, i) for i in range(n)]

    def drop(i: int, begin: int, end: int) -> Any:
        stack = maps[i : i + 1].repeat(end - begin, 1, 1, 1)
        stack[torch.arange(end - begin), torch.arange(begin, end)] = 0
        return y[i] - ways[i](stack).double().cpu()

    for done, drops in _measured(trace, count, batch, drop):
        weights = (drops / y[:, None]).to(maps)
        yield Attribution(weighted_sum(maps, weights).relu(), target, layer, trace, step=done, steps=count)


@method(
    "Recipro-CAM",
    family="cams",
    needs_layer=True,
    cost="places x F from the layer",
    passes=lambda options, trace: _places(options, trace) * _share_from(trace, options["layer"]) * len(trace),
    about=About(
        formula=r"M_{ij} = P\big(c \mid A \odot G_{ij}\big)",
        source="Byun & Lee 2022, equation 4 (arXiv 2209.14074)",
        promises="No gradient; a probability for each place, from one batch through the top of the network.",
        weaknesses="As coarse as the layer. What needs two places at once is not seen.",
        oracle="A loop by hand over the places",
    ),
)
def recipro_cam(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    batch: int | None = option(
        None, low=1, high=4096, kind="int", screen=False, help="Places a pass; none: as memory allows."
    ),
) -> Frames:
    """The class's probability when the layer's maps are kept at one place and are zero elsewhere (Byun & Lee 2022).

    "Kept" by a window of 3 x 3 of a Gaussian, a quarter of the maps at the place itself (arXiv 2209.14074, equation 4);
    the network runs from the layer on. Of another target than a class it is the score.
    """
    maps = trace.maps(layer)
    n, _, height, width = maps.shape
    places = height * width
    kernel = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])).to(maps) / 16
    ways = [_from_layer(trace, None if _alone(target) else target, layer, i) for i in range(n)]

    def kept(i: int, begin: int, end: int) -> Any:
        windows = maps.new_zeros(end - begin, 1, height + 2, width + 2)  # of all places at once they may not fit
        for at in range(begin, end):
            row, column = divmod(at, width)
            windows[at - begin, 0, row : row + 3, column : column + 3] = kernel
        given = ways[i](maps[i : i + 1] * windows[..., 1:-1, 1:-1])
        if _alone(target):
            probabilities = trace.network.head.probabilities(given.float())
            given = probabilities[:, target.indices(trace)[i]]  # type: ignore[attr-defined]
        return given

    for done, values in _measured(trace, places, batch, kept):
        shown = values.to(maps).view(n, 1, height, width)
        yield Attribution(shown.clone(), target, layer, trace, step=done, steps=places)


def _channels(options: Mapping[str, Any], trace: Trace) -> float:
    layer = trace.network.layers.get(options["layer"])
    return float(min(layer.filters if layer else 0, options.get("channels") or math.inf))


def _places(options: Mapping[str, Any], trace: Trace) -> float:
    layer = trace.network.layers.get(options["layer"])
    return float(math.prod(layer.places)) if layer and layer.places else 0.0


def _ablations(options: Mapping[str, Any], trace: Trace) -> float:
    with suppress(NbcnnvizError):
        head_weight(trace, options["layer"])
        return 0.0  # in closed form
    return _channels(options, trace) * _share_from(trace, options["layer"]) * len(trace)


def _share_from(trace: Trace, layer: str) -> float:
    """About which share of a pass it takes from a layer on, by what the layers return; the last layers are not for free."""
    layers = trace.network.layers
    sizes = [math.prod(made.shape) for made in layers.values()]
    after = sizes[[*layers].index(layer) + 1 :] if layer in layers else []
    return max(sum(after) / max(1, sum(sizes)), _LEAST_SHARE)


def _measured(
    trace: Trace, count: int, batch: int | None, one: Callable[[int, int, int], Any]
) -> Iterator[tuple[int, Tensor]]:
    """After each batch how many changes are measured, and the scores of all, (N, count), zero where they are to come.

    ``one(picture, begin, end)`` runs the network from the layer on, for some of the changes of one picture's maps.
    """
    values = torch.zeros(len(trace), count, dtype=torch.float64)

    def run(begin: int, end: int) -> Tensor:
        return torch.stack([one(i, begin, end).double().cpu() for i in range(len(trace))])

    size = 4 * batch_size(trace.network, graph=False, batch=batch) if batch is None else batch
    for done, found in batches(count, size, run):
        values[:, done - found.shape[1] : done] = found
        yield done, values


def _alone(target: Target) -> bool:
    """Whether the target is the score of a class, which all scores of a pass hold."""
    return isinstance(target, ClassScore)


def _class_of(scores: Tensor, target: Target, trace: Trace, picture: int) -> Tensor:
    """The class's score, (B,), of scores (B, K)."""
    assert isinstance(target, ClassScore)
    return trace.network.head.class_scores(scores)[:, target.indices(trace)[picture]]


def _score_of(trace: Trace, target: Target) -> Tensor:
    return one_by_one(target, trace).detach()


def _from_layer(trace: Trace, target: Target | None, layer: str, picture: int):  # type: ignore[no-untyped-def]
    """The scores of a stack of the layer's maps, for one picture of the trace."""
    target = None if target is None else target.of_picture(picture)
    return trace.network.scorer(target, replace=layer, picture=trace.input[picture : picture + 1].detach())


def _closed_form(trace: Trace, target: Target, layer: str) -> Tensor | None:
    """What each channel adds to the score, (N, C), where the head is linear in the maps' average; else None."""
    if not isinstance(target, ClassScore):
        return None
    try:
        weight = head_weight(trace, layer)
    except MethodNotApplicableError:
        return None
    return weight[list(target.indices(trace))] * trace.maps(layer).mean((2, 3))
