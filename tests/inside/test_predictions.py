"""Predictions as a list: which class a target is of, what a search finds, a probability in words."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.inside.predictions import explained, matching, percent


def test_what_is_explained_is_read_off_the_target() -> None:
    module = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 3, 1), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()))
    trace = nv.Network(module, size=4, classes=["ant", "bee", "cat"]).trace(torch.zeros(1, 3, 4, 4))
    a, b = nv.ClassScore(1), nv.ClassScore("cat")
    assert explained(a - b, trace) == (1, 2)
    for other in (a - 0.5 * b, a + b, a - b + 1, b * 2, a - nv.LayerEnergy("conv"), None):
        assert explained(other, trace) == (None, None)
    assert explained(2, trace) == (2, None)


NAMES = ["polecat", "tiger cat", "catamaran", "Egyptian cat", "cattle dog", "282"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cat", [3, 1, 4, 2, 0]),
        ("  CAT ", [3, 1, 4, 2, 0]),
        ("tiger", [1]),
        ("2", [2, 5]),
        ("282", [5]),
        ("tiger cat (1)", [1]),
        ("wolf", []),
        (" ", []),
    ],
)
def test_a_search_finds_by_part_of_a_name_and_by_number(text: str, found: list[int]) -> None:
    value = [0.1, 0.2, 0.0, 0.3, 0.05, 0.0].__getitem__
    assert matching(text, NAMES, value) == found


@pytest.mark.parametrize(
    ("value", "said"), [(0.391, "39 %"), (0.004, "0.4 %"), (0.0004, "< 0.1 %"), (0.0, "0 %"), (1.0, "100 %")]
)
def test_a_small_probability_is_said_to_a_tenth_of_a_percent(value: float, said: str) -> None:
    assert percent(value) == said
