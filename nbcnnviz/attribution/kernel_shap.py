"""KernelSHAP by Captum: Shapley values of the cells or superpixels of a picture, from random sets of them.

Captum draws the sets and fits the values; the network is asked here, batch by batch, so that a frame comes after each and
nothing is computed twice. What Captum is given is no picture but the set itself, one number a region.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.attribution.deep_lift import captum_attr
from nbcnnviz.attribution.method import About, Frames, method
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.attribution.sampling import baseline as baseline_of
from nbcnnviz.attribution.sampling import batch_size, batches
from nbcnnviz.core.errors import PackageMissingError, UnknownOptionError
from nbcnnviz.core.options import option
from nbcnnviz.core.targets import Target
from nbcnnviz.core.trace import Trace

_AGAIN = 1.15
"""By how much the number of sets has grown when the values are fitted again: a fit looks at all of them."""


@method(
    "KernelSHAP",
    family="perturbation",
    cost="samples x F",
    passes=lambda options, trace: float((options["samples"] + 2) * len(trace)),
    about=About(
        formula=(
            r"\arg\min_\phi \sum_{z} \pi(z) \Big(S(x_z) - S(x') - \sum_i \phi_i z_i\Big)^2,\quad "
            r"\pi(z) = \frac{M - 1}{\binom{M}{|z|} |z| (M - |z|)}"
        ),
        source="Lundberg & Lee 2017, theorem 2 (arXiv 1705.07874)",
        promises="Completeness: the values add up to $S(x) - S(x')$. With enough samples they are the Shapley values.",
        weaknesses=(
            "Values of regions, which are a choice, as what replaces them is. With fewer samples than some times the number of "
            "regions they are noise, as the standard error shows."
        ),
        oracle=(
            "Captum `KernelShap` on the same regions; Shapley values from all subsets of a few regions; the standard error "
            "against that of many runs"
        ),
    ),
)
def kernel_shap(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    regions: str = option("grid", choices=("grid", "superpixels"), help="Square cells, or parts of one colour (SLIC)."),
    window: int = option(
        32, low=1, high=4096, unit="pixels", help="The side of a cell; superpixels are about as large, on average."
    ),
    samples: int = option(500, low=1, high=100_000, help="How many random sets of regions."),
    baseline: Any = option(
        "mean",
        kind="baseline",
        help="What replaces a region: black, mean, blur, noise, a picture or a preprocessed tensor.",
    ),
    seed: int = option(0, low=0, high=2**31 - 1, help="Of the sets, and of a noisy baseline."),
    batch: int | None = option(
        None, low=1, high=4096, kind="int", screen=False, help="Sets a pass; none: as memory allows."
    ),
) -> Frames:
    """The Shapley value of each region, by weighted least squares over random sets of regions (Lundberg & Lee 2017).

    Theorem 2, by Captum: ``pip install 'nbcnnviz[captum]'``. Regions not in a set have the baseline. A region's value is
    spread evenly over its pixels, so that the map's sum is S(x) - S(x'), and what is missing the last frame's
    `completeness`. Before that, each frame holds the values fitted to the sets so far. The standard error is that of the
    least squares, whatever the residuals' spread (White 1980); NaN with fewer sets than regions.
    """
    attr = captum_attr()
    _sklearn()
    if layer != "input":
        raise UnknownOptionError(
            layer, ("input",), "KernelSHAP replaces parts of the picture: it looks at the input alone."
        )
    x, start = trace.input.detach(), baseline_of(trace, baseline, seed)
    n = len(x)
    games = [
        _Game(
            attr, trace, target.of_picture(i), i, start[i : i + 1], _regions(trace, i, regions, window), samples, seed
        )
        for i in range(n)
    ]
    fitted, (values, errors) = 0, torch.zeros(2, n, 1, *trace.size, dtype=torch.float64)

    def run(begin: int, end: int) -> list[Tensor]:
        return [game.scores(begin, end) for game in games]

    size = batch_size(trace.network, graph=False, batch=batch)
    for done, found in batches(samples, size, run):
        for game, scores in zip(games, found, strict=True):
            game.known += scores.tolist()
        last = done == samples
        if last or done >= _AGAIN * fitted:
            fitted = done
            values, errors = torch.stack([game.fitted() for game in games], 1)[:, :, None]
        missing = None
        if last:
            change = torch.tensor([game.whole - game.none for game in games], dtype=torch.float64)
            missing = (values.flatten(1).sum(1) - change).abs().to(x.device)
        yield Attribution(
            values.to(x), target, layer, trace, step=done, steps=samples, error=errors.to(x), completeness=missing
        )


class _Game:
    """The regions of one picture, the sets of them that Captum draws, and the scores known of these."""

    def __init__(
        self,
        attr: Any,
        trace: Trace,
        target: Target,
        picture: int,
        start: Tensor,
        labels: Tensor,
        samples: int,
        seed: int,
    ) -> None:
        self._attr, self._seed = attr, seed
        self._x, self._start = trace.input[picture : picture + 1].detach(), start
        self._labels, self._count = labels, int(labels.max()) + 1
        self._scorer = trace.network.scorer(target)
        self.none, self.whole = self._of(torch.tensor([[0.0], [1.0]]).expand(-1, self._count)).tolist()
        self.known: list[float] = []
        self._sets = self._drawn(samples)

    def scores(self, begin: int, end: int) -> Tensor:
        """Those of the sets ``begin`` to ``end``, (B,)."""
        return self._of(self._sets[begin:end])

    def fitted(self) -> Tensor:
        """The values by what is known and their standard errors, spread over the regions' pixels, (2, H, W) float64."""
        if self._count == 1:
            values = torch.tensor([self.whole - self.none], dtype=torch.float64)
            errors = torch.zeros_like(values)  # it is no estimate
        else:
            # The first two that Captum asks about are all regions and none.
            table = iter([self.whole, self.none, *self.known])
            values = self._asked(lambda sets: torch.tensor([next(table) for _ in sets]), len(self.known) + 2)
            known = torch.tensor(self.known, dtype=torch.float64) - self.none
            errors = _standard_errors(self._sets[: len(known)].double(), known, values)
        return (torch.stack([values, errors]) / self._labels.flatten().bincount())[:, self._labels]

    def _of(self, sets: Tensor) -> Tensor:
        shown = sets[:, self._labels][:, None].to(self._x) > 0.5
        return self._scorer(torch.where(shown, self._x, self._start)).double().cpu()

    def _drawn(self, samples: int) -> Tensor:
        """The sets that Captum draws, (samples, regions)."""
        if self._count == 1:
            return torch.ones(samples, 1)
        drawn: list[Tensor] = []

        def score(sets: Tensor) -> Tensor:
            drawn.append(sets.clone())
            return torch.zeros(len(sets))

        self._asked(score, samples + 2)
        return torch.cat(drawn)[-samples:]

    def _asked(self, score: Any, samples: int) -> Tensor:
        """The values that Captum fits, (regions,) float64; the same sets for the same seed, however many are asked for."""
        regions = torch.ones(1, self._count, dtype=torch.float64)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.inference_mode(False):
            warnings.simplefilter("ignore")
            torch.default_generator.manual_seed(self._seed)  # the CPU's alone: torch.manual_seed sets every device's
            found: Tensor = self._attr.KernelShap(score).attribute(
                regions, baselines=torch.zeros_like(regions), n_samples=samples, perturbations_per_eval=1
            )
            return found[0].double()


def _standard_errors(sets: Tensor, scores: Tensor, values: Tensor) -> Tensor:
    """Of least squares for ``scores`` (n,) by ``sets`` (n, M), with the sum of the ``values`` (M,) known.

    Sets are drawn alike and independently, and what the fit leaves of their scores differs in spread from set to set: the
    covariance is White's, each residual as if its set had not been among those fitted (MacKinnon & White 1985, HC3).
    """
    design = sets - sets.mean(1, keepdim=True)  # values may move along these: their sum is known
    if len(design) < sets.shape[1]:
        return torch.full_like(values, float("nan"))
    spectrum, ways = torch.linalg.eigh(design.T @ design)
    spectrum, ways = spectrum[1:], ways[:, 1:]  # the first is that of the sum
    if spectrum[0] <= 1e-9 * spectrum[-1]:
        return torch.full_like(values, float("nan"))
    along = design @ ways
    leverage = (along.square() / spectrum).sum(1)
    left = (scores - sets @ values) / (1 - leverage).clamp_min(1e-9)
    errors: Tensor = ((left[:, None] * along / spectrum) @ ways.T).norm(dim=0)
    return errors


def _regions(trace: Trace, picture: int, kind: str, window: int) -> Tensor:
    """The number of each pixel's region, (H, W), from 0 on without gaps."""
    height, width = trace.size
    if kind == "superpixels":
        import numpy as np
        from skimage.segmentation import slic  # it takes its time to import

        wanted = max(1, round(height * width / window**2))
        found = slic(np.asarray(trace.pictures[picture].convert("RGB")), n_segments=wanted, start_label=0)
        return torch.from_numpy(np.unique(found, return_inverse=True)[1].reshape(height, width))
    rows, columns = torch.arange(height) // window, torch.arange(width) // window
    return rows[:, None] * (int(columns[-1]) + 1) + columns[None]


def _sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise PackageMissingError("scikit-learn", "maps by KernelSHAP", "captum") from error
