"""The Gradients panel: norms over depth, how values are spread, and which filters are dead."""

from nbcnnviz.explorer.panels.gradients.panel import GradientsPanel

__all__ = ["GradientsPanel"]
