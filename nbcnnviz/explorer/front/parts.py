"""What a widget is made of."""

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
