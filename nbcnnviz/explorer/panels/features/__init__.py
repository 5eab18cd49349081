"""The Features panel: what the filters of a layer answered, and what made a unit of one fire."""

from nbcnnviz.explorer.panels.features.panel import FeaturesPanel

__all__ = ["FeaturesPanel"]
