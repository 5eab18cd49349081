"""Whether two maps say the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from nbcnnviz.attribution import Attribution
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.render import flat, upscaled


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation of two maps (C, h, w), in [-1, 1]; 0 is what unrelated maps have.

    Both are summed over their channels and scaled up to the finer of their sizes. NaN where one of them is the same
    everywhere, since it ranks nothing.
    """
    from scipy.stats import spearmanr  # it takes its time to import

    maps = [flat(values[None]).nan_to_num(0, 0, 0).cpu() for values in (first, second)]
    if any(bool(m.min() == m.max()) for m in maps):  # before they are scaled: that would round what is flat
        return float("nan")
    size = max(m.shape[1] for m in maps), max(m.shape[2] for m in maps)
    one, other = (upscaled(m[None], size).numpy().ravel() for m in maps)
    return float(spearmanr(one, other).statistic)


def agreement(results: Sequence[Attribution], picture: int = 0) -> np.ndarray:
    """Spearman's rank correlation between all pairs of maps of one picture, (n, n) float64; the diagonal is 1.

    Parameters
    ----------
    results
        Maps of the same picture, by different methods, say.
    picture
        Which of the batch.

    Raises
    ------
    MethodNotApplicableError
        If there are fewer than two maps.
    """
    if len(results) < 2:
        raise MethodNotApplicableError("Agreement is between two maps or more: give a list of them.")
    matrix = np.eye(len(results))
    for i, one in enumerate(results):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = rank_correlation(one.values[picture], results[j].values[picture])
    return matrix
