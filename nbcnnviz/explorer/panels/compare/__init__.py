"""The Compare panel: maps side by side along one axis, judged by several scores; and what if."""

from nbcnnviz.explorer.panels.compare.panel import ComparePanel

__all__ = ["ComparePanel"]
