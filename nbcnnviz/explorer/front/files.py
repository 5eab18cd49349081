"""A line that says something, and hands over files: see js/src/files.ts."""

from __future__ import annotations

import traitlets as t

from nbcnnviz.explorer.front.base import Front


class FileLine(Front):
    """What was done, in words; `download` hands the reader a file."""

    kind = t.Unicode("files").tag(sync=True)
    text = t.Unicode("").tag(sync=True)
    error = t.Unicode("").tag(sync=True)

    def say(self, text: str = "", error: str = "") -> None:
        """Say that something was done, or what went wrong."""
        with self.hold_sync():
            self.text, self.error = text, error
