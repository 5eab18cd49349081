"""From an optimiser's steps to records: the half of a watch that runs in the thread that trains."""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nbcnnviz.core.errors import NbcnnvizError, NetworkError
from nbcnnviz.core.network import Network
from nbcnnviz.core.replica import unwrapped
from nbcnnviz.training.hooks import StepHooks
from nbcnnviz.training.listening import scale_of_step
from nbcnnviz.training.measuring import Measurement, layers_of
from nbcnnviz.training.record import Record
from nbcnnviz.training.stepping import OptimiserState, WeightCopies, group_sizes, learning_rate
from nbcnnviz.training.views import Views


class StepObserver:
    """Records a step in every so many of whichever optimisers have parameters of a module.

    Attributes
    ----------
    every : int
        A step in this many is recorded.
    error : Exception or None
        What made it stop by itself.
    """

    def __init__(self, module: nn.Module, network: Network | None, every: int, picture: Any) -> None:
        self.every = every
        self.error: Exception | None = None
        self._module = unwrapped(module)
        compiled = any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in module.modules())
        self._name = network.name if network is not None else type(self._module).__name__
        if any(nn.parameter.is_lazy(p) for p in self._module.parameters()):
            raise NetworkError(f"{self._name} has lazy layers without weights: run it once, then watch it.")
        self._layers, self._names = layers_of(self._module)
        if not self._layers:
            raise NetworkError(f"{self._name} has no parameters: there is nothing in it that could learn.")
        self._refresh_parameters()
        self._views = Views(self._module, compiled, picture, network)
        self._record = Record(self._layers, len(self._names))
        self._at = -1  # the step under way, or the last
        self._restarted = True
        self._optimisers: weakref.WeakKeyDictionary[Optimizer, OptimiserState] = weakref.WeakKeyDictionary()
        self._hand = OptimiserState(range(len(self._names)))
        self._copies = WeightCopies()
        self._noticed = False
        self._given: Tensor | float | None = None
        self._gives_after: bool | None = None
        self._since_start = 0

        self._hooks = StepHooks()
        self._on = False
        self._spent = 0.0
        weakref.finalize(self, self._hooks.remove).atexit = False

    @property
    def watching(self) -> bool:
        """Whether it is started."""
        return self._on

    @property
    def steps(self) -> int:
        """How many steps were seen."""
        return self._at + 1

    @property
    def elapsed(self) -> float:
        """Seconds it has observed."""
        raise NotImplementedError

    def stop(self) -> None:
        """Observe no more."""
        raise NotImplementedError

    def _changed(self) -> None:
        """There is something new to be shown."""
        raise NotImplementedError

    def _observe(self) -> None:
        """Observe from now on."""
        self.error = None
        self._refresh_parameters()
        for known in self._optimisers.values():
            known.groups, known.before = (), None  # it may have been given others meanwhile
        self._hooks.add(self)
        self._on = self._restarted = True
        self._since_start, self._gives_after, self._given, self._noticed = 0, None, None, False
        self._listen_if_due(self._at + 1)

    def _before_step(self, optimizer: Optimizer) -> None:
        known = self._optimisers.get(optimizer)
        if known is None or known.groups != group_sizes(optimizer):
            known = self._state_of(optimizer)
        if not known.columns:
            return
        # An iteration ends where an optimiser that stepped in it steps again: there may be several.
        if known.last_step == self._at or self._restarted:
            self._at, self._restarted = self._at + 1, False
        known.last_step = self._at
        if self._at // self.every > known.period:
            self._guarded(lambda: self._copy(known))

    def _after_step(self, optimizer: Optimizer) -> None:
        known = self._optimisers.get(optimizer)
        if known is None or not known.columns:
            return
        self._noticed = True
        self._since_start += 1
        if known.before is not None:
            self._guarded(lambda: self._record_step(known, optimizer))
        self._given = None
        self._listen_if_due(self._at + 1)

    def _step_by_hand(self) -> None:
        self._at, self._restarted = self._at + 1, False
        self._since_start += 1
        known = self._hand
        if self._at // self.every > known.period:
            self._record_step(known, None)
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

    def _refresh_parameters(self) -> None:
        now = dict(self._module.named_parameters(remove_duplicate=False))
        self._parameters = [now[name] for name in self._names if name in now]
        if len(self._parameters) < len(self._names):
            gone = next(name for name in self._names if name not in now)
            raise NetworkError(
                f"{self._name} has lost its parameter {gone!r} since it was first watched: watch it anew."
            )

    def _state_of(self, optimizer: Optimizer) -> OptimiserState:
        """Find out which of the network's parameters an optimiser has."""
        self._refresh_parameters()  # they may have been replaced
        columns = {id(p): c for c, p in enumerate(self._parameters)}
        own = [columns[id(p)] for g in optimizer.param_groups for p in g["params"] if id(p) in columns]
        known = self._optimisers.setdefault(optimizer, OptimiserState())
        known.columns, known.groups = sorted(own), group_sizes(optimizer)
        if known.last_step < 0 and not self._record.columns.isdisjoint(own):
            known.period = self._record.period  # it takes the place of one that has been recorded
        return known

    def _record_step(self, known: OptimiserState, optimizer: Optimizer | None) -> None:
        before, known.before = known.before, None
        parameters = {c: self._parameters[c] for c in (known.columns if before is None else before)}
        listener = self._hooks.stop_listening()
        loss, self._given = self._given, None
        if loss is None and listener is not None and listener.loss is not None:
            loss = listener.loss / scale_of_step()
        filters = [(i, layer) for i, layer in enumerate(self._layers) if layer.filters in parameters]
        pictures = self._views.take(listener, known=self._record.maps is not None)
        measured = Measurement(parameters, before, filters, loss, pictures)
        known.period = self._at // self.every
        rate = learning_rate(optimizer, parameters)
        self._record.add(self._at, known.period, self.elapsed, rate, parameters, measured)
        self._changed()

    def _give_last_loss(self, loss: Tensor | float) -> None:
        """Write the loss of the last step, if it was recorded."""
        if self._record.give_loss(self._at, loss):
            self._changed()

    def _copy(self, known: OptimiserState) -> None:
        """Keep the weights as they are before a step."""
        known.before = self._copies.take(self._parameters, known.columns)

    def _listen_if_due(self, step: int) -> None:
        """Listen from now on, if the step about to come is one that is recorded."""
        if self._on and step // self.every > self._record.period and not self._hooks.listening:
            self._guarded(self._listen)

    def _listen(self) -> None:
        self._hooks.listen(self._views.listener(self._parameters))
