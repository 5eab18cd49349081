"""Gradients at many pictures near the one explained: along a path to it, or with noise laid over it.

No parameter has a gradient here, and each batch of pictures is one forward and one backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nbcnnviz.attribution.method import About, Frames, find, method
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.attribution.sampling import NOISY, Mean, Nearby, batches, generator
from nbcnnviz.attribution.sampling import baseline as baseline_of
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.options import Above, option
from nbcnnviz.core.targets import Target
from nbcnnviz.core.trace import Trace

_GRADIENTS = ("saliency", "gradient", "input_x_gradient", "guided_backprop", "deconvnet")
_PLAIN = ("saliency", "gradient", "input_x_gradient")
"""Those whose gradient is that of the function, however the network is written."""
_BATCH = option(
    None, low=1, high=4096, kind="int", screen=False, help="Pictures a pass; none: as many as memory allows."
)
_SIGMA = option(0.15, low=0, high=10, help="The noise's standard deviation, as a share of the input's range.")
_SHARE = 0.01
"""What of the change of the score may be missing in a map's sum before the map says so."""
_ROUNDING = 1e-5
"""The same of the scores themselves, which may be much larger."""
_SEED = option(0, low=0, high=2**31 - 1, help="Of the noise.", when={"sigma": Above(0)})


@method(
    "Integrated gradients",
    family="paths",
    cost="steps x (F + B)",
    passes=lambda options, trace: 3 * options["steps"] * len(trace) + 1,
    about=About(
        formula=r"(x - x') \odot \int_0^1 \frac{\partial S}{\partial x}\big(x' + \alpha (x - x')\big)\, d\alpha",
        source="Sundararajan et al. 2017, equation 3 (arXiv 1703.01365)",
        promises=(
            "Completeness: the map's sum is $S(x) - S(x')$; what is missing is reported as "
            "`completeness`. Sensitivity and implementation invariance."
        ),
        weaknesses=(
            "Depends on the baseline: what looks like it gets nothing. Speckled. Rectifiers with kinks "
            "(ReLU6) need more steps: on the bundled network 0.4 to 16 % are missing at 50 steps, in "
            "Captum as here."
        ),
        oracle='Captum `IntegratedGradients(method="gausslegendre")`; a quadratic in closed form',
    ),
)
def integrated_gradients(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    steps: int = option(50, low=1, high=1000, help="At how many points of the path the gradient is taken."),
    baseline: object = option(
        "black",
        help="Where the path begins: black, mean, blur, noise, a picture, or a preprocessed tensor.",
        kind="baseline",
    ),
    seed: int = option(0, low=0, high=2**31 - 1, help="Of a noisy baseline.", when=NOISY),
    batch: int | None = _BATCH,
) -> Frames:
    """(x - x') sum_i w_i dS/dx(x' + a_i (x - x')), a_i and w_i by Gauss and Legendre (Sundararajan et al. 2017, eq. 3).

    The points are taken spread over the whole path from the first batch on; each frame is the integral by those that it
    has. The map's sum should be S(x) - S(x'); the last frame's `completeness` is by how much it is not, and its `notes` say
    so where that is more than 1 %.
    """
    if layer != "input":
        raise MethodNotApplicableError(
            f"Integrated gradients go along a path of pictures: they explain the input, not {layer!r}. For a layer take "
            "'input_x_gradient' there."
        )
    x = trace.input.detach()
    start = baseline_of(trace, baseline, seed)
    places, weights = _gauss_legendre(steps)
    nearby = Nearby(trace, target, (), steps)
    total, met = torch.zeros_like(x, dtype=torch.float64), 0.0

    def gradients(begin: int, end: int) -> Tensor:
        at = torch.tensor(places[begin:end], dtype=x.dtype, device=x.device).view(-1, 1, 1, 1, 1)
        found = nearby(start + at * (x - start))
        return found.split(found.trace.gradient(found.target, "input"))

    for done, found in batches(steps, nearby.batch_size(batch), gradients):
        for i, gradient in enumerate(found, start=done - len(found)):
            total += weights[i] * gradient.double()
            met += weights[i]
        values = (x - start) * (total / met).to(x)
        completeness: Tensor | None = None
        notes: tuple[str, ...] = ()
        if done == steps:
            after, before = nearby.scores(trace), nearby.scores(nearby(start[None]).trace)
            sums = values.double().flatten(1).sum(1)
            completeness = (sums - (after - before)).abs()
            notes = _incomplete(sums, after, before)
        yield Attribution(values, target, layer, trace, step=done, steps=steps, completeness=completeness, notes=notes)


def _incomplete(sums: Tensor, after: Tensor, before: Tensor) -> tuple[str, ...]:
    """A note where a map's sum misses the change of the score by more than a hundredth; of a batch, where by most."""
    change = after - before
    missing = (sums - change).abs()
    off = missing > _SHARE * change.abs() + _ROUNDING * (after.abs() + before.abs())
    if not bool(off.any()):
        return ()
    worst = int((missing * off).argmax())
    return (f"its sum is {float(sums[worst]):.3g}, and the score changes by {float(change[worst]):.3g}",)


def _gauss_legendre(count: int) -> tuple[list[float], list[float]]:
    """Places in [0, 1] and their weights, in an order in which the first few are spread over the whole."""
    places, weights = np.polynomial.legendre.leggauss(count)
    golden = (0.5 + np.arange(count) * (5**0.5 - 1) / 2) % 1  # any number of these lie evenly in [0, 1]
    order = golden.argsort().argsort()
    return ((places[order] + 1) / 2).tolist(), (weights[order] / 2).tolist()


def _passes(options: Mapping[str, Any], trace: Trace) -> float:
    return float(3 * options["samples"] * len(trace))


@method(
    "SmoothGrad",
    family="paths",
    cost="samples x (F + B)",
    passes=_passes,
    about=About(
        formula=(
            r"\frac{1}{n} \sum_{i=1}^n \frac{\partial S}{\partial x}(x + \epsilon_i),\quad \epsilon_i \sim"
            r" \mathcal{N}(0, \sigma^2)"
        ),
        source="Smilkov et al. 2017, section 3 (arXiv 1706.03825)",
        promises="Less noise than one gradient, with its standard error as a second view.",
        weaknesses="Explains the score of noisy pictures; how noisy is a choice, and changes the map.",
        oracle="A loop by hand with the same noise; a quadratic in closed form",
    ),
)
def smooth_grad(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    of: str = option("saliency", choices=_GRADIENTS, help="Which method's map is averaged."),
    samples: int = option(50, low=1, high=10_000, help="How many noisy pictures."),
    sigma: float = _SIGMA,
    seed: int = _SEED,
    batch: int | None = _BATCH,
) -> Frames:
    """The mean over noisy pictures of a gradient, then, for saliency, max_c |.| (Smilkov et al. 2017, section 3).

    The noise is normal, of a standard deviation of ``sigma`` times the range of the preprocessed picture. The error is the
    standard error of the mean.
    """
    for mean, frame in _noisy(trace, target, layer, of, samples, sigma, seed, batch, lambda g: g):
        yield frame(mean.mean, mean.error)


@method(
    "SmoothGrad squared",
    family="paths",
    cost="samples x (F + B)",
    passes=_passes,
    about=About(
        formula=r"\frac{1}{n} \sum_{i=1}^n \Big(\frac{\partial S}{\partial x}(x + \epsilon_i)\Big)^2",
        source="Hooker et al. 2019, section 3 (arXiv 1806.10758)",
        promises="Among the best of gradient methods in the ROAR benchmark of that paper.",
        weaknesses="No sign; squares make what is strong stronger. ROAR itself rewards blur.",
        oracle="A loop by hand with the same noise; a quadratic in closed form",
    ),
)
def smooth_grad_squared(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    of: str = option("saliency", choices=_GRADIENTS, help="Which method's map is squared and averaged."),
    samples: int = option(50, low=1, high=10_000, help="How many noisy pictures."),
    sigma: float = _SIGMA,
    seed: int = _SEED,
    batch: int | None = _BATCH,
) -> Frames:
    """The mean over noisy pictures of the square of a gradient, g^2, for saliency the largest over channels.

    Hooker et al. 2019, section 3; the noise is SmoothGrad's. The error is the standard error of the mean.
    """
    for mean, frame in _noisy(trace, target, layer, of, samples, sigma, seed, batch, torch.square):
        yield frame(mean.mean, mean.error)


@method(
    "VarGrad",
    family="paths",
    cost="samples x (F + B)",
    passes=_passes,
    about=About(
        formula=r"\mathrm{Var}_i\Big[\frac{\partial S}{\partial x}(x + \epsilon_i)\Big]",
        source="Adebayo et al. 2018 (arXiv 1810.03307)",
        promises="How much the gradient changes near by, whatever it is on average.",
        weaknesses="Independent of the gradient itself (Seo et al. 2018): it shows where the network bends.",
        oracle="A loop by hand with the same noise; a quadratic in closed form",
    ),
)
def var_grad(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    of: str = option("saliency", choices=_GRADIENTS, help="Which method's map varies."),
    samples: int = option(50, low=2, high=10_000, help="How many noisy pictures."),
    sigma: float = _SIGMA,
    seed: int = _SEED,
    batch: int | None = _BATCH,
) -> Frames:
    """The unbiased variance over noisy pictures of a gradient, for saliency the largest over channels (Adebayo et al. 2018).

    The noise is SmoothGrad's. The error is that of the variance of normal numbers, ``var sqrt(2 / (n - 1))``.
    """
    for mean, frame in _noisy(trace, target, layer, of, samples, sigma, seed, batch, lambda g: g):
        share = (2 / (mean.count - 1)) ** 0.5 if mean.count > 1 else float("nan")
        yield frame(mean.variance, mean.variance * share)


_Frame = Callable[[Tensor, Tensor], Attribution]


def _noisy(
    trace: Trace,
    target: Target,
    layer: str,
    of: str,
    samples: int,
    sigma: float,
    seed: int,
    batch: int | None,
    changed: Callable[[Tensor], Tensor],
) -> Iterator[tuple[Mean, _Frame]]:
    """After each batch of noisy pictures the mean of their gradients, and what makes a frame of it and its error."""
    x = trace.input.detach()
    spread = sigma * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    # Saliency is the size of a gradient: it is the gradient, with its sign, that is averaged.
    run = find("gradient" if of == "saliency" else of).run
    layers = () if layer == "input" else (layer,)
    nearby, mean = Nearby(trace, target, layers, samples if of in _PLAIN else None), Mean()

    def gradients(begin: int, end: int) -> tuple[Tensor, int | None]:
        noise = [torch.randn(x.shape[1:], generator=generator(seed, i)) for i in range(begin, end)]
        found = nearby(x + spread * torch.stack(noise).to(x)[:, None])
        (frame,) = run(found.trace, found.target, layer)
        return found.split(frame.values), frame.rectifiers

    for done, (found, rectifiers) in batches(samples, nearby.batch_size(batch), gradients):
        mean.add(changed(found))

        def frame(values: Tensor, error: Tensor, done: int = done, rectifiers: int | None = rectifiers) -> Attribution:
            if of == "saliency":
                largest = values.abs().argmax(1, keepdim=True)
                values, error = values.abs().gather(1, largest), error.gather(1, largest)
            return Attribution(
                values.to(x), target, layer, trace, rectifiers, step=done, steps=samples, error=error.to(x)
            )

        yield mean, frame
