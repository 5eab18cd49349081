"""Watching a network learn in the user's own loop.

Torch tells when an optimiser makes a step, before and after it. In one step of ``every`` the weights are copied before it
and compared after it; in all others the watch counts, and does nothing else. Nothing is put on the network.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from os import PathLike, fspath
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import nn

from nbcnnviz.core.errors import (
    ExportError,
    FilterRangeError,
    NbcnnvizError,
    NetworkError,
    UnknownLayerError,
    UnknownOptionError,
)
from nbcnnviz.core.network import Network
from nbcnnviz.training.observing import StepObserver
from nbcnnviz.training.record import Curves
from nbcnnviz.training.stepping import loss_value

EVERY = 20
"""Steps between two that are recorded, unless told otherwise."""


class Screen(Protocol):
    """What shows a watch. It is told of news in the thread that trains, and must return at once."""

    def tell(self) -> None:
        """There is something new to be shown."""

    def began(self) -> None:
        """The watch was started."""

    def ended(self) -> None:
        """The watch was stopped: show how it ended."""

    def close(self) -> None:
        """Show nothing more."""


class Watch(StepObserver):
    """A network being watched while it learns; made by `watch`.

    It watches from the moment it is made. As a context manager it shows itself, in a notebook, and stops at the end of
    the block, however that ends.

    Attributes
    ----------
    every : int
        A step in this many is recorded.
    error : Exception or None
        What made the watch stop by itself; the training loop never notices.
    drawing : float
        Seconds of computing that showing it has taken.
    """

    screen: ClassVar[Callable[[Watch], Any] | None] = None
    """Makes what shows a watch in a notebook. Set by the package, since nothing here knows widgets."""

    def __init__(
        self,
        module: nn.Module | Network,
        every: int = EVERY,
        *,
        layer: str | None = None,
        channel: int = 0,
        picture: Any = None,
    ) -> None:
        network = module if isinstance(module, Network) else None
        module = module.module if isinstance(module, Network) else module
        if not isinstance(module, nn.Module):
            raise NetworkError(f"What is watched is a torch.nn.Module, not a {type(module).__name__}.")
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise UnknownOptionError(every, (), "every is a whole number of steps, 1 or more.")
        super().__init__(module, network, every, picture)
        self.drawing = 0.0
        self._began = self._elapsed = 0.0
        self._shown: Screen | None = None

        self._channel = 0
        self.layer = self._views.usual_layer() if layer is None else layer
        self.channel = channel
        self._views.check()
        self.start()

    def __repr__(self) -> str:
        state = "watching" if self._on else "stopped"
        return f"<Watch of {self._name}: {self.steps} steps, {self.records} recorded, {state}>"

    # What a user of the API calls.

    @property
    def records(self) -> int:
        """How many of them were recorded."""
        return len(self._record)

    @property
    def cost(self) -> float:
        """The share of the time since the start that watching took, drawing included."""
        elapsed = self.elapsed
        return (self._spent + self.drawing) / elapsed if elapsed > 0 else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds it was started for, all together."""
        return self._elapsed + (time.perf_counter() - self._began if self._on else 0.0)

    @property
    def layers(self) -> list[str]:
        """The layers that learn, in the order of the arrays' columns."""
        return [layer.name for layer in self._layers]

    @property
    def layer(self) -> str:
        """The layer whose feature map is kept; it can be changed at any time."""
        return self._views.layer

    @layer.setter
    def layer(self, name: str) -> None:
        if name not in self._views.modules and name:
            raise UnknownLayerError(name, self._views.modules)
        if name != self.layer:
            self._views.layer, self._channel, self._record.maps, self._views.trouble = name, 0, None, ""
            self._record.layer = name
            if self._on and self._hooks.listening:
                self._listen()
            elif not self._on and (maps := self._views.now()) is not None:  # no step to come brings them
                self._record.maps = self._at, maps.cpu().numpy()

    @property
    def channel(self) -> int:
        """The channel of that layer."""
        return self._channel

    @channel.setter
    def channel(self, channel: int) -> None:
        count = self.channels
        if channel < 0 or (count is not None and channel >= count):
            among = "" if count is None else f", 0 to {count - 1}"
            raise FilterRangeError(f"Layer {self.layer!r} has channels{among}: there is no {channel}.")
        self._channel = channel

    @property
    def channels(self) -> int | None:
        """How many channels that layer has, None until one of its outputs was seen."""
        maps = self._record.maps
        return getattr(self._views.modules.get(self.layer), "out_channels", None) if maps is None else len(maps[1])

    @property
    def feature_map(self) -> np.ndarray | None:
        """The channel's map (h, w) in the last step recorded, None before there is one."""
        with self._record.lock:
            self._record.collect(wait=True)
            maps = self._record.maps
            return None if maps is None else maps[1][min(self._channel, len(maps[1]) - 1)].copy()

    @property
    def filters(self) -> np.ndarray | None:
        """The first convolution's kernels (filters, channels, h, w) after the last step recorded."""
        with self._record.lock:
            self._record.collect(wait=True)
            filters = self._record.filters
            return None if filters is None else filters[1].copy()

    @property
    def history(self) -> dict[str, np.ndarray]:
        """What was recorded, as arrays by name.

        ``step``, ``time`` (seconds watched), ``loss`` and ``learning_rate`` have a number for each record. ``step`` 0 is
        the first. ``gradient_norm``, ``weight_norm`` (before the step), ``update_norm`` (of the change), ``update_ratio``
        (update over weight) and ``dead_share`` (of filters without any gradient) are (records, ``layers``); ``has_gradient``
        tells a gradient that is NaN from one that was not there. ``filters`` are up to 64 states of the first
        convolution, after the steps in ``filters_step``; ``feature_map`` is the last one.
        """
        with self._record.lock:
            last = self.feature_map
            found = self._record.arrays()
        found["feature_map"] = np.zeros((0, 0)) if last is None else last
        return found

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules whose feature map can be shown, by name."""
        return self._views.modules

    @property
    def first(self) -> nn.Conv2d | None:
        """The first convolution, whose filters are shown."""
        return self._views.first

    @property
    def trouble(self) -> str:
        """Why there is no feature map, in words; empty if there is one, or if it is too early to tell."""
        return self._views.trouble

    def curves(self, most: int = 256) -> Curves:
        """What was recorded, as it is drawn: with what has arrived so far, of ``most`` records for every layer."""
        return self._record.curves(most)

    def save(self, path: str | PathLike[str]) -> None:
        """Write `history` to an ``.npz`` file, for ``numpy.load``.

        Raises
        ------
        ExportError
            If the name has another ending, or the file cannot be written.
        """
        if not fspath(path).endswith(".npz"):
            raise ExportError(f"A run is written as .npz: call it {fspath(path)!r} with that ending.")
        try:
            np.savez_compressed(path, **self.history)  # type: ignore[arg-type]
        except OSError as error:
            raise ExportError(f"{fspath(path)!r} cannot be written: {error.strerror or error}.") from error

    def loss(self, value: Any) -> None:
        """Give the loss of this step, a number or a tensor of one, in place of the one that is found.

        Before the optimiser's step or after it, but always on the same side of it.
        """
        number = loss_value(value)
        if not self._on:
            return
        if self._gives_after is None:
            self._gives_after = self._since_start > 0
        if self._gives_after:
            self._give_last_loss(number)
        else:
            self._given = number

    def step(self, loss: Any = None) -> None:
        """Say that a step was made, in a loop without an optimiser of torch's; else only give its loss.

        Call it once a step, after the weights have changed and before gradients are cleared.
        """
        number = None if loss is None else loss_value(loss)
        if not self._on:
            return
        if self._noticed:
            self._noticed = False
            if number is not None:
                self._give_last_loss(number)
        else:
            if number is not None:
                self._given = number
            self._guarded(self._step_by_hand)

    def start(self) -> Watch:
        """Watch, or go on watching after `stop`; steps made meanwhile are not counted."""
        if not self._on:
            self._began = time.perf_counter()
            self._observe()
            if self._shown is not None:
                self._shown.began()
        return self

    def stop(self) -> None:
        """Stop watching. What was recorded stays."""
        was_on = self._on
        if was_on:
            self._elapsed, self._on = self.elapsed, False
        self._hooks.remove()
        if was_on:
            self._copies.clear()
            self._hand.before = None
            self._record.collect(wait=True)
            if self._shown is not None:
                self._shown.ended()

    def close(self) -> None:
        """Stop, and remove what shows it."""
        self.stop()
        if self._shown is not None:
            self._shown.close()
            self._shown = None

    @property
    def widget(self) -> Any:
        """The widget that shows it, for layouts of one's own; made when first asked for."""
        if self._shown is None:
            if Watch.screen is None:
                raise NbcnnvizError("There is nothing to show a watch with: import nbcnnviz, not its parts.")
            self._shown = Watch.screen(self)
            if self._on:
                self._shown.began()
        return self._shown

    def __enter__(self) -> Watch:
        self.start()
        if _in_notebook() and Watch.screen is not None:
            sys.modules["IPython.display"].display(self.widget)
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.stop()
        if self.steps == 0 and self.error is None and kind is None:
            warnings.warn(
                f"No step of an optimiser over parameters of {self._name} was seen: is it another network that learns? In "
                "a loop without an optimiser of torch's, call w.step() after each step.",
                stacklevel=2,
            )

    def _changed(self) -> None:
        if self._shown is not None:
            self._shown.tell()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if not _in_notebook() or Watch.screen is None:
            return {"text/plain": repr(self)}
        return self.widget._repr_mimebundle_(include=include, exclude=exclude)


def _in_notebook() -> bool:
    """Whether this runs in a kernel of Jupyter's."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython.get_ipython() if ipython is not None else None, "kernel", None) is not None


def watch(
    module: nn.Module | Network,
    every: int = EVERY,
    *,
    layer: str | None = None,
    channel: int = 0,
    picture: Any = None,
) -> Watch:
    """Watch a network while it learns in a training loop of your own, which needs no change.

    ``with nv.watch(module) as w:`` around the loop shows, while it runs, the loss, each layer's gradient norm, the size of
    its updates beside its weights, the share of its filters that are dead, the first convolution's filters and one feature
    map. Or ``w = nv.watch(module)``, with ``w`` at the end of a cell, and ``w.stop()`` when it is enough.

    Steps are noticed where an optimiser of torch's makes them. The loss is what ``backward()`` was called on, with a
    ``GradScaler``'s factor taken out; or what is given to ``w.loss(value)``. Gradients are what the optimiser gets, after
    any clipping. Neither the module nor the result of the training is changed in any bit.

    Parameters
    ----------
    module
        The network that learns, or a `Network` around it; also within ``DataParallel`` or compiled.
    every
        Record a step in this many. The others cost some microseconds.
    layer, channel
        Whose feature map to show: default, the first convolution's first. Both can be changed while it runs.
    picture
        A preprocessed tensor (C, H, W), or for a `Network` any picture, whose feature map is shown. Default: the first
        picture of the batch that is being learned, each time another.

    Returns
    -------
    Watch
        It has ``history``, ``save``, ``loss``, ``step``, ``start`` and ``stop``.

    Raises
    ------
    NbcnnvizError
        If the module has no parameters, the layer or channel does not exist, or the picture cannot be read.
    """
    return Watch(module, every, layer=layer, channel=channel, picture=picture)
