"""Layers looked at as they return, in passes without a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.core.observing import Observer


class Beside(nn.Module):
    """A network that is given numbers beside the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        return self.fc(torch.cat([self.conv(x).mean((2, 3)), numbers.expand(len(x), -1)], 1))


def test_a_network_with_further_inputs_is_given_them() -> None:
    net = nv.Network(Beside(), size=12, extra={"numbers": torch.randn(1, 2)})
    x, seen = torch.randn(2, 3, 12, 12), {}
    Observer(net, ["conv", "fc"], lambda name, output: seen.update({name: output.clone()}))(x)
    trace = net.trace(x)
    for name in ("conv", "fc"):
        assert torch.allclose(seen[name], trace[name], atol=1e-6)
