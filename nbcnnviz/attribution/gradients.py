"""Methods that are one backward pass to the input, or to a layer.

They differ in two things only: the rule by which rectifiers pass gradient back, and what is made of the gradient.
"""

from __future__ import annotations

from torch import Tensor

from nbcnnviz.attribution.method import About, Frames, method
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.rules import Rule
from nbcnnviz.core.targets import Target
from nbcnnviz.core.trace import Trace


@method(
    "Saliency",
    family="gradients",
    cost="B",
    about=About(
        formula=r"M_{xy} = \max_c \left| \frac{\partial S}{\partial I_{cxy}} \right|",
        source="Simonyan, Vedaldi & Zisserman 2013, section 3 (arXiv 1312.6034)",
        promises="How much the score changes with each pixel, to first order. It changes when the weights do.",
        weaknesses=(
            "Noisy: neighbouring pixels differ by chance. It tells what the score is sensitive to, not "
            "what it consists of, and not the sign."
        ),
        oracle="Captum `Saliency`, the largest over the channels",
    ),
)
def saliency(trace: Trace, target: Target, layer: str) -> Frames:
    """The largest magnitude over channels of the gradient: max_c |dS/dI_c| (Simonyan et al. 2013, section 3)."""
    gradient_ = gradient_at(trace, target, layer)
    yield Attribution(gradient_.abs().amax(1, keepdim=True), target, layer, trace)


@method(
    "Gradient (signed)",
    family="gradients",
    cost="B",
    about=About(
        formula=r"G = \frac{\partial S}{\partial I}",
        source="Baehrens et al. 2010; Simonyan et al. 2013 (arXiv 1312.6034)",
        promises="Exact to first order, for any target, at any layer, with its sign.",
        weaknesses="Noisy. Where the score is saturated the gradient is small though the object is there.",
        oracle="Captum `Saliency` without the magnitude",
    ),
)
def gradient(trace: Trace, target: Target, layer: str) -> Frames:
    """The gradient itself, dS/dI, with its sign and channels."""
    yield Attribution(gradient_at(trace, target, layer), target, layer, trace)


@method(
    "Input x gradient",
    family="gradients",
    cost="B",
    about=About(
        formula=r"I \odot \frac{\partial S}{\partial I}",
        source="Shrikumar et al. 2016 (arXiv 1605.01713)",
        promises=(
            "On a network of rectifiers without biases it adds up to the score, and is integrated "
            "gradients from zero (arXiv 2111.07668)."
        ),
        weaknesses=(
            "As noisy as the gradient. What is zero in the input (the mean colour) gets nothing, whatever it means."
        ),
        oracle="Captum `InputXGradient`; integrated gradients on a network without biases",
    ),
)
def input_x_gradient(trace: Trace, target: Target, layer: str) -> Frames:
    """The input (or the layer's output) times its gradient, elementwise (Shrikumar et al. 2016)."""
    gradient_ = gradient_at(trace, target, layer)
    values = (trace.input.detach() if layer == "input" else trace.maps(layer)) * gradient_
    yield Attribution(values, target, layer, trace)


@method(
    "Guided backprop",
    family="gradients",
    cost="B",
    about=About(
        formula=r"g_\mathrm{in} = \mathrm{relu}(g_\mathrm{out}) \cdot f'(x) \text{ at each rectifier}",
        source="Springenberg et al. 2014 (arXiv 1412.6806)",
        promises="Fine pictures of what excites a unit; of a filter of a middle layer it shows the pattern.",
        weaknesses=(
            "Hardly depends on the class, nor on the weights of the upper layers (Adebayo et al. 2018; "
            "Nie et al. 2018): it restores edges. No evidence for what a network bases a class on."
        ),
        oracle=("Captum and TorchRay `GuidedBackprop`, on networks of plain `nn.ReLU` modules, where those are right"),
    ),
)
def guided_backprop(trace: Trace, target: Target, layer: str) -> Frames:
    """The gradient, each rectifier passing on only what is positive: relu(g) f'(x) (Springenberg et al. 2014)."""
    values, governed = ruled(trace, target, layer, "guided")
    yield Attribution(values, target, layer, trace, governed)


@method(
    "Deconvnet",
    family="gradients",
    cost="B",
    about=About(
        formula=r"g_\mathrm{in} = \mathrm{relu}(g_\mathrm{out}) \text{ at each rectifier}",
        source="Zeiler & Fergus 2014, section 2.1 (arXiv 1311.2901)",
        promises="What of a picture excites a filter, put back in its place by the switches of the max-pools.",
        weaknesses=(
            "As guided backprop. Without max-pools there are no switches, and little of the picture's "
            "structure is left."
        ),
        oracle="Captum `Deconvolution`, on networks of plain `nn.ReLU` modules",
    ),
)
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
        return trace.gradient_and_rectifiers(target, "input", rule)
    return trace.map_gradient_and_rectifiers(target, layer, rule)
