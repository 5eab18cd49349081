"""Watching a network learn in the user's own loop.

Torch tells when an optimiser makes a step, before and after it. In one step of ``every`` the weights are copied before it
and compared after it; in all others the watch counts, and does nothing else. Nothing is put on the network.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from os import PathLike, fspath
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from nbcnnviz.core.errors import (
    ExportError,
    FilterRangeError,
    GradientError,
    ImageError,
    MethodNotApplicableError,
    NbcnnvizError,
    NetworkError,
    UnknownLayerError,
    UnknownOptionError,
)
from nbcnnviz.core.network import Network
from nbcnnviz.core.recording import Recorder
from nbcnnviz.core.replica import unwrapped
from nbcnnviz.training.history import History
from nbcnnviz.training.listening import Listener, scale_of_step, stands_in
from nbcnnviz.training.measuring import Measurement, layers_of

EVERY = 20
"""Steps between two that are recorded, unless told otherwise."""

_FILTERS_KEPT = 256


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


class Watch:
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
        self.every = every
        self.error: Exception | None = None
        self.drawing = 0.0
        self._module = unwrapped(module)
        self._compiled = any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in module.modules())
        self._name = network.name if network is not None else type(self._module).__name__
        if any(nn.parameter.is_lazy(p) for p in self._module.parameters()):
            raise NetworkError(f"{self._name} has lazy layers without weights: run it once, then watch it.")
        self._modules = {name: m for name, m in self._module.named_modules() if name}
        self._layers, self._names = layers_of(self._module)
        if not self._layers:
            raise NetworkError(f"{self._name} has no parameters: there is nothing in it that could learn.")
        self._acquaint_parameters()
        self._first = next((m for m in self._module.modules() if isinstance(m, nn.Conv2d)), None)
        self._picture = self._input(picture, network)
        self._map: tuple[int, np.ndarray] | None = None
        self._filters: tuple[int, np.ndarray] | None = None
        self._trouble = ""

        self._history = History(self._layers, len(self._names))
        self._arriving: deque[tuple[int, int, Measurement]] = deque()
        self._lock = threading.RLock()
        self._at = -1  # the step under way, or the last
        self._restarted = True
        # Of the last row: the period it stands for, its step, the parameters that it has numbers of.
        self._period = self._row_step = -1
        self._row_columns: set[int] = set()
        self._optimisers: weakref.WeakKeyDictionary[Optimizer, _Acquaintance] = weakref.WeakKeyDictionary()
        self._hand = _Acquaintance(range(len(self._names)))
        self._noticed = False
        self._given: Tensor | float | None = None
        self._gives_after: bool | None = None
        self._since_start = 0
        self._buffers: dict[int, Tensor] = {}

        self._hooks = _Hooks()
        self._on = False
        self._began = self._elapsed = self._spent = 0.0
        self._shown: Screen | None = None
        weakref.finalize(self, self._hooks.remove).atexit = False

        self._layer, self._channel = "", 0
        self.layer = self._usual_layer() if layer is None else layer
        self.channel = channel
        if self._picture is not None:
            self._maps_of_picture()
        self.start()

    def __repr__(self) -> str:
        state = "watching" if self._on else "stopped"
        return f"<Watch of {self._name}: {self.steps} steps, {self.records} recorded, {state}>"

    # What a user of the API calls.

    @property
    def watching(self) -> bool:
        """Whether it is started."""
        return self._on

    @property
    def steps(self) -> int:
        """How many steps were seen."""
        return self._at + 1

    @property
    def records(self) -> int:
        """How many of them were recorded."""
        return len(self._history)

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
        return self._layer

    @layer.setter
    def layer(self, name: str) -> None:
        if name not in self._modules and name:
            raise UnknownLayerError(name, self._modules)
        if name != self._layer:
            self._layer, self._channel, self._map, self._trouble = name, 0, None, ""
            if self._on and self._hooks.listening:
                self._listen()

    @property
    def channel(self) -> int:
        """The channel of that layer."""
        return self._channel

    @channel.setter
    def channel(self, channel: int) -> None:
        count = self.channels
        if channel < 0 or (count is not None and channel >= count):
            among = "" if count is None else f", 0 to {count - 1}"
            raise FilterRangeError(f"Layer {self._layer!r} has channels{among}: there is no {channel}.")
        self._channel = channel

    @property
    def channels(self) -> int | None:
        """How many channels that layer has, None until one of its outputs was seen."""
        if self._map is not None:
            return len(self._map[1])
        return getattr(self._modules.get(self._layer), "out_channels", None)

    @property
    def feature_map(self) -> np.ndarray | None:
        """The channel's map (h, w) in the last step recorded, None before there is one."""
        with self._lock:
            self._settle(wait=True)
            return None if self._map is None else self._map[1][min(self._channel, len(self._map[1]) - 1)].copy()

    @property
    def filters(self) -> np.ndarray | None:
        """The first convolution's kernels (filters, channels, h, w) after the last step recorded."""
        with self._lock:
            self._settle(wait=True)
            return None if self._filters is None else self._filters[1].copy()

    @property
    def history(self) -> dict[str, np.ndarray]:
        """What was recorded, as arrays by name.

        ``step``, ``time`` (seconds watched), ``loss`` and ``learning_rate`` have a number for each record. ``step`` 0 is
        the first. ``gradient_norm``, ``weight_norm`` (before the step), ``update_norm`` (of the change), ``update_ratio``
        (update over weight) and ``dead_share`` (of filters without any gradient) are (records, ``layers``); ``has_gradient``
        tells a gradient that is NaN from one that was not there. ``filters`` are up to 64 states of the first
        convolution, after the steps in ``filters_step``; ``feature_map`` is the last one.
        """
        with self._lock:
            last = self.feature_map
            found = self._history.arrays()
        found["feature_map"] = np.zeros((0, 0)) if last is None else last
        return found

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
        number = _number(value)
        if not self._on:
            return
        if self._gives_after is None:
            self._gives_after = self._since_start > 0
        if self._gives_after:
            self._tell_last(number)
        else:
            self._given = number

    def step(self, loss: Any = None) -> None:
        """Say that a step was made, in a loop without an optimiser of torch's; else only give its loss.

        Call it once a step, after the weights have changed and before gradients are cleared.
        """
        number = None if loss is None else _number(loss)
        if not self._on:
            return
        if self._noticed:
            self._noticed = False
            if number is not None:
                self._tell_last(number)
        else:
            if number is not None:
                self._given = number
            self._guarded(self._step_by_hand)

    def start(self) -> Watch:
        """Watch, or go on watching after `stop`; steps made meanwhile are not counted."""
        if not self._on:
            self.error = None
            self._acquaint_parameters()
            for known in self._optimisers.values():
                known.groups, known.before = (), None  # it may have been given others meanwhile
            self._hooks.add(self)
            self._began, self._on, self._restarted = time.perf_counter(), True, True
            self._since_start, self._gives_after, self._given, self._noticed = 0, None, None, False
            self._listen_if_due(self._at + 1)
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
            self._buffers.clear()
            self._hand.before = None
            with self._lock:
                self._settle(wait=True)
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

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if not _in_notebook() or Watch.screen is None:
            return {"text/plain": repr(self)}
        return self.widget._repr_mimebundle_(include=include, exclude=exclude)

    # From the optimiser's hooks to a record. Runs in the thread that trains.

    def _before_step(self, optimizer: Optimizer) -> None:
        known = self._optimisers.get(optimizer)
        if known is None or known.groups != _groups(optimizer):
            known = self._acquaint(optimizer)
        if not known.columns:
            return
        # An iteration ends where an optimiser that stepped in it steps again: there may be several.
        if known.turn == self._at or self._restarted:
            self._at, self._restarted = self._at + 1, False
        known.turn = self._at
        if self._at // self.every > known.period:
            self._guarded(lambda: self._copy(known))

    def _after_step(self, optimizer: Optimizer) -> None:
        known = self._optimisers.get(optimizer)
        if known is None or not known.columns:
            return
        self._noticed = True
        self._since_start += 1
        if known.before is not None:
            self._guarded(lambda: self._record(known, optimizer))
        self._given = None
        self._listen_if_due(self._at + 1)

    def _step_by_hand(self) -> None:
        self._at, self._restarted = self._at + 1, False
        self._since_start += 1
        known = self._hand
        if self._at // self.every > known.period:
            self._record(known, None)
        if (self._at + 1) // self.every > known.period:
            self._copy(known)
        self._given = None
        self._listen_if_due(self._at + 1)

    def _guarded(self, act: Callable[[], None]) -> None:
        """Do something of ours within the user's step: what goes wrong in it stops the watch, and nothing else."""
        began = time.perf_counter()
        try:
            with torch.no_grad():
                act()
        except Exception as error:
            self.error = error
            self.stop()
            said = error if isinstance(error, NbcnnvizError) else f"{type(error).__name__}: {error}"
            warnings.warn(f"Watching {self._name} stopped, the training goes on. {said}", stacklevel=4)
        finally:
            self._spent += time.perf_counter() - began

    def _acquaint_parameters(self) -> None:
        now = dict(self._module.named_parameters(remove_duplicate=False))
        self._parameters = [now[name] for name in self._names if name in now]
        if len(self._parameters) < len(self._names):
            gone = next(name for name in self._names if name not in now)
            raise NetworkError(
                f"{self._name} has lost its parameter {gone!r} since it was first watched: watch it anew."
            )

    def _acquaint(self, optimizer: Optimizer) -> _Acquaintance:
        """Find out which of the network's parameters an optimiser has."""
        self._acquaint_parameters()  # they may have been replaced
        columns = {id(p): c for c, p in enumerate(self._parameters)}
        own = [columns[id(p)] for g in optimizer.param_groups for p in g["params"] if id(p) in columns]
        known = self._optimisers.setdefault(optimizer, _Acquaintance())
        known.columns, known.groups = sorted(own), _groups(optimizer)
        if known.turn < 0 and not self._row_columns.isdisjoint(own):
            known.period = self._period  # it takes the place of one that has been recorded
        return known

    def _copy(self, known: _Acquaintance) -> None:
        """Keep the weights as they are before a step."""
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            return  # a graph would repeat whatever is done here
        learning = [c for c in known.columns if self._parameters[c].requires_grad]
        known.before = {c: self._copy_of(c) for c in learning}

    def _copy_of(self, column: int) -> Tensor:
        now = self._parameters[column].detach()
        if now.device.type != "cpu":
            return now.clone()
        # Memory that was touched before is many times faster; on an accelerator torch keeps it by itself.
        kept = self._buffers.get(column)
        if kept is None or kept.shape != now.shape or kept.dtype != now.dtype:
            kept = self._buffers[column] = torch.empty_like(now)
        return kept.copy_(now)

    def _record(self, known: _Acquaintance, optimizer: Optimizer | None) -> None:
        before, known.before = known.before, None
        parameters = {c: self._parameters[c] for c in (known.columns if before is None else before)}
        listener = self._hooks.hear_no_more()
        loss, self._given = self._given, None
        if loss is None and listener is not None and listener.loss is not None:
            loss = listener.loss / scale_of_step()
        filters = [(i, layer) for i, layer in enumerate(self._layers) if layer.filters in parameters]
        measured = Measurement(parameters, before, filters, loss, self._pictures(listener))
        with self._lock:
            period = self._at // self.every
            if period > self._period:
                self._period, self._row_step, self._row_columns = period, self._at, set()
                self._history.add(self._at, self.elapsed, _rate(optimizer, parameters))
            known.period = period
            self._row_columns.update(parameters)
            self._arriving.append((self.records - 1, self._at, measured))
            self._settle()
        if self._shown is not None:
            self._shown.tell()

    def _settle(self, wait: bool = False) -> None:
        """Take in what has arrived from the device."""
        with self._lock:
            while self._arriving and self._arriving[0][2].arrived(wait):
                row, step, measured = self._arriving.popleft()
                self._history.fill(row, measured)
                pictures = {name: picture.numpy() for name, picture in measured.pictures.items()}
                if "filters" in pictures:
                    self._filters = step, pictures["filters"]
                    self._history.filters.offer(step, pictures["filters"])
                if pictures.get("of " + self._layer) is not None:
                    self._map = step, pictures["of " + self._layer]

    def _tell_last(self, loss: Tensor | float) -> None:
        """Write the loss of the last step, if it was recorded."""
        if self._row_step == self._at and self.records:
            with self._lock:
                self._settle(wait=True)
                self._history.tell(self.records - 1, float(loss))
            if self._shown is not None:
                self._shown.tell()

    # The feature map and the filters.

    def _usual_layer(self) -> str:
        """The first convolution, so that a map belongs to a filter that is shown."""
        return next((n for n, m in self._modules.items() if isinstance(m, nn.Conv2d)), next(iter(self._modules), ""))

    def _input(self, picture: Any, network: Network | None) -> Tensor | None:
        """A picture as the network takes it, (1, C, H, W)."""
        if picture is None:
            return None
        if network is not None:
            return network.batch(picture)[:1]
        if not isinstance(picture, Tensor) or picture.ndim not in (3, 4):
            raise ImageError(
                "The picture of a module is a preprocessed tensor (C, H, W): give that, or watch a nv.Network, which knows "
                "how to make it."
            )
        return (picture if picture.ndim == 4 else picture[None])[:1].detach().clone()

    def _listen_if_due(self, step: int) -> None:
        """Listen from now on, if the step about to come is one that is recorded."""
        if self._on and step // self.every > self._period and not self._hooks.listening:
            self._guarded(self._listen)

    def _listen(self) -> None:
        layer = None if self._compiled or self._picture is not None else self._modules.get(self._layer)
        self._hooks.hear(Listener(self._parameters, self._layer, layer, _maps))

    def _pictures(self, listener: Listener | None) -> dict[str, Tensor]:
        """The first convolution's kernels, and the chosen layer's maps of one picture."""
        pictures = {}
        if self._first is not None:
            pictures["filters"] = self._first.weight.detach()[:_FILTERS_KEPT].float().clone()
        if not self._layer:
            return pictures
        listener = listener if listener is not None and listener.name == self._layer else None
        maps = listener.heard if listener is not None else None
        error = listener.error if listener is not None else None
        if self._picture is not None:
            try:
                maps = self._maps_of_picture()
            except NbcnnvizError as failure:
                error = failure
        if maps is not None:
            pictures["of " + self._layer] = maps
            self._trouble = ""
        elif error is not None:
            self._trouble = str(error)
        elif self._compiled:
            self._trouble = (
                "A compiled network does not tell what its layers return: give watch(..., picture=tensor), and that picture "
                "is run through the layers beside it."
            )
        elif listener is not None and self._map is None:
            self._trouble = f"Layer {self._layer!r} was not called in the last step recorded."
        return pictures

    def _maps_of_picture(self) -> Tensor:
        assert self._picture is not None
        like = next(self._module.parameters())
        recorder = Recorder(self._module, [self._layer], parameters=False, stop=True)
        try:
            recording = recorder(self._picture.to(like.device, like.dtype), differentiable=False)
        except Exception as error:  # the user's code may raise anything
            raise ImageError(f"The picture of {tuple(self._picture.shape)} could not be run: {error}") from error
        if not recording.activations:
            raise MethodNotApplicableError(f"Layer {self._layer!r} is not called for the picture given.")
        return _maps(next(iter(recording.activations.values())).output, self._layer)


class _Acquaintance:
    """What is known of an optimiser: its parameters' columns, when it last stepped, the period it last recorded."""

    def __init__(self, columns: Sequence[int] = ()) -> None:
        self.columns = list(columns)
        self.groups: tuple[int, ...] = ()
        self.turn = -1
        self.period = -1
        self.before: dict[int, Tensor] | None = None


class _Hooks:
    """What torch is asked to tell; it knows the watch only weakly, so that one that is dropped ends."""

    def __init__(self) -> None:
        self._registered: list[Any] = []
        self._wanted = False
        self._listener: Listener | None = None

    def add(self, watch: Watch) -> None:
        """Be told of every optimiser's steps."""
        self._wanted = True
        if self._registered:
            return
        whose = weakref.ref(watch)

        def before(optimizer: Optimizer, _: Any, __: Any) -> None:
            watch = whose()
            if watch is not None and watch._on:
                watch._before_step(optimizer)

        def after(optimizer: Optimizer, _: Any, __: Any) -> None:
            watch = whose()
            if watch is not None and watch._on:
                watch._after_step(optimizer)

        _between_steps()
        self._registered = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]

    @property
    def listening(self) -> bool:
        """Whether anything is listened to."""
        return self._listener is not None

    def hear(self, listener: Listener) -> None:
        """Listen to this, and to nothing else."""
        self.hear_no_more()
        self._listener = listener

    def hear_no_more(self) -> Listener | None:
        """Stop listening; what was heard."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        return listener

    def remove(self) -> None:
        """Be told nothing more."""
        self.hear_no_more()
        self._wanted = False
        self._unregister()

    def _unregister(self) -> None:
        if self._wanted or not self._registered:
            return
        if _between_steps():
            while self._registered:
                self._registered.pop().remove()
        else:  # it was dropped or stopped within a step
            again = threading.Timer(0.05, self._unregister)
            again.daemon = True
            again.start()


_STEP = Optimizer.profile_hook_step(lambda self: None).__code__
"""What every optimiser's ``step`` is wrapped in, and what walks the registry of hooks."""


def _between_steps(patience: float = 1.0) -> bool:
    """Whether no optimiser is within a step, for a moment: a registry that is being walked must not be changed."""
    frame = sys._getframe()
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        if frame.f_code is _STEP:
            return False
    until = time.monotonic() + patience
    while stands_in(_STEP):
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return True


def _groups(optimizer: Optimizer) -> tuple[int, ...]:
    return tuple([len(group["params"]) for group in optimizer.param_groups])


def _rate(optimizer: Optimizer | None, parameters: dict[int, nn.Parameter]) -> float:
    """The learning rate of the first group that has parameters of the network's."""
    ours = {id(p) for p in parameters.values()}
    for group in optimizer.param_groups if optimizer is not None else ():
        if "lr" in group and any(id(p) in ours for p in group["params"]):
            return float(group["lr"])
    return float("nan")


def _number(value: Any) -> Tensor | float:
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return value.detach().reshape(()).clone()
    if not isinstance(value, Tensor):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise GradientError(f"A loss is one number, or a tensor of one: this is {what}. Take its mean, or its sum.")


def _maps(output: Any, layer: str) -> Tensor:
    """The maps (C, h, w) of the first picture in what a layer returned."""
    if not isinstance(output, Tensor) or output.ndim != 4 or not len(output):
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise MethodNotApplicableError(f"Layer {layer!r} returns {what}, not maps (N, C, h, w): choose another.")
    return output[0].detach().float().clone()


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
