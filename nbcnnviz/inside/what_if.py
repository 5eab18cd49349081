"""What the network would say if a filter were off, weaker or stronger, or a part of the picture not there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.attribution.sampling import baseline
from nbcnnviz.core.errors import FilterRangeError, ImageError, MethodNotApplicableError, UnknownOptionError
from nbcnnviz.core.network import Network
from nbcnnviz.core.preprocess import to_pictures
from nbcnnviz.core.scoring import FromLayer, Scorer
from nbcnnviz.core.targets import whole_number
from nbcnnviz.core.trace import Trace

Box = tuple[float, float, float, float]
Region = Literal["hide", "keep"]
REGIONS = ("hide", "keep")

_KEPT = 2  # scorers, of the last layers and regions asked about


@dataclass(frozen=True, eq=False)
class WhatIf:
    """The scores of a picture as it is, and as it would be.

    Attributes
    ----------
    network : Network
        Whose scores they are.
    before, after : Tensor
        The scores of the classes, (C,): logits, or values.
    change : str
        What was changed, in words.
    input : Tensor
        What the network was given, (1, C, H, W).
    """

    network: Network
    before: Tensor
    after: Tensor
    change: str
    input: Tensor
    _scores: tuple[Tensor, Tensor]

    def __repr__(self) -> str:
        said = ", ".join(f"{name} {before:.3g} -> {after:.3g}" for _, name, before, after in self.top(3))
        return f"<What if {self.change}: {said}>"

    @property
    def probabilities(self) -> tuple[Tensor, Tensor]:
        """The probability of each class before and after, (C,).

        Raises
        ------
        MethodNotApplicableError
            If the network returns values or an embedding.
        """
        before, after = (self.network.head.probabilities(scores)[0] for scores in self._scores)
        return before, after

    def top(self, k: int = 5) -> list[tuple[int, str, float, float]]:
        """The classes that are among the ``k`` likeliest before or after, likeliest before first.

        Each with its index, its name, and its probability before and after; of a network of values, the values.
        """
        k = whole_number("The number of classes", k, at_least=1)
        try:
            before, after = self.probabilities
        except MethodNotApplicableError:
            before, after = self.before, self.after
        k = min(k, len(before))
        shown = {*before.topk(k).indices.tolist(), *after.topk(k).indices.tolist()}
        order = sorted(shown, key=lambda index: -float(before[index]))
        return [(i, self.network.classes[i], float(before[i]), float(after[i])) for i in order]

    @property
    def picture(self) -> Image.Image:
        """What the network was given, as a person can look at it."""
        return to_pictures(self.network.unprocess(self.input))[0]


def what_if(
    trace: Trace,
    layer: str | None = None,
    channel: int | Sequence[int] | None = None,
    *,
    scale: float = 0.0,
    box: Box | None = None,
    region: Region = "hide",
    fill: Any = "mean",
    picture: int = 0,
) -> WhatIf:
    """The scores of a picture with a filter off or scaled, with a part of it hidden, or with all but that part hidden.

    A filter is scaled from its layer on: what comes before is run once for each layer and region, so that every scale
    after the first costs less than a pass. The two changes may be made together.

    Parameters
    ----------
    trace
        Of the picture.
    layer, channel
        Which filters of which layer: one channel or several. Default: none.
    scale
        What they are multiplied by, at every place: 0 is off. Default: 0.
    box
        A part of the picture as the network saw it, ``(left, top, right, bottom)`` in pixels, right and bottom excluded.
        Default: none.
    region
        ``"hide"`` fills the part in, ``"keep"`` fills in all else.
    fill
        What with: ``"mean"``, the picture's mean colour, or another baseline as integrated gradients take it.
    picture
        Which of the batch.

    Raises
    ------
    MethodNotApplicableError
        If nothing is changed; if the layer has no channels, or what comes after it cannot be run by itself.
    FilterRangeError, UnknownLayerError, UnknownOptionError, ImageError
        If there is no such channel, layer, region or fill, or the box has no pixels of the picture.
    """
    if (channel is None) != (layer is None):
        raise MethodNotApplicableError("A filter is a channel of a layer: name both.")
    if channel is None and box is None:
        raise MethodNotApplicableError("Nothing is changed: name a layer and a channel of it, or a box of the picture.")
    if not math.isfinite(scale):
        raise UnknownOptionError(scale, (), "scale is a finite number: 0 is off, 1 as it is.")
    if not -len(trace) <= picture < len(trace):
        raise FilterRangeError(f"The trace has {len(trace)} pictures: there is no picture {picture}.")
    at = picture % len(trace)
    network, x = trace.network, trace.input[at : at + 1].detach()
    words = []
    if box is not None:
        x = with_region(trace, box, region, fill, at)
        words.append(f"the part ({', '.join(f'{edge:g}' for edge in box)}) {_SAID[region]}")
    if layer is not None and channel is not None:
        channels = [channel] if not isinstance(channel, Sequence) else list(channel)
        after = _with_channels(trace, x, layer, channels, scale, (at, box, region, _hashable(fill)))
        named = ", ".join(map(str, channels))
        words.append(f"channel {named} of {layer} {'off' if scale == 0 else f'times {scale:g}'}")
    else:
        after = _kept(trace, "whole", network.scorer)(x)
    scores = trace.scores.detach()[at : at + 1], after
    before_, after_ = (network.head.class_scores(s)[0].float().cpu() for s in scores)
    return WhatIf(network, before_, after_, " and ".join(words), x, (scores[0].float(), scores[1].float()))


_SAID = {"hide": "hidden", "keep": "alone"}


def with_region(trace: Trace, box: Box, region: str = "hide", fill: Any = "mean", picture: int = 0) -> Tensor:
    """The input (1, C, H, W) of a picture with a part of it hidden, or all but that part; see `what_if`."""
    if region not in REGIONS:
        raise UnknownOptionError(region, REGIONS, "A region is 'hide' or 'keep'.")
    height, width = trace.size
    edges = [float(edge) for edge in box]
    if len(edges) != 4 or not all(map(math.isfinite, edges)):
        raise ImageError(f"A box is (left, top, right, bottom), in pixels: not {box!r}.")
    left, right = (round(min(max(edge, 0), width)) for edge in edges[::2])
    top, bottom = (round(min(max(edge, 0), height)) for edge in edges[1::2])
    if left >= right or top >= bottom:
        raise ImageError(f"The box {tuple(edges)} has no pixels of the picture of {height} x {width}.")
    x = trace.input.detach()
    inside = torch.zeros(height, width, dtype=torch.bool, device=x.device)
    inside[top:bottom, left:right] = True
    shown = ~inside if region == "hide" else inside
    changed: Tensor = torch.where(shown, x, baseline(trace, fill))[picture : picture + 1]
    return changed


def _with_channels(
    trace: Trace, x: Tensor, layer: str, channels: Sequence[int], scale: float, key: tuple[Any, ...]
) -> Tensor:
    """The scores (1, K) of an input with channels of a layer's output scaled."""
    network = trace.network
    if layer not in network.layers:
        raise network.unknown_layer(layer)
    score = _kept(trace, (layer, *key), lambda: network.scorer(replace=layer, picture=x))
    assert isinstance(score, FromLayer)
    output = score.output
    layout = network.layout(layer, trace.size) if output.ndim > 2 else None
    if layout is None and output.ndim > 2:
        raise MethodNotApplicableError(
            f"Which axis of layer {layer!r} is its channels is not known: {network.layers[layer].reason}"
        )
    maps = output.clone() if layout is None else layout.maps(output).clone()
    for channel in channels:
        index = whole_number("A channel", channel)
        if not -maps.shape[1] <= index < maps.shape[1]:
            raise FilterRangeError(
                f"Layer {layer!r} has {maps.shape[1]} channels, 0 to {maps.shape[1] - 1}: there is no {index}."
            )
    maps[:, list(channels)] *= scale
    return score(maps)


def _kept(trace: Trace, key: Any, make: Any) -> Scorer | FromLayer:
    """A scorer that the trace remembers; of those from a layer on the last few."""
    kept: dict[Any, Any] = trace.memory.setdefault("what if", {})
    if key not in kept:
        for old in list(kept)[: max(0, len(kept) - _KEPT + 1)]:
            del kept[old]
        kept[key] = make()
    found: Scorer | FromLayer = kept[key]
    return found


def _hashable(what: Any) -> Any:
    return what if isinstance(what, str) else id(what)
