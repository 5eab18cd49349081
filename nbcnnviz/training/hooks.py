"""torch's hooks around every optimiser's step, added and removed while no optimiser is within one."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from typing import Any, Protocol

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from nbcnnviz.training.listening import Listener, stands_in


class Watcher(Protocol):
    """What is called before and after a step, while it is watching."""

    @property
    def watching(self) -> bool:
        """Whether it wants to be called."""

    def _before_step(self, optimizer: Optimizer) -> None: ...

    def _after_step(self, optimizer: Optimizer) -> None: ...


class StepHooks:
    """Hooks on every optimiser's step; they hold the watch weakly, so that one that is dropped ends."""

    def __init__(self) -> None:
        self._registered: list[Any] = []
        self._wanted = False
        self._listener: Listener | None = None
        self._swapping = threading.RLock()  # the loop listens in one thread, while another may stop or start the watch

    def add(self, watch: Watcher) -> None:
        """Call the watch before and after every optimiser's step."""
        self._wanted = True
        if self._registered:
            return
        whose = weakref.ref(watch)

        def before(optimizer: Optimizer, _: Any, __: Any) -> None:
            watch = whose()
            if watch is not None and watch.watching:
                watch._before_step(optimizer)

        def after(optimizer: Optimizer, _: Any, __: Any) -> None:
            watch = whose()
            if watch is not None and watch.watching:
                watch._after_step(optimizer)

        between_steps()
        self._registered = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]

    @property
    def listening(self) -> bool:
        """Whether anything is listened to."""
        return self._listener is not None

    def listen(self, listener: Listener) -> None:
        """Listen to this, and to nothing else; to nothing where hooks are not wanted any more."""
        with self._swapping:
            kept = listener if self._wanted else None
            before, self._listener = self._listener, kept
        for ended in (before, None if kept is listener else listener):
            if ended is not None:
                ended.close()

    def stop_listening(self) -> Listener | None:
        """Stop listening; the listener, with what it has received."""
        with self._swapping:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        return listener

    def remove(self) -> None:
        """Remove every hook."""
        self._wanted = False
        self.stop_listening()
        self._unregister()

    def _unregister(self) -> None:
        if self._wanted or not self._registered:
            return
        if between_steps():
            while self._registered:
                self._registered.pop().remove()
        else:  # it was dropped or stopped within a step
            again = threading.Timer(0.05, self._unregister)
            again.daemon = True
            again.start()


_STEP = Optimizer.profile_hook_step(lambda self: None).__code__
"""What every optimiser's ``step`` is wrapped in, and what walks the registry of hooks."""


def between_steps(patience: float = 1.0) -> bool:
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
