"""The Weights panel: what a layer has learnt, filter by filter, and beside it what the class would change."""

from nbcnnviz.explorer.panels.weights.panel import WeightsPanel

__all__ = ["WeightsPanel"]
