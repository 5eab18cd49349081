"""How a rectifier passes gradient back, chosen when the backward pass runs.

With ``g`` the gradient that arrives at a rectifier of input ``x`` and derivative ``f'``:

==========  =================  ==============================
rule        passes on          source
==========  =================  ==============================
gradient    ``g f'(x)``        the chain rule
guided      ``relu(g) f'(x)``  Springenberg et al. 2014
deconvnet   ``relu(g)``        Zeiler & Fergus 2014
==========  =================  ==============================

A rule is a pair of hooks on the rectifiers' nodes of the autograd graph, set for one backward pass. However a
rectifier was called (module or function, in place, one module many times, beside a branch), it left such a node;
the forward pass stays torch's own, and one retained graph serves all three rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils.hooks import RemovableHandle

from nbcnnviz.core.errors import UnknownOptionError
from nbcnnviz.core.rectifiers import Found, Region, walk

Rule = Literal["gradient", "guided", "deconvnet"]
RULES: tuple[Rule, ...] = get_args(Rule)

Grads = tuple[Tensor | None, ...]
Hook = Callable[[Node, set[Node]], RemovableHandle]

# Nodes of activations that are rectifiers whatever their arguments, less the number that tells variants apart (in-place
# calls have one of their own) ...
_ALWAYS = frozenset(
    f"{name}Backward"
    for name in (
        *("Relu", "LeakyRelu", "PreluKernel", "RreluWithNoise", "Hardtanh"),
        *("Elu", "Celu", "Silu", "Gelu", "Mish", "Hardswish", "Softplus"),
    )
)
# ... and those that are one only when they cut at zero, with the saved argument that tells.
_AT_ZERO = {
    "ClampBackward": "_saved_min",
    "ClampMinBackward": "_saved_min",
    "ThresholdBackward": "_saved_threshold",
}
# Of all these, the ones whose derivative is 0 or 1: there ``relu(g) f' = relu(g f')``.
_STEPS = frozenset({"ReluBackward", "HardtanhBackward", *_AT_ZERO})


def is_rectifier(node: Node) -> bool:
    """Whether a node of the autograd graph is the backward of a rectifier."""
    name = node.name().rstrip("0123456789")
    if name in _ALWAYS:
        return True
    if name not in _AT_ZERO:
        return False
    cut = getattr(node, _AT_ZERO[name])
    return cut is not None and bool((torch.as_tensor(cut) == 0).all())


class RectifierCount(int):
    """How many rectifiers a rule governed.

    Attributes
    ----------
    unruled : tuple[str, ...]
        Names of the activations met that no rule governs, one a call: functions that are no rectifiers (tanh), and those
        of which the numbers that went through them do not tell whether they are.
    """

    unruled: tuple[str, ...]

    def __new__(cls, count: int = 0, unruled: tuple[str, ...] = ()) -> Self:  # noqa: D102
        self = super().__new__(cls, count)
        self.unruled = unruled
        return self


@dataclass(frozen=True)
class Met:
    """What a rule met on a backward pass.

    Attributes
    ----------
    nodes
        The rectifiers that it governed, each by the node that its output comes from.
    others
        Names of the activations that no rule governs, one for each that gradient passed through: functions that are no
        rectifiers, and those of which numbers do not tell whether they are.
    """

    nodes: set[Node] = field(default_factory=set)
    others: dict[Node, str] = field(default_factory=dict)

    def counted(self) -> RectifierCount:
        """How many rectifiers there were, with the names of the others."""
        return RectifierCount(len(self.nodes), tuple(sorted(self.others.values())))


@contextmanager
def ruling(rule: Rule, roots: Iterable[Tensor], found: Found | None = None) -> Iterator[Met]:
    """Apply ``rule`` to every rectifier between ``roots`` and the leaves while the context lasts.

    ``found`` are the rectifiers among them that are written out by hand. Yields what it governs, filled as gradient
    passes through: after a backward pass it holds those, and only those, that the pass really met. Empty under the plain
    rule, which governs nothing.
    """
    if rule not in RULES:
        raise UnknownOptionError(rule, RULES, f"The rules are {', '.join(RULES)}.")
    found = found or Found()
    governed = Met()
    if rule not in _HOOKS:
        yield governed
        return
    nodes = set(_nodes(roots))
    with ExitStack() as hooks:
        regions = [region for region in found.regions if region.exit in nodes]
        within = {node for region in regions for node in region.inner}
        for node in nodes - within:
            if is_rectifier(node):
                hooks.callback(_HOOKS[rule](node, governed.nodes).remove)
        for region in regions:
            for handle in _REGION_HOOKS[rule](region, governed.nodes):
                hooks.callback(handle.remove)
        for node in found.others.keys() & nodes:
            hooks.callback(_noting(node, governed, found.others[node]).remove)
        yield governed


@contextmanager
def dead_relu_gradient(roots: Iterable[Tensor]) -> Iterator[set[Node]]:
    """Let gradient through wholly dead rectifiers while the context lasts; yields those met, as `ruling` does.

    A rectifier that returns nothing of what arrives for a picture (``g f'(x) = 0`` everywhere) passes on what would wake
    it: ``relu(g)``, and where its input lies above what it lets through (ReLU6 beyond 6), ``-relu(-g)``; any other, the
    plain ``g f'(x)``. So does Lucid (Olah et al. 2017).
    """
    governed: set[Node] = set()
    with ExitStack() as hooks:
        for node in filter(is_rectifier, _nodes(roots)):
            hooks.callback(_dead_relu_gradient(node, governed).remove)
        yield governed


# What a node passes on is memory that it has just made and nobody else holds yet: it is rectified in place, since new
# memory would cost more than the arithmetic.


def _guided(node: Node, governed: set[Node]) -> RemovableHandle:
    def rectify_what_arrives(grad_outputs: Grads) -> Grads:
        governed.add(node)
        arrived = grad_outputs[0]
        return (None if arrived is None else arrived.relu(), *grad_outputs[1:])

    def rectify_what_is_passed_on(grad_inputs: Grads, grad_outputs: Grads) -> None:
        governed.add(node)
        if grad_inputs[0] is not None:
            grad_inputs[0].relu_()

    if node.name().rstrip("0123456789") in _STEPS:
        return node.register_hook(rectify_what_is_passed_on)
    return node.register_prehook(rectify_what_arrives)


def _deconvnet(node: Node, governed: set[Node]) -> RemovableHandle:
    def pass_on_what_arrived(grad_inputs: Grads, grad_outputs: Grads) -> None:
        governed.add(node)
        if grad_inputs[0] is not None and grad_outputs[0] is not None:
            torch.clamp(grad_outputs[0], min=0, out=grad_inputs[0])

    return node.register_hook(pass_on_what_arrived)


def _dead_relu_gradient(node: Node, governed: set[Node]) -> RemovableHandle:
    def wake_the_dead(grad_inputs: Grads, grad_outputs: Grads) -> Grads:
        governed.add(node)
        passed, arrived = grad_inputs[0], grad_outputs[0]
        if passed is None or arrived is None:
            return grad_inputs
        alive = passed.flatten(1).any(1)
        if bool(alive.all()):
            return grad_inputs
        above = _saturated_above(node)
        towards_life = arrived.relu() if above is None else torch.where(above, arrived.clamp(max=0), arrived.relu())
        return (torch.where(alive.view(-1, *[1] * (passed.ndim - 1)), passed, towards_life), *grad_inputs[1:])

    return node.register_hook(wake_the_dead)


def _saturated_above(node: Node) -> Tensor | None:
    """Where the input of a rectifier is at or above its upper bound; None where it has no such bound."""
    bound = next((b for n in ("_saved_max_val", "_saved_max") if (b := getattr(node, n, None)) is not None), None)
    if bound is None:
        return None
    # In place, autograd keeps the result instead of the input; there it equals the bound.
    x = next((x for n in ("_saved_self", "_saved_result") if (x := getattr(node, n, None)) is not None), None)
    return None if x is None else x >= bound


def _guided_region(region: Region, governed: set[Node]) -> list[RemovableHandle]:
    def rectify_what_arrives(grad_outputs: Grads) -> Grads:
        governed.add(region.exit)
        arrived = grad_outputs[0]
        return (None if arrived is None else arrived.relu(), *grad_outputs[1:])

    return [region.exit.register_prehook(rectify_what_arrives)]


def _deconvnet_region(region: Region, governed: set[Node]) -> list[RemovableHandle]:
    """What arrives at the exit, rectified, leaves on one of the edges to the entry, and nothing on the others."""
    kept: list[Tensor] = []
    (carrier, place), *_ = region.carriers

    def keep_what_arrives(grad_outputs: Grads) -> None:
        governed.add(region.exit)
        kept[:] = [] if grad_outputs[0] is None else [grad_outputs[0].relu()]

    def pass_on(node: Node) -> Callable[[Grads, Grads], Grads]:
        places = {i for n, i in region.carriers if n is node}

        def hook(grad_inputs: Grads, grad_outputs: Grads) -> Grads:
            passed = list(grad_inputs)
            for i in places:
                own = node is carrier and i == place and passed[i] is not None and kept
                passed[i] = kept.pop() if own else None
            return tuple(passed)

        return hook

    leaving = dict.fromkeys(node for node, _ in region.carriers)
    return [region.exit.register_prehook(keep_what_arrives), *(n.register_hook(pass_on(n)) for n in leaving)]


def _noting(node: Node, governed: Met, name: str) -> RemovableHandle:
    def note(grad_outputs: Grads) -> None:
        governed.others[node] = name

    return node.register_prehook(note)


_HOOKS: dict[str, Hook] = {"guided": _guided, "deconvnet": _deconvnet}
_REGION_HOOKS = {"guided": _guided_region, "deconvnet": _deconvnet_region}


def _nodes(roots: Iterable[Tensor]) -> Iterator[Node]:
    """Every node of the graph behind ``roots``, each once."""
    return walk(root.grad_fn for root in roots if root.grad_fn is not None)
