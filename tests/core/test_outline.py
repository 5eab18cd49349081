from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

import nbcnnviz as nv
from nbcnnviz.core.outline import activity, outline


class Nested(nn.Module):
    """A list that is never called, a module that is called twice, and one within another that returns its output."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Sequential(nn.Conv2d(4, 5, 3))])
        self.act = nn.ReLU()
        self.head = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = self.act(stage(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def nested() -> nv.Network:
    return nv.Network(Nested(), size=10)


def test_a_tree_has_every_layer_under_the_module_it_is_in(nested: nv.Network) -> None:
    tree = outline(nested.layers)
    assert [(b.name, b.depth, b.size, b.layer is not None) for b in tree] == [
        ("stages", 0, 5, False),
        ("stages.0", 1, 2, True),
        ("stages.0.0", 2, 0, True),
        ("stages.0.1", 2, 0, True),
        ("stages.1", 1, 1, True),
        ("stages.1.0", 2, 0, True),
        ("act:0", 0, 0, True),
        ("act:1", 0, 0, True),
        ("head", 0, 0, True),
    ]


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet"])
def test_no_layer_is_lost_and_none_is_there_twice(name: str) -> None:
    quick = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    network = nv.Network(torchvision.models.get_model(name, weights=None, **quick))
    tree = outline(network.layers)
    assert sorted(b.name for b in tree if b.layer) == sorted(network.layers)
    for at, branch in enumerate(tree):
        within = tree[at + 1 : at + 1 + branch.size]
        assert all(b.depth > branch.depth and b.name.startswith(f"{branch.name}.") for b in within)
        behind = tree[at + 1 + branch.size :]
        assert not behind or behind[0].depth <= branch.depth


def test_the_activity_is_the_root_mean_square_of_each_output(nested: nv.Network) -> None:
    trace = nested.trace(torch.randn(2, 3, 10, 10))
    found = activity(trace)
    assert found.keys() == nested.layers.keys()
    for name, value in found.items():
        assert value == pytest.approx(float(trace[name].detach().square().mean().sqrt()), rel=1e-5)


def test_views_of_one_memory_are_told_apart() -> None:
    class Cut(nn.Module):
        def forward(self, x):
            return x[:, :1]

    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.cut, self.head = nn.Conv2d(1, 2, 1), Cut(), nn.Linear(1, 2)

        def forward(self, x):
            return self.head(self.cut(self.conv(x)).mean((2, 3)))

    trace = nv.Network(Halves(), size=4).trace(torch.randn(1, 1, 4, 4))
    for name, value in activity(trace).items():
        assert value == pytest.approx(float(trace[name].detach().square().mean().sqrt()), rel=1e-5)


def test_a_layer_of_nan_is_nan_and_the_others_are_not(nested: nv.Network) -> None:
    module = Nested()
    with torch.no_grad():
        module.stages[1][0].bias.fill_(torch.nan)
    found = activity(nv.Network(module, size=10).trace(torch.randn(1, 3, 10, 10)))
    assert found["stages.0"] == found["stages.0"]
    assert found["stages.1"] != found["stages.1"]
