"""The figures of a trace, each made by one call."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nbcnnviz.core.targets import TargetLike, Unit, one_class
from nbcnnviz.core.trace import Trace
from nbcnnviz.inside import features, kernels
from nbcnnviz.inside.figures.features import Features
from nbcnnviz.inside.figures.files import Figure
from nbcnnviz.inside.figures.gradients import plots, words
from nbcnnviz.inside.figures.gradients.frame import GradientsFrame, Size
from nbcnnviz.inside.figures.gradients.known import DeadOverPictures, Known
from nbcnnviz.inside.figures.kept import FeatureFigures
from nbcnnviz.inside.figures.poster import poster
from nbcnnviz.inside.figures.weights.answer import learn
from nbcnnviz.inside.figures.weights.picture import picture
from nbcnnviz.inside.figures.weights.words import summary
from nbcnnviz.render import Scale


def features_figure(
    trace: Trace,
    layer: str,
    *,
    by: features.By = "activation",
    target: TargetLike = None,
    filter: int | None = None,
    unit: tuple[int, int] | None = None,
    how: str = "Gradient",
    page: int = 0,
    shared: bool = False,
) -> Figure:
    """A page of a layer's feature maps, one of them large, and what made a unit of it fire: see `Features.arrays`.

    Parameters
    ----------
    trace, layer
        Of which picture, the first of the trace, and of which layer.
    by, target
        In which order, as for `nbcnnviz.inside.ranking`.
    filter
        The one that is large. Default: the first in the order.
    unit
        Row and column of a unit of it. Default: none.
    how
        How the unit is carried back to the picture: ``"Gradient"``, ``"Guided backprop"``, ``"Deconvnet"`` or
        ``"Zeiler projection"``.
    page
        Which page of 96 filters, from 0.
    shared
        Whether all maps are on one colour scale, or each on its own.

    Raises
    ------
    MethodNotApplicableError, UnknownLayerError, FilterRangeError, UnknownOptionError
        As `nbcnnviz.inside.feature_maps` and `nbcnnviz.inside.ranking`.
    """
    made = FeatureFigures()
    stack, order = made.stack(trace, layer), made.order(trace, layer, by, target)
    shown = made.page(trace, stack, order, target, page, shared)
    filter_ = int(order.filters[0]) if filter is None else filter
    large = made.large(trace, stack, filter_)
    view = None if unit is None else made.unit_view(trace, Unit(layer, filter_, *unit), how, True)
    found = Features(layer, stack, shown, large, filter, unit, view)
    maps: list[tuple[dict[str, Any], Tensor, Scale]] = [({}, large.values, large.scale)]
    captions = [shown.caption, large.caption]
    if view is not None:
        maps.append(({}, view.map, view.scale))
        captions.append(view.caption)
    sheet = poster(shown, None, trace.pictures[0], maps, None if view is None else view.box)
    return Figure(sheet, found.arrays, ". ".join(captions))


def weights_figure(
    trace: Trace, layer: str, target: TargetLike = None, *, by: kernels.By = "index", filter: int | None = None
) -> Figure:
    """A layer's weights beside the target's gradient, and one filter closely: see `WeightsFrame.arrays`.

    Parameters
    ----------
    trace, layer, target, by
        As for `nbcnnviz.inside.weights`.
    filter
        The one that is looked at closely, on whose page the others are. Default: the first in the order.

    Raises
    ------
    MethodNotApplicableError, UnknownLayerError, UnknownClassError
        As `nbcnnviz.inside.weights`.
    """
    frame = learn(trace, layer, one_class(target, trace)).frame(by, filter, lambda what, place: None)
    return Figure(picture(frame), frame.arrays, summary(frame))


def gradients_figure(
    trace: Trace,
    layer: str | None = None,
    target: TargetLike = None,
    *,
    learning_rate: float = 1e-2,
    size: Size = "RMS",
    log_counts: bool = True,
) -> Figure:
    """The norms of every layer, and the histograms of one: see `GradientsFrame.arrays`.

    Parameters
    ----------
    trace, target, learning_rate
        As for `nbcnnviz.inside.depth`.
    layer
        Whose values have histograms. Default: of none.
    size
        Norms ``"RMS"``, over the root of the number of values, or as they are, ``"L2 norm"``.
    log_counts
        Whether histograms count on a logarithmic axis.

    Raises
    ------
    GradientError, UnknownLayerError, UnknownClassError
        As `nbcnnviz.inside.depth` and `nbcnnviz.inside.histograms`.
    """
    asked, dead = one_class(target, trace), DeadOverPictures()
    depth, histograms = Known().of(trace, asked, layer)
    dead.add(trace)
    at = None if layer is None else depth.column(trace, layer)
    frame = GradientsFrame(
        trace.network, depth.at_rate(learning_rate), asked, asked.describe(trace.network), layer, at, histograms,
        size, log_counts, dead.counted, None,
    )  # fmt: skip
    return Figure(plots.picture(frame), frame.arrays, words.summary(frame))
