"""Methods that are one backward pass to the input, or to a layer.

They differ in two things only: the rule by which rectifiers pass gradient back, and what is made of the gradient.
"""

from __future__ import annotations

from torch import Tensor

from nbcnnviz.attribution.method import Frames, method
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.rules import Rule
from nbcnnviz.core.targets import Target
from nbcnnviz.core.trace import Trace


@method("Saliency", family="gradients", cost="B")
def saliency(trace: Trace, target: Target, layer: str) -> Frames:
    """The largest magnitude over channels of the gradient: max_c |dS/dI_c| (Simonyan et al. 2013, section 3)."""
    gradient_ = gradient_at(trace, target, layer)
    yield Attribution(gradient_.abs().amax(1, keepdim=True), target, layer, trace)


@method("Gradient (signed)", family="gradients", cost="B")
def gradient(trace: Trace, target: Target, layer: str) -> Frames:
    """The gradient itself, dS/dI, with its sign and channels."""
    yield Attribution(gradient_at(trace, target, layer), target, layer, trace)


@method("Input x gradient", family="gradients", cost="B")
def input_x_gradient(trace: Trace, target: Target, layer: str) -> Frames:
    """The input (or the layer's output) times its gradient, elementwise (Shrikumar et al. 2016)."""
    gradient_ = gradient_at(trace, target, layer)
    values = (trace.input.detach() if layer == "input" else trace.maps(layer)) * gradient_
    yield Attribution(values, target, layer, trace)


@method("Guided backprop", family="gradients", cost="B")
def guided_backprop(trace: Trace, target: Target, layer: str) -> Frames:
    """The gradient, each rectifier passing on only what is positive: relu(g) f'(x) (Springenberg et al. 2014)."""
    values, governed = ruled(trace, target, layer, "guided")
    yield Attribution(values, target, layer, trace, governed)


@method("Deconvnet", family="gradients", cost="B")
def deconvnet(trace: Trace, target: Target, layer: str) -> Frames:
    """Down through transposed filters and unpooling switches, each rectifier rectifying what arrives: relu(g).

    Zeiler & Fergus 2014, section 2.1. The switches are those of this picture's forward pass.
    """
    values, governed = ruled(trace, target, layer, "deconvnet")
    yield Attribution(values, target, layer, trace, governed)


def ruled(trace: Trace, target: Target, layer: str, rule: Rule) -> tuple[Tensor, int]:
    """The gradient under a rule and the number of rectifiers governed, which must not be none."""
    values, governed = _ruled(trace, target, layer, rule)
    if not governed:
        raise MethodNotApplicableError(
            f"No rectifier (ReLU, SiLU, GELU, clamp at 0 ...) lies between {layer!r} and the target, so that {rule} would "
            "be the plain gradient: choose an earlier layer, or the method 'gradient'."
        )
    return values, governed


def gradient_at(trace: Trace, target: Target, layer: str) -> Tensor:
    """The gradient at the input, or at a layer's maps; MethodNotApplicableError if the layer has none."""
    return _ruled(trace, target, layer, "gradient")[0]


def _ruled(trace: Trace, target: Target, layer: str, rule: Rule) -> tuple[Tensor, int]:
    if layer == "input":
        return trace.gradient_and_governed(target, "input", rule)
    return trace.map_gradient_and_governed(target, layer, rule)
