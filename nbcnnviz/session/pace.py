"""How often to draw what changes faster than anyone can see."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

SLACK = 0.3
"""Seconds of drawing nothing that are made up for: one drawing that took long costs no frames, nor does an irregular step."""


class Pace:
    """Drawing is due no more often than so many times a second, and takes no more than a share of the time, on average.

    Attributes
    ----------
    drawn, seconds
        How often something was drawn, and how long that took in all.
    """

    def __init__(self, times_a_second: float, share: float) -> None:
        self._least, self._share = 1 / times_a_second, share
        self._by_rate = self._by_share = time.perf_counter()
        self.drawn, self.seconds = 0, 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to draw again."""
        return time.perf_counter() >= max(self._by_rate, self._by_share)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw within this."""
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self._by_rate = max(self._by_rate, began - self._least) + self._least
            self._by_share = max(self._by_share, began - SLACK) + took / self._share
            self.drawn += 1
            self.seconds += took
