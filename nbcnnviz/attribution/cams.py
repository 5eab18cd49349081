"""Class activation maps: a layer's maps, each weighted by what it does for the target, added and rectified.

One backward pass to the layer is all that any of them needs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nbcnnviz.attribution.gradients import ruled
from nbcnnviz.attribution.method import About, Frames, method
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.targets import ClassScore, Combination, Target
from nbcnnviz.core.trace import Trace
from nbcnnviz.render import upscaled


@method(
    "CAM",
    family="cams",
    needs_layer=True,
    cost="none",
    about=About(
        formula=r"\mathrm{relu}\Big(\sum_k W_{ck} A_k\Big)",
        source="Zhou et al. 2016 (arXiv 1512.04150)",
        promises="Before the rectifier its mean over places is the class's score, less the bias: exact.",
        weaknesses=(
            "Only where the scores are one Linear layer over the average of the maps (ResNet, GoogLeNet, "
            "EfficientNet; not VGG), and as coarse as the last maps."
        ),
        oracle="torch-cam `CAM`; Grad-CAM times the number of places",
    ),
)
def cam(trace: Trace, target: Target, layer: str) -> Frames:
    """relu(sum_k W[c, k] A_k), where the scores are one Linear layer over the average of the maps A (Zhou et al. 2016)."""
    terms = target.terms if isinstance(target, Combination) else ((1.0, target),)
    classes = [(factor, part) for factor, part in terms if isinstance(part, ClassScore)]
    if len(classes) < len(terms):
        raise MethodNotApplicableError(
            "CAM explains a class, or one less another, by the weights of the score: choose a class, or Grad-CAM."
        )
    maps, weight = trace.maps(layer), head_weight(trace, layer)
    own = sum(factor * weight[list(part.indices(trace))] for factor, part in classes)
    yield Attribution(weighted_sum(maps, torch.as_tensor(own)).relu(), target, layer, trace)


@method(
    "Grad-CAM",
    family="cams",
    needs_layer=True,
    cost="B to the layer",
    about=About(
        formula=(
            r"\mathrm{relu}\Big(\sum_k \frac{1}{hw} \sum_{ij} g_{kij}\, A_k\Big),\quad g = \frac{\partial "
            r"S}{\partial A}"
        ),
        source="Selvaraju et al. 2017, equations 1 and 2 (arXiv 1610.02391)",
        promises=(
            "Tells classes apart, changes when the weights do, and is cheap. For an average and a Linear "
            "layer it is CAM."
        ),
        weaknesses=(
            "As coarse as the layer. At early layers the averaged gradient says little. Can mark places "
            "that play no part (HiRes-CAM mends that)."
        ),
        oracle="Captum `LayerGradCam(relu_attributions=True)`, TorchRay `grad_cam`",
    ),
)
def grad_cam(trace: Trace, target: Target, layer: str) -> Frames:
    """relu(sum_k mean_ij(g_k) A_k), with g the gradient at the maps A (Selvaraju et al. 2017, equations 1 and 2)."""
    yield Attribution(_grad_cam(trace, target, layer), target, layer, trace)


@method(
    "Guided Grad-CAM",
    family="cams",
    needs_layer=True,
    needs_input=True,
    cost="B + B to the layer",
    about=About(
        formula=r"G_\mathrm{guided} \odot \uparrow\! M_\mathrm{Grad\text{-}CAM}",
        source="Selvaraju et al. 2017, section 3.2 (arXiv 1610.02391)",
        promises="Grad-CAM's places with guided backprop's detail.",
        weaknesses=(
            "The detail is guided backprop's: it hardly depends on the class. What is told of the class "
            "is Grad-CAM's alone."
        ),
        oracle="Captum `GuidedGradCam` with bilinear upsampling",
    ),
)
def guided_grad_cam(trace: Trace, target: Target, layer: str) -> Frames:
    """Guided backprop times Grad-CAM scaled up to the input (Selvaraju et al. 2017, section 3.2)."""
    where = _grad_cam(trace, target, layer)
    what, governed = ruled(trace, target, "input", "guided")
    values = what * upscaled(where, trace.size)
    yield Attribution(values, target, layer, trace, governed)


def class_maps(trace: Trace, layer: str | None = None, *, rectified: bool = True) -> Tensor:
    """The class activation maps of every class at once, (N, K, h, w), in closed form: relu(sum_k W[c, k] A_k).

    One product of matrices, where the scores are one Linear layer over the average of the maps (Zhou et al. 2016).

    Parameters
    ----------
    trace
        Of the pictures.
    layer
        Whose maps. Default: the network's last.
    rectified
        Whether what is negative is zero, as `nbcnnviz.attribute` has it with ``method="cam"``; without, a map's mean is
        the class's score less its bias.

    Raises
    ------
    MethodNotApplicableError
        If the scores are something else than one Linear layer over the average.
    """
    layer = trace.network.last_maps if layer is None else layer
    if layer is None:
        raise MethodNotApplicableError(f"No layer of {trace.network.name} has maps.")
    maps, weight = trace.maps(layer), head_weight(trace, layer)
    found: Tensor = (weight @ maps.flatten(2)).unflatten(2, maps.shape[2:])
    return found.relu() if rectified else found


def _grad_cam(trace: Trace, target: Target, layer: str) -> Tensor:
    maps = trace.maps(layer)
    weights = trace.map_gradient(target, layer).flatten(2).mean(2)
    return weighted_sum(maps, weights).relu()


def weighted_sum(maps: Tensor, weights: Tensor) -> Tensor:
    """The sum over channels, (N, 1, h, w), of maps (N, C, h, w) times weights (N, C)."""
    summed: Tensor = torch.bmm(weights.unsqueeze(1), maps.flatten(2)).unflatten(2, maps.shape[2:])
    return summed


def head_weight(trace: Trace, layer: str) -> Tensor:
    """The weight (classes, C) of the layer that makes the class scores from the average of a layer's maps.

    It is linear, or a convolution of one place. Which one, if any, is a matter of numbers, whatever is computed between
    and whichever other heads there are.
    """
    average, scores = trace.maps(layer).mean((2, 3)), trace.scores.detach()
    if not bool(scores.any()):
        raise MethodNotApplicableError(
            "CAM needs scores that are one Linear layer over the average of the maps, and here every score is zero, which "
            "many layers would give: train the network, or load its weights."
        )
    for called, made in reversed(trace.network.layers.items()):
        name = called.partition(":")[0]
        weight, bias = (trace.parameters.get(f"{name}.{part}") for part in ("weight", "bias"))
        if made.kind not in ("Linear", "Conv2d") or weight is None or weight.shape[2:].numel() != 1:
            continue
        matrix = weight.detach().flatten(1)
        if matrix.shape != (scores.shape[1], average.shape[1]):
            continue
        error = (F.linear(average, matrix, None if bias is None else bias.detach()) - scores).abs().max()
        if error <= torch.finfo(scores.dtype).eps ** 0.5 * scores.abs().max():
            return trace.network.head.class_scores(matrix.T).T
    raise MethodNotApplicableError(
        f"CAM needs scores that are one Linear layer over the average of the maps, and from {layer!r} on this network "
        "does something else: choose the last layer before the average, or use Grad-CAM, which is the same there and "
        "works everywhere."
    )
