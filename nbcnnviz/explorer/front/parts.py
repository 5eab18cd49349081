"""What a widget is made of; and messages to it from the page, handled while a cell runs.

JupyterLab asks a kernel that has subshells (ipykernel 7) for one, a thread beside the main one, and sends widget
messages there, so that a running cell does not delay them. ipykernel 7.4 redirects each to the thread on whose behalf
the widget last sent something. For a widget made in a cell, or drawn by a thread that a cell started, that is the main
thread, which is busy. The redirection serves callers that wait for a reply; here none does.

Without subshells (ipykernel 6, or another host than JupyterLab) messages are handled when the cell is over.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as w

from nbcnnviz.explorer.front.canvas import MANAGER


def parts_of(*widgets: w.Widget) -> set[w.Widget]:
    """Widgets and all that they are made of, but for the manager that serves every canvas."""
    parts: set[w.Widget] = set()
    waiting: list[Any] = [*widgets]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, (list, tuple)):
            waiting.extend(part)
        elif isinstance(part, w.Widget) and part is not MANAGER and part not in parts:
            parts.add(part)
            waiting.extend(getattr(part, name) for name in part.keys)
    return parts


def receive_while_busy(*widgets: w.Widget) -> None:
    """Have messages to widgets, and to all that they are made of, handled on the subshell that the page sent them to."""
    for part in parts_of(*widgets):
        if hasattr(part.comm, "_reply_subshell_for"):
            part.comm._reply_subshell_for = _as_sent


def _as_sent(data: Any, subshell: str | None) -> str | None:
    return subshell
