"""FullGrad: a score as a sum over the input and the biases of every layer, of which nothing is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils.hooks import RemovableHandle

from nbcnnviz.attribution.method import About, Frames, method
from nbcnnviz.attribution.operations import NORMS, POOLS, REARRANGING, scale_of
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.rectifiers import kind
from nbcnnviz.core.replay import Replay, applied
from nbcnnviz.core.targets import Target
from nbcnnviz.core.trace import Trace
from nbcnnviz.render import upscaled

Grads = tuple[Tensor | None, ...]

_ROUNDING, _MOST_ROUNDING = 1e3, 0.02
"""An offset below so many times the precision of the value it is part of, or this share, is taken for rounding."""

_NO_MAPS = ("LayerNorm", "Softmax", "Bmm", "Mm", "Attention")


@method(
    "FullGrad",
    family="gradients",
    needs_input=True,
    cost="F + 3 B",
    passes=lambda options, trace: 4.0 * len(trace.input),
    about=About(
        formula=r"S = \nabla_I S \cdot I + \sum_l b_l \cdot \nabla_{b_l} S,\quad "
        r"M = \psi(\nabla_I S \odot I) + \sum_l \sum_c \psi(b_{lc} \odot \nabla_{b_{lc}} S)",
        source="Srinivas & Fleuret 2019, equations 3 and 8 (arXiv 1905.00780)",
        promises="What is mapped adds up to the score exactly before the scaling psi; what is missing is reported.",
        weaknesses=(
            "psi scales each layer's magnitudes to [0, 1], so that a layer of no weight counts as much as another, and the "
            "map has no sign and does not add up to anything. It hardly tells classes apart."
        ),
        oracle="The sum of all terms is the score; terms by hooks on the modules of plain networks",
    ),
)
def full_grad(trace: Trace, target: Target, layer: str) -> Frames:
    """The gradient times the input, and times each layer's bias, as magnitudes scaled to [0, 1] and added.

    Srinivas & Fleuret 2019, equations 3 and 8 (arXiv 1905.00780); psi is the magnitude, over its range within each picture
    and layer, scaled up to the input. A bias is what an operation returns beyond its derivative times its input: a
    convolution's own bias, what a batch normalisation adds (its shift less its scaled mean), what an activation that is no
    ReLU bends. As in the paper's code, biases of layers without places are left out of the map, but not of the sum, whose
    difference from the score is the result's `completeness`.
    """
    if layer != "input":
        raise MethodNotApplicableError(
            "FullGrad adds the maps of all layers up and has none at one of them: leave the layer out, or take "
            "'input_x_gradient', which is its term for a layer."
        )
    replay = Replay(trace, target)
    terms = _Terms(replay)
    gradient = replay.backward("input", terms.hooks)
    first = gradient * replay.trace.input.detach()
    terms.add(first)
    missing = (terms.total - replay.scores.detach().double()).abs()
    yield Attribution(terms.map, target, layer, trace, completeness=missing)


class _Terms:
    """The terms of the sum as they are met on the way down, and the map they make."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        x = replay.trace.input
        self.total = torch.zeros(len(x), dtype=torch.float64, device="cpu" if x.device.type == "mps" else x.device)
        self.map = torch.zeros((len(x), 1, *x.shape[2:]), dtype=x.dtype, device=x.device)

    def hooks(self, node: Node) -> Iterator[RemovableHandle]:
        """Note the node's bias times its gradient when the gradient arrives."""
        offset = self._offset(node)
        if offset is None:
            return

        def arrived(gradients: Grads) -> None:
            if gradients[0] is not None:
                self.add(gradients[0].detach() * offset)

        yield node.register_prehook(arrived)

    def add(self, term: Tensor) -> None:
        """Add a term (N, ...) to the sum, and to the map if it has places."""
        self.total = self.total + term.double().flatten(1).sum(1)
        if term.ndim == 4 and term.shape[2:].numel() > 1:
            # Scaling up is linear: the sum is scaled, and not each channel.
            self.map = self.map + upscaled(_psi(term).sum(1, keepdim=True), self._replay.trace.size)

    def _offset(self, node: Node) -> Tensor | None:
        """What an operation returns beyond its derivative times its inputs; None if that is nothing."""
        replay = self._replay
        if replay.of_target(node) or not (inputs := replay.inputs(node)):
            return None
        if kind(node) in REARRANGING | POOLS:
            return None
        value = replay.value((node, 0))
        known = self._known(node, inputs)
        if known is not None:
            if len(value) != len(replay.trace.input):
                raise self._refusal(node)
            return known.to(value.dtype).view(-1, *[1] * (value.ndim - 2)).expand_as(value)
        offset = value - self._linear(node, inputs, value)
        rounding = min(_ROUNDING * torch.finfo(value.dtype).eps, _MOST_ROUNDING)
        if bool(offset.abs().max() <= rounding * value.abs().max()):
            return None
        if offset.ndim not in (2, 4) or len(offset) != len(replay.trace.input) or kind(node).endswith(_NO_MAPS):
            raise self._refusal(node)
        return offset

    def _known(self, node: Any, inputs: list[int]) -> Tensor | None:
        """The bias of a convolution or a batch normalisation, one a channel, where its numbers are at hand."""
        name, replay = kind(node), self._replay
        if name == "Convolution" and inputs == [0] and node.next_functions[2][0] is not None:
            return replay.value(node.next_functions[2])
        if name in NORMS and not node._saved_training:
            bias = node.next_functions[2][0]
            if bias is not None or node._saved_weight is None:
                shift: Tensor = -node._saved_running_mean.detach() * scale_of(node)
                return shift if bias is None else replay.value(node.next_functions[2]) + shift
        return None

    def _linear(self, node: Any, inputs: list[int], value: Tensor) -> Tensor:
        """A node's derivative times its inputs."""
        replay, name = self._replay, kind(node)
        if name == "Convolution" and inputs == [0] and not sum(node._saved_bias_sym_sizes_opt or ()):
            return value
        try:
            return applied(node, {i: replay.value(node.next_functions[i]) for i in inputs})
        except RuntimeError:
            raise self._refusal(node) from None

    def _refusal(self, node: Node) -> MethodNotApplicableError:
        return MethodNotApplicableError(
            f"FullGrad has no meaning where a network computes {kind(node).rpartition('::')[2]}: its biases are maps "
            "(N, C, h, w) or numbers (N, K). Take 'input_x_gradient', 'integrated_gradients' or 'grad_cam'."
        )


def _psi(term: Tensor) -> Tensor:
    """Each picture's magnitudes over their range: (N, C, h, w) in [0, 1]."""
    magnitude = term.abs()
    low, high = (edge.view(-1, 1, 1, 1) for edge in torch.aminmax(magnitude.flatten(1), dim=1))
    return (magnitude - low) / (high - low).clamp_min(torch.finfo(term.dtype).tiny)
