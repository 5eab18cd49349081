"""What a class's probability does as the picture is built up, or taken apart, in the order that a map gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nbcnnviz.attribution import Attribution
from nbcnnviz.core.errors import UnknownOptionError
from nbcnnviz.core.preprocess import blurred
from nbcnnviz.core.targets import ClassScore
from nbcnnviz.core.trace import Trace
from nbcnnviz.metrics.imputation import imputed
from nbcnnviz.metrics.score import map_of, typed
from nbcnnviz.render import upscaled

_BATCH = 16


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve of the target over the share of pixels shown or taken away.

    Attributes
    ----------
    name : str
        Of the metric.
    shares : numpy.ndarray
        The share of the pixels inserted or removed, (n,), in [0, 1].
    values : numpy.ndarray
        The probability of the class, or the score of another target, at each, (n,).
    auc : float
        The area under the curve by the trapezoidal rule, over the range of ``shares``: the curve's mean height.
    chance : float or None
        The area for random maps as coarse as this one, on average; None if none was tried.
    higher_is_better : bool
        How to read ``auc``.
    meaning : str
        What it says, in a sentence.
    random : tuple[float, ...]
        The area of each random map: how far apart they are says what a difference from ``chance`` is worth.
    """

    name: str
    shares: np.ndarray
    values: np.ndarray
    auc: float
    chance: float | None
    higher_is_better: bool
    meaning: str
    random: tuple[float, ...] = ()

    def __float__(self) -> float:
        return self.auc

    def __repr__(self) -> str:
        chance = "" if self.chance is None else f", random maps {self.chance:.3g}"
        better = "higher" if self.higher_is_better else "lower"
        return f"<{self.name}: area {self.auc:.3g}{chance}; {better} is better>"


@typed
def insertion(
    trace: Trace,
    result: Attribution,
    *,
    picture: int = 0,
    steps: int = 50,
    random_maps: int = 3,
    seed: int = 0,
) -> Curve:
    """The class's probability as pixels are put into the blurred picture, the map's strongest first (Petsiuk et al. 2018).

    The blur is a Gaussian of a twentieth of the picture's shorter side, 11 pixels of 224. The authors' code takes 5 within
    11 x 11 pixels, of which the bundled network still names many an object: the sample motorcycle is a moped to 59 % then,
    and to 54 % when it is whole. A texture is everywhere: there a random map may well do better than any other.

    Parameters
    ----------
    trace
        The trace of the picture, whose network is asked.
    result
        The map to be judged, of the trace's picture; its target is what is measured: the probability of a class, the
        score of any other target.
    picture
        Which of the batch.
    steps
        How many steps from the blurred picture to the whole one. Default: 50.
    random_maps
        How many random maps as coarse as this one are measured for ``chance``; 0 for none. Default: 3, whose mean is off
        by about half of what they differ by: a small advantage asks for more.
    seed
        Of the random maps.

    Returns
    -------
    Curve
        ``steps + 1`` points.

    Raises
    ------
    MethodNotApplicableError
        If the map holds NaN.
    """
    x = trace.input[picture].detach()
    return _Judged(trace, result, picture, random_maps, seed).swapping("insertion", blurred(x[None])[0], x, steps)


@typed
def deletion(
    trace: Trace,
    result: Attribution,
    *,
    picture: int = 0,
    steps: int = 50,
    random_maps: int = 3,
    seed: int = 0,
) -> Curve:
    """The class's probability as pixels give way to the picture's mean colour, the strongest first (Petsiuk et al. 2018).

    Parameters, result and errors are those of `insertion`; here a small area speaks for the map.
    """
    x = trace.input[picture].detach()
    mean = x.mean((1, 2), keepdim=True).expand_as(x)
    return _Judged(trace, result, picture, random_maps, seed).swapping("deletion", x, mean, steps)


@typed
def road(
    trace: Trace,
    result: Attribution,
    *,
    picture: int = 0,
    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    noise: float = 0.01,
    random_maps: int = 1,
    seed: int = 0,
) -> Curve:
    """ROAD: as `deletion`, with the pixels filled in from those around them, so that no edge shows (Rong et al. 2022).

    Parameters
    ----------
    shares
        The shares of the pixels taken away, strongest first, each in (0, 1).
    noise
        The standard deviation of what is added to the pixels filled in, in the units of the input. Default: 0.01.
    random_maps
        As for `insertion`. Default: 1; each costs as much as the map itself.

    It rewards smooth maps: what is spread out is harder to fill in (arXiv 2304.13836). Read it beside others.
    """
    if not shares or any(not 0 < share < 1 for share in shares) or list(shares) != sorted(shares):
        raise UnknownOptionError(shares, (), "shares are numbers between 0 and 1, in ascending order.")
    x = trace.input[picture].detach()

    def pictures(order: Tensor) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return (imputed(x, _first(order, round(share * order.numel()), x), noise, generator) for share in shares)

    return _Judged(trace, result, picture, random_maps, seed).curve(
        "ROAD",
        np.array(shares),
        pictures,
        False,
        "The class's probability without the pixels that the map calls most important, filled in from those around "
        "them: low where they mattered.",
    )


@dataclass(frozen=True, eq=False)
class _Judged:
    """A map to be judged by a curve, beside random maps."""

    trace: Trace
    result: Attribution
    picture: int
    random_maps: int
    seed: int

    def swapping(self, name: str, before: Tensor, after: Tensor, steps: int) -> Curve:
        """The curve on the way from one picture (C, H, W) to another, pixel by pixel."""
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise UnknownOptionError(steps, (), "steps is a whole number, 1 or more.")
        shares, up = np.linspace(0, 1, steps + 1), name == "insertion"

        def pictures(order: Tensor) -> Iterator[Tensor]:
            counts = (round(share * order.numel()) for share in shares)
            return (torch.where(_first(order, count, before), after, before) for count in counts)

        meaning = "The class's probability as the pixels that the map calls most important are " + (
            "shown first: high where they suffice." if up else "taken away first: low where they mattered."
        )
        return self.curve(name, shares, pictures, up, meaning)

    def curve(
        self, name: str, shares: np.ndarray, pictures: Callable[[Tensor], Iterator[Tensor]], up: bool, meaning: str
    ) -> Curve:
        """The curve over pictures that are made of an order of places; the same of random maps gives what chance would."""
        measure = _measure(self.trace, self.result, self.picture)
        own = measure(pictures(_order(map_of(self.result, self.picture))))
        maps = _random(self.result, self.random_maps, self.seed)
        random = tuple(_area(shares, measure(pictures(_order(m)))) for m in maps)
        chance = float(np.mean(random)) if random else None
        return Curve(name, shares, own, _area(shares, own), chance, up, meaning, random)


def _measure(trace: Trace, result: Attribution, picture: int) -> Callable[[Iterator[Tensor]], np.ndarray]:
    """What measures the target in pictures (C, H, W), one after the other: a class's probability, or else the score."""
    network, target = trace.network, result.target
    index = None
    if isinstance(target, ClassScore):
        index = target.indices(trace)[picture]
    score = network.scorer(None if index is not None else target.of_picture(picture))

    def measure(pictures: Iterator[Tensor]) -> np.ndarray:
        found, batch = [], []
        for x in pictures:
            batch.append(x)
            if len(batch) == _BATCH:
                found.append(score(torch.stack(batch)))
                batch = []
        if batch:
            found.append(score(torch.stack(batch)))
        values = torch.cat([f if index is None else network.head.probabilities(f.float())[:, index] for f in found])
        return values.float().cpu().numpy().astype(np.float64)

    return measure


def _order(values: Tensor) -> Tensor:
    """Places of a map (H, W), the strongest first; of equals, the upper left."""
    return values.flatten().argsort(dim=0, descending=True, stable=True)


def _first(order: Tensor, count: int, x: Tensor) -> Tensor:
    """A mask (H, W) of the first ``count`` places."""
    mask = torch.zeros(order.numel(), dtype=torch.bool, device=x.device)
    mask[order[:count].to(x.device)] = True
    return mask.view(x.shape[1:])


def _random(result: Attribution, count: int, seed: int) -> Iterator[Tensor]:
    """Random maps (H, W), as coarse as a result."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        values = torch.rand(1, 1, *result.values.shape[2:], generator=generator)
        yield upscaled(values, result.trace.size)[0, 0]


def _area(shares: np.ndarray, values: np.ndarray) -> float:
    """The mean height of a curve, by the trapezoidal rule."""
    if len(shares) == 1:
        return float(values[0])
    widths = np.diff(shares)
    return float((widths * (values[1:] + values[:-1]) / 2).sum() / widths.sum())
