"""The widget. Only this room knows ipywidgets, ipycanvas and bqplot."""

from nbcnnviz.explorer.app import Explorer, UnknownPanelError, explore
from nbcnnviz.session.selection import Selection

__all__ = ["Explorer", "Selection", "UnknownPanelError", "explore"]
