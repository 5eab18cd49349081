"""The Dataset panel: what fires a filter most among many pictures."""

from nbcnnviz.explorer.panels.dataset.panel import DatasetPanel

__all__ = ["DatasetPanel"]
