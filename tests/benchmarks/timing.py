"""Fair timing of things that differ by a few per cent: in turn, in one process, by the median."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping

WARM_UP = 6
"""Rounds before the clock counts: the first passes of a process touch their memory for the first time."""


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    in_a_row: Mapping[str, int] | None = None,
    warm_up: int = WARM_UP,
) -> dict[str, float]:
    """Median seconds of each call, all taken in turn in every round.

    Parameters
    ----------
    in_a_row
        How often a call is made each time it is its turn, where not once.
    warm_up
        Rounds before the clock counts; fewer for calls that take so long that the first passes do not show.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    gc.collect()
    for turn in range(-warm_up, rounds):
        # Each goes first once in a while: who follows whom must not matter.
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            call = calls[name]
            for _ in range((in_a_row or {}).get(name, 1)):
                start = time.perf_counter()
                result = call()
                taken = time.perf_counter() - start
                del result  # freeing what it held is nobody's time
                if turn >= 0:
                    seconds[name].append(taken)
        if sys.stderr.isatty():
            print(f"\r  round {turn + 1:3d} of {rounds} \r", end="", file=sys.stderr, flush=True)
    return {name: statistics.median(taken) for name, taken in seconds.items()}
