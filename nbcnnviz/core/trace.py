"""One recorded forward pass that answers every question asked of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cached_property, wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload

import torch
from PIL import Image
from torch import Tensor
from torch.autograd.graph import Node

from nbcnnviz.core.answers import Answers
from nbcnnviz.core.diagnosis import REENTRANT
from nbcnnviz.core.errors import (
    ArgumentTypeError,
    GradientError,
    NbcnnvizError,
    NoGradientError,
    StaleTraceError,
    UnknownOptionError,
    first_sentence,
)
from nbcnnviz.core.grids import arranged, maps_of, no_maps
from nbcnnviz.core.precision import full_float32
from nbcnnviz.core.preprocess import to_pictures
from nbcnnviz.core.recording import Activation, Recording
from nbcnnviz.core.rectifiers import Found, Values, candidates, counterparts, decide
from nbcnnviz.core.rules import RULES, RectifierCount, Rule, is_rectifier, ruling
from nbcnnviz.core.targets import TargetLike, as_target, scores_of_target

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network


_AT_ONCE = 128
"""Targets whose gradients are computed in one batched pass."""


class Every:
    """A name for all layers, for all parameters, or for both."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"nbcnnviz.{self._name}"


ALL_LAYERS: Final = Every("ALL_LAYERS")
ALL_PARAMETERS: Final = Every("ALL_PARAMETERS")
EVERYTHING: Final = Every("EVERYTHING")

_REPLAYED = 4  # pictures whose numbers tell what a function is


_Asked = TypeVar("_Asked", bound=Callable[..., Any])


def _naming_the_cause(ask: _Asked) -> _Asked:
    """Where there is no gradient since the network cuts it, the error says where."""

    @wraps(ask)
    def asked(self: Trace, *args: Any, **kwargs: Any) -> Any:
        try:
            return ask(self, *args, **kwargs)
        except NoGradientError as error:
            cause = self.network.gradient_cut(self.input)
            if cause is None:
                raise
            raise GradientError(cause) from error

    return cast(_Asked, asked)


def failure(error: RuntimeError) -> Exception:
    """What a failure of autograd means here."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return error
    if "modified by an inplace operation" in text:
        return StaleTraceError(
            "The network's weights, or an output of it, changed since this trace was made: make a new trace."
        )
    if "use_reentrant" in text:
        return GradientError(REENTRANT)
    return GradientError(f"The backward pass failed: {first_sentence(error)}")


class Trace(Answers):
    """A batch's forward pass with every layer's output and the autograd graph; made by `Network.trace`.

    A question about it costs one partial backward pass, from the target down to what is asked for, and never another
    forward pass.

    Attributes
    ----------
    network : Network
        What was run.
    input : Tensor
        The preprocessed batch (N, C, H, W), a leaf of the graph.
    output : Any
        What the network returned, part of the graph; for a network that ends in a softmax or a sigmoid, what that was
        applied to; None where the pass stopped before.
    parameters : Mapping[str, Tensor]
        The network's parameters as the graph has them: leaves that share the memory of the user's.
    """

    def __init__(self, network: Network, recording: Recording, once: bool = False) -> None:
        self.network, self._once = network, once
        self.input = recording.input
        self.parameters = recording.parameters
        self.output = recording.output
        self._scores = None if self.output is None else network.head.scores(self.output, len(self.input))
        self._activations = recording.activations
        self.memory: dict[Any, Any] = {}  # what a question has found out, for the next: as true as the trace
        self._maps: dict[str, Tensor] = {}
        self._lock = Lock()  # a rule is set on the shared graph: one backward pass at a time

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.input.shape))
        return f"<Trace of {self.network.name}: input {shape}, {len(self.layers)} layers>"

    @cached_property
    def layers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The layers kept, in the order in which they returned."""
        return tuple(self._activations)

    def __getitem__(self, layer: str) -> Tensor:
        """A layer's output as the layer returned it, part of the graph: (N, C, h, w) for a stack of maps.

        Raises
        ------
        UnknownLayerError
            If no such layer was kept.
        """
        return self._activation(layer).output

    def _activation(self, layer: str) -> Activation:
        try:
            return self._activations[layer]
        except (KeyError, TypeError):
            raise self.network.unknown_layer(layer, self._activations) from None

    def maps(self, layer: str) -> Tensor:
        """A layer's output as maps (N, C, h, w), channels first in whatever layout the layer has them; detached.

        Raises
        ------
        MethodNotApplicableError
            If the layer returns no maps.
        """
        found = self._maps.get(layer) if isinstance(layer, str) else None
        if found is None:
            found = maps_of(self, layer).detach()
            if found.ndim != 4:
                raise no_maps(self.network, layer, tuple(found.shape))
            self._maps[layer] = found
        return found

    def map_gradient(self, of: TargetLike, layer: str, rule: Rule = "gradient") -> Tensor:
        """The gradient of a target at a layer, laid out as `maps` lays out the layer's output: (N, C, h, w).

        Raises
        ------
        MethodNotApplicableError
            If the layer returns no maps.
        GradientError, UnknownLayerError, UnknownClassError, FilterRangeError
            As `gradient`.
        """
        return self.map_gradient_and_rectifiers(of, layer, rule)[0]

    def map_gradient_and_rectifiers(self, of: TargetLike, layer: str, rule: Rule = "gradient") -> tuple[Tensor, int]:
        """As `map_gradient`, with the number of rectifiers that the rule governed on the way."""
        self.maps(layer)
        gradient, governed = self.gradient_and_rectifiers(of, layer, rule)
        return arranged(self.network, layer, gradient, self.size), governed

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.input.shape[2], self.input.shape[3]

    @cached_property
    def pictures(self) -> list[Image.Image]:
        """The batch as a person can look at it: scaled and cropped as the network saw it, colours put back."""
        return to_pictures(self.network.unprocess(self.input))

    @overload
    def gradient(self, of: TargetLike = None, wrt: str = "input", rule: Rule = "gradient") -> Tensor: ...
    @overload
    def gradient(
        self, of: TargetLike = None, wrt: Sequence[str] | Every = ALL_LAYERS, rule: Rule = "gradient"
    ) -> dict[str, Tensor]: ...
    def gradient(
        self, of: TargetLike = None, wrt: str | Sequence[str] | Every = "input", rule: Rule = "gradient"
    ) -> Tensor | dict[str, Tensor]:
        """The gradient of a target, summed over the pictures, with respect to its input, layers or parameters, in one pass.

        Parameters
        ----------
        of
            A class index or name, a `Target` (`ClassScore`, `Channel`, `Unit`, `LayerEnergy`, sums of them ...), or a
            function from the trace to one number a picture, (N,), or a scalar. A list or a tensor asks something else of
            each picture. Default: each picture's own top class.
        wrt
            ``"input"``, a layer's name or a parameter's name; or a list of such names; or `ALL_LAYERS`,
            `ALL_PARAMETERS` or `EVERYTHING`, which leave out what the target does not depend on.
        rule
            How rectifiers pass gradient back: ``"gradient"``, ``"guided"`` or ``"deconvnet"``.

        Returns
        -------
        Tensor or dict[str, Tensor]
            One tensor for one name, else a dictionary by name; each of the shape of what it is the gradient for.

        Raises
        ------
        GradientError
            If the target is not differentiable, does not depend on what is asked for, or the network's weights
            changed since the trace was made. Weights written through ``.data`` change unnoticed: autograd does not see it.
        UnknownLayerError, UnknownClassError, FilterRangeError
            If a name or an index is not the network's.
        """
        grads: Tensor | dict[str, Tensor] = self.gradient_and_rectifiers(of, wrt, rule)[0]
        return grads

    @_naming_the_cause
    def gradient_and_rectifiers(
        self, of: TargetLike = None, wrt: str | Sequence[str] | Every = "input", rule: Rule = "gradient"
    ) -> tuple[Any, int]:
        """As `gradient`, with the number of rectifiers that the rule governed on the way."""
        if not isinstance(wrt, (str, Every)) and not isinstance(wrt, Collection):
            raise ArgumentTypeError(
                f"wrt is 'input', the name of a layer or a parameter, a list of names, or ALL_LAYERS: not {wrt!r}."
            )
        names = [wrt] if isinstance(wrt, str) else self._every(wrt) if isinstance(wrt, Every) else list(wrt)
        grads, governed = self.backward(of, [self.source(name) for name in names], rule)
        found = {name: grad for name, grad in zip(names, grads, strict=True) if grad is not None}
        if len(found) < len(names) and not isinstance(wrt, Every):
            missing = ", ".join(repr(name) for name in names if name not in found)
            raise NoGradientError(
                f"The target does not depend on {missing}: ask for a layer or parameter that comes before the target."
            )
        return (found[wrt] if isinstance(wrt, str) else found), governed

    @overload
    def gradients(self, of: Sequence[TargetLike], wrt: str = "input", rule: Rule = "gradient") -> Tensor: ...
    @overload
    def gradients(
        self, of: Sequence[TargetLike], wrt: list[str] | tuple[str, ...], rule: Rule = "gradient"
    ) -> dict[str, Tensor]: ...
    def gradients(
        self, of: Sequence[TargetLike], wrt: str | Sequence[str] = "input", rule: Rule = "gradient"
    ) -> Tensor | dict[str, Tensor]:
        """The gradients of K targets, each of all pictures, as K calls of `gradient` give them, in one batched pass.

        Parameters
        ----------
        of
            The targets, one or more: ``range(1000)`` for every class.
        wrt, rule
            As for `gradient`; names alone.

        Returns
        -------
        Tensor or dict[str, Tensor]
            (K, ...) for one name, else a dictionary by name. Zero where one of the targets, but not all, does not depend
            on it.

        Raises
        ------
        GradientError, UnknownLayerError, UnknownClassError, FilterRangeError
            As `gradient`.
        """
        names = [wrt] if isinstance(wrt, str) else list(wrt)
        with torch.inference_mode(False), torch.enable_grad():
            scalars = [scores_of_target(as_target(target, self), self).sum() for target in of]
        grads = self._batched(scalars, [self.source(name) for name in names], rule)
        found = {name: grad for name, grad in zip(names, grads, strict=True) if grad is not None}
        if missing := ", ".join(repr(name) for name in names if name not in found):
            raise NoGradientError(
                f"The targets do not depend on {missing}: ask for a layer or parameter that comes before the targets."
            )
        return found[wrt] if isinstance(wrt, str) else found

    def map_gradients(self, of: Sequence[TargetLike], layer: str, rule: Rule = "gradient") -> Tensor:
        """The gradients of K targets at a layer, laid out as `maps` lays out its output: (K, N, C, h, w)."""
        self.maps(layer)
        gradients: Tensor = self.gradients(of, layer, rule)
        maps = arranged(self.network, layer, gradients.flatten(0, 1))
        return maps.reshape(*gradients.shape[:2], *maps.shape[1:])

    def _batched(self, scalars: Sequence[Tensor], sources: Sequence[Any], rule: Rule) -> list[Tensor | None]:
        """The gradients of each scalar, (K, ...), at leaves or edges of the graph; None where none depends on it."""
        if not scalars:
            raise ArgumentTypeError("gradients takes a list of targets, one or more.")
        if rule == "gradient":
            found: list[tuple[Tensor | None, ...]] = []
            with suppress(RuntimeError), warnings.catch_warnings(), self._lock:
                warnings.simplefilter("ignore")  # operations without a batched form, which torch runs one by one
                for several in torch.stack(list(scalars)).split(_AT_ONCE):
                    seeds = torch.eye(len(several), dtype=several.dtype, device=several.device)
                    with full_float32(several.device):
                        parts = torch.autograd.grad(
                            *(several, sources, seeds), retain_graph=True, allow_unused=True, is_grads_batched=True
                        )
                    found.append(parts)
                return [None if parts[0] is None else torch.cat(parts) for parts in zip(*found, strict=True)]
        each = [self.backward(_given(scalar), sources, rule)[0] for scalar in scalars]
        return [_stacked(column) for column in zip(*each, strict=True)]

    @_naming_the_cause
    def backward(
        self, of: TargetLike, sources: Sequence[Any], rule: Rule = "gradient"
    ) -> tuple[tuple[Tensor | None, ...], RectifierCount]:
        """The gradients at leaves or edges of the graph, and the number of rectifiers that the rule governed.

        For what has no name: see `torch.autograd.graph.GradientEdge`. None where the target does not depend on it.
        """
        if rule not in RULES:
            raise UnknownOptionError(rule, RULES, f"The rules are {', '.join(RULES)}.")
        with torch.inference_mode(False), torch.enable_grad():
            scores = scores_of_target(as_target(of, self), self)
            seed = torch.ones_like(scores)
        found = None if rule == "gradient" else self._handwritten
        with self._lock, full_float32(scores.device), ruling(rule, [scores], found) as met:
            try:
                grads = torch.autograd.grad(scores, sources, seed, retain_graph=not self._once, allow_unused=True)
            except RuntimeError as error:
                raise failure(error) from error
        return grads, met.counted()

    @cached_property
    def _handwritten(self) -> Found:
        """The rectifiers written out by hand, and the activations that are none.

        What the graph does not tell, a second pass does: its tensors' values, of this batch's first pictures and of noise.
        """
        roots = self._roots()
        regions, others = candidates(roots.values(), is_rectifier, self.parameters.values())
        if not regions:
            return Found(others=others)
        pictures = self.input.detach()[:_REPLAYED]
        noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0)).to(pictures)
        noise = pictures.mean() + noise * pictures.std(correction=0)
        for batch in (torch.cat([pictures, noise])[:_REPLAYED], pictures):
            values = Values()
            with suppress(NbcnnvizError), values:
                again = self.network.trace(batch, layers=tuple(self._activations))._roots()
                same = counterparts((node, again[name]) for name, node in roots.items() if name in again)
                return decide(regions, others, same, values)
        return decide(regions, others, {}, Values())

    def _roots(self) -> dict[str, Node]:
        """The nodes of the graph from which all others can be reached, by the names of their layers; "" for the scores."""
        ends = {name: a.edge.node for name, a in self._activations.items() if a.edge is not None}
        if self._scores is not None and self._scores.grad_fn is not None:
            ends[""] = self._scores.grad_fn
        return ends

    def _every(self, kind: Every) -> list[str]:
        layers = [name for name, a in self._activations.items() if a.edge is not None]
        parameters = [name for name, p in self.parameters.items() if p.requires_grad]
        return layers if kind is ALL_LAYERS else parameters if kind is ALL_PARAMETERS else [*layers, *parameters]

    def source(self, name: str) -> Any:
        """What autograd calls the thing of this name."""
        if name == "input":
            if not self.input.requires_grad:
                raise GradientError(
                    "This trace was made for gradients from a layer on: make one with nbcnnviz.Network.trace(image)."
                )
            return self.input
        if name in self._activations:
            edge = self._activations[name].edge
            if edge is None:
                raise NoGradientError(f"Layer {name!r} does not depend on the input or on any parameter.")
            return edge
        if name in self.parameters:
            if not self.parameters[name].requires_grad:
                raise GradientError(
                    f"Parameter {name!r} has no gradient: it holds integers, or this pass was made for the input's alone."
                )
            return self.parameters[name]
        raise self.network.unknown_layer(name, [*self._activations, *self.parameters])


def _stacked(column: Sequence[Tensor | None]) -> Tensor | None:
    """Gradients of many targets as one tensor, zero for those that have none; None if all have none."""
    first = next((grad for grad in column if grad is not None), None)
    return None if first is None else torch.stack([torch.zeros_like(first) if g is None else g for g in column])


def _given(scalar: Tensor) -> Callable[[Trace], Tensor]:
    """A target that is known already."""
    return lambda trace: scalar
