"""A network's layers with what numbers tell of them, and the one where a class activation map is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

from nbcnnviz.core.errors import NetworkError
from nbcnnviz.core.grids import Layout
from nbcnnviz.core.heads import main_output
from nbcnnviz.core.layers import Layer
from nbcnnviz.core.likeness import pictures
from nbcnnviz.core.precision import full_float32
from nbcnnviz.core.preprocess import applied
from nbcnnviz.core.recording import Activation, Recording
from nbcnnviz.core.survey import Found, Survey

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network

_TAIL = 24  # layers, the last ones; their gradients come with the survey's own pass


def outline_of(module: nn.Module, recording: Recording) -> dict[str, Layer]:
    """The layers that a pass went through, by name in order of return; of their layouts nothing is known yet."""
    modules = dict(module.named_modules())
    outline = {}
    for name, activation in recording.activations.items():
        called = modules[name.partition(":")[0]]
        own = tuple(f"{name.partition(':')[0]}.{n}" for n, _ in called.named_parameters(recurse=False))
        outline[name] = Layer(name, type(called).__name__, tuple(activation.shape[1:]), own)
    return outline


def overview(network: Network, outline: Mapping[str, Layer]) -> tuple[dict[str, Layer], str | None]:
    """The layers of the outline, with their layouts; and the name of the last that has maps with a gradient."""
    with torch.inference_mode(False), torch.enable_grad():
        return _overview(network, outline)


def _overview(network: Network, outline: Mapping[str, Layer]) -> tuple[dict[str, Layer], str | None]:
    size = (network.input_shape[1], network.input_shape[2])
    x = _probe(network, size)
    tail = [name for name, layer in outline.items() if len(layer.shape) > 1][-_TAIL:]
    found, recording = _survey(network, x, tail)
    layers = {name: _with(layer, found.get(name)) for name, layer in outline.items()}
    last = None if recording is None else _last_with_gradient(layers, recording)
    if last is None and any(layer.spatial for layer in layers.values()):
        recording = network.record(x[:1])
        last = _last_with_gradient(layers, recording) or _last(layers, recording)
    return layers, last


def layouts_at(network: Network, size: tuple[int, int]) -> dict[str, Found]:
    """What is known of each layer where the input has another size."""
    return _survey(network, _probe(network, size), [])[0]


def _probe(network: Network, size: tuple[int, int]) -> Tensor:
    channels = network.input_shape[0]
    mean, deviation = torch.zeros(channels), torch.ones(channels)
    try:
        # In patches that outlast being scaled down.
        noise = torch.randint(0, 256, (8, 8, 3), generator=torch.Generator().manual_seed(1), device="cpu")
        patches = Image.fromarray(noise.to(torch.uint8).numpy()).resize((256, 256), Image.Resampling.NEAREST)
        example = applied(network.preprocess, patches).float().cpu().flatten(1)
        if len(example) == channels and bool((example.std(1) > 0).all()):
            mean, deviation = example.mean(1), example.std(1)
    except Exception:  # the user's code may raise anything, for a network that takes no pictures say
        pass
    return pictures((channels, *size), mean, deviation).to(network.device, network.dtype)


def _survey(network: Network, x: Tensor, tail: list[str]) -> tuple[dict[str, Found], Recording | None]:
    """What is known of each layer; with the gradients of the ``tail``, where the pictures could come in one batch."""
    seen = Survey(x, True, network.reshape)
    try:
        recording = network.record(x, tail, watch=seen.watch)
        return seen.found(), recording
    except (NetworkError, torch.OutOfMemoryError):  # some networks take one picture at a time
        pass
    seen = Survey(x, False, network.reshape)
    try:
        for picture in x.split(1):
            seen.next_pass()
            network.record(picture, [], watch=seen.watch)
    except (NetworkError, torch.OutOfMemoryError):
        return {}, None
    return seen.found(), None


def _with(layer: Layer, found: Found | None) -> Layer:
    if found is None:
        return replace(layer, reason="the network does not call it, or fails, on the pictures that would tell")
    last = found.layout is not None and found.layout.kind == "last"
    return replace(layer, channels_last=last, layout=found.layout, spatial=found.spatial, reason=found.reason)


def _candidates(layers: Mapping[str, Layer], recording: Recording) -> list[tuple[str, Layer, Activation]]:
    """The layers with maps, pooling left aside, the last first, with the outermost name of each."""
    # A container returns the very tensor of its last module: one activation, many names, the innermost first.
    names: dict[Activation, list[str]] = {}
    for name, activation in recording.activations.items():
        names.setdefault(activation, []).append(name)
    found = [
        (min(named, key=lambda name: name.count(".")), layers[named[0]], activation)
        for activation, named in reversed(names.items())
        if named[0] in layers and layers[named[0]].spatial and "Pool" not in layers[named[0]].kind
    ]
    # Keys and values have maps too, but what attention was given is the better known.
    outside = [candidate for candidate in found if not _within_attention(candidate[0], layers)]
    return outside or found


def _within_attention(name: str, layers: Mapping[str, Layer]) -> bool:
    told = [name, layers[name].kind]  # some call the class by its kind of attention, and the layer "attn"
    while "." in name:
        name = name.rpartition(".")[0]
        told += [layers[name].kind] if name in layers else []
    return any("attention" in word.lower() or "attn" in word.lower() for word in told)


def _last(layers: Mapping[str, Layer], recording: Recording) -> str | None:
    return next((name for name, _, _ in _candidates(layers, recording)), None)


def _last_with_gradient(layers: Mapping[str, Layer], recording: Recording) -> str | None:
    """The last layer at whose places the top class's score has a gradient; None if the recording does not show it.

    The last block of a transformer, where a class token alone goes to the head, has none: its output is refused.
    """
    candidates = _candidates(layers, recording)
    scores = main_output(recording.output)
    if not isinstance(scores, Tensor) or not scores.requires_grad or not candidates:
        return None
    scores = scores.reshape(-1, 1) if scores.ndim < 2 else scores.flatten(1)  # one number a picture may have no axis
    # The last one is asked alone, since most often it has a gradient, which costs next to nothing.
    for asked in (candidates[:1], candidates[1:]):
        linked = [a.edge for _, _, a in asked if a.edge is not None]
        total = scores.amax(1).sum()
        try:
            with full_float32(total.device):
                gradients = torch.autograd.grad(total, linked, retain_graph=True, allow_unused=True) if linked else ()
        except RuntimeError:  # whoever asks for a gradient is told why there is none
            return None
        by_edge = dict(zip(linked, gradients, strict=True))
        for name, layer, activation in asked:
            if activation.edge is None:  # beside the path where this recording's graph begins
                return None
            if layer.layout is not None and _reaches(by_edge[activation.edge], layer.layout):
                return name
    return None


def _reaches(gradient: Tensor | None, layout: Layout) -> bool:
    """Whether a gradient is not zero at all places."""
    return gradient is not None and bool((layout.maps(gradient) != 0).any())
