"""Explaining what a network says: `attribute`, `attribute.stream` and `methods`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nbcnnviz.attribution import (  # their methods enter the register
    cams,
    deep_lift,
    extremal,
    full_grad,
    gradient_cams,
    gradients,
    kernel_shap,
    masked_cams,
    paths,
    perturbation,
    propagation,
)
from nbcnnviz.attribution.cams import class_maps
from nbcnnviz.attribution.method import About, Method, at_the_input, checked_options, find, method, methods
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.attribution.segmentation import Mask, segment
from nbcnnviz.core.errors import ArgumentTypeError, MethodNotApplicableError
from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Target, TargetLike, as_target, layer_named
from nbcnnviz.core.trace import Trace


class _Attribute:
    """The function `attribute`, with `stream` beside it."""

    def __call__(
        self,
        source: Network | Trace,
        image: Any = None,
        *,
        method: str = "grad_cam",
        target: TargetLike = None,
        layer: str | None = None,
        **options: Any,
    ) -> Attribution:
        """Explain a picture: which places of it, or of a layer's maps, speak for the target.

        Parameters
        ----------
        source, image
            A network and a picture (or a list, or a preprocessed batch), whose forward pass keeps only what this question
            needs; or a trace alone, whose forward pass then serves any number of questions.
        method
            A name from `nbcnnviz.methods`.
        target
            A class index or name, a `Target` such as ``ClassScore("tiger cat") - ClassScore("Egyptian cat")``, or a
            function from the trace to one number a picture, (N,), or a scalar. A list or a tensor asks something else of
            each picture. Default: each picture's own top class.
        layer
            Where the map is taken. Default: the input, or for class activation maps the network's last maps.
        **options
            The method's own.

        Returns
        -------
        Attribution
            The last frame: raw values, heat map, overlay.

        Raises
        ------
        MethodNotApplicableError
            If the method has no meaning for this network, layer or target; the message says why.
        UnknownMethodError, UnknownLayerError, UnknownClassError, UnknownOptionError, ImageError, GradientError
            If something asked for does not exist; the message names the nearest that does.
        """
        *_, last = self._frames(source, image, method, target, layer, options)
        return last

    def stream(
        self,
        source: Network | Trace,
        image: Any = None,
        *,
        method: str = "grad_cam",
        target: TargetLike = None,
        layer: str | None = None,
        **options: Any,
    ) -> Iterator[Attribution]:
        """As `attribute`, frame by frame: each a better estimate than the last. Close the generator to stop."""
        return self._frames(source, image, method, target, layer, options)

    def _frames(
        self,
        source: Network | Trace,
        image: Any,
        method: str,
        target: TargetLike,
        layer: str | None,
        options: dict[str, Any],
    ) -> Iterator[Attribution]:
        chosen = find(method)
        options = checked_options(chosen, options)
        if not isinstance(source, (Network, Trace)):
            raise ArgumentTypeError(f"attribute takes a Network or a Trace, not a {type(source).__name__}.")
        network = source if isinstance(source, Network) else source.network
        asked = None if target is None else as_target(target)
        if asked is not None:
            asked.check(network)
        layer = _where(chosen, network, asked) if layer is None else layer_named(layer)
        if isinstance(source, Trace):
            if image is not None:
                raise ArgumentTypeError(
                    "A trace holds its picture already: give attribute a network and a picture, or a trace."
                )
            trace = source
        else:
            kept = _needed(asked, layer)
            chosen.check_layer(network, layer)
            if kept is not None and chosen.looks_at is not None:
                if layer not in network.layers:
                    raise network.unknown_layer(layer)
                kept |= set(chosen.looks_at(network, layer, chosen.defaults | options))
            from_layers = bool(kept) and layer != "input" and not chosen.needs_input
            trace = source.trace(image, layers=kept, from_layers=from_layers)
        return chosen.run(trace, as_target(asked, trace), layer, **options)


def _where(chosen: Method, network: Network, target: Target | None) -> str:
    """The layer a method looks at unless told: the input, or the last maps that the target depends on."""
    if not chosen.needs_layer:
        return "input"
    if target is not None and target.layers and not target.whole:
        return min(target.layers, key=list(network.layers).index)  # what all of it depends on lies before its first
    if network.last_maps is None:
        reasons = [f"{n!r}: {layer.reason}" for n, layer in network.layers.items() if len(layer.shape) > 1]
        why = f" The last layer with more than one axis a picture is {reasons[-1]}." if reasons else ""
        raise MethodNotApplicableError(
            f"{chosen.title} needs a layer that returns maps, and {network.name} has none.{why} "
            f"{network.gradient_cut() or at_the_input()}"
        )
    return network.last_maps


def _needed(target: Target | None, layer: str) -> set[str] | None:
    """The layers to keep for one question, so that its forward pass copies no other; None, for all."""
    layers = frozenset() if target is None else target.layers
    return None if layers is None else {layer, *layers} - {"input"}


attribute = _Attribute()

__all__ = [
    "About",
    "Attribution",
    "Mask",
    "Method",
    "attribute",
    "cams",
    "checked_options",
    "class_maps",
    "deep_lift",
    "extremal",
    "gradient_cams",
    "full_grad",
    "gradients",
    "kernel_shap",
    "masked_cams",
    "method",
    "methods",
    "paths",
    "perturbation",
    "propagation",
    "segment",
]
