"""What the Compare panel computes: from settings to frames, without a widget."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from nbcnnviz.attribution import Attribution
from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.core.network import Network
from nbcnnviz.core.trace import Trace
from nbcnnviz.inside import WhatIf, ranking, what_if
from nbcnnviz.metrics import METRICS, Comparison, Entry, Judged, compare, judge, randomised
from nbcnnviz.session import Snapshot

Box = tuple[int, int, int, int]

MAPS, AGREEMENT, SCORES, WHAT_IF = "Maps", "Agreement", "Scores", "What if"
_PARTIAL = 0.3
"""Seconds between two frames of a map that is not finished: each sends all tiles."""
_NETWORKS = 3
"""Networks that are remembered, each with its copy of weights drawn anew."""


@dataclass(frozen=True)
class Change:
    """What is changed in What if: a channel of the layer and its factor, or a part of the picture, or both."""

    channel: int | None = None
    scale: float = 0.0
    region: str | None = None


@dataclass(frozen=True)
class Settings:
    """What the controls are set to when an answer is asked for."""

    view: str
    axis: str
    most: int | None
    passes: float
    judging: int
    metrics: tuple[str, ...]
    all_maps: bool
    box: Box | None
    change: Change


@dataclass(frozen=True, eq=False)
class CompareFrame:
    """What is shown.

    Attributes
    ----------
    comparison : Comparison or None
        The maps; None before there are any.
    judged : Mapping[int, Sequence[Judged]]
        What the metrics say of the map at a place.
    what_if : WhatIf or None
        The scores before and after.
    judging : tuple[int, int]
        How many scores are there, of how many.
    suggested : int or None
        The filter that matters most to the class, the first time that a layer is looked at in What if.
    """

    comparison: Comparison | None
    judged: Mapping[int, Sequence[Judged]] = field(default_factory=dict)
    what_if: WhatIf | None = None
    judging: tuple[int, int] = (0, 0)
    suggested: int | None = None

    @property
    def tiled(self) -> bool:
        """Whether there is a tile."""
        return self.comparison is not None and any(True for _ in shown(self.comparison))

    def arrays(self) -> dict[str, Any]:
        """Each map as it is (``map_0`` ...), ``names`` and ``correlations`` (n, n), and the scores of those judged.

        The scores are ``judged_INSERTION`` ... (n,), NaN where there is none.
        """
        assert self.comparison is not None
        entries = self.comparison.entries
        arrays: dict[str, Any] = {
            "names": [entry.name for entry in entries],
            "correlations": self.comparison.correlations,
        }
        for at, entry in enumerate(entries):
            if entry.result is not None:
                arrays[f"map_{at}"] = entry.result.values[0].detach().float().cpu().numpy()
        for at, found in self.judged.items():
            for one in found:
                arrays.setdefault(f"judged_{one.metric.name}", np.full(len(entries), np.nan, np.float32))[at] = (
                    one.value
                )
        return arrays

    @property
    def step(self) -> int:
        """How many maps and scores are finished."""
        return (self.comparison.step if self.comparison is not None else 1) + self.judging[0]

    @property
    def steps(self) -> int:
        """How many there are to be."""
        return (self.comparison.steps if self.comparison is not None else 1) + self.judging[1]


class Computing:
    """Answers the panel's questions, and keeps what need not be computed again."""

    def __init__(self) -> None:
        self.known: Comparison | None = None
        self._judged: WeakKeyDictionary[Attribution, dict[Any, Judged]] = WeakKeyDictionary()
        self._networks: list[Network] = []
        self._judgements = 0
        self._suggested_for: object = None

    def answer(self, request: Snapshot, trace: Trace) -> Generator[CompareFrame, None, None]:
        """The frames for what is selected."""
        settings: Settings = request.settings
        if settings.view == WHAT_IF:
            found = changed(trace, request.layer, settings)
            yield CompareFrame(self.known, what_if=found, suggested=self._suggested(request, trace))
            return
        frame = None
        for frame in self._compared(request, trace, settings):
            yield frame
        begun, self._judgements = settings.judging > self._judgements, settings.judging
        if begun and frame is not None and settings.view == SCORES:
            yield from self._scored(frame, request, settings)

    def _suggested(self, request: Snapshot, trace: Trace) -> int | None:
        layer, before = request.layer, self._suggested_for
        self._suggested_for = request.network.name, layer, request.source
        if layer is None or request.filter is not None or before == self._suggested_for:
            return None
        with suppress(NbcnnvizError):  # a layer without channels has none that could be suggested
            return int(ranking(trace, layer, "contribution", target=request.class_).filters[0])
        return None

    def _compared(self, request: Snapshot, trace: Trace, settings: Settings) -> Generator[CompareFrame, None, None]:
        image = request.source if request.crop is None and request.source else request.picture
        axis, last = settings.axis, 0.0
        asked: dict[str, Any] = {
            "axis": axis, "method": request.method, "target": request.target, "options": request.options,
            "layer": request.layer, "most": settings.most, "passes": settings.passes, "known": self.known,
        }  # fmt: skip
        if axis == "networks":
            asked["values"], asked["most"], image = self._those_of(request.network), None, request.picture
        for comparison in compare.stream(trace, image, **asked):
            self.known = comparison
            under_way = any(e.result is not None and not e.done for e in comparison.entries)
            if under_way and time.monotonic() - last < _PARTIAL:
                continue
            last = time.monotonic()
            yield self.frame(comparison, settings)

    def frame(self, comparison: Comparison, settings: Settings) -> CompareFrame:
        """A comparison with what is known already of how its maps are judged."""
        judged: dict[int, Sequence[Judged]] = {}
        for at, entry in enumerate(comparison.entries):
            kept = self._judged.get(entry.result, {}) if entry.result is not None else {}
            found = [kept[key] for name in METRICS if (key := _key(name, settings.box)) in kept]
            if found:
                judged[at] = found
        return CompareFrame(comparison, judged)

    def _scored(
        self, frame: CompareFrame, request: Snapshot, settings: Settings
    ) -> Generator[CompareFrame, None, None]:
        comparison = frame.comparison
        assert comparison is not None
        places = [at for at, entry in enumerate(comparison.entries) if self._to_judge(entry, settings)]
        names = [name for name in METRICS if name in settings.metrics]
        done, total = 0, len(places) * len(names)
        yield replace(frame, judging=(0, total))
        for name in names:  # the cheapest first, of all maps
            for at in places:
                self._judge(comparison.entries[at], name, request, settings.box)
                done += 1
                yield replace(self.frame(comparison, settings), judging=(done, total))

    def _to_judge(self, entry: Entry, settings: Settings) -> bool:
        return entry.result is not None and entry.done and (settings.all_maps or entry.chosen)

    def _judge(self, entry: Entry, name: str, request: Snapshot, box: Box | None) -> None:
        assert entry.result is not None
        kept = self._judged.setdefault(entry.result, {})
        if _key(name, box) not in kept:
            [kept[_key(name, box)]] = judge(entry.result, [name], options=entry.question.options, box=box)

    def _those_of(self, network: Network) -> list[Network]:
        """The network, those used before, and of each a copy whose weights are drawn anew."""
        if network not in self._networks:
            self._networks = [*self._networks[-2 * (_NETWORKS - 1) :], network, randomised(network)]
        return list(self._networks)

    def forget(self) -> None:
        """Let go of maps that hang on a trace; those that need none are kept."""
        known, self.known = self.known, None
        if known is not None:
            kept = tuple(entry for entry in known.entries if entry.question.trace is None)
            self.known = Comparison(known.axis, kept, np.full((len(kept),) * 2, np.nan))

    def close(self) -> None:
        """Let go of everything."""
        self.known, self._networks = None, []


def _key(name: str, box: Box | None) -> tuple[str, Box | None]:
    return name, box if METRICS[name].needs_box else None


def changed(trace: Trace, layer: str | None, settings: Settings) -> WhatIf | None:
    """The scores with what is to be changed; None where nothing is."""
    change = settings.change
    box = settings.box if change.region is not None else None
    channel = change.channel if layer is not None else None
    if box is None and channel is None:
        return None
    where = (layer, channel) if channel is not None else (None, None)
    return what_if(trace, *where, scale=change.scale, box=box, region=change.region or "hide")  # type: ignore[arg-type]


def shown(comparison: Comparison) -> Iterator[tuple[int, Entry]]:
    """The entries that have a tile, with their places: those that have a meaning here."""
    return ((at, entry) for at, entry in enumerate(comparison.entries) if entry.applies)
