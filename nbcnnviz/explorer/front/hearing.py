"""What the page says, heard while a cell runs.

JupyterLab asks a kernel that has subshells (ipykernel 7) for one, a thread beside the main one, and sends there what
widgets have to say; a cell that computes keeps them waiting no longer. ipykernel 7.4 sends it somewhere else again: to
the thread on whose behalf the widget last sent something. For a widget made in a cell, or drawn by a thread that one
started, that is the main thread, which the cell keeps busy. It is meant for who waits for a reply; here nobody does.

Without subshells (ipykernel 6, or another host than JupyterLab) the page is heard when the cell is over.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as w

from nbcnnviz.explorer.front.parts import parts_of


def heard_meanwhile(*widgets: w.Widget) -> None:
    """Let messages to widgets, and to all that they are made of, arrive on the thread that the page sent them to."""
    for part in parts_of(*widgets):
        if hasattr(part.comm, "_reply_subshell_for"):
            part.comm._reply_subshell_for = _as_sent


def _as_sent(data: Any, subshell: str | None) -> str | None:
    return subshell
