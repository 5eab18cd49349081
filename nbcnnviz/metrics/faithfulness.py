"""Whether a map's numbers add up to what the network says, and whether they hold still when the picture hardly moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.attribution import Attribution, attribute
from nbcnnviz.core.errors import MethodNotApplicableError, UnknownOptionError
from nbcnnviz.core.targets import as_target
from nbcnnviz.core.trace import Trace
from nbcnnviz.metrics.score import Score, typed

_BATCH = 16


@typed
def completeness(trace: Trace, result: Attribution, baseline: Tensor | None = None, *, picture: int = 0) -> Score:
    """How far a map's sum is from what it promises to add up to, as a share of it (Sundararajan et al. 2017, axiom 3).

    Parameters
    ----------
    trace, result
        The trace and a map of its input by a method that promises completeness.
    baseline
        The preprocessed input (1, C, H, W) or (C, H, W) that the method starts from. Default: zero.
    picture
        Which of the batch.

    Returns
    -------
    Score
        ``|sum - (S(x) - S(baseline))| / |S(x) - S(baseline)|``; ``details`` holds ``sum`` and ``difference``.
    """
    x = trace.input[picture : picture + 1].detach()
    start = torch.zeros_like(x) if baseline is None else baseline.reshape(x.shape).to(x)
    score = trace.network.scorer(result.target.of_picture(picture))
    with_it, without = (float(score(one)[0]) for one in (x, start))
    total, difference = float(result.values[picture].double().sum()), with_it - without
    return Score(
        "completeness error",
        abs(total - difference) / abs(difference) if difference else float("nan"),
        None,
        "How far the map's sum is from the change of the score that it accounts for: 0 is exact.",
        {"sum": total, "difference": difference},
    )


@typed
def infidelity(
    trace: Trace,
    result: Attribution,
    *,
    picture: int = 0,
    samples: int = 50,
    sigma: float = 0.1,
    scaled: bool = False,
    seed: int = 0,
) -> Score:
    """The mean of ``(I . phi - (S(x) - S(x - I)))^2`` over noise I (Yeh et al. 2019, definition 2.1).

    Parameters
    ----------
    trace, result
        The trace and a map at the input's resolution, (N, C, H, W), or (N, 1, H, W) for all channels alike.
    samples
        How many perturbations. Default: 50.
    sigma
        Their standard deviation, as a share of the input's range. Default: 0.1.
    scaled
        Whether the map is first multiplied by the number that makes the infidelity least, so that only its shape counts.
    seed
        Of the noise.

    Raises
    ------
    MethodNotApplicableError
        If the map is coarser than the input: its values then are not those of pixels.
    """
    x = trace.input[picture : picture + 1].detach()
    phi = result.values[picture : picture + 1].detach()
    if tuple(phi.shape[2:]) != tuple(x.shape[2:]):
        raise MethodNotApplicableError(
            f"Infidelity needs a value for every pixel, and this map is {phi.shape[2]} x {phi.shape[3]}: use a method "
            "that looks at the input."
        )
    _positive("samples", samples)
    generator = torch.Generator().manual_seed(seed)
    score = trace.network.scorer(result.target.of_picture(picture))
    spread = sigma * float(x.max() - x.min())
    here = score(x)
    products, changes = [], []
    for noise in _noise(x, samples, generator):
        noise = spread * noise
        products.append((noise * phi).flatten(1).double().sum(1))
        changes.append((here - score(x - noise)).double())
    product, change = torch.cat(products), torch.cat(changes)
    factor = 1.0
    if scaled and bool(product.any()):
        factor = float((product * change).sum() / product.square().sum())
    return Score(
        "infidelity",
        float((factor * product - change).square().mean()),
        float(change.square().mean()),
        "The mean squared error of the score's change under noise as the map foretells it: 0 is exact, and a map of "
        "zeros has the value given for chance.",
        {"factor": factor},
    )


@typed
def sensitivity(
    trace: Trace,
    *,
    method: str = "grad_cam",
    target: Any = None,
    layer: str | None = None,
    picture: int = 0,
    radius: float = 0.02,
    samples: int = 10,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    **others: Any,
) -> Score:
    """Max-sensitivity: how much a map changes, at most, when the picture hardly does (Yeh et al. 2019, definition 4.1).

    Parameters
    ----------
    trace
        Of the picture.
    method, target, layer, **others
        As `nbcnnviz.attribute` takes them; the target stays that of the picture itself.
    radius
        The perturbation is uniform within plus and minus this, in the units of the input. Default: 0.02.
    samples
        How many perturbations. Default: 10.
    seed
        Of the perturbations.
    options
        The method's own options whose names are taken here: SmoothGrad's ``samples``, say.

    Returns
    -------
    Score
        The largest ``|phi(x) - phi(x + e)| / |phi(x)|`` in the Euclidean norm; NaN for a map of zeros.
    """
    x = trace.input[picture : picture + 1].detach()
    alone = trace.network.trace(x)
    asked = as_target(target, trace).of_picture(picture)
    chosen = {**(options or {}), **others}
    first = attribute(alone, method=method, target=asked, layer=layer, **chosen)
    generator = torch.Generator().manual_seed(seed)
    norm, most = float(first.values.double().norm()), 0.0
    for _ in range(_positive("samples", samples)):
        e = (torch.rand(x.shape, generator=generator) * 2 - 1).to(x) * radius
        moved = attribute(trace.network, x + e, method=method, target=asked, layer=first.layer, **chosen)
        most = max(most, float((moved.values - first.values).double().norm()))
    return Score(
        "max-sensitivity",
        most / norm if norm else float("nan"),
        None,
        "The largest relative change of the map under noise that hardly shows: small is steady, also in a map that is wrong.",
    )


def _noise(x: Tensor, samples: int, generator: torch.Generator) -> Any:
    """Standard normal noise, in batches (n, C, H, W)."""
    for begin in range(0, samples, _BATCH):
        count = min(_BATCH, samples - begin)
        yield torch.stack([torch.randn(x.shape[1:], generator=generator) for _ in range(count)]).to(x)


def _positive(name: str, number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise UnknownOptionError(number, (), f"{name} is a whole number, 1 or more.")
    return number
