"""Rank correlation against ranks written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.attribution import Attribution
from nbcnnviz.core.targets import as_target
from nbcnnviz.metrics import agreement, rank_correlation
from tests import toys


def by_ranks(a: torch.Tensor, b: torch.Tensor) -> float:
    ranks = [values.flatten().argsort().argsort().double() for values in (a, b)]
    return float(np.corrcoef(*[r.numpy() for r in ranks])[0, 1])


def test_it_is_the_correlation_of_the_ranks() -> None:
    a, b = torch.randn(1, 7, 5), torch.randn(1, 7, 5)
    assert rank_correlation(a, b) == pytest.approx(by_ranks(a, b))
    assert rank_correlation(a, a.exp()) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)


def test_channels_are_summed_and_sizes_matched() -> None:
    a = torch.randn(3, 8, 8)
    assert rank_correlation(a, a.sum(0, keepdim=True)) == pytest.approx(1)
    coarse = torch.randn(1, 4, 4)
    fine = torch.nn.functional.interpolate(coarse[None], size=(8, 8), mode="bilinear")[0]
    assert rank_correlation(coarse, fine) == pytest.approx(1)


def test_a_flat_map_ranks_nothing() -> None:
    assert math.isnan(rank_correlation(torch.ones(1, 4, 4), torch.randn(1, 4, 4)))


def test_agreement_is_between_all_pairs() -> None:
    torch.manual_seed(0)
    net = nv.Network(toys.classic(), size=16)
    trace = net.trace(torch.randn(2, 3, 16, 16))
    target = as_target(0, trace)
    results = [Attribution(torch.randn(2, 1, 4, 4), target, "input", trace) for _ in range(3)]
    matrix = agreement(results, picture=1)
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(matrix.diagonal(), 1)
    assert matrix[2, 0] == pytest.approx(by_ranks(results[2].values[1], results[0].values[1]))
    with pytest.raises(nv.MethodNotApplicableError, match="two"):
        agreement(results[:1])
