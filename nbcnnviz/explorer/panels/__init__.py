"""Panels: each a view of an explorer's results that can also be used alone."""

from nbcnnviz.explorer.panels.compare import ComparePanel
from nbcnnviz.explorer.panels.dataset import DatasetPanel
from nbcnnviz.explorer.panels.explain import ExplainPanel
from nbcnnviz.explorer.panels.features import FeaturesPanel
from nbcnnviz.explorer.panels.gradients import GradientsPanel
from nbcnnviz.explorer.panels.panel import Act, Panel
from nbcnnviz.explorer.panels.predictions import PredictionsPanel
from nbcnnviz.explorer.panels.synthesize import SynthesizePanel
from nbcnnviz.explorer.panels.weights import WeightsPanel

_PANELS: tuple[type[Panel], ...] = (
    ExplainPanel, FeaturesPanel, WeightsPanel, GradientsPanel, SynthesizePanel, ComparePanel, DatasetPanel,
)  # fmt: skip
TABS: dict[str, type[Panel]] = {panel.name: panel for panel in _PANELS}

__all__ = ["TABS", "Act", "ExplainPanel", "Panel", "PredictionsPanel"]
