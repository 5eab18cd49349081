"""The operations that relevance passes through, layers with weights as they were run, and shares of relevance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nbcnnviz.core.rectifiers import kind

WEIGHTED = {"Convolution": 0, "Addmm": 1, "Mm": 0}  # the place of what they are applied to
NORMS = frozenset({"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"})
SUMS = frozenset({"Add", "Sub", "Rsub"})
POOLS = frozenset(
    {
        *("Mean", "Sum", "AvgPool1D", "AvgPool2D", "AdaptiveAvgPool2D", "MkldnnAdaptiveAvgPool2D"),
        *("UpsampleBilinear2D", "UpsampleBilinear2DAa", "UpsampleNearest2D", "UpsampleNearestExact2D"),
    }
)
PRODUCTS = frozenset({"Mul", "Div"})
ACTIVATIONS = frozenset(
    {
        *("Relu", "LeakyRelu", "PreluKernel", "RreluWithNoise", "Hardtanh", "Elu", "Celu", "Silu", "Gelu", "Mish"),
        *("Hardswish", "Softplus", "Threshold", "Clamp", "ClampMin", "Tanh", "Sigmoid", "Hardsigmoid"),
    }
)
REARRANGING = frozenset(
    {
        *("View", "UnsafeView", "ReshapeAlias", "Expand", "Unsqueeze", "Squeeze", "Clone", "Alias", "Permute", "T"),
        *("Transpose", "Cat", "Stack", "Split", "SplitWithSizes", "Unbind", "Select", "Slice", "Index", "IndexSelect"),
        *("Gather", "Roll", "Flip", "ConstantPadNd", "ReflectionPad2D", "ReplicationPad2D", "PixelShuffle"),
        *("PixelUnshuffle", "AsStrided", "ToCopy", "MaxPool2DWithIndices", "AdaptiveMaxPool2D", "Max", "Amax"),
    }
)
GATES = frozenset({"Sigmoid", "Hardsigmoid", "Softmax"})


@dataclass
class Weighted:
    """A layer with weights as it was run: a convolution or a linear layer, with the batch normalisation after it.

    Attributes
    ----------
    x, w, b
        Its input, its weights and its offsets, None for none; in single precision at least.
    y
        What it gave.
    first
        Whether no other layer with weights comes before it.
    top
        Whether no other layer with weights comes after it.
    """

    node: Node
    x: Tensor
    w: Tensor
    b: Tensor | None
    y: Tensor
    first: bool
    top: bool

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution; else it is linear."""
        return kind(self.node) == "Convolution"

    def __call__(self, x: Tensor, w: Tensor) -> Tensor:
        """What it gives for another input and other weights, without offsets."""
        if not self.is_convolution:
            return x @ w
        n: Any = self.node
        return torch.convolution(
            *(x, w, None, n._saved_stride, n._saved_padding, n._saved_dilation),
            *(n._saved_transposed, n._saved_output_padding, n._saved_groups),
        )

    def down(self, x: Tensor, w: Tensor, given: Tensor) -> Tensor:
        """Each input times what comes back to it of ``given`` through the weights."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (back,) = torch.autograd.grad(self(leaf, w), leaf, given)
        return x * back

    @property
    def offset(self) -> Tensor | float:
        """The offsets, as what is added to an output; 0 for none."""
        if self.b is None:
            return 0.0
        return self.b.view(-1, *[1] * (self.y.ndim - 2)) if self.is_convolution else self.b


Rule = Callable[[Weighted, Tensor], Tensor]
"""From a layer and the relevance of its outputs to that of its inputs."""


def scale_of(node: Any) -> Tensor:
    """By what a batch normalisation with running statistics scales each channel: (C,)."""
    epsilon = node._saved_eps if hasattr(node, "_saved_eps") else node._saved_epsilon
    scale: Tensor = (node._saved_running_var.detach() + epsilon).rsqrt()
    return scale if node._saved_weight is None else scale * node._saved_weight.detach()


def stabilized(z: Tensor, by: float) -> Tensor:
    """A denominator that is never nearer to zero than ``by``."""
    return z + by * torch.where(z >= 0, 1, -1).to(z) if by else z


def over(relevance: Tensor, z: Tensor, by: float) -> Tensor:
    """Relevance over a denominator; where that is zero nobody contributed, and nobody gets anything."""
    z = stabilized(z, by)
    return torch.where(z == 0, 0, relevance / z)
