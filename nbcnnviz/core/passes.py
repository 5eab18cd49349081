"""What a network offers for many passes: traces one after the other, and scores without a graph."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, cast, overload

import torch
from torch import Tensor, nn

from nbcnnviz.core.errors import ArgumentTypeError, UnknownLayerError
from nbcnnviz.core.folding import Prepare
from nbcnnviz.core.recording import Habits, Recorder, Recording
from nbcnnviz.core.replica import unwrapped
from nbcnnviz.core.scoring import FromLayer, Scorer
from nbcnnviz.core.targets import Target, TargetLike, as_target
from nbcnnviz.core.tracer import Tracer

if TYPE_CHECKING:
    from nbcnnviz.core.calls import Call
    from nbcnnviz.core.layers import Layer
    from nbcnnviz.core.network import Network


class Passes(ABC):
    """The part of a `Network` that runs many passes."""

    module: nn.Module
    layers: dict[str, Layer]
    _habits: Habits
    _call: Call

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the module's parameters are."""

    @abstractmethod
    def batch(self, images: Any) -> Tensor:
        """Pictures as the module takes them, (N, C, H, W)."""

    @abstractmethod
    def unknown_layer(self, name: object, choices: Iterable[str] | None = None) -> UnknownLayerError:
        """The error for a layer's name that is not among ``choices``."""

    @abstractmethod
    def _recorded(
        self, recorder: Recorder, x: Tensor, differentiable: bool = True, prepare: Prepare | None = None
    ) -> Recording: ...

    def tracer(
        self,
        layers: Collection[str] | None = (),
        *,
        stop: bool = False,
        channels_last: bool = False,
        pictures: int | None = None,
        once: bool = False,
        tf32: bool = False,
    ) -> Tracer:
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
        pictures
            How many will be traced in all, where gradients at the input and at ``layers`` are all that is wanted. From 16
            on, batch norms are folded into the convolutions before them, where the first two pictures show that it gives
            the same but for rounding.
        once
            Whether one gradient is all that is asked of each trace: what the graph holds is then freed on the way back, and
            its memory used again, which saves a tenth of the time on a CPU.
        tf32
            Whether a GPU may compute convolutions in TF32, if torch is set so, as it is by default: faster, and gradients
            at the input differ visibly from float32's. What is then computed outside the passes, a backward pass too, is
            computed as torch is set.
        """
        self._check_layers(layers)
        how = {"stop": stop, "channels_last": channels_last, "tf32": tf32}
        return Tracer(self._network, layers, pictures=pictures, once=once, **how)

    def again(self, layers: Collection[str] | None = (), *, stop: bool = False, channels_last: bool = False) -> Tracer:
        """The old name of `tracer`; it goes with version 0.2."""
        warnings.warn("Network.again is now Network.tracer.", DeprecationWarning, stacklevel=2)
        return self.tracer(layers, stop=stop, channels_last=channels_last)

    def scores(self, images: Any, target: TargetLike = None) -> Tensor:
        """The scores of pictures, without a graph: (N, K), or with a target its score of each, (N,).

        Parameters
        ----------
        images
            As for `trace`.
        target
            A class or any target, as for `Trace.gradient`. Default: every score of the network, unnormalised.

        Raises
        ------
        ImageError, NetworkError
            As for `trace`.
        UnknownClassError, UnknownLayerError
            If the network lacks what the target asks about.
        """
        return Scorer(self._network, self._asked(target), channels_last=False)(self.batch(images))

    @overload
    def scorer(self, target: TargetLike = None, *, pictures: int = 0) -> Scorer: ...
    @overload
    def scorer(self, target: TargetLike = None, *, replace: str, picture: Any) -> FromLayer: ...
    def scorer(
        self, target: TargetLike = None, *, replace: str | None = None, picture: Any = None, pictures: int = 0
    ) -> Scorer | FromLayer:
        """A function from a preprocessed batch (N, C, H, W) to its scores, for many batches: see `scores`.

        It has the weights as they are now, and no graph. With ``replace`` it is a function from a stack (B, C, h, w) of a
        layer's outputs, laid out as `Trace.maps` has them, to the scores that one picture has with each of them, (B,):
        only what comes after the layer is run, on all in one batch.

        Parameters
        ----------
        target
            A class or any target. Default: every score of the network, unnormalised.
        replace
            The layer whose output is replaced.
        picture
            The one picture, for ``replace``: as `trace` takes it.
        pictures
            How many will be scored in all, where that is known: of many, no batch is run before batch norms are folded.

        Raises
        ------
        UnknownClassError, UnknownLayerError
            If the network lacks what is asked about.
        MethodNotApplicableError
            If what comes after the layer cannot be run for many outputs at once.
        """
        channels_last = self.device.type == "cpu"
        if replace is None:
            return Scorer(self._network, self._asked(target), channels_last=channels_last, pictures=pictures)
        self._check_layers([replace])
        if picture is None:
            raise ArgumentTypeError(
                "To replace a layer's output say whose: scorer(target, replace=layer, picture=...)."
            )
        return FromLayer(self._network, self._asked(target), replace, self.batch(picture), channels_last)

    def _asked(self, target: TargetLike) -> Target | None:
        """The target, which the network has all for."""
        if target is None:
            return None
        asked = as_target(target)
        asked.check(self._network)
        return asked

    @property
    def _network(self) -> Network:
        return cast("Network", self)

    def _recorder(
        self, layers: Collection[str] | None, *, stop: bool, channels_last: bool, tf32: bool = False
    ) -> Recorder:
        """What runs many passes, of which only the input has a gradient."""
        return Recorder(
            unwrapped(self.module),
            layers,
            parameters=False,
            stop=stop,
            habits=self._habits,
            channels_last=channels_last,
            call=self._call,
            tf32=tf32,
        )

    def _check_layers(self, layers: Collection[str] | None) -> None:
        if layers is not None and (isinstance(layers, str) or not isinstance(layers, Collection)):
            raise ArgumentTypeError(f"layers is a list of names, or None for all: not {layers!r}.")
        for name in layers or ():
            if not isinstance(name, str) or name not in self.layers:
                raise self.unknown_layer(name)
