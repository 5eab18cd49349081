"""Relevance passed down a network: each operation hands on what arrives to its inputs, by a rule of its own.

What arrives at a node of the autograd graph is not a gradient but relevance, of which as much should leave as came:

- layers with weights (convolutions, linear layers): by the method's rule, see `Rule`. A batch normalisation that follows
  one is folded into its weights, as it is one linear layer with it; another one has one input for each output, which gets
  all.
- sums, averages, resizing: to each input in proportion to what it contributes.
- activations: all to the one input. Max-pooling: all to the maximum. What only rearranges values: along with them.
- products with a gate (squeeze and excitation, ``x * sigmoid(x)``): all to what is gated (Arras et al. 2017).

An operation without a rule is refused by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils.hooks import RemovableHandle

from nbcnnviz.attribution.operations import (
    ACTIVATIONS,
    GATES,
    NORMS,
    POOLS,
    PRODUCTS,
    REARRANGING,
    SUMS,
    WEIGHTED,
    Rule,
    Weighted,
    over,
    scale_of,
)
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.grids import arranged
from nbcnnviz.core.rectifiers import kind
from nbcnnviz.core.replay import Replay, applied

Grads = tuple[Tensor | None, ...]


class Relevance:
    """Passes relevance from a target's score down to the input or a layer.

    Parameters
    ----------
    replay
        The pass.
    rule
        Of layers with weights.
    title
        Of the method, for its errors.
    positive
        Whether only what an input adds counts (excitation), or what it takes away too.
    stabilizer
        What is added to each denominator, in the direction of its sign.
    times_score
        Whether relevance begins as the value of what the target looks at, so that it adds up to the score; else as one,
        the gradient of the target.
    """

    def __init__(
        self, replay: Replay, rule: Rule, title: str, *, positive: bool, stabilizer: float, times_score: bool
    ) -> None:
        self._replay, self._rule, self._title = replay, rule, title
        self._positive, self._stabilizer, self._times_score = positive, stabilizer, times_score

    def at(self, layer: str) -> Tensor:
        """The relevance at the input (N, C, H, W), or at a layer as maps (N, C, h, w).

        Raises
        ------
        MethodNotApplicableError
            If there is no rule for what the network does on the way.
        """
        unknown = Counter(
            kind(n) for n in self._replay.path(layer) if not self._replay.of_target(n) and not self._knows(n)
        )
        if unknown:
            names = ", ".join(
                name.rpartition("::")[2] + ("" if n == 1 else f" ({n} times)") for name, n in unknown.items()
            )
            raise MethodNotApplicableError(
                f"{self._title} has no rule for what this network does between {layer!r} and the target: {names}. "
                "Take 'grad_cam', 'input_x_gradient', 'integrated_gradients' or 'rise', which need none."
            )
        found = self._replay.backward(layer, self._hooks)
        return (
            found if layer == "input" else arranged(self._replay.trace.network, layer, found, self._replay.trace.size)
        )

    def _knows(self, node: Node) -> bool:
        name, inputs = kind(node), self._replay.inputs(node)
        if name == "Addmm" and (node._saved_alpha, node._saved_beta) != (1, 1):  # type: ignore[attr-defined]
            return False
        if name in WEIGHTED:
            return inputs == [WEIGHTED[name]]  # a product of two things that both depend on the picture is none
        if name in NORMS:
            return not node._saved_training  # type: ignore[attr-defined]
        if name in PRODUCTS:
            return len(inputs) == 1 or self._gated(node) is not None
        if name == "torch::autograd::CopySlices":
            return self._puts_in_place(node)
        return name in SUMS | POOLS | ACTIVATIONS | REARRANGING

    def _hooks(self, node: Node) -> Iterator[RemovableHandle]:
        name, inputs = kind(node), self._replay.inputs(node)
        if self._replay.of_target(node):
            if self._times_score:
                yield node.register_hook(self._valued(node))
        elif name in WEIGHTED:
            yield node.register_hook(self._weighted(node, WEIGHTED[name]))
        elif name in NORMS | ACTIVATIONS or (
            name in SUMS | PRODUCTS and len(inputs) == 1 and self._is_elementwise(node)
        ):
            yield node.register_hook(_passing(inputs[0]))
        elif name in SUMS:
            yield node.register_hook(self._summed(node, inputs))
        elif name in PRODUCTS and len(inputs) == 2:
            gated = self._gated(node)
            assert gated is not None
            yield node.register_hook(_passing(gated))
        elif name in POOLS | PRODUCTS:
            yield from self._pooled(node, inputs[0])

    def _valued(self, node: Node) -> Callable[[Grads, Grads], Grads]:
        """Gradient times value, where the target ends and the network begins."""

        def hook(passed: Grads, arrived: Grads) -> Grads:
            found = list(passed)
            for i, edge in enumerate(node.next_functions):
                grad, following = found[i] if i < len(found) else None, edge[0]
                if grad is not None and following is not None and not self._replay.of_target(following):
                    found[i] = grad * self._replay.value(edge)
            return tuple(found)

        return hook

    def _weighted(self, node: Node, place: int) -> Callable[[Grads, Grads], Grads]:
        def hook(passed: Grads, arrived: Grads) -> Grads:
            (relevance, *_), found = arrived, [None] * len(passed)
            if relevance is None:
                return passed
            layer = self._layer(node)
            with torch.no_grad():
                given = self._rule(layer, relevance.to(layer.x.dtype)).to(relevance.dtype)
            return (*found[:place], given, *found[place + 1 :])

        return hook

    def _summed(self, node: Node, inputs: list[int]) -> Callable[[Grads, Grads], Grads]:
        alpha, name = float(getattr(node, "_saved_alpha", 1)), kind(node)
        signs = {"Add": (1, alpha), "Sub": (1, -alpha), "Rsub": (-alpha, 1)}[name]

        def hook(passed: Grads, arrived: Grads) -> Grads:
            relevance = arrived[0]
            if relevance is None:
                return passed
            parts = {i: signs[i] * self._replay.value(node.next_functions[i]) for i in inputs}
            shapes = {i: part.shape for i, part in parts.items()}
            if self._positive:
                parts = {i: part.relu() for i, part in parts.items()}
            share = over(relevance, sum(parts.values()), self._stabilizer)  # type: ignore[arg-type]
            return tuple((share * parts[i]).sum_to_size(shapes[i]) if i in parts else None for i in range(len(passed)))

        return hook

    def _pooled(self, node: Node, place: int) -> Iterator[RemovableHandle]:
        """Of what is linear in one input: relevance over the output, brought back, times the input."""
        edge = node.next_functions[place]

        def part() -> Tensor:
            x = self._replay.value(edge)
            return x.relu() if self._positive else x

        def before(arrived: Grads) -> Grads:
            if arrived[0] is None:
                return arrived
            y = applied(node, {place: part()}) if self._positive else self._replay.value((node, 0))
            return (over(arrived[0], y, self._stabilizer), *arrived[1:])

        def after(passed: Grads, arrived: Grads) -> Grads:
            return tuple(g * part() if i == place and g is not None else None for i, g in enumerate(passed))

        yield node.register_prehook(before)
        yield node.register_hook(after)

    def _puts_in_place(self, node: Node) -> bool:
        """Whether what writes over a part of a tensor does no more than to put numbers there, each of one input."""
        try:
            parts = [applied(node, {i: _ones(*node.next_functions[i])}) for i in self._replay.inputs(node)]
        except (MethodNotApplicableError, RuntimeError):
            return False
        return bool((torch.stack(parts).sum(0) <= 1).all()) and all(bool(((p == 0) | (p == 1)).all()) for p in parts)

    def _is_elementwise(self, node: Node) -> bool:
        (place,) = self._replay.inputs(node)
        return self._replay.value(node.next_functions[place]).shape == tuple(node._input_metadata[0].shape)

    def _gated(self, node: Node) -> int | None:
        """Which of a product's two inputs is gated by the other; None where that is not clear."""
        inputs = self._replay.inputs(node)
        gates = [i for i in inputs if self._is_gate(node.next_functions[i][0])]
        if kind(node) != "Mul" or len(inputs) != 2 or len(gates) != 1:
            return None
        gated = next(i for i in inputs if i not in gates)
        shape = self._replay.value(node.next_functions[gated]).shape
        return gated if shape == tuple(node._input_metadata[0].shape) else None

    def _is_gate(self, node: Node | None) -> bool:
        while node is not None and kind(node) in REARRANGING and node.next_functions:
            node = node.next_functions[0][0]
        return node is not None and kind(node) in GATES

    def _layer(self, node: Node) -> Weighted:
        """A layer with weights, with the batch normalisation that alone follows it folded into them."""
        x, w = self._replay.value(node.next_functions[WEIGHTED[kind(node)]]), _weights(node)
        wide = torch.promote_types(x.dtype, torch.float32)
        y = self._replay.value((node, 0)).to(wide)
        layer = Weighted(node, x.to(wide), w.to(wide), None, y, node in self._first, node in self._top)
        layer.b = self._offset(layer)
        norm = self._folded(node)
        if norm is not None:
            scale, shift = (t.to(wide) for t in self._scale_and_shift(norm))
            axis = 0 if layer.is_convolution else 1
            layer.w = layer.w * scale.view([-1 if i == axis else 1 for i in range(w.ndim)])
            layer.b = shift if layer.b is None else scale * layer.b + shift
            layer.y = self._replay.value((norm, 0)).to(wide)
        return layer

    def _offset(self, layer: Weighted) -> Tensor | None:
        node: Any = layer.node
        if kind(node) == "Mm" or (layer.is_convolution and not sum(node._saved_bias_sym_sizes_opt or ())):
            return None
        edge = node.next_functions[2 if layer.is_convolution else 0]
        if edge[0] is None:  # numbers without a gradient: what is left
            return _by_channel(layer.y - layer(layer.x, layer.w))
        return self._replay.value(edge).to(layer.y.dtype)

    def _scale_and_shift(self, node: Any) -> tuple[Tensor, Tensor]:
        """The scale and the shift, (C,), of a batch normalisation by running statistics."""
        scale = scale_of(node)
        bias = getattr(node.next_functions[2][0], "variable", None)
        if bias is not None:
            return scale, bias.detach() - node._saved_running_mean.detach() * scale
        x, y = self._replay.value(node.next_functions[0]), self._replay.value((node, 0))
        return scale, _by_channel(y) - scale * _by_channel(x)

    def _folded(self, node: Node) -> Node | None:
        users = self._replay.consumers.get(node, [])
        if len(users) != 1 or kind(users[0]) not in NORMS or getattr(node, "_saved_transposed", False):
            return None
        return users[0]

    @cached_property
    def _first(self) -> set[Node]:
        """The layers with weights that have no other before them."""
        has_one: set[Node] = set()
        found = set()
        for node in self._replay.nodes:
            below = any(n in has_one for n, _ in node.next_functions)
            weighted = kind(node) in WEIGHTED and node in self._replay.moving
            if weighted and not below:
                found.add(node)
            if (below or weighted) and node in self._replay.moving:
                has_one.add(node)
        return found

    @cached_property
    def _top(self) -> set[Node]:
        """The layers with weights that have no other after them, on the way to what the target looks at."""
        below_one: set[Node] = set()
        found = set()
        for node in reversed(self._replay.nodes):
            weighted = kind(node) in WEIGHTED and node in self._replay.moving
            if weighted and node not in below_one:
                found.add(node)
            if weighted or node in below_one:
                below_one.update(n for n, _ in node.next_functions if n is not None)
        return found


def _ones(node: Any, number: int) -> Tensor:
    """Ones of the shape of an edge of the graph."""
    kept = getattr(node, "variable", None)
    kept = node._input_metadata[number] if kept is None else kept
    return torch.ones(tuple(kept.shape), dtype=kept.dtype, device=kept.device)


def _by_channel(values: Tensor) -> Tensor:
    """The mean of each channel, (C,)."""
    return values.transpose(0, 1).flatten(1).mean(1)


def _weights(node: Any) -> Tensor:
    found: Tensor | None = node._saved_weight if kind(node) == "Convolution" else node._saved_mat2
    if found is None:
        raise MethodNotApplicableError(
            "A layer of this network does not keep its weights: this method cannot follow it."
        )
    return found.detach()


def _passing(place: int) -> Callable[[Grads, Grads], Grads]:
    """All that arrives, to one input."""

    def hook(passed: Grads, arrived: Grads) -> Grads:
        return tuple(arrived[0] if i == place else None for i in range(len(passed)))

    return hook
