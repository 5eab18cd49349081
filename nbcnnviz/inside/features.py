"""What the filters of a layer answered to a picture, and in which order to look at them.

All of it comes from the trace: looking at another layer, or in another order, needs no forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from nbcnnviz.core.errors import FilterRangeError, MethodNotApplicableError, UnknownOptionError
from nbcnnviz.core.grids import arranged
from nbcnnviz.core.targets import TargetLike, Unit
from nbcnnviz.core.trace import Trace

By = Literal["index", "activation", "mean", "contribution"]
ORDERS: Final[tuple[By, ...]] = get_args(By)


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """A layer's answer to one picture, filter by filter, apart from the graph.

    Attributes
    ----------
    layer : str
        Whose.
    values : Tensor
        (F, h, w), whichever axis the layer has its channels on; (F, 1, 1) of a layer without places, whose units are then
        tiles. It shares memory with the trace.
    nan, infinite : Tensor
        (F,) how many values of each filter are NaN, or infinite.
    """

    layer: str
    values: Tensor
    nan: Tensor
    infinite: Tensor

    def __len__(self) -> int:
        return len(self.values)

    @property
    def finite(self) -> bool:
        """Whether there is neither NaN nor infinity."""
        return not bool((self.nan + self.infinite).any())


@dataclass(frozen=True, eq=False)
class Ranking:
    """The filters of a layer in an order.

    Attributes
    ----------
    by : str
        The order.
    filters : Tensor
        (F,) int64, the indices of the filters, first first.
    values : Tensor
        (F,) what each filter was judged by, in that order too; its own index where the order is by index.
    """

    by: By
    filters: Tensor
    values: Tensor


@dataclass(frozen=True)
class Place:
    """A unit of a filter: its row and column in the layer's maps, and its activation."""

    row: int
    column: int
    value: float


def feature_maps(trace: Trace, layer: str, picture: int = 0) -> FeatureMaps:
    """What each filter of a layer answered to one picture of the batch.

    Raises
    ------
    MethodNotApplicableError
        If the layer returns neither maps nor a vector.
    UnknownLayerError
        If no such layer was kept, or it returns no real numbers.
    FilterRangeError
        If the batch has no such picture.
    """
    values = filters_first(trace, layer, trace[layer].detach(), picture)
    # One sum finds whether there is anything to count, as NaN and infinity outlast it; a sum that overflows costs a count.
    if bool(values.sum(dtype=torch.promote_types(values.dtype, torch.float32)).isfinite()):
        none = torch.zeros(len(values), dtype=torch.int64, device=values.device)
        return FeatureMaps(layer, values, none, none)
    return FeatureMaps(layer, values, values.isnan().sum((1, 2)), values.isinf().sum((1, 2)))


def ranking(
    trace: Trace,
    layer: str,
    by: By = "activation",
    *,
    target: TargetLike = None,
    picture: int = 0,
    descending: bool = True,
) -> Ranking:
    """The filters of a layer in an order, the largest first.

    Parameters
    ----------
    trace, layer, picture
        Of which forward pass, layer and picture of the batch.
    by
        ``"index"``: as the layer has them.
        ``"activation"``: by the strongest unit, the maximum over places, as in Zeiler & Fergus 2014 and in collections of
        top patches; those that share it, as all do that a ReLU6 cuts at 6, by the mean over places.
        ``"mean"``: by the mean over places.
        ``"contribution"``: by the sum over places of gradient x activation, which is to first order what the target
        would lose without the filter (Molchanov et al. 2017, equation 7, without the absolute value).
    target
        For ``"contribution"``, as in `Trace.gradient`; default: the picture's own top class.
    descending
        False turns the order round, but for ``"index"``.

    Filters with NaN come first when descending: they are to be seen.

    Raises
    ------
    UnknownOptionError
        If there is no such order.
    GradientError
        If the target does not depend on the layer.
    MethodNotApplicableError, UnknownLayerError, FilterRangeError
        As `feature_maps`.
    """
    if by not in ORDERS:
        raise UnknownOptionError(by, ORDERS, f"Filters are ordered by {', '.join(ORDERS)}.")
    maps = filters_first(trace, layer, trace[layer].detach(), picture).flatten(1)
    if by == "index":
        indices = torch.arange(len(maps), device=maps.device)
        return Ranking(by, indices, indices)
    if by == "contribution":
        gradient = filters_first(trace, layer, trace.gradient(target, layer), picture).flatten(1)
        judged = torch.einsum("fp,fp->f", gradient, maps)
    else:
        judged = maps.mean(1)
    values, filters = judged.sort(descending=descending, stable=True)
    if by == "activation":
        values, among = maps.amax(1)[filters].sort(descending=descending, stable=True)
        filters = filters[among]
    return Ranking(by, filters, values)


_TRIED = 8


def strongest(trace: Trace, layer: str, channel: int, picture: int = 0, *, with_gradient: bool = False) -> Place:
    """The unit of a filter with the largest activation; NaN is passed over. Errors as `feature_maps`.

    Parameters
    ----------
    with_gradient
        Pass over those whose gradient at the input is zero everywhere, as it is of all units that a ReLU6 cuts at 6: of the 8
        largest different activations, one unit each is tried.

    Raises
    ------
    FilterRangeError
        If there is no such filter.
    MethodNotApplicableError
        If a unit with a gradient was asked for, and none that was tried has one.
    """
    maps = filters_first(trace, layer, trace[layer].detach(), picture)
    if not -len(maps) <= channel < len(maps):
        raise FilterRangeError(
            f"Layer {layer!r} has {len(maps)} channels, 0 to {len(maps) - 1}: there is no {channel}."
        )
    values = maps[channel].flatten()
    known = values.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    if not with_gradient:
        return _place(values, known.argmax(), maps.shape[2])
    largest = known.unique().flip(0)[:_TRIED]
    for value in largest:
        place = _place(values, (known == value).byte().argmax(), maps.shape[2])
        unit = Unit(layer, channel % len(maps), place.row, place.column)
        if bool(trace.gradient(unit)[picture].any()):
            return place
    raise MethodNotApplicableError(
        f"No unit of filter {channel} of {layer!r} that was tried, those with the {len(largest)} largest activations, has a "
        "gradient at the input: each is behind a rectifier that is flat there, as a ReLU is below 0 and a ReLU6 above 6."
    )


def _place(values: Tensor, at: Tensor, columns: int) -> Place:
    place, value = torch.stack([at.double(), values[at].double()]).tolist()
    row, column = divmod(int(place), columns)
    return Place(row, column, value)


def filters_first(trace: Trace, layer: str, values: Tensor, picture: int) -> Tensor:
    """One picture's values of a layer, its output or its gradient, as (F, h, w)."""
    if not -len(values) <= picture < len(values):
        raise FilterRangeError(f"The batch has {len(values)} pictures, 0 to {len(values) - 1}: there is no {picture}.")
    one = arranged(trace.network, layer, values, trace.size)[picture]
    return one[:, None, None] if one.ndim == 1 else one
