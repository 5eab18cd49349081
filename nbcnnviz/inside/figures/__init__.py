"""What is found inside a network, as it is shown: tiles, charts, captions and the numbers behind them.

For the explorer's panels, for files, and for scripts: none of it knows a widget.
"""

from nbcnnviz.inside.figures.files import Figure
from nbcnnviz.inside.figures.making import features_figure, gradients_figure, weights_figure

__all__ = ["Figure", "features_figure", "gradients_figure", "weights_figure"]
