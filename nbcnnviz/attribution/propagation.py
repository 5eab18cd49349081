"""Excitation backpropagation and layer-wise relevance propagation: a score shared out among what made it.

`nbcnnviz.attribution.relevance` says what happens at everything but layers with weights; here are the rules for these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.attribution.method import About, Frames, method
from nbcnnviz.attribution.operations import Rule, Weighted, over
from nbcnnviz.attribution.relevance import Relevance
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.attribution.sampling import black_and_white
from nbcnnviz.core.errors import ImageError
from nbcnnviz.core.options import option
from nbcnnviz.core.replay import Replay
from nbcnnviz.core.targets import Target
from nbcnnviz.core.trace import Trace

STABILIZER = 1e-6
"""What is added to a denominator by every rule of LRP but epsilon, whose own says."""


def _passes(options: Mapping[str, Any], trace: Trace) -> float:
    return 7.0 * len(trace)


@method(
    "Excitation backprop",
    family="propagation",
    cost="F + 5 B",
    passes=_passes,
    about=About(
        formula=r"P_j = \sum_i P_i \frac{(w_{ij} a_j)^+}{\sum_k (w_{ik} a_k)^+}",
        source="Zhang et al. 2016, equation 6 (arXiv 1608.00507)",
        promises="Nowhere negative; the map's sum is one, where no unit is excited by its bias alone.",
        weaknesses="At the input of deep networks it is grainy. On depthwise convolutions much of the mass goes to biases.",
        oracle="TorchRay, to 1e-9, on networks without residual sums; by hand on one with them",
    ),
)
def excitation_backprop(trace: Trace, target: Target, layer: str) -> Frames:
    """How likely each place is to have excited the target: P_j = sum_i P_i (w_ij a_j)+ / sum_k (w_ik a_k)+ (Zhang et al. 2016).

    Equation 6, from a probability of one at the target down, summed over channels; biases play no part. The paper takes
    the positive weights of inputs that are not negative; where inputs are, what counts is that weight times input is
    positive, which is the same for the others. The map's sum is one, less what units had that were excited by their bias
    alone: `completeness`, for the input.
    """
    yield _excitation(trace, target, layer, excited)


@method(
    "Contrastive excitation backprop",
    family="propagation",
    cost="F + 5 B",
    passes=_passes,
    about=About(
        formula=r"\mathrm{relu}\big(P - P'\big)",
        source="Zhang et al. 2016, section 3.3 (arXiv 1608.00507)",
        promises="Nowhere negative; what excites all classes alike is left out.",
        weaknesses="A small difference of two maps that are nearly the same: in single precision, far down, rounding shows.",
        oracle="TorchRay, to 1e-9, on networks without residual sums",
    ),
)
def contrastive_excitation_backprop(trace: Trace, target: Target, layer: str) -> Frames:
    """relu(P - P'), P by excitation backprop and P' the same for all that speaks against the target (Zhang et al. 2016).

    Section 3.3: P' begins at a dual unit, whose weights in the last layer are those of the class with the opposite sign.
    """
    frame = _excitation(trace, target, layer, _contrasted)
    yield Attribution(frame.values.relu(), target, layer, trace)


def _excitation(trace: Trace, target: Target, layer: str, rule: Rule) -> Attribution:
    if layer != "input":
        trace.maps(layer)
    replay = Replay(trace, target, layer)
    relevance = Relevance(
        replay, rule, "Excitation backprop", positive=True, stabilizer=0.0, times_score=False
    ).at(layer)  # fmt: skip
    values = relevance.sum(1, keepdim=True)
    missing = (1 - values.double().flatten(1).sum(1)).abs() if layer == "input" else None
    return Attribution(values, target, layer, trace, completeness=missing)


@method(
    "LRP",
    family="propagation",
    cost="F + 12 B",
    passes=lambda options, trace: 16.0 * len(trace),
    about=About(
        formula=r"R_j = \sum_i \frac{z_{ij}}{\sum_k z_{ik}} R_i,\quad z_{ij} = a_j\, \rho(w_{ij})",
        source="Bach et al. 2015, equation 56 (doi 10.1371/journal.pone.0130140); Montavon et al. 2019, section 10.2",
        promises="Conservation: on a network without biases the map's sum is the score.",
        weaknesses="Each rule gives another map, and nothing says which is right. With z+ it hardly depends on the class.",
        oracle="zennit, with folded batch normalisation, to 1e-6",
    ),
)
def lrp(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    rule: str = option(
        "epsilon_gamma_box",
        choices=(
            *("epsilon_gamma_box", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha_beta"),
            *("epsilon", "gamma", "z_plus", "alpha_beta"),
        ),
        help="The rule of all layers with weights; or of linear layers, of convolutions and of the first layer.",
    ),
    epsilon: float = option(
        1e-6,
        low=0,
        high=1e3,
        help="The rule epsilon: what is added to its denominators.",
        when={"rule": ("epsilon_gamma_box", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha_beta", "epsilon")},
    ),
    gamma: float = option(
        0.25,
        low=0,
        high=1e3,
        help="The rule gamma: how much more positive weights count.",
        when={"rule": ("epsilon_gamma_box", "gamma")},
    ),
    alpha: float = option(
        2.0,
        low=1,
        high=100,
        help="The rule alpha-beta: the weight of what adds; beta is one less.",
        when={"rule": ("epsilon_alpha_beta", "alpha_beta")},
    ),
) -> Frames:
    """Layer-wise relevance propagation: R_j = sum_i R_i z_ij / sum_k z_ik, z_ij = w_ij a_j (Bach et al. 2015, equation 56).

    With the rules epsilon, gamma, z+, alpha-beta, box and flat, and what is composed of them (Montavon et al. 2019, section
    10.2; Kohlbrenner et al. 2020), as zennit has them: the box is from black to white, wide enough for the picture. Batch
    normalisations are folded into the layers before them. What the map's sum lacks of the score, which biases and
    stabilizers take, is its `completeness`, for the input.
    """
    if layer != "input":
        trace.maps(layer)
    replay = Replay(trace, target, layer)
    chosen = composed(rule, epsilon, gamma, alpha, lambda: _box(trace))
    values = Relevance(replay, chosen, "LRP", positive=False, stabilizer=STABILIZER, times_score=True).at(layer)
    missing = None
    if layer == "input":
        missing = (replay.scores.detach().double() - values.double().flatten(1).sum(1)).abs()
    yield Attribution(values, target, layer, trace, completeness=missing)


def composed(name: str, epsilon: float, gamma: float, alpha: float, box: Callable[[], tuple[Tensor, Tensor]]) -> Rule:
    """The rule of this name, for all layers with weights."""
    rules: dict[str, Rule] = {
        "epsilon": lambda layer, r: _shared(layer, r, [(layer.x, layer.w)], layer.offset, epsilon),
        "gamma": lambda layer, r: _gamma(layer, r, gamma),
        "z_plus": lambda layer, r: _alpha_beta(layer, r, 1.0),
        "alpha_beta": lambda layer, r: _alpha_beta(layer, r, alpha),
        "box": lambda layer, r: _boxed(layer, r, *box()),
        "flat": _flat,
    }
    compositions = {
        "epsilon_gamma_box": ("epsilon", "gamma", "box"),
        "epsilon_plus": ("epsilon", "z_plus", "z_plus"),
        "epsilon_plus_flat": ("epsilon", "z_plus", "flat"),
        "epsilon_alpha_beta": ("epsilon", "alpha_beta", "alpha_beta"),
    }
    linear, convolution, first = compositions.get(name, (name, name, name))

    def rule(layer: Weighted, relevance: Tensor) -> Tensor:
        # The box and the convolution's rules are for convolutions, also where they come first; flat is for any.
        chosen = (first if layer.first else convolution) if layer.is_convolution else linear
        return rules["flat" if layer.first and first == "flat" else chosen](layer, relevance)

    return rule


def excited(layer: Weighted, relevance: Tensor) -> Tensor:
    """Excitation backprop's rule: to inputs in proportion to what they add."""
    return _shared(layer, relevance, _adding(layer.x, layer.w), 0.0, 0.0)


def _contrasted(layer: Weighted, relevance: Tensor) -> Tensor:
    """The same, less at the last layer what its opposite would have."""
    found = excited(layer, relevance)
    return found - _shared(layer, relevance, _adding(layer.x, -layer.w), 0.0, 0.0) if layer.top else found


def _adding(x: Tensor, w: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The parts whose products are positive."""
    parts = [(x.clamp(min=0), w.clamp(min=0))]
    return [*parts, (x.clamp(max=0), w.clamp(max=0))] if bool((x < 0).any()) else parts


def _taking(x: Tensor, w: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The parts whose products are negative."""
    parts = [(x.clamp(min=0), w.clamp(max=0))]
    return [*parts, (x.clamp(max=0), w.clamp(min=0))] if bool((x < 0).any()) else parts


def _shared(
    layer: Weighted, relevance: Tensor, parts: list[tuple[Tensor, Tensor]], offset: Tensor | float, by: float
) -> Tensor:
    """Relevance to inputs in proportion to the products of ``parts``; an offset takes its share of it."""
    z = sum((layer(x, w) for x, w in parts), start=torch.zeros_like(relevance)) + offset
    share = over(relevance, z, by)
    return sum((layer.down(x, w, share) for x, w in parts), start=torch.zeros_like(layer.x))


def _alpha_beta(layer: Weighted, relevance: Tensor, alpha: float) -> Tensor:
    """alpha of what adds less (alpha - 1) of what takes away (Bach et al. 2015, equation 60); with alpha = 1, z+."""
    positive, negative = _halves(layer.offset)
    found = alpha * _shared(layer, relevance, _adding(layer.x, layer.w), positive, STABILIZER)
    if alpha == 1:
        return found
    return found - (alpha - 1) * _shared(layer, relevance, _taking(layer.x, layer.w), negative, STABILIZER)


def _gamma(layer: Weighted, relevance: Tensor, gamma: float) -> Tensor:
    """Weights plus gamma times their positive part (Montavon et al. 2019); where an output is negative, their negative part.

    The generalisation to inputs and outputs of either sign is Andeol et al. 2021's.
    """
    x, w = layer.x, layer.w
    more, less = w + gamma * w.clamp(min=0), w + gamma * w.clamp(max=0)
    above, below = x.clamp(min=0), x.clamp(max=0)
    positive, negative = _halves(layer.offset)
    up = _shared(
        layer, relevance * (layer.y > 0), [(above, more), (below, less)], layer.offset + gamma * positive, STABILIZER
    )
    if not bool((layer.y < 0).any()):
        return up
    down = [(above, less), (below, more)]
    return up + _shared(layer, relevance * (layer.y < 0), down, layer.offset + gamma * negative, STABILIZER)


def _boxed(layer: Weighted, relevance: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """z_ij = w_ij x_j - w_ij+ l_j - w_ij- h_j, for inputs between l and h (Montavon et al. 2017, equation 14)."""
    x, w = layer.x, layer.w
    low, high = (bound.to(x).expand_as(x) for bound in (low, high))
    plus, minus = w.clamp(min=0), w.clamp(max=0)
    share = over(relevance, layer(x, w) - layer(low, plus) - layer(high, minus), STABILIZER)
    return layer.down(x, w, share) - layer.down(low, plus, share) - layer.down(high, minus, share)


def _flat(layer: Weighted, relevance: Tensor) -> Tensor:
    """To all inputs of a unit alike (Lapuschkin et al. 2019)."""
    return _shared(layer, relevance, [(torch.ones_like(layer.x), torch.ones_like(layer.w))], 0.0, STABILIZER)


def _halves(offset: Tensor | float) -> tuple[Tensor | float, Tensor | float]:
    return (offset.clamp(min=0), offset.clamp(max=0)) if isinstance(offset, Tensor) else (0.0, 0.0)


def _box(trace: Trace) -> tuple[Tensor, Tensor]:
    """The input for black and for white, (N, C, 1, 1), or the picture's own range where that is wider or they are not known."""
    x = trace.input.detach()
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    try:
        black, white = black_and_white(trace)
    except ImageError:
        return low, high
    return torch.minimum(low, torch.minimum(black, white)), torch.maximum(high, torch.maximum(black, white))
