"""Methods that cover parts of the picture and watch the score: no gradient, only forward passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.attribution.incremental import covered, windowed
from nbcnnviz.attribution.method import About, Frames, method
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.attribution.sampling import NOISY, batch_size, batches, generator
from nbcnnviz.attribution.sampling import baseline as baseline_of
from nbcnnviz.core.errors import UnknownOptionError
from nbcnnviz.core.options import option
from nbcnnviz.core.targets import ClassScore, Target
from nbcnnviz.core.trace import Trace

_KEPT_SCORES = 64 * 2**20
"""How many bytes of scores RISE keeps with a trace, so that another class costs no pass."""


@method(
    "RISE",
    family="perturbation",
    cost="masks x F",
    passes=lambda options, trace: options["masks"] * len(trace),
    about=About(
        formula=r"\frac{\sum_i P(c \mid I \odot m_i)\, m_i}{\sum_i m_i}",
        source="Petsiuk et al. 2018, equation 6 (arXiv 1806.07421)",
        promises=(
            "Needs the network's answers alone, no gradient and no layer. One run serves every class; the"
            " standard error is known."
        ),
        weaknesses=(
            "Thousands of passes. Random masks leave a ground of blotches that falls with their square "
            "root only; small objects are lost between cells."
        ),
        oracle="The sum over the same masks by hand; the standard error against that of many runs",
    ),
)
def rise(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    masks: int = option(
        4000, low=1, high=100_000, help="How many random masks; the error falls with their square root."
    ),
    cells: int = option(7, low=2, high=64, help="How many cells a mask has along each side before it is scaled up."),
    p: float = option(0.5, low=0.01, high=0.99, help="The share of a mask's cells that show the picture."),
    seed: int = option(0, low=0, high=2**31 - 1, help="Of the masks."),
    batch: int | None = option(
        None, low=1, high=4096, kind="int", screen=False, help="Masked pictures a pass; none: as memory allows."
    ),
) -> Frames:
    """sum_i P(x m_i) m_i / sum_i m_i over random masks m_i, P the class's probability (Petsiuk et al. 2018, equation 6).

    Of another target than a class, its score. Covered places have the network's mean colour, an input of zero. The
    standard error is that of a ratio of means, NaN where fewer than two masks show a place; one that none shows has the
    nearest value.
    """
    _at_input("RISE", layer)
    x = trace.input.detach()
    scores = _Scores(trace, target, ("rise", cells, p, seed), masks)
    n, (height, width) = len(x), trace.size
    sums = torch.zeros(4, n, height, width, dtype=torch.float64, device=x.device)
    total = torch.zeros(height, width, dtype=torch.float64, device=x.device)
    shown = torch.zeros(height, width, dtype=torch.int64, device=x.device)

    def run(begin: int, end: int) -> tuple[Tensor, Tensor]:
        drawn = random_masks(range(begin, end), (height, width), cells, p, seed).to(x)
        return drawn, scores(begin, end, lambda i: x[i] * drawn[:, None])

    size = batch_size(trace.network, graph=False, batch=batch)
    for done, (drawn, found) in batches(masks, size, run):
        shown += (drawn > 0).sum(0)
        drawn, found = drawn.double(), found.double()  # the spread is a small difference of large sums
        squares = drawn.square()
        total += drawn.sum(0)
        for i, (weights, values) in enumerate(
            ((found, drawn), (found.square(), squares), (found, squares), (torch.ones_like(found), squares))
        ):
            sums[i] += torch.einsum("bn,bhw->nhw", weights, values)
        mean = sums[0] / total.clamp_min(1e-12)
        spread = (sums[1] - 2 * mean * sums[2] + mean.square() * sums[3]).clamp_min(0).sqrt() / total.clamp_min(1e-12)
        spread[:, shown < 2] = float("nan")  # of one score nothing is known of how far it is off
        values = _nearest_known(mean, shown > 0)
        yield Attribution(
            values[:, None].to(x), target, layer, trace, step=done, steps=masks, error=spread[:, None].to(x)
        )


def random_masks(indices: range, size: tuple[int, int], cells: int, p: float, seed: int) -> Tensor:
    """RISE's masks of these indices, (B, H, W) in [0, 1]: grids of zeros and ones scaled up and shifted at random.

    A grid of ``cells`` x ``cells`` is scaled up bilinearly to one cell more than the picture, and cut out at a random
    place within a cell (Petsiuk et al. 2018, section 3.2).
    """
    edges = [-(-length // cells) for length in size]
    ways = [_upsampling(cells, (cells + 1) * edge) for edge in edges]
    rows, columns, grids = [], [], []
    for index in indices:
        numbers = generator(seed, index)
        grids.append((torch.rand(cells, cells, generator=numbers) < p).float())
        top, left = (int(torch.randint(edge, (1,), generator=numbers)) for edge in edges)
        rows.append(ways[0][top : top + size[0]])
        columns.append(ways[1][left : left + size[1]])
    return torch.stack(rows) @ torch.stack(grids) @ torch.stack(columns).transpose(1, 2)


def _upsampling(cells: int, length: int) -> Tensor:
    """The matrix (length, cells) of bilinear upsampling along one axis."""
    return torch.nn.functional.interpolate(torch.eye(cells)[None], size=length, mode="linear")[0].T


class _Scores:
    """The target's scores of masked pictures; of classes, all are kept with the trace, so that one run serves each."""

    def __init__(self, trace: Trace, target: Target, key: tuple[object, ...], count: int) -> None:
        self._trace, self._indices = trace, None
        if isinstance(target, ClassScore):
            self._indices = torch.tensor(target.indices(trace))
        asked = [None] if self._indices is not None else [target.of_picture(i) for i in range(len(trace))]
        self._scorers = [trace.network.scorer(part) for part in asked]
        fits = 4 * count * len(trace) * len(trace.network.classes) <= _KEPT_SCORES
        self._kept: dict[tuple[int, int], Tensor] | None = None
        if self._indices is not None and fits:
            self._kept = trace.memory.setdefault(key, {})

    def __call__(self, begin: int, end: int, pictures: object) -> Tensor:
        """Scores (B, N) of samples ``begin`` to ``end``; ``pictures(i)`` makes those of the batch's i-th picture."""
        if self._indices is None:
            return torch.stack([self._scorers[i](pictures(i)).float() for i in range(len(self._trace))], 1)  # type: ignore[operator]
        columns = []
        for i in range(len(self._trace)):
            probabilities = self._known(i, begin, end)
            if probabilities is None:
                found = self._scorers[0](pictures(i))  # type: ignore[operator]
                probabilities = self._trace.network.head.probabilities(found.float())
                if self._kept is not None:
                    for at, row in enumerate(probabilities):
                        self._kept[i, begin + at] = row
            columns.append(probabilities[:, self._indices[i]])
        return torch.stack(columns, 1)

    def _known(self, i: int, begin: int, end: int) -> Tensor | None:
        if self._kept is None or any((i, at) not in self._kept for at in range(begin, end)):
            return None
        return torch.stack([self._kept[i, at] for at in range(begin, end)])


@method(
    "Occlusion",
    family="perturbation",
    cost="windows x F",
    passes=lambda options, trace: _count(options, trace),
    about=About(
        formula=r"M_p = \frac{1}{|\{w \ni p\}|} \sum_{w \ni p} \big(S(I) - S(I_{\bar w})\big)",
        source="Zeiler & Fergus 2014, section 4.2 (arXiv 1311.2901)",
        promises="A plain experiment: by how much the score drops without this square.",
        weaknesses=("Depends on the square's size and on what covers it. Evidence that is there twice hides itself."),
        oracle="Captum `Occlusion`; a loop by hand",
    ),
)
def occlusion(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    window: int = option(32, low=1, high=4096, unit="pixels", help="The side of the square that is covered."),
    stride: int = option(8, low=1, high=4096, unit="pixels", help="How far the square moves at a time."),
    baseline: Any = option(
        "mean", kind="baseline", help="What covers it: black, mean, blur, noise, a picture or a preprocessed tensor."
    ),
    seed: int = option(0, low=0, high=2**31 - 1, help="Of the noise.", when=NOISY),
    batch: int | None = option(
        None, low=1, high=4096, kind="int", screen=False, help="Windows a pass; none: as memory allows."
    ),
) -> Frames:
    """How much the score drops where a square covers the picture, averaged over the squares that cover a pixel.

    Zeiler & Fergus 2014, section 4.2. Squares are placed every ``stride`` pixels from the upper left corner, and one
    more at the far edge where that leaves a rest. They are tried from coarse to fine. What a square does not change is
    not computed again where the network begins with a chain of convolutions (Nakandala et al. 2019).
    """
    _at_input("Occlusion", layer)
    x, fill = trace.input.detach(), baseline_of(trace, baseline, seed)
    (height, width), n = trace.size, len(x)
    sides = (min(window, height), min(window, width))
    starts = _windows((height, width), sides, stride)
    sums = torch.zeros(n, height, width, dtype=torch.float64)
    covers = torch.zeros(height, width, dtype=torch.float64)
    own = [target.of_picture(i) for i in range(n)]  # each is asked of many pictures: the one, covered here and there
    wholes = [trace.network.scorer(part) for part in own]
    before = [float(whole(x[i : i + 1])[0]) for i, whole in enumerate(wholes)]
    quick = [windowed(trace.network, own[i], x[i : i + 1], starts, fill[i : i + 1], sides) for i in range(n)]

    def scores(i: int, which: Tensor) -> Tensor:
        ways = quick[i]
        if ways is not None:
            return ways(which)
        return wholes[i](torch.cat([covered(x[i : i + 1], fill[i : i + 1], starts[k], sides) for k in which]))

    def run(begin: int, end: int) -> tuple[Tensor, Tensor]:
        which = torch.arange(begin, end)
        return which, torch.stack([scores(i, which).double().cpu() for i in range(n)], 1)

    size = batch_size(trace.network, graph=False, batch=batch)
    for done, (which, found) in batches(len(starts), size, run):
        for row, (top, left) in zip(found, starts[which].tolist(), strict=True):
            for i in range(n):
                sums[i, top : top + sides[0], left : left + sides[1]] += before[i] - row[i]
            covers[top : top + sides[0], left : left + sides[1]] += 1
        values = _nearest_known(sums / covers.clamp_min(1), covers > 0)
        yield Attribution(values[:, None].to(x), target, layer, trace, step=done, steps=len(starts))


def _windows(size: tuple[int, int], sides: tuple[int, int], stride: int) -> Tensor:
    """The upper left corners of the squares, (n, 2), in an order from coarse to fine."""
    along = []
    for length, side in zip(size, sides, strict=True):
        places = list(range(0, length - side + 1, stride))
        along.append(places if places[-1] == length - side else [*places, length - side])
    order = sorted(
        ((r, c) for r in range(len(along[0])) for c in range(len(along[1]))),
        key=lambda at: -min(_level(at[0]), _level(at[1])),
    )
    return torch.tensor([(along[0][r], along[1][c]) for r, c in order])


def _level(index: int) -> int:
    """How often a number can be halved."""
    return (index & -index).bit_length() - 1 if index else 62


def _count(options: Mapping[str, Any], trace: Trace) -> float:
    sides = tuple(min(options["window"], length) for length in trace.size)
    return float(len(_windows(trace.size, (sides[0], sides[1]), options["stride"])) * len(trace))


def _nearest_known(values: Tensor, known: Tensor) -> Tensor:
    """Values (N, H, W) where places that are not known yet have the nearest one that is."""
    if bool(known.all()) or not bool(known.any()):
        return values
    from scipy.ndimage import distance_transform_edt  # it takes its time to import

    rows, columns = distance_transform_edt(~known.cpu().numpy(), return_distances=False, return_indices=True)
    row, column = (torch.from_numpy(index).long().to(values.device) for index in (rows, columns))
    return values[:, row, column]


def _at_input(title: str, layer: str) -> None:
    if layer != "input":
        raise UnknownOptionError(
            layer, ("input",), f"{title} covers parts of the picture: it looks at the input alone."
        )
