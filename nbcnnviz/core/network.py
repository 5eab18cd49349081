"""A classifier of pictures with all that is needed to use it."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from nbcnnviz.core.bands import Bands, checked_bands
from nbcnnviz.core.calls import Call
from nbcnnviz.core.checking import Check, check
from nbcnnviz.core.diagnosis import cause
from nbcnnviz.core.errors import (
    ImageError,
    NetworkError,
    UnknownClassError,
    UnknownLayerError,
    first_sentence,
)
from nbcnnviz.core.finding import check_kind, family, find_head
from nbcnnviz.core.grids import Layout, Reshape
from nbcnnviz.core.heads import Classes, listed
from nbcnnviz.core.images import load_image
from nbcnnviz.core.inputs import batch_of, input_of
from nbcnnviz.core.mixing import mixes_pictures
from nbcnnviz.core.overview import layouts_at, outline_of, overview
from nbcnnviz.core.passes import Passes
from nbcnnviz.core.preprocess import Preprocess, Unprocess, applied, to_pictures
from nbcnnviz.core.probing import explained, find_input, trial_of
from nbcnnviz.core.recording import Habits, Recorder, Recording, Watch
from nbcnnviz.core.replica import unwrapped
from nbcnnviz.core.scoring import Prepare
from nbcnnviz.core.survey import Found
from nbcnnviz.core.trace import Trace


class Network(Passes):
    """A ``torch.nn.Module`` that takes pictures, its preprocessing, class names and layers.

    The module is run a few times at construction: on a grey picture, to learn its layers and what its scores are, and on
    four pictures of noise, to see which layers have maps. It is never changed: not its parameters, buffers, gradients,
    flags or hooks.

    Parameters
    ----------
    module
        Takes (N, C, H, W) and returns scores, (N, K) or (N,): see ``scores``.
    preprocess
        From a PIL picture to a (C, H, W) tensor. Default: scaled and cropped to the size of the network's input,
        ImageNet's normalisation for three channels, [-1, 1] for others.
    classes
        The class names, in order, or a dictionary from index to name. Default: ``"class 0"``, ``"class 1"`` ... Of one
        logit, which speaks for two classes: two names, whose second is the one that it is the logit of, as labels are 0
        and 1; or the name of that one alone, the other is then ``"not ..."``.
    size
        Height and width of the input, or one number for both. Default: the preprocess's, else the first of 224, 32,
        299 ... at which the module runs.
    name
        What to call the network. Default: the module's class.
    scores
        What the module returns: ``"logits"`` of classes that exclude one another; ``"probabilities"`` (rows that sum to
        one, or their logarithms); ``"binary"`` (one logit for two classes); ``"multilabel"`` (independent logits);
        ``"regression"`` (values); ``"embedding"``; ``"segmentation"`` (maps of class scores, (N, K, h, w)); ``"detection"``
        (a list of dictionaries with boxes, labels and scores, see `Detection`). Default: found by numbers. Probabilities,
        their logarithms, a sigmoid at the end, and rows of unit length (an embedding) show themselves, and so do
        torchvision's segmentation and detection networks; one score alone is taken for a binary logit, and all else for
        logits. Where the module ends in a softmax or a sigmoid, `Trace.scores` are the logits before it.
    unit
        What the values of a regression are counted in.
    extra
        The module's inputs beside the picture, which are the same for every picture: one value, a tuple of those that
        follow it, or a dictionary by name. A tensor whose first axis is one is repeated for a batch, a ``PIL.Image`` is
        preprocessed as the picture is, all else is passed as it is.
    bands
        Which channels of the input are shown as red, green and blue, or the one that is shown in grey. Each picture is
        stretched from black to white over them. Default: what the preprocess does is undone; where it cannot be, the mean
        of the channels is shown.
    reshape
        How layers' outputs are laid out as maps, where that cannot be found out: a function from an output to maps
        (N, C, h, w) that only leaves values out and puts the others in another order, as the gradient is laid out by it
        too; or such functions by layer's name. A single function serves those layers that are not understood without.

    Raises
    ------
    NetworkError
        If the module returns no scores, does not run at the size given or found, ``classes`` has a wrong length, or
        ``scores`` cannot be what it returns, or ``reshape`` makes no maps of a layer that it names.
    UnknownOptionError
        If ``scores`` is none of the above, or there is a unit for what is no regression.
    UnknownLayerError
        If ``reshape`` names a layer that there is not.

    Attributes
    ----------
    module, classes, preprocess, name
        As given, or the defaults.
    head : Head
        What the scores are: its ``kind`` (as ``scores`` above), its ``note`` in words, its functions from scores to
        probabilities.
    layers : dict[str, Layer]
        Every layer by name, in the order in which they return in a forward pass.
    last_maps : str or None
        The last layer that returns maps of more than one place, at which the top class's score has a gradient, pooling
        left aside: where a class activation map is taken unless told otherwise.
    input_shape : tuple[int, int, int]
        (C, H, W) of the input, as the preprocess makes it.
    unchecked : str or None
        Why it could not be checked that this package computes what the module computes in evaluation mode, by comparing
        with a deep copy of it; None if it was, and agreed.
    origin : str or None
        The call of `load_network` that makes the network again, None where none does.
    """

    origin: str | None = None

    def __init__(
        self,
        module: nn.Module,
        preprocess: Callable[[Image.Image], Tensor] | None = None,
        classes: Classes | None = None,
        *,
        size: int | tuple[int, int] | None = None,
        name: str | None = None,
        scores: str | None = None,
        unit: str = "",
        extra: Any = None,
        bands: int | Sequence[int] | None = None,
        reshape: Reshape | Mapping[str, Reshape] | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise NetworkError(f"A network is made of a torch.nn.Module, not of a {type(module).__name__}.")
        check_kind(scores, unit)
        classes = listed(classes)
        self.module = module
        self._habits = Habits()  # until a pass has been watched
        self._mixes: bool | None = None  # until a batch has been traced
        self.name = name or type(unwrapped(module)).__name__
        prepare = None if preprocess is None else partial(applied, preprocess)
        self._call = Call(unwrapped(module), extra, prepare)
        if preprocess is None:
            shape, recording = find_input(self._probe, unwrapped(module), size, extra, scores)
            self.preprocess: Callable[[Image.Image], Tensor] = Preprocess.of(shape[1:], shape[0])
            if family(recording, scores) == "detection":  # these normalise for themselves
                self.preprocess = Preprocess(shape[1:], (0.0,) * shape[0], (1.0,) * shape[0])
        else:
            grey = trial_of(preprocess, unwrapped(module))
            shape = (grey.shape[0], grey.shape[1], grey.shape[2])
            try:
                recording = self._probe(grey[None])
            except NetworkError as failure:
                raise explained(failure, unwrapped(module), extra) from failure.__cause__
            self.preprocess = preprocess
        self.input_shape: tuple[int, int, int] = shape
        self.bands = checked_bands(bands, shape[0])
        self._outline = outline_of(unwrapped(module), recording)
        self.head, self._call = find_head(
            lambda x, call: self._probe(x, call).output,
            self._call,
            unwrapped(module),
            recording,
            told=scores,
            classes=classes,
            unit=unit,
        )
        self.classes = self.head.names(classes)
        checked = self._checked(shape)
        self.unchecked = checked.unchecked
        self._habits = Habits(
            recording.plain, recording.sets_grad_mode, checked.beside, checked.cleared, checked.restored
        )
        self.reshape = reshape
        self._other_sizes: dict[tuple[int, int], dict[str, Found]] = {}
        for layer in reshape if isinstance(reshape, Mapping) else ():
            if layer not in self._outline:
                raise self.unknown_layer(layer)
        self.layers, self.last_maps = overview(self, self._outline)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.input_shape))
        what = f"{len(self.classes)} classes" + (f" ({self.head.note})" if self.head.note else "")
        return f"<Network {self.name}: input {shape}, {len(self._outline)} layers, {what}, {self.device}>"

    @property
    def kind(self) -> str:
        """What the scores are: ``"logits"``, ``"probabilities"``, ``"binary"`` ... See the parameter ``scores``."""
        return self.head.kind

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
        return Unprocess(self.preprocess, self.bands)

    def trace(self, images: Any, *, layers: Collection[str] | None = None, from_layers: bool = False) -> Trace:
        """Record a forward pass.

        Parameters
        ----------
        images
            A picture, as `load_image` takes it, or a list of pictures; or a preprocessed (N, C, H, W) tensor or array. For
            a network of other than one or three channels a (C, H, W) tensor or an (H, W, C) array as well, whose values
            are taken as they are, or preprocessed by a preprocess of your own.
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

        Warns
        -----
        UserWarning
            If the scores of one picture of the batch depend on the others.
        """
        self._check_layers(layers)
        x = self.batch(images)
        recording = self._run(x, layers, from_layers=from_layers)
        if len(x) > 1 and not from_layers and self._mixes is None:
            self._mixes = mixes_pictures(recording)
        if len(x) > 1 and self._mixes:
            warnings.warn(
                "The scores of one picture of this batch depend on the other pictures (a normalisation without running "
                "statistics does that), and so do its gradients: trace the pictures one by one.",
                stacklevel=2,
            )
        return Trace(self, recording)

    def batch(self, images: Any) -> Tensor:
        """Pictures as the module takes them: (N, C, H, W), of its type, on its device. See `trace`."""
        x = batch_of(images, self.preprocess, self.input_shape[0])
        x = x.to(self.device, self.dtype)
        if not bool(x.isfinite().all()):
            raise ImageError("The batch holds NaN or infinite values: mend them first, with torch.nan_to_num say.")
        return x

    def picture(self, source: Any) -> Image.Image:
        """A picture to look at and to trace: `load_image`'s, or of what is an input already one that stands for it.

        Raises
        ------
        ImageError
            If it is neither, or more than one.
        """
        x = input_of(source, self.preprocess, self.input_shape[0])
        if x is None or isinstance(source, Bands):
            return source if isinstance(source, Bands) else load_image(source)
        if len(x) != 1:
            raise ImageError(f"A batch of {len(x)} is not one picture: give one of them, x[:1].")
        return Bands.of(x[0].detach().cpu(), to_pictures(self.unprocess(x))[0])

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
        try:
            name = operator.index(name)
        except TypeError:
            raise UnknownClassError(name, (), f"A class is an index, 0 to {count - 1}, or a name.") from None
        if not -count <= name < count:
            raise UnknownClassError(name, (), f"There are {count} classes, 0 to {count - 1}.")
        return name % count

    def unknown_layer(self, name: object, choices: Iterable[str] | None = None) -> UnknownLayerError:
        """The error for a layer's or parameter's name that is not among ``choices`` (default: all layers)."""
        choices = list(self._outline if choices is None else choices)
        if isinstance(name, str) and name in self._outline:
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

    def gradient_cut(self, x: Tensor | None = None) -> str | None:
        """What in the network cuts the gradient between the scores and the input, in a sentence; None if nothing does.

        Found by a pass of the first picture of ``x`` (N, C, H, W), or of a grey one.
        """
        x = torch.zeros(1, *self.input_shape) if x is None else x[:1]
        with suppress(NetworkError, RuntimeError):
            return cause(unwrapped(self.module), x.to(self.device, self.dtype), self._call)
        return None

    def is_channels_last(self, layer: str) -> bool:
        """Whether a layer returns (N, h, w, C) instead of (N, C, h, w)."""
        return layer in self._outline and self.layers[layer].channels_last

    def layout(self, layer: str, size: tuple[int, int] | None = None) -> Layout | None:
        """Where a layer's output has its channels and places, for an input of a height and width; None if not known."""
        layout = self.layers[layer].layout if layer in self._outline else None
        if layout is None or not layout.of_tokens or size in (None, self.input_shape[1:]):
            return layout
        if size not in self._other_sizes:
            self._other_sizes[size] = layouts_at(self, size)
        return self._other_sizes[size][layer].layout if layer in self._other_sizes[size] else None

    def nearest_maps(self, layer: str) -> str | None:
        """The layer with maps that returns soonest before or after another; None if no layer has maps."""
        names = list(self.layers)
        at = names.index(layer)
        spatial = (i for i, name in enumerate(names) if self.layers[name].spatial)
        nearest = min(spatial, key=lambda i: abs(i - at), default=None)
        return None if nearest is None else names[nearest]

    def record(self, x: Tensor, layers: Collection[str] | None = None, watch: Watch | None = None) -> Recording:
        """A pass of a preprocessed batch whose graph begins at the first of ``layers``, at the input for None.

        Parameters have no gradient. ``watch`` is told of every module's output.
        """
        recorder = Recorder(
            unwrapped(self.module),
            layers,
            parameters=False,
            from_layers=layers is not None,
            habits=replace(self._habits, plain=False),
            call=self._call,
            watch=watch,
        )
        return self._recorded(recorder, x)

    def _run(
        self,
        x: Tensor,
        layers: Collection[str] | None = None,
        differentiable: bool = True,
        from_layers: bool = False,
    ) -> Recording:
        recorder = Recorder(
            *(unwrapped(self.module), layers), from_layers=from_layers, habits=self._habits, call=self._call
        )
        return self._recorded(recorder, x, differentiable)

    def _recorded(
        self, recorder: Recorder, x: Tensor, differentiable: bool = True, prepare: Prepare | None = None
    ) -> Recording:
        try:
            return recorder(x, differentiable, prepare)
        except (torch.OutOfMemoryError, NetworkError):
            raise
        except Exception as error:  # the user's code may raise anything
            cut = self.gradient_cut(x) if "nference tensor" in str(error) else None
            raise NetworkError(
                f"The network failed on an input of shape {tuple(x.shape)}: {cut or first_sentence(error)}"
            ) from error

    def _probe(self, x: Tensor, call: Callable[[nn.Module, Tensor], Any] | None = None) -> Recording:
        """A pass without a graph, by the network's own call or another."""
        recorder = Recorder(unwrapped(self.module), call=call or self._call)
        return self._recorded(recorder, x.to(self.device, self.dtype), differentiable=False)

    def _checked(self, shape: tuple[int, int, int]) -> Check:
        """Whether the replica computes what the module does, on noise: see `nbcnnviz.core.checking.check`."""
        noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).to(self.device, self.dtype)
        try:
            return check(unwrapped(self.module), noise, self._call, self.head.scores)
        except NetworkError:
            raise
        except Exception as error:  # the user's code may raise anything
            return Check(f"it fails on noise ({type(error).__name__})")
