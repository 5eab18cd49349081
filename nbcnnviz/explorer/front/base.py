"""What every widget of the front end has: the one bundle, a kind that says which view it gets, messages from the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets as t

from nbcnnviz.render import COLOURS, SEQUENTIAL, default_for, lookup_table

_STATIC = Path(__file__).parents[2] / "static"

Handler = Callable[[dict[str, Any]], None]


class Front(anywidget.AnyWidget):
    """A widget drawn by ``js/``; ``kind`` chooses the view there."""

    # As text: of a path, anywidget would keep every instance for as long as the class lives.
    _esm = (_STATIC / "frame.js").read_text(encoding="utf-8")
    _css = (_STATIC / "frame.css").read_text(encoding="utf-8")

    kind = t.Unicode("").tag(sync=True)
    label = t.Unicode("").tag(sync=True)  # for screen readers

    _unsent: frozenset[str] = frozenset()

    def send_state(self, key: str | Iterable[str] | None = None) -> None:
        """Send traits, with those that could not be delivered before."""
        keys = self.keys if key is None else [key] if isinstance(key, str) else key
        super().send_state(self._unsent | frozenset(keys))

    def _send(self, message: dict[str, Any], buffers: Any = None) -> None:
        """Send a message. Traits that cannot be delivered go again, or with what comes next: a task outlives its page.

        What is wrong with the traits themselves is raised, before there is a message.
        """
        if message.get("method") != "update":
            return super()._send(message, buffers=buffers)
        names = frozenset(message["state"]) | {path[0] for path in message["buffer_paths"]}
        for _ in range(2):
            try:
                super()._send(message, buffers=buffers)
            except Exception:  # whatever a page's connection raises when it is gone
                tell = self.log.debug if self._unsent else self.log.warning  # once for each time that a page is gone
                tell("Not delivered to the page: %s", ", ".join(sorted(names)), exc_info=True)
                self._unsent = self._unsent | names
            else:
                self._unsent = self._unsent - names
                break
        return None

    def download(self, name: str, content: bytes) -> None:
        """Hand the reader a file."""
        self.send({"type": "file", "name": name}, [content])

    def on(self, event: str, act: Handler) -> None:
        """Call ``act`` with the message when the reader does what the front end calls ``event``."""

        def handle(_: Any, content: Any, buffers: Any) -> None:
            if isinstance(content, dict) and content.get("type") == event:
                act(content | {"content": bytes(buffers[0])} if buffers else content)

        self.on_msg(handle)


class Coloured(t.HasTraits):
    """The colour maps that the browser may choose from, for front ends that colour values."""

    colour_names = t.List(list(COLOURS)).tag(sync=True)
    colour_tables = t.Bytes(b"".join(lookup_table(name).tobytes() for name in COLOURS)).tag(sync=True)
    colours = t.Unicode(SEQUENTIAL).tag(sync=True)

    _signed: bool | None = None
    _by_sign: Mapping[bool | None, str] = {}

    def colours_for(self, signed: bool) -> str:
        """The colour map for maps of this sign: the default, or what the reader chose for such maps."""
        self._by_sign = {**self._by_sign, self._signed: self.colours}
        self._signed = signed
        return self._by_sign.get(signed, default_for(signed))
