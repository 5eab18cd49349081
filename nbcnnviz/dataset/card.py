"""The unit card: everything about one filter on one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import ArgumentTypeError, GradientError, ImageError, MethodNotApplicableError, ScanError
from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Channel, ClassScore
from nbcnnviz.core.trace import Trace
from nbcnnviz.dataset.card_page import page
from nbcnnviz.dataset.patches import TopPatches, written
from nbcnnviz.dataset.scanning import fingerprint
from nbcnnviz.dataset.seeing import SeenPatch, seen_patch
from nbcnnviz.dataset.sources import Source, source_of
from nbcnnviz.inside import Links, Projection, Weights, project, reads, weights, writes
from nbcnnviz.inside.features import filters_first, strongest
from nbcnnviz.synthesis import feature_visualization

_CLASSES = 5

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class UnitCard:
    """All that is known of one filter. A part that cannot be had is None or empty, and ``missing`` says why.

    Attributes
    ----------
    network, layer : str
        Whose filter.
    channel : int
        Which.
    picture : PIL.Image.Image
        The picture that it was looked at on, as the network saw it.
    maps : Tensor
        (h, w): what the filter answered to it.
    projection : Projection or None
        The filter's strongest activation on it, carried down to the input.
    patches : tuple[SeenPatch, ...]
        What fires it most of all pictures scanned, strongest first.
    fires : float or None
        The share of those pictures in which it is above zero anywhere.
    quantiles : dict[float, float]
        Of its strongest activation in each of them.
    labels : tuple[tuple[str, float], ...]
        The labels that fire it most, with the mean of its strongest activation over their pictures.
    synthesised : PIL.Image.Image or None
        A picture made by gradient ascent to raise its mean activation.
    weights : Weights or None
        Of the layer that makes it; ``row`` is the filter's own.
    reads, writes : Links or None
        The filters that it reads from and writes to.
    classes : tuple[tuple[str, float], ...]
        For the most probable classes of the picture: the sum over places of gradient of the class score x activation.
    missing : dict[str, str]
        The parts that are not here, with the reason.
    """

    network: str
    layer: str
    channel: int
    picture: Image.Image
    maps: Tensor
    projection: Projection | None
    patches: tuple[SeenPatch, ...]
    fires: float | None
    quantiles: dict[float, float]
    labels: tuple[tuple[str, float], ...]
    synthesised: Image.Image | None
    weights: Weights | None
    reads: Links | None
    writes: Links | None
    classes: tuple[tuple[str, float], ...]
    missing: dict[str, str]

    def __repr__(self) -> str:
        return f"<UnitCard: filter {self.channel} of {self.layer}, {self.network}>"

    @property
    def row(self) -> Tensor | None:
        """The filter's own weights: (3, h, w), (I, h, w) or (I,)."""
        return None if self.weights is None else self.weights.values[self.channel % len(self.weights)]

    def html(self) -> str:
        """The page."""
        return page(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write one HTML file with everything in it.

        Raises
        ------
        ExportError
            If it cannot be written.
        """
        written(Path(path).expanduser(), self.html().encode())


def unit_card(
    source: Network | Trace,
    layer: str,
    channel: int,
    *,
    top: TopPatches | None = None,
    pictures: Any = None,
    steps: int = 128,
    synthesised: Image.Image | None = None,
) -> UnitCard:
    """Everything about one filter on one page.

    Parameters
    ----------
    source
        A trace, whose first picture the filter is looked at on; or a network, for the picture that fires it most, which
        needs ``top`` and ``pictures``.
    layer, channel
        The filter.
    top, pictures
        The result of a scan that looked at the layer, and the pictures that it was made of. Without the pictures the
        numbers of the scan are on the card, and no patches.
    steps
        Of the picture made by gradient ascent (`feature_visualization`); 0 for none.
    synthesised
        One that was made already.

    Raises
    ------
    UnknownLayerError, FilterRangeError
        If there is no such layer or filter.
    ScanError
        If the scan is of another network or of other pictures.
    ArgumentTypeError
        If a network is given and no pictures.
    """
    net = source.network if isinstance(source, Trace) else source
    pool = None if pictures is None else source_of(pictures)
    if top is not None and (top.network != fingerprint(net) or (pool is not None and top.source != pool.fingerprint())):
        raise ScanError("This scan is of another network, or of other pictures.")
    found = top.patches(layer, channel) if top is not None else []
    if isinstance(source, Trace):
        trace = source
    elif pool is not None and found:
        trace = net.trace(pool[found[0].picture][0])
    else:
        raise ArgumentTypeError("A unit card looks at a picture: give a trace, or a network with top= and pictures=.")
    strongest(trace, layer, channel)  # which checks the names
    maps = filters_first(trace, layer, trace[layer].detach(), 0)
    parts = _Parts()
    projection = parts.get("projection", lambda: project(trace, layer, channel))
    links = parts.get("reads", lambda: reads(trace, layer, channel))
    card = UnitCard(
        net.name,
        layer,
        channel,
        trace.pictures[0],
        maps[channel].float().cpu(),
        projection,
        _seen(net, pool, top, layer, channel, parts),
        None if top is None else top.fires(layer, channel),
        {} if top is None else {q: top.quantile(layer, channel, q) for q in (0.5, 0.9, 0.99)},
        () if top is None else tuple(top.classes(layer, channel)),
        synthesised or (parts.get("synthesised", lambda: _synthesised(net, layer, channel, steps)) if steps else None),
        None if links is None else parts.get("weights", lambda: weights(net, links.through)),
        links,
        parts.get("writes", lambda: writes(trace, layer, channel)),
        parts.get("classes", lambda: _classes(trace, layer, channel)) or (),
        parts.missing,
    )
    if top is None:
        parts.missing["patches"] = "No pictures were scanned: give top= and pictures=."
    return card


class _Parts:
    """Parts that may have no meaning for a filter, with the reasons of those that have none."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}

    def get(self, name: str, make: Callable[[], T]) -> T | None:
        """The part; None if it has no meaning here."""
        try:
            return make()
        except (MethodNotApplicableError, GradientError, ImageError, LookupError) as error:
            self.missing[name] = str(error)
            return None


def _seen(
    net: Network, pool: Source | None, top: TopPatches | None, layer: str, channel: int, parts: _Parts
) -> tuple[SeenPatch, ...]:
    if top is None:
        return ()
    if pool is None:
        parts.missing["patches"] = "The pictures that were scanned were not given: pictures=."
        return ()
    seen = (
        parts.get("patches", lambda patch=patch: seen_patch(net, pool, layer, channel, patch))  # type: ignore[misc]
        for patch in top.patches(layer, channel)
    )
    return tuple(one for one in seen if one is not None)


def _synthesised(net: Network, layer: str, channel: int, steps: int) -> Image.Image:
    *_, frame = feature_visualization(net, Channel(layer, channel), steps=steps)
    made: Image.Image = frame.image
    return made


def _classes(trace: Trace, layer: str, channel: int) -> tuple[tuple[str, float], ...]:
    """The most probable classes, with gradient x activation of the filter, summed over places."""
    maps = filters_first(trace, layer, trace[layer].detach(), 0)[channel]
    found = []
    for index, name, _ in trace.top(_CLASSES):
        gradient = filters_first(trace, layer, trace.gradient(ClassScore(index), layer), 0)[channel]
        found.append((name, float((gradient * maps).sum())))
    return tuple(sorted(found, key=lambda pair: -pair[1]))
