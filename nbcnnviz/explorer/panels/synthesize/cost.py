"""What a run will cost, as far as anyone knows before it starts."""

from __future__ import annotations

import time
from contextlib import suppress
from weakref import WeakKeyDictionary

from nbcnnviz.core.durations import duration
from nbcnnviz.core.network import Network
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.panels.synthesize.run import Run


class Cost:
    """How long a step takes with each network: measured once, and then as the last run had it."""

    def __init__(self) -> None:
        self._seconds: WeakKeyDictionary[Network, float] = WeakKeyDictionary()

    def measure(self, trace: Trace) -> bool:
        """Take the time of a step of one picture, if none of this network's is known; whether it was taken."""
        network = trace.network
        if network in self._seconds:
            return False
        began = time.perf_counter()
        with suppress(Exception):  # nobody asked for this gradient
            network.trace(trace.input, layers=()).gradient()
        self._seconds[network] = time.perf_counter() - began
        return True

    def learn(self, run: Run) -> None:
        """Take the time of a run's steps, all its pictures together."""
        if run.task.rate:
            self._seconds[run.specification.network] = 1 / run.task.rate

    def words(self, steps: int, network: Network) -> str:
        """How many steps there will be, and how long they will take."""
        seconds = self._seconds.get(network)
        return f"{steps:,} steps" + ("" if seconds is None else f", about {duration(steps * seconds)}")
