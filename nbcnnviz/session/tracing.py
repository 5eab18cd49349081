"""The one trace that a session keeps: made anew for another network or picture, or when the weights have changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from weakref import WeakKeyDictionary, WeakSet

from PIL import Image

from nbcnnviz.core import fingerprint
from nbcnnviz.core.network import Network
from nbcnnviz.core.trace import Trace

_WARM_UP = 4


class Tracer:
    """Traces a picture, and remembers the trace while it is still true.

    Parameters
    ----------
    letting_go
        Called before another trace is made, so that the memory of the last is free for it.
    """

    def __init__(self, letting_go: Callable[[], None]) -> None:
        self._letting_go = letting_go
        self._last: tuple[Network, Image.Image, Hashable, Trace] | None = None
        self._warm: WeakSet[Network] = WeakSet()
        self._seconds: WeakKeyDictionary[Network, float] = WeakKeyDictionary()

    def __call__(self, network: Network, image: Image.Image) -> Trace:
        """The trace of a picture; the last one, if it is that and the weights are still the same."""
        if self._last is not None:
            last_network, last_image, weights, trace = self._last
            if last_network is network and last_image is image and weights == weights_state(network):
                return trace
            del trace
        self.forget()
        self._letting_go()
        began = time.perf_counter()
        trace = network.trace(image)
        self._took(network, time.perf_counter() - began)
        self._last = network, image, weights_state(network), trace
        return trace

    def seconds_of(self, network: Network) -> float | None:
        """How long a pass of one picture takes, the quickest so far; None as long as there was none."""
        return self._seconds.get(network)

    def _took(self, network: Network, seconds: float) -> None:
        self._seconds[network] = min(seconds, self._seconds.get(network, seconds))  # the first passes are slower

    def forget(self) -> None:
        """Let the last trace go."""
        self._last = None

    def warm_up(self, trace: Trace, given_up: Callable[[], bool]) -> None:
        """Run a network that is new a few times: a process's first passes are many times slower than the others."""
        if trace.network in self._warm:
            return
        for _ in range(_WARM_UP):
            if given_up():
                return
            with suppress(Exception):  # nobody asked for this gradient
                trace.gradient()
        with suppress(Exception):
            began = time.perf_counter()
            trace.network.scores(trace.input.detach()[:1])  # as methods of many passes run it, without a graph
            self._took(trace.network, time.perf_counter() - began)
        self._warm.add(trace.network)


def weights_state(network: Network) -> Hashable:
    """What tells one state of the weights from another: see `nbcnnviz.core.fingerprint.weights_state`."""
    return fingerprint.weights_state(network.module)
