"""Class activation maps that weight a layer's maps in other ways than Grad-CAM, from the same one backward pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.attribution.cams import weighted_sum
from nbcnnviz.attribution.method import About, Frames, method
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.layers import Layer
from nbcnnviz.core.network import Network
from nbcnnviz.core.options import Above, option
from nbcnnviz.core.targets import Target
from nbcnnviz.core.trace import Trace
from nbcnnviz.render import upscaled


@method(
    "Grad-CAM++",
    family="cams",
    needs_layer=True,
    cost="B to the layer",
    about=About(
        formula=(
            r"\mathrm{relu}\Big(\sum_k w_k A_k\Big),\quad w_k = \sum_{ij} "
            r"\alpha_{kij}\,\mathrm{relu}(g_{kij}),\quad \alpha = \frac{g^2}{2 g^2 + \sum_{ij}(A)\, g^3}"
        ),
        source="Chattopadhay et al. 2018, equation 19 (arXiv 1710.11063)",
        promises="Meant to show every instance of a class, where Grad-CAM's mean favours the largest.",
        weaknesses=(
            "Its weights are never negative: what speaks against the class is not taken away, and maps of"
            " different classes look more alike."
        ),
        oracle=(
            "The equation in float64; no released tool has it right: torch-cam's alpha has no effect, "
            "pytorch-grad-cam adds an epsilon"
        ),
    ),
)
def grad_cam_plus_plus(trace: Trace, target: Target, layer: str) -> Frames:
    """relu(sum_k w_k A_k), w_k = sum_ij alpha relu(g), alpha = g^2 / (2 g^2 + sum_ij(A) g^3) (Chattopadhay et al. 2018, eq. 19).

    Where the denominator is zero alpha is, too: nothing is added to it.
    """
    maps, g = trace.maps(layer), trace.map_gradient(target, layer)
    yield Attribution(_plus_plus(maps, g), target, layer, trace)


@method(
    "HiRes-CAM",
    family="cams",
    needs_layer=True,
    cost="B to the layer",
    about=About(
        formula=r"\mathrm{relu}\Big(\sum_k g_k \odot A_k\Big)",
        source="Draelos & Carin 2020, equation 3 (arXiv 2011.08891)",
        promises=(
            "Marks no place that does not raise the score, where one linear layer follows; for an average"
            " and a Linear layer it is Grad-CAM."
        ),
        weaknesses="As coarse as the layer; spotty where gradients change from place to place.",
        oracle="The equation by hand; Grad-CAM where the head is an average and a Linear layer",
    ),
)
def hires_cam(trace: Trace, target: Target, layer: str) -> Frames:
    """relu(sum_k g_k A_k), elementwise: no average over places (Draelos & Carin 2020, equation 3)."""
    yield Attribution(_hires(trace.maps(layer), trace.map_gradient(target, layer)), target, layer, trace)


@method(
    "Layer-CAM",
    family="cams",
    needs_layer=True,
    cost="B to the layer",
    about=About(
        formula=r"\mathrm{relu}\Big(\sum_k \mathrm{relu}(g_k) \odot A_k\Big)",
        source="Jiang et al. 2021, equations 4 to 6",
        promises="Fine maps at early layers too, to be fused with coarse ones.",
        weaknesses=(
            "What speaks against the class is left out, so that classes look more alike, the more the "
            "earlier the layer."
        ),
        oracle="pytorch-grad-cam `LayerCAM`",
    ),
)
def layer_cam(trace: Trace, target: Target, layer: str) -> Frames:
    """relu(sum_k relu(g_k) A_k), elementwise: sharp at early layers too (Jiang et al. 2021, equations 4 to 6)."""
    yield Attribution(_layer(trace.maps(layer), trace.map_gradient(target, layer)), target, layer, trace)


@method(
    "XGrad-CAM",
    family="cams",
    needs_layer=True,
    cost="B to the layer",
    about=About(
        formula=(
            r"\mathrm{relu}\Big(\sum_k w_k A_k\Big),\quad w_k = \frac{\sum_{ij} (g A)_{kij}}{\sum_{ij} "
            r"A_{kij}}"
        ),
        source="Fu et al. 2020, equation 8 (arXiv 2008.02312)",
        promises=("Of all weights of whole maps those that come nearest to two axioms, sensitivity and conservation."),
        weaknesses=(
            "Unstable where a map's activations nearly add up to zero, after SiLU or GELU say; as coarse as the layer."
        ),
        oracle="pytorch-grad-cam `XGradCAM`",
    ),
)
def xgrad_cam(trace: Trace, target: Target, layer: str) -> Frames:
    """relu(sum_k w_k A_k), w_k = sum_ij(g A) / sum_ij(A): gradients weighted by the activations (Fu et al. 2020, eq. 8).

    A map whose activations add up to zero has weight zero.
    """
    yield Attribution(_xgrad(trace.maps(layer), trace.map_gradient(target, layer)), target, layer, trace)


@method(
    "Eigen-CAM",
    family="cams",
    needs_layer=True,
    cost="none",
    about=About(
        formula=(
            r"\mathrm{relu}(\hat A v_1),\quad \hat A = U \Sigma V^\top \text{ the maps less their mean "
            r"over places}"
        ),
        source="Muhammad & Yeasin 2020 (arXiv 2008.00299)",
        promises="No gradient and no class is needed: whatever stands out most in a layer.",
        weaknesses=(
            "The same for every class. Its sign is not defined by the decomposition: here it goes with "
            "the mean activation, and is never inverted."
        ),
        oracle="Singular value decomposition by numpy, up to the sign",
    ),
)
def eigen_cam(trace: Trace, target: Target, layer: str) -> Frames:
    """relu of the maps' first principal component: whatever stands out, of whichever class (Muhammad & Yeasin 2020).

    The projection of the activations, less their mean over places, on their first right singular vector. Its sign,
    which the decomposition leaves open, is the one that goes with the mean activation.
    """
    maps = trace.maps(layer)
    if maps.shape[2] * maps.shape[3] < 2:
        raise MethodNotApplicableError(f"Eigen-CAM compares places, and the maps of {layer!r} have one alone.")
    yield Attribution(_principal(maps).relu(), target, layer, trace)


def _grad(maps: Tensor, g: Tensor) -> Tensor:
    return weighted_sum(maps, g.flatten(2).mean(2)).relu()


def _plus_plus(maps: Tensor, g: Tensor) -> Tensor:
    squares = g.square()
    denominator = 2 * squares + maps.sum((2, 3), keepdim=True) * squares * g
    alpha = torch.where(denominator == 0, torch.zeros_like(g), squares / denominator)
    return weighted_sum(maps, (alpha * g.relu()).sum((2, 3))).relu()


def _hires(maps: Tensor, g: Tensor) -> Tensor:
    return (g * maps).sum(1, keepdim=True).relu()


def _layer(maps: Tensor, g: Tensor) -> Tensor:
    return (g.relu() * maps).sum(1, keepdim=True).relu()


def _xgrad(maps: Tensor, g: Tensor) -> Tensor:
    total = maps.sum((2, 3))
    weights = torch.where(total == 0, torch.zeros_like(total), (g * maps).sum((2, 3)) / total)
    return weighted_sum(maps, weights).relu()


def _principal(maps: Tensor) -> Tensor:
    """The projection (N, 1, h, w) of maps on their first right singular vector, its sign that of the mean activation."""
    places = maps.double().flatten(2).transpose(1, 2)  # (N, h w, C)
    centred = places - places.mean(1, keepdim=True)
    # Of the two Gram matrices, whose eigenvectors give one another, the smaller.
    if centred.shape[1] <= centred.shape[2]:
        values, vectors = torch.linalg.eigh(centred @ centred.transpose(1, 2))
        projection = vectors[..., -1] * values[:, -1:].clamp_min(0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(centred.transpose(1, 2) @ centred)
        projection = (centred @ vectors[..., -1:]).squeeze(2)
    mean = centred.mean(2)
    along = (projection * mean).sum(1, keepdim=True)
    projection = torch.where(along < 0, -projection, projection)
    found: Tensor = projection.to(maps.dtype).unflatten(1, maps.shape[2:]).unsqueeze(1)
    return found


_BY_NAME = {
    "grad_cam": _grad,
    "grad_cam_plus_plus": _plus_plus,
    "hires_cam": _hires,
    "layer_cam": _layer,
    "xgrad_cam": _xgrad,
}


def _stages(network: Network, layer: str, options: Mapping[str, Any]) -> list[str]:
    """A layer, and before it the last of every larger size of maps, nearest first."""
    layers = network.layers
    found, area = [layer], _area(layers[layer])
    names = list(layers)
    for name in reversed(names[: names.index(layer)]):
        if layers[name].spatial and _area(layers[name]) > area and len(found) < options["stages"]:
            found.append(name)
            area = _area(layers[name])
    return found


def _area(layer: Layer) -> int:
    """How many places a layer's maps have."""
    return math.prod(layer.places or (1,))


@method(
    "Fusion over layers",
    family="cams",
    needs_layer=True,
    cost="B to the first of the layers",
    looks_at=_stages,
    about=About(
        formula=r"\max_l \uparrow\! \frac{M_l}{\max M_l}",
        source="Jiang et al. 2021, section 3.3",
        promises="The fine layers' edges with the coarse layers' places.",
        weaknesses=(
            "Each layer's map counts alike, whatever it contributes to the score; early layers say less of the class."
        ),
        oracle="The maps of its layers, put together by hand",
    ),
)
def layer_fusion(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    of: str = option("layer_cam", choices=tuple(_BY_NAME), help="The map that is taken at each layer."),
    stages: int = option(
        3, low=1, high=16, help="How many layers: the last of each size of maps, from the one chosen up."
    ),
    how: str = option(
        "max", choices=("max", "mean"), help="How the maps are put together, place by place.", when={"stages": Above(1)}
    ),
) -> Frames:
    """The maps of several layers, each over its largest value, at the finest one's size (Jiang et al. 2021, section 3.3).

    The layers are the chosen one and, before it, the last of every larger size of maps: fine maps for where the edges
    are, coarse ones for what they are of. A map that is zero adds nothing.
    """
    trace.maps(layer)  # or the reason why it has none
    names = _stages(trace.network, layer, {"stages": stages})
    fused = []
    for name in names:
        values = _BY_NAME[of](trace.maps(name), trace.map_gradient(target, name))
        most = values.amax((1, 2, 3), keepdim=True)
        fused.append(torch.where(most > 0, values / most, values))
    size = max((v.shape[2], v.shape[3]) for v in fused)
    stack = torch.stack([upscaled(v, size) for v in fused])
    yield Attribution(stack.amax(0) if how == "max" else stack.mean(0), target, layer, trace)
