"""Extremal perturbations: the mask of a given area that keeps, or takes away, most of a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.attribution.method import About, Frames, method
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.attribution.sampling import NOISY, Nearby, batches
from nbcnnviz.attribution.sampling import baseline as baseline_of
from nbcnnviz.attribution.smooth_masks import SmoothMasks, blurs, off_area, perturbed
from nbcnnviz.core.errors import UnknownOptionError
from nbcnnviz.core.options import option
from nbcnnviz.core.targets import Channel, ClassScore, Finer, LayerEnergy, Probability, Target
from nbcnnviz.core.trace import Trace

# As in the authors' TorchRay, whose numbers these are for a picture of 224 pixels.
_SIGMA, _BLUR = 21 / 224, 20 / 224
_LEVELS = 8
_RATE, _MOMENTUM = 0.01, 0.9
_WEIGHT, _GROWTH = 300.0, 1.0035

_WITHOUT_PLACE = (ClassScore, Probability, Finer, Channel, LayerEnergy)


def _passes(options: Mapping[str, Any], trace: Trace) -> float:
    both = 2 if options["variant"] == "dual" else 1
    return 3.0 * int(options["steps"]) * both * len(_areas(options["area"], options["areas"])) * len(trace)


@method(
    "Extremal perturbation",
    family="perturbation",
    cost="steps x areas x (F + B)",
    passes=_passes,
    about=About(
        formula=(
            r"\arg\max_m\; S\big(m \otimes x\big) - \lambda\, \lVert \mathrm{vecsort}(m) - r_a \rVert^2,\quad "
            r"r_a = (0, \ldots, 0, 1, \ldots, 1)"
        ),
        source="Fong, Patrick & Vedaldi 2019, equation 4 (arXiv 1910.08485)",
        promises="A plain question: which part of this size, all else blurred, is enough for the score.",
        weaknesses=(
            "Hundreds of passes, and an optimum near the start that need not be the best. The area is a choice, and so is what "
            "the rest is replaced by: the network never saw such pictures. Where the score says little, the order in which equal "
            "values are sorted decides, and another device may end in another mask."
        ),
        oracle=(
            "TorchRay `extremal_perturbation`: masks to 1e-5, runs to a correlation of 0.998, since equal values are sorted in "
            "any order; a network that reads a known region only"
        ),
    ),
)
def extremal_perturbation(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    area: float = option(
        0.1,
        low=0.001,
        high=0.999,
        when={"areas": (None,)},
        help="The share that the mask covers, of the picture and its margin.",
    ),
    areas: Any = option(
        None,
        low=0.001,
        high=0.999,
        kind="numbers",
        help="Several such shares, in place of one: their masks are averaged.",
    ),
    steps: int = option(800, low=1, high=100_000, help="How many steps of gradient ascent."),
    variant: str = option(
        "preserve",
        choices=("preserve", "delete", "dual"),
        help="Whether what the mask covers is kept, taken away, or both, one score less the other.",
    ),
    sigma: float | None = option(
        None,
        low=1,
        high=4096,
        kind="float",
        unit="pixels",
        help="How smooth the mask is, and how wide its margin; none: 21 for 224 pixels.",
    ),
    stride: int | None = option(
        None,
        low=1,
        high=4096,
        kind="int",
        unit="pixels",
        help="How far apart the mask's parameters are; none: a third of sigma.",
    ),
    baseline: Any = option(
        "blur",
        kind="baseline",
        help="What the rest is: blur, in eight levels; black, mean, noise, a picture or a preprocessed tensor.",
    ),
    flip: bool = option(
        True, help="Whether every other step sees the picture mirrored; not where a place is asked about."
    ),
    seed: int = option(0, low=0, high=2**31 - 1, help="Of a noisy baseline; nothing else is random.", when=NOISY),
    batch: int | None = option(
        None, low=1, high=4096, kind="int", screen=False, help="Masks a pass; none: as memory allows."
    ),
) -> Frames:
    """The smooth mask of an area that keeps most of the score, where the rest of the picture is blurred (Fong et al. 2019).

    Equation 4, by gradient ascent with momentum from a mask that covers all; the weight of the area grows with every step.
    Numbers are those of the authors' TorchRay, lengths in proportion to the picture's shorter side. The area is a share of
    the mask with its margin of sigma around the picture, as there: 10 % are up to 13 % of the picture. With too few steps
    the mask has not shrunk to its area yet, which the result says.
    """  # fmt: skip
    if layer != "input":
        raise UnknownOptionError(
            layer, ("input",), "Extremal perturbations blur parts of the picture: they look at the input alone."
        )
    x, shares = trace.input.detach(), _areas(area, areas)
    k, n, side = len(shares), len(x), min(trace.size)
    sigma = max(1.0, _SIGMA * side) if sigma is None else sigma
    with torch.inference_mode(False), torch.no_grad():
        exact = x.to(torch.float64 if x.dtype is torch.float64 else torch.float32, copy=True)
        smooth = SmoothMasks(trace.size, stride or max(1, round(sigma / 3)), sigma, exact)
        if isinstance(baseline, str) and baseline == "blur":
            levels = blurs(exact, max(1.0, _BLUR * side), _LEVELS)
        else:
            levels = torch.stack([baseline_of(trace, baseline, seed).to(exact), exact])
        wanted = torch.tensor(shares, dtype=torch.float64, device=x.device).repeat_interleave(n)
        parameters = exact.new_ones(k * n, 1, *smooth.grid).requires_grad_()
    ascent = _Ascent(trace, target, levels, variant, flip and _without_place(target))
    optimiser = torch.optim.SGD([parameters], lr=_RATE, momentum=_MOMENTUM, dampening=_MOMENTUM, maximize=True)
    for step in range(steps):
        with torch.inference_mode(False), torch.enable_grad():
            masks, whole = smooth(parameters)
            toll = -_WEIGHT * _GROWTH**step * off_area(whole, wanted).sum()
            upwards = ascent(masks.unflatten(0, (k, n)), step, batch)
            (parameters.grad,) = torch.autograd.grad(
                [toll, masks], [parameters], [torch.ones_like(toll), upwards.flatten(0, 1)]
            )
        with torch.inference_mode(False), torch.no_grad():
            optimiser.step()
            parameters.clamp_(0, 1)
        values = masks.detach().unflatten(0, (k, n)).mean(0)
        notes = _unlike(whole.detach(), wanted) if step == steps - 1 else ()
        yield Attribution(values.to(x), target, layer, trace, step=step + 1, steps=steps, notes=notes)


class _Ascent:
    """The gradient of the score at masks."""

    def __init__(self, trace: Trace, target: Target, levels: Tensor, variant: str, flip: bool) -> None:
        self._levels, self._flip = levels, flip
        self._dtype = trace.input.dtype
        self._signs = {"preserve": (1,), "delete": (-1,), "dual": (1, -1)}[variant]
        self._nearby = Nearby(trace, target, ())

    def __call__(self, masks: Tensor, step: int, batch: int | None) -> Tensor:
        """Of masks (K, N, 1, H, W); dS/dm where what they cover is kept, -dS/d(1 - m) where it is taken away."""
        masks = masks.detach().requires_grad_()
        total = torch.zeros_like(masks)

        def gradient(begin: int, end: int) -> Tensor:
            chosen, found = masks[begin:end], torch.zeros_like(masks[begin:end])
            for sign in self._signs:
                pictures = perturbed(self._levels, chosen if sign > 0 else 1 - chosen)
                seen = pictures.flip(4) if self._flip and step % 2 == 0 else pictures
                variants = self._nearby(seen.detach().to(self._dtype))
                arriving = variants.split(variants.trace.gradient(variants.target, "input")).to(seen)
                found += sign * torch.autograd.grad(seen, [chosen], [arriving])[0]
            return found

        for done, found in batches(len(masks), self._nearby.batch_size(batch), gradient):
            total[done - len(found) : done] = found
        return total


def _areas(area: float, areas: Any) -> tuple[float, ...]:
    """The shares asked for."""
    if areas is None:
        return (area,)
    return tuple(areas) if isinstance(areas, Sequence) else (areas,)


def _without_place(target: Target) -> bool:
    """Whether a target asks about no place of the picture, so that its mirror image is asked the same."""
    parts = getattr(target, "parts", None)
    return all(map(_without_place, parts)) if parts else isinstance(target, _WITHOUT_PLACE)


def _unlike(whole: Tensor, wanted: Tensor) -> tuple[str, ...]:
    """What a reader must know of masks that do not cover what they should."""
    covered = whole.flatten(1).mean(1)
    off = (covered - wanted).abs() > 0.25 * torch.minimum(wanted, 1 - wanted)
    return tuple(
        f"a mask covers {float(is_):.0%} and not {float(should):.0%}: more steps would bring it nearer"
        for is_, should in zip(covered[off], wanted[off], strict=True)
    )[:1]
