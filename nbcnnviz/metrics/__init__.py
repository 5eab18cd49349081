"""Judging a map: what it predicts, what it points at, and what it depends on.

No number here is a verdict: rankings by one metric contradict those by another, and some reward blur. Each result says
what it measures in a sentence, and what chance would give where that is known.
"""

from nbcnnviz.metrics.agreement import agreement, rank_correlation
from nbcnnviz.metrics.comparing import Comparison, compare
from nbcnnviz.metrics.curves import Curve, deletion, insertion, road
from nbcnnviz.metrics.faithfulness import completeness, infidelity, sensitivity
from nbcnnviz.metrics.judging import METRICS, Judged, Metric, judge
from nbcnnviz.metrics.pointing import Mosaic, grid_pointing, mosaic, object_mask, pointing
from nbcnnviz.metrics.questions import AXES, Entry
from nbcnnviz.metrics.sanity import Stage, cascade, randomised, sanity
from nbcnnviz.metrics.score import Score

__all__ = [
    "AXES",
    "METRICS",
    "Comparison",
    "Curve",
    "Entry",
    "Judged",
    "Metric",
    "Mosaic",
    "Score",
    "Stage",
    "agreement",
    "cascade",
    "compare",
    "completeness",
    "deletion",
    "grid_pointing",
    "infidelity",
    "insertion",
    "judge",
    "mosaic",
    "object_mask",
    "pointing",
    "randomised",
    "rank_correlation",
    "road",
    "sanity",
    "sensitivity",
]
