from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution.method import _METHODS, method
from tests import toys

PATIENCE = 30
"""Seconds after which something that a test waits for is taken never to come."""


@pytest.fixture(scope="session")
def toy() -> nv.Network:
    """A small network of five classes, with the same weights in every run; no test changes it."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        module = toys.classic()
    return nv.Network(module, size=(24, 20), classes=["ant", "bee", "cat", "crane", "crane"], name="toy")


@pytest.fixture(scope="session")
def mlp() -> nv.Network:
    """A network that returns no maps at all."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 7), nn.ReLU(), nn.Linear(7, 4)).eval()
    return nv.Network(module, size=12, name="mlp")


@pytest.fixture
def sampled() -> Iterator[str]:
    """A method, "sampled", with options: frames of one value each."""

    @method("Sampled", family="gradients", cost="samples")
    def sampled(trace, target, layer, *, samples: int = 5, value: float = 1.0):
        """As told."""
        for step in range(1, samples + 1):
            yield nv.Attribution(torch.full((1, 1, 2, 2), value), "sampled", target, layer, trace, None, step, samples)

    yield "sampled"
    del _METHODS["sampled"]
