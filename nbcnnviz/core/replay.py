"""A trace's forward pass once more, with the value of every tensor on the way: for rules that need more than a gradient.

The pass is recorded as every other is. Its autograd graph says what was computed, the values say of what; a rule is a hook
on a node of it, as the rules of `nbcnnviz.core.rules` are, and nothing of the network is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node
from torch.utils.hooks import RemovableHandle

from nbcnnviz.core.errors import GradientError, MethodNotApplicableError, NoGradientError
from nbcnnviz.core.precision import full_float32
from nbcnnviz.core.rectifiers import Edge, Values, kind, walk
from nbcnnviz.core.targets import Target, scores_of_target
from nbcnnviz.core.trace import Trace, failure

Hooks = Callable[[Node], Iterable[RemovableHandle]]


def _scores(target: Target, trace: Trace) -> Tensor:
    try:
        return scores_of_target(target, trace)
    except NoGradientError as error:
        raise _named(error, trace) from error


def _named(error: NoGradientError, trace: Trace) -> GradientError:
    """The error; where the network cuts the gradient, another that says where."""
    cause = trace.network.gradient_cut(trace.input)
    return error if cause is None else GradientError(cause)


class Replay:
    """One forward pass of a trace's pictures, a target's score of each, and the values between.

    Parameters
    ----------
    trace, target
        The pictures, and what is asked of them.
    layer
        The layer that is asked about too, or ``"input"``.

    Attributes
    ----------
    trace : Trace
        The pass.
    scores : Tensor
        The target's scores, (N,), part of the graph.

    Raises
    ------
    MethodNotApplicableError
        If the network gives other scores for the same pictures than the trace has.
    """

    def __init__(self, trace: Trace, target: Target, layer: str = "input") -> None:
        kept = None if target.layers is None else {layer, *target.layers} - {"input"}
        self._values = Values()
        with self._values, torch.inference_mode(False), torch.enable_grad():
            self.trace = trace.network.trace(trace.input.detach(), layers=kept)
            # Whatever is made from here on belongs to the target: it has a greater number.
            self._mark = torch.zeros((), requires_grad=True).clone().grad_fn._sequence_nr()  # type: ignore[union-attr]
            self.scores = _scores(target, self.trace)
            self._root = self.scores.sum()
        again, before = self.scores.detach(), target(trace).detach()
        if not torch.allclose(again, before, rtol=1e-3, atol=1e-4 * float(before.abs().max()), equal_nan=True):
            raise MethodNotApplicableError(
                "The network gives other scores now than when it was traced, and this method needs a second pass: trace the "
                "picture again if its weights changed, and take a gradient or Grad-CAM if it draws random numbers."
            )

    @cached_property
    def nodes(self) -> list[Node]:
        """Every node behind the scores, the earliest computed first."""
        leaf = 2**63
        found = walk([self._root.grad_fn])  # type: ignore[list-item]
        return sorted(found, key=lambda n: -1 if (age := n._sequence_nr()) >= leaf else age)

    @cached_property
    def consumers(self) -> dict[Node, list[Node]]:
        """Who uses what a node computed."""
        found: dict[Node, list[Node]] = {}
        for node in self.nodes:
            for following, _ in node.next_functions:
                if following is not None:
                    found.setdefault(following, []).append(node)
        return found

    @cached_property
    def moving(self) -> set[Node]:
        """The nodes that depend on the pictures."""
        return self._above([n for n in self.nodes if getattr(n, "variable", None) is self.trace.input])

    def of_target(self, node: Node) -> bool:
        """Whether a node is the target's own, and none of the network's."""
        return not hasattr(node, "variable") and node._sequence_nr() >= self._mark

    def inputs(self, node: Node) -> list[int]:
        """The places among a node's inputs that depend on the pictures."""
        return [i for i, (following, _) in enumerate(node.next_functions) if following in self.moving]

    def value(self, edge: tuple[Node | None, int]) -> Tensor:
        """The value of an edge of the graph, detached; MethodNotApplicableError if the pass did not show it."""
        node, number = edge
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            return variable.detach()
        found = None if node is None else self._values.get((node, number))
        if found is None:
            raise MethodNotApplicableError(
                f"This network computes {'something' if node is None else kind(node)} within a function that does not show "
                "it: this method cannot follow it. Take a gradient, Grad-CAM or RISE."
            )
        return found

    def path(self, layer: str) -> list[Node]:
        """The nodes between the scores and a layer, or the input: those through which its relevance comes."""
        source = self.edge(layer)[0]
        above = self._above([source])
        return [node for node in self.nodes if node in above and node is not source]

    def edge(self, layer: str) -> Edge:
        """Where what belongs to a layer's output, or to the input, arrives."""
        source = self.trace.source(layer)
        if isinstance(source, Tensor):
            with torch.inference_mode(False):
                found = torch.autograd.graph.get_gradient_edge(source)
            return found.node, found.output_nr
        return source.node, source.output_nr

    def backward(self, layer: str, hooks: Hooks) -> Tensor:
        """What arrives at a layer or the input from the scores, by the hooks of every node on the path."""
        path = self.path(layer)
        if not path:
            error = NoGradientError(f"The target does not depend on {layer!r}: ask for a layer that comes before it.")
            raise _named(error, self.trace)
        with torch.inference_mode(False), full_float32(self._root.device), ExitStack() as entered:
            for node in path:
                for handle in hooks(node):
                    entered.callback(handle.remove)
            try:
                (found,) = torch.autograd.grad(self._root, [GradientEdge(*self.edge(layer))], retain_graph=True)
            except RuntimeError as error:
                raise failure(error) from error
        return found

    def _above(self, sources: Iterable[Node]) -> set[Node]:
        stack = list(sources)
        found: set[Node] = set()
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack += self.consumers.get(node, ())
        return found


def applied(node: Any, inputs: dict[int, Tensor]) -> Tensor:
    """A linear node's operation on other inputs, by their places; of one that is not linear, its derivative there.

    The backward of its backward: no operation has to be named.

    Raises
    ------
    RuntimeError
        If torch has no second derivative of it.
    """
    shapes: Any = node._input_metadata  # of what it computed
    with torch.inference_mode(False), torch.enable_grad():
        some = next(iter(inputs.values()))
        seed = torch.zeros(tuple(shapes[0].shape), dtype=some.dtype, device=some.device, requires_grad=True)
        passed = node(seed, *[None] * (len(shapes) - 1))
        passed = passed if isinstance(passed, tuple) else (passed,)
        pairs = [(passed[i], value) for i, value in inputs.items() if passed[i] is not None]
        (found,) = torch.autograd.grad([p for p, _ in pairs], [seed], [v for _, v in pairs])
    return found.detach()
