"""A classifier of pictures with all that is needed to use it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from nbcnnviz.core.errors import ImageError, NetworkError, UnknownClassError, UnknownLayerError
from nbcnnviz.core.images import load_image
from nbcnnviz.core.layers import Layer, has_channels_last
from nbcnnviz.core.preprocess import Preprocess, Unprocess, applied, trial
from nbcnnviz.core.recording import Activation, Recorder, Recording, scores_of
from nbcnnviz.core.replica import unwrapped
from nbcnnviz.core.trace import Trace

# Input sizes that networks are made for, tried in turn when none is given: ImageNet's, then those of small data sets.
_USUAL_SIZES = (224, 32, 299, 28, 64, 96, 128, 256, 384)


class Network:
    """A ``torch.nn.Module`` that classifies pictures, its preprocessing, class names and layers.

    The module is run once at construction, on a grey picture, to learn its layers and to see that it is a classifier.
    It is never changed: not its parameters, buffers, gradients, flags or hooks.

    Parameters
    ----------
    module
        Takes (N, C, H, W) and returns class scores (N, K): unnormalised logits, before any softmax.
    preprocess
        From a PIL picture to a (C, H, W) tensor. Default: scaled and cropped to the size of the network's input,
        ImageNet's normalisation for three channels, [-1, 1] for others.
    classes
        The K class names, in order. Default: ``"class 0"``, ``"class 1"`` ...
    size
        Height and width of the input, or one number for both. Default: the preprocess's, else the first of 224, 32,
        299 ... at which the module runs.
    name
        What to call the network. Default: the module's class.

    Raises
    ------
    NetworkError
        If the module is no classifier, does not run at the size given or found, or ``classes`` has a wrong length.

    Attributes
    ----------
    module, classes, preprocess, name
        As given, or the defaults.
    layers : dict[str, Layer]
        Every layer by name, in the order in which they return in a forward pass.
    last_maps : str or None
        The last layer that returns maps of more than one place, pooling left aside: where a class activation map is
        taken unless told otherwise.
    input_shape : tuple[int, int, int]
        (C, H, W) of the input, as the preprocess makes it.
    origin : str or None
        The call of `load_network` that makes the network again, None where none does.
    """

    origin: str | None = None

    def __init__(
        self,
        module: nn.Module,
        preprocess: Callable[[Image.Image], Tensor] | None = None,
        classes: Sequence[str] | None = None,
        *,
        size: int | tuple[int, int] | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise NetworkError(f"A network is made of a torch.nn.Module, not of a {type(module).__name__}.")
        self.module = module
        self._plain = False  # until a pass has been watched
        self.name = name or type(unwrapped(module)).__name__
        if preprocess is None:
            shape, recording = self._find_input_shape(size)
            self.preprocess: Callable[[Image.Image], Tensor] = Preprocess.of(shape[1:], shape[0])
        else:
            grey = trial(preprocess)
            shape, recording = (grey.shape[0], grey.shape[1], grey.shape[2]), self._probe(grey[None])
            self.preprocess = preprocess
        self.input_shape: tuple[int, int, int] = shape
        self._plain = recording.plain
        self.layers = self._layers_of(recording)
        self.last_maps = self._last_maps(recording)
        count = scores_of(recording.output).shape[1]
        self.classes = [f"class {i}" for i in range(count)] if classes is None else [str(c) for c in classes]
        if len(self.classes) != count:
            raise NetworkError(
                f"{len(self.classes)} class names for a network of {count} scores: give one name a score."
            )

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.input_shape))
        return f"<Network {self.name}: input {shape}, {len(self.layers)} layers, {len(self.classes)} classes, {self.device}>"

    @property
    def device(self) -> torch.device:
        """Where the module's parameters are."""
        return next((p.device for p in self._tensors()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the module's parameters."""
        return next((p.dtype for p in self._tensors() if p.is_floating_point()), torch.get_default_dtype())

    def _tensors(self) -> Iterable[Tensor]:
        yield from self.module.parameters()
        yield from self.module.buffers()

    @cached_property
    def unprocess(self) -> Unprocess:
        """From an input (N, C, H, W) back to pixels (N, 3, H, W) in [0, 1]."""
        return Unprocess(self.preprocess)

    def trace(self, images: Any, *, layers: Collection[str] | None = None, from_layers: bool = False) -> Trace:
        """Record a forward pass.

        Parameters
        ----------
        images
            A picture, as `load_image` takes it, or a list of pictures; or a preprocessed (N, C, H, W) tensor.
        layers
            Names of the layers to keep, None for all. Keeping few saves memory; the scores, and gradients with respect
            to input and parameters, are there always.
        from_layers
            Whether gradients are wanted from the first of ``layers`` on only, and not down to input and parameters: the
            part before it then needs no graph, which saves time and memory.

        Raises
        ------
        ImageError
            If a picture cannot be read or preprocessed, pictures differ in shape, or the batch holds NaN or infinity.
        NetworkError
            If the module fails on this input; the message holds the module's own.
        """
        for name in layers or ():
            if name not in self.layers:
                raise self.unknown_layer(name)
        x = self.batch(images)
        return Trace(self, self._run(x, layers, from_layers=from_layers))

    def again(
        self, layers: Collection[str] | None = (), *, stop: bool = False, channels_last: bool = False
    ) -> Callable[[Tensor], Trace]:
        """A function that traces one preprocessed batch (N, C, H, W) after the other, faster than `trace`.

        It keeps one replica of the module, which shares its weights; only the input has a gradient.

        Parameters
        ----------
        layers
            Names of the layers to keep, None for all.
        stop
            Whether each pass ends as soon as the last of ``layers`` has returned; such a trace has no scores.
        channels_last
            Whether the replica has a copy of the kernels, as they are now, in the layout that suits a batch of that
            memory format. Worth it for many passes on a CPU.
        """
        for name in layers or ():
            if name not in self.layers:
                raise self.unknown_layer(name)
        recorder = Recorder(unwrapped(self.module), layers, parameters=False, stop=stop, channels_last=channels_last)
        return lambda x: Trace(self, self._recorded(recorder, x))

    def batch(self, images: Any) -> Tensor:
        """Pictures as the module takes them: (N, C, H, W), of its type, on its device. See `trace`."""
        if isinstance(images, Tensor) and images.ndim == 4:
            x = images
        else:
            pictures = list(images) if isinstance(images, (list, tuple)) else [images]
            if not pictures:
                raise ImageError("There is no picture in an empty list: give one or more.")
            inputs = [applied(self.preprocess, load_image(picture)) for picture in pictures]
            if len({tuple(i.shape) for i in inputs}) > 1:
                shapes = ", ".join(str(tuple(i.shape)) for i in inputs)
                raise ImageError(
                    f"The pictures come out of the preprocess in different shapes ({shapes}): trace one by one."
                )
            x = torch.stack(inputs)
        if x.is_complex() or x.shape[0] == 0:
            raise ImageError(f"A batch is one or more pictures of real numbers, not {tuple(x.shape)} of {x.dtype}.")
        x = x.to(self.device, self.dtype)
        if not bool(x.isfinite().all()):
            raise ImageError("The batch holds NaN or infinite values: mend them first, with torch.nan_to_num say.")
        return x

    def class_index(self, name: int | str) -> int:
        """The index of a class given by index or name; UnknownClassError if there is none, or more than one."""
        if isinstance(name, str):
            found = [i for i, c in enumerate(self.classes) if c == name]
            if not found:
                found = [i for i, c in enumerate(self.classes) if c.lower() == name.lower()]
            if len(found) > 1:
                raise UnknownClassError(name, (), f"It names {len(found)} classes: give an index, {found}.")
            if found:
                return found[0]
            raise UnknownClassError(name, self.classes)
        count = len(self.classes)
        if not -count <= name < count:
            raise UnknownClassError(name, (), f"There are {count} classes, 0 to {count - 1}.")
        return name % count

    def unknown_layer(self, name: object, choices: Iterable[str] | None = None) -> UnknownLayerError:
        """The error for a layer's or parameter's name that is not among ``choices`` (default: all layers)."""
        choices = list(self.layers if choices is None else choices)
        if isinstance(name, str) and name in self.layers:
            return UnknownLayerError(name, choices, "This trace was made without it: name it in trace(layers=...).")
        calls = [c for c in choices if c.partition(":")[0] == name]
        if calls:
            return UnknownLayerError(name, (), f"The module is called {len(calls)} times: {', '.join(calls)}.")
        if isinstance(name, str) and name and name in dict(unwrapped(self.module).named_modules()):
            return UnknownLayerError(
                name,
                (),
                "A module has this name, but a forward pass does not call it, or gets no tensor of real numbers.",
            )
        return UnknownLayerError(name, choices)

    def is_channels_last(self, layer: str) -> bool:
        """Whether a layer returns (N, h, w, C) instead of (N, C, h, w)."""
        return layer in self.layers and self.layers[layer].channels_last

    def _run(
        self,
        x: Tensor,
        layers: Collection[str] | None = None,
        differentiable: bool = True,
        from_layers: bool = False,
    ) -> Recording:
        recorder = Recorder(unwrapped(self.module), layers, from_layers=from_layers, plain=self._plain)
        return self._recorded(recorder, x, differentiable)

    def _recorded(self, recorder: Recorder, x: Tensor, differentiable: bool = True) -> Recording:
        try:
            return recorder(x, differentiable)
        except (torch.OutOfMemoryError, NetworkError):
            raise
        except Exception as error:  # the user's code may raise anything
            raise NetworkError(
                f"The network failed on an input of shape {tuple(x.shape)}: {_first_sentence(error)}"
            ) from error

    def _probe(self, x: Tensor) -> Recording:
        recording = self._run(x.to(self.device, self.dtype), differentiable=False)
        scores_of(recording.output)
        return recording

    def _find_input_shape(self, size: int | tuple[int, int] | None) -> tuple[tuple[int, int, int], Recording]:
        if size is not None:
            sizes = [(size, size) if isinstance(size, int) else tuple(size)]
        else:
            sizes = [(s, s) for s in _USUAL_SIZES]
        channels = _input_channels(unwrapped(self.module))
        failures: list[NetworkError] = []
        for height, width in sizes:
            try:
                return (channels, height, width), self._probe(torch.zeros(1, channels, height, width))
            except NetworkError as failure:
                failures.append(failure)
        # What the module says at its most usual size is the most telling.
        raise NetworkError(f"{failures[0]} Give the network its size=(H, W), or its preprocess.") from failures[0]

    def _layers_of(self, recording: Recording) -> dict[str, Layer]:
        modules = dict(unwrapped(self.module).named_modules())
        layers: dict[str, Layer] = {}
        before = None
        for name, activation in recording.activations.items():
            module = modules[name.partition(":")[0]]
            own = tuple(f"{name.partition(':')[0]}.{n}" for n, _ in module.named_parameters(recurse=False))
            kind, shape = type(module).__name__, tuple(activation.output.shape[1:])
            last = has_channels_last(kind, shape, self.input_shape[1:], before)
            before = layers[name] = Layer(name, kind, shape, own, last)
        return layers

    def _last_maps(self, recording: Recording) -> str | None:
        # A container returns the very tensor of its last module: one activation, many names, the innermost first.
        names: dict[Activation, list[str]] = {}
        for name, activation in recording.activations.items():
            names.setdefault(activation, []).append(name)
        for activation in reversed(names):
            layer = self.layers[names[activation][0]]
            if layer.spatial and "Pool" not in layer.kind:
                return min(names[activation], key=lambda name: name.count("."))
        return None


def _input_channels(module: nn.Module) -> int:
    """What the first convolution takes; three where there is none."""
    for submodule in module.modules():
        if isinstance(submodule, nn.modules.conv._ConvNd):
            return submodule.in_channels
    return 3


def _first_sentence(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".") + "."
