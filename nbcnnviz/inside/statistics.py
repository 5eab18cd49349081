"""How large everything is from the first layer to the last: activations, gradients, weights, and what training would do.

One backward pass answers for all layers and parameters. Numbers are reduced where the tensors are, and copied once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbcnnviz.core.errors import UnknownOptionError
from nbcnnviz.core.replica import unwrapped
from nbcnnviz.core.targets import TargetLike
from nbcnnviz.core.trace import EVERYTHING, Trace
from nbcnnviz.inside.kernels import main_parameter

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HEALTHY = 1e-3
"""A ratio of update to weight near which training is held to go well (Karpathy, CS231n)."""


@dataclass(frozen=True, eq=False)
class Depth:
    """Norms of each layer, in the order in which the layers return.

    Every array has one element a layer; NaN stands where there is nothing to measure: a layer without weights, or one
    that the target does not depend on. Norms are L2, over the whole batch.

    Attributes
    ----------
    layers : tuple[str, ...]
        Their names. A container that returns the very tensor of a layer within it is left out.
    activation, gradient : ndarray
        The norms of what the layer returned and of the target's gradient with respect to it.
    sizes : ndarray
        How many elements that is: the norm over the square root of it is the root mean square.
    weight, weight_gradient : ndarray
        The norms of the layer's weight (biases are left out) and of its gradient: in all calls together.
    ratio : ndarray
        ``learning_rate * weight_gradient / weight``: how much of itself a step of plain gradient descent on the target
        would change. A ratio near 1e-3 is held to be healthy (Karpathy, CS231n notes 3, "Ratio of weights:updates").
    learning_rate : float
        As given.
    not_finite : dict[str, int]
        How many values are NaN or infinite, by the name of the layer, or of the parameter, and ``"gradient of ..."``
        these. Those with none are not listed.
    """

    layers: tuple[str, ...]
    activation: Floats
    gradient: Floats
    sizes: Ints
    weight: Floats
    weight_gradient: Floats
    ratio: Floats
    learning_rate: float
    not_finite: dict[str, int]

    def at_rate(self, learning_rate: float) -> Depth:
        """The same for another learning rate, which ``ratio`` is proportional to."""
        if learning_rate == self.learning_rate:
            return self
        ratio = self.ratio * (learning_rate / self.learning_rate)
        return replace(self, ratio=ratio, learning_rate=learning_rate)

    def column(self, trace: Trace, layer: str) -> int | None:
        """The place of a layer in the arrays; of a container, that of the layer within it whose output it returns."""
        if layer in self.layers:
            return self.layers.index(layer)
        output = trace[layer]
        return next((i for i, name in enumerate(self.layers) if trace[name] is output), None)


def depth(
    trace: Trace,
    target: TargetLike = None,
    *,
    learning_rate: float = 1e-2,
    gradients: Mapping[str, Tensor] | None = None,
) -> Depth:
    """The norms of every layer's activation, gradient, weight and weight's gradient, by one backward pass.

    Parameters
    ----------
    trace, target
        As in `Trace.gradient`.
    learning_rate
        Of the step that ``ratio`` is about.
    gradients
        What ``trace.gradient(target, EVERYTHING)`` gave, if that is known: then no backward pass is made.

    Raises
    ------
    GradientError, UnknownClassError
        As `Trace.gradient`.
    """
    gradients = trace.gradient(target, EVERYTHING) if gradients is None else gradients
    modules = dict(unwrapped(trace.network.module).named_modules())
    layers, weights, seen = [], {}, set()
    for layer in trace.layers:
        activation = trace._activation(layer)
        name = layer.partition(":")[0]
        main = main_parameter(modules[name])
        if activation in seen and main is None:
            continue
        seen.add(activation)
        layers.append(layer)
        if main is not None and f"{name}.{main}" in trace.parameters:
            weights[layer] = f"{name}.{main}"
    tensors = {name: trace[name].detach() for name in layers}
    tensors |= {name: trace.parameters[name].detach() for name in weights.values()}
    tensors |= {f"gradient of {name}": gradients[name] for name in list(tensors) if name in gradients}
    norms = dict(zip(tensors, _norms(list(tensors.values())), strict=True))
    # A norm outlasts neither NaN nor infinity, so that only what has such a norm need be counted.
    doubtful = [name for name, norm in norms.items() if not np.isfinite(norm)]
    counts = _together([tensors[name].numel() - tensors[name].isfinite().sum() for name in doubtful])
    own = [weights.get(layer, "") for layer in layers]
    weight, weight_gradient = _of(norms, own), _of(norms, [f"gradient of {name}" for name in own])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = learning_rate * weight_gradient / weight
    return Depth(
        tuple(layers),
        _of(norms, layers),
        _of(norms, [f"gradient of {layer}" for layer in layers]),
        np.array([tensors[layer].numel() for layer in layers]),
        weight,
        weight_gradient,
        ratio,
        learning_rate,
        {name: int(count) for name, count in zip(doubtful, counts, strict=True) if count},
    )


def _norms(tensors: Sequence[Tensor]) -> list[float]:
    wide = [t if t.dtype in (torch.float32, torch.float64) else t.float() for t in tensors]
    return _together(torch._foreach_norm(wide))


def _together(numbers: Iterable[Tensor]) -> list[float]:
    """Numbers from wherever they are, copied once."""
    numbers = [number.double() for number in numbers]
    return torch.stack(numbers).tolist() if numbers else []


def _of(norms: dict[str, float], names: Sequence[str]) -> Floats:
    return np.array([norms.get(name, np.nan) for name in names])


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often which values occur.

    Attributes
    ----------
    counts : ndarray
        (B,) int64, of the finite values.
    edges : ndarray
        (B + 1,) float64. The last bin has both its ends.
    nan, infinite : int
        How many values are in no bin.
    """

    counts: Ints
    edges: Floats
    nan: int
    infinite: int

    @property
    def total(self) -> int:
        """How many values there are, finite or not."""
        return int(self.counts.sum()) + self.nan + self.infinite


def histogram(values: Tensor, bins: int = 64, *, symmetric: bool = False) -> Histogram:
    """A histogram of the finite values of a tensor, from the smallest to the largest.

    ``symmetric`` puts zero in the middle. Values that are all the same get a bin of their own width one.
    """
    if bins < 1:
        raise UnknownOptionError(bins, (), "A histogram has one bin or more.")
    values = values.detach().flatten()
    values = values if values.dtype in (torch.float32, torch.float64) else values.float()
    finite = values[values.isfinite()] if not bool(values.sum().isfinite()) else values
    low, high, nan = _together([*(finite.aminmax() if len(finite) else values.new_zeros(2)), values.isnan().sum()])
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(finite, bins, low, high)
    return Histogram(
        counts.cpu().numpy().astype(np.int64),
        np.linspace(low, high, bins + 1),
        int(nan),
        len(values) - len(finite) - int(nan),
    )


def histograms(
    trace: Trace,
    layer: str,
    target: TargetLike = None,
    *,
    bins: int = 64,
    symmetric: bool = False,
    gradients: Mapping[str, Tensor] | None = None,
) -> dict[str, Histogram]:
    """Histograms of a layer: of what it returned, of its weight, and of the target's gradients with respect to both.

    The keys are ``"activations"``, ``"gradients"``, ``"weights"`` and ``"weight gradients"``, the last two of a layer with
    weights. One backward pass, down to the layer; none if ``gradients`` are given by name, of which those that are missing
    have no histogram.

    Raises
    ------
    GradientError
        If the target does not depend on the layer.
    UnknownLayerError
        If no such layer was kept.
    """
    activations = trace[layer]
    name = layer.partition(":")[0]
    main = main_parameter(unwrapped(trace.network.module).get_submodule(name))
    weight = f"{name}.{main}" if main and f"{name}.{main}" in trace.parameters else None
    if gradients is None:
        gradients = trace.gradient(target, [layer, *([weight] if weight else [])])
    tensors = {"activations": activations, "gradients": gradients.get(layer)}
    if weight:
        tensors |= {"weights": trace.parameters[weight], "weight gradients": gradients.get(weight)}
    return {
        what: histogram(tensor, bins, symmetric=symmetric) for what, tensor in tensors.items() if tensor is not None
    }
