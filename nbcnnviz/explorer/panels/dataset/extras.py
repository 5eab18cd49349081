"""What the panel makes of a filter when it is asked to: a synthesised picture, and the unit card."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import ipywidgets as w
from PIL import Image

from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Channel
from nbcnnviz.dataset import Source, TopPatches, UnitCard, unit_card
from nbcnnviz.dataset.card_page import body
from nbcnnviz.explorer.front import PictureFrame
from nbcnnviz.explorer.widgets.layout import reveal
from nbcnnviz.session import Task, Tasks
from nbcnnviz.synthesis import feature_visualization

STEPS = 128
_KEPT = 64

Key = tuple[Network, str, int]


class Extras:
    """A filter's synthesised picture and its card, each made by a kept task; those made are kept.

    Parameters
    ----------
    tell
        Called with the task whenever one has changed, or is over.
    """

    def __init__(self, tell: Callable[[Task], None]) -> None:
        self._tell = tell
        self._made: dict[Key, Image.Image] = {}
        self._shown: Key | None = None
        self._task: Task | None = None
        self.card: UnitCard | None = None
        self._card_of: Key | None = None
        self.picture = PictureFrame(label="Synthesised", width=160)
        self.page = w.HTML()
        scrolled = w.Layout(
            max_height="420px", overflow="auto", border="1px solid rgba(128,128,128,.35)", padding="8px"
        )
        self.card_box = w.VBox([self.page], layout=scrolled)
        self.widgets = (self.picture, self.card_box)
        self.follow(None)

    def follow(self, key: Key | None) -> None:
        """Show what there is of a filter, and nothing of another."""
        if key != self._shown:
            self._shown = key
            made = None if key is None else self._made.get(key)
            if made is not None:
                self.picture.show([made], [""], f"Synthesised for filter {key[2]}" if key else "")
            reveal(self.picture, made is not None)
        reveal(self.card_box, self.card is not None and key == self._card_of)

    def synthesise(self, tasks: Tasks, key: Key) -> None:
        """Make the filter's picture by gradient ascent, showing it as it grows; stop if it is being made."""
        net, layer, channel = key

        def frames(task: Task) -> Generator[Any, None, None]:
            yield from feature_visualization(net, Channel(layer, channel), steps=STEPS)

        def shown(frame: Any) -> None:
            while len(self._made) >= _KEPT and key not in self._made:
                self._made.pop(next(iter(self._made)))
            self._made[key] = frame.image
            if key == self._shown:
                self.picture.show([frame.image], [""], f"Synthesised for filter {channel}, step {frame.step}", 80)
                reveal(self.picture, True)

        self._start(tasks, frames, f"Filter {channel}: step", shown)

    def make_card(
        self, tasks: Tasks, key: Key, picture: Image.Image, top: TopPatches | None, source: Source | None
    ) -> None:
        """Make the filter's card, on a picture, and show it."""
        net, layer, channel = key

        def frames(task: Task) -> Generator[UnitCard, None, None]:
            task.tell(f"Making the card of filter {channel} ...")
            options: dict[str, Any] = {"top": top, "pictures": source, "synthesised": self._made.get(key)}
            yield unit_card(net.trace(picture), layer, channel, steps=STEPS // 2, **options)

        def shown(card: UnitCard) -> None:
            self.card, self._card_of = card, key
            self.page.value = body(card)
            reveal(self.card_box, key == self._shown)

        self._start(tasks, frames, "Card", shown)

    def stop(self) -> None:
        """Stop what is being made."""
        if self._task is not None:
            self._task.stop()

    def close(self) -> None:
        """Stop, and let go of everything."""
        self.stop()
        self._made, self.card, self._shown, self._card_of = {}, None, None, None

    def _start(self, tasks: Tasks, frames: Callable[[Task], Any], title: str, shown: Callable[[Any], None]) -> None:
        self.stop()
        self._task = tasks.start(frames, title, policy="keep", share=0.2, on_frame=shown, on_change=self._changed)

    def _changed(self, task: Task) -> None:
        if task is self._task or self._task is None:
            self._tell(task)
