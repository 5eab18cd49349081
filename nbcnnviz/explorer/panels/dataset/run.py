"""A scan as the panel runs it: what it was asked for, what it has found, and the task."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

from nbcnnviz.core.network import Network
from nbcnnviz.dataset import Source, TopPatches, scan, source_of
from nbcnnviz.session import Task

NAMED = 3
"""So many of the pictures that could not be read are named."""


@dataclass(frozen=True)
class Asked:
    """What is scanned: pictures by name or path, layers by name; None scans every layer that returns maps."""

    network: Network
    pictures: str
    layers: tuple[str, ...] | None


class ScanRun:
    """One scan, which a kept task runs.

    Attributes
    ----------
    asked : Asked
        What is scanned.
    source : Source or None
        The pictures, once they were found.
    result : TopPatches or None
        What is known so far.
    task : Task
        What runs it, once it was started.
    """

    task: Task

    def __init__(self, asked: Asked, before: ScanRun | None = None) -> None:
        self.asked = asked
        self.source: Source | None = None
        self.result: TopPatches | None = None
        if before is not None and before.asked == asked:  # which goes on where that one was stopped
            self.source, self.result = before.source, before.result

    @property
    def unfinished(self) -> bool:
        """Whether it was stopped, and may go on."""
        return not self.task.live and self.result is not None and self.result.step < self.result.steps

    def frames(self, task: Task) -> Generator[TopPatches, None, None]:
        """The frames, for the task."""
        task.tell("Looking for pictures ...")
        asked = self.asked
        source = self.source = self.source or source_of(asked.pictures)
        task.check()
        layers = None if asked.layers is None else list(asked.layers)
        with closing(scan.stream(asked.network, source, layers=layers, start=self.result)) as frames:
            for frame in frames:
                task.status = ""
                self.result = frame
                yield frame

    def words(self) -> str:
        """How many pictures were scanned, once nothing else tells that; and which could not be read."""
        found, source = self.result, self.source
        if found is None or source is None or (self.task.live and not found.skipped):
            return ""
        count = f"{found.seen} of {found.total}" if found.step < found.total else f"{found.seen}"
        said = f"{count} pictures of {source.name}, {len(found.layers)} layer{'s' if len(found.layers) > 1 else ''}"
        if found.skipped:
            first = [f"{key}: {reason}" for key, reason in list(found.skipped.items())[:NAMED]]
            more = len(found.skipped) - len(first)
            first += [f"and {more} more."] if more else []
            said += f". {len(found.skipped)} could not be read. {' '.join(first)}"
        return said
