"""Undo and redo of the selection."""

from __future__ import annotations

import traitlets as t

from nbcnnviz.session.selection import Selection
from nbcnnviz.session.snapshot import Snapshot

CAMERA = "your camera"
"""The name of pictures that a camera took, one after another."""

STATES = 200
"""The most steps back."""

BUDGET = 1_000_000_000
"""Bytes of pictures and networks that are kept for steps back alone; the last step back is always there."""


class History(t.HasTraits):
    """What was selected, state by state.

    States share what they have in common. Beyond `STATES` of them, or `BUDGET` bytes of what is selected no longer, the
    earliest are forgotten.

    Attributes
    ----------
    can_undo, can_redo : bool
        Whether there is a step back, or one forward again.
    """

    can_undo = t.Bool(False)
    can_redo = t.Bool(False)

    def __init__(self, selection: Selection, budget: int = BUDGET) -> None:
        super().__init__()
        self._selection, self._budget = selection, budget
        self._back: list[Snapshot] = []
        self._forward: list[Snapshot] = []
        self._now = selection.snapshot
        self._restoring = False
        self._unfollow = selection.call_first(self._changed)

    def undo(self) -> None:
        """Select what was selected before, if anything was."""
        self._go(self._back, self._forward)

    def redo(self) -> None:
        """Select what was selected before the last `undo`, if nothing else has been since."""
        self._go(self._forward, self._back)

    def close(self) -> None:
        """Forget everything."""
        self._unfollow()
        self._back, self._forward = [], []
        self._tell()

    def _changed(self, name: str) -> None:
        if self._restoring or name == "source":
            return
        state = self._selection.snapshot
        if not (name == "image" and self._now.source == state.source == CAMERA):
            self._back.append(self._now)  # but of a camera's frames the last is enough
        self._forward = []
        self._now = state
        while len(self._back) > STATES or (len(self._back) > 1 and self._bytes() > self._budget):
            del self._back[0]
        self._tell()

    def _bytes(self) -> int:
        """What is kept of pictures and networks, but for those that are selected."""
        now, kept = self._now, [*self._back, *self._forward]
        pictures = {id(s.image): s.image for s in kept if s.image is not now.image}
        networks = {id(s.network): s.network.module for s in kept if s.network is not now.network}
        tensors = {id(x): x for module in networks.values() for x in (*module.parameters(), *module.buffers())}
        return sum(image.width * image.height * len(image.getbands()) for image in pictures.values()) + sum(
            x.numel() * x.element_size() for x in tensors.values()
        )

    def _go(self, there: list[Snapshot], back: list[Snapshot]) -> None:
        if not there:
            return
        state = there.pop()
        back.append(self._now)
        self._restoring = True
        try:
            self._selection.restore(state)
        finally:
            self._restoring = False
            self._now = self._selection.snapshot
            self._tell()

    def _tell(self) -> None:
        self.can_undo, self.can_redo = bool(self._back), bool(self._forward)
