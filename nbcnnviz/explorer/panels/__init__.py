"""Panels: each a view of an explorer's results that can also be used alone."""

from nbcnnviz.explorer.panels.explain import ExplainPanel
from nbcnnviz.explorer.panels.panel import Act, Panel, Request
from nbcnnviz.explorer.panels.predictions import PredictionsPanel

TABS: dict[str, type[Panel]] = {panel.name: panel for panel in (ExplainPanel,)}

__all__ = ["TABS", "Act", "ExplainPanel", "Panel", "PredictionsPanel", "Request"]
