"""The replica's scores are compared with a deep copy's, once, and a difference is not passed over."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.core import checking
from tests import toys
from tests.untouched import photograph


class Switches(toys.Tiny):
    """Whose eval() does more than to set flags."""

    scale = 1.0

    def train(self, mode: bool = True) -> Switches:
        self.scale = 1.0 if mode else 2.0
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


def test_scores_that_agree_are_checked() -> None:
    for module in (toys.classic(), toys.Stateful(), toys.Reused(), Switches().eval()):
        assert nv.Network(module, size=12).unchecked is None


def test_scores_that_differ_are_refused_with_the_number_and_the_remedy() -> None:
    module = Switches().train()
    before = photograph(module)
    with pytest.raises(
        nv.NetworkError, match=r"differs .*\(by 0\.5 of the largest score\).*Call module\.eval\(\) first"
    ):
        nv.Network(module, size=12)
    assert photograph(module) == before


def test_what_cannot_be_compared_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    module = toys.Tiny().eval()
    module.forward = lambda x: module.fc(module.conv1(x).mean((2, 3)).repeat(1, 2)[:, :8])
    assert "functions of its own" in (nv.Network(module, size=12).unchecked or "")

    class Uncopied(toys.Tiny):
        def __deepcopy__(self, memo: dict) -> None:
            raise TypeError("not this one")

    assert nv.Network(Uncopied().eval(), size=12).unchecked == "it cannot be copied (TypeError)"
    monkeypatch.setattr(checking, "free_memory", lambda device: 0)
    assert nv.Network(toys.classic(), size=12).unchecked == "there is not the memory for a copy"


def test_the_memory_that_is_free_is_known_or_guessed() -> None:
    assert checking.free_memory(torch.device("cpu")) > 1 << 20


def test_a_tensor_of_an_old_graph_does_not_keep_a_module_from_being_checked() -> None:
    class Keeps(toys.Tiny):
        def forward(self, x: Tensor) -> Tensor:
            self.last = super().forward(x)
            return self.last

    module = Keeps().eval()
    module(torch.randn(1, 3, 12, 12))
    assert module.last.grad_fn is not None
    assert nv.Network(module, size=12).unchecked is None
    assert module.last.grad_fn is not None


def test_a_module_with_noise_is_compared_with_the_same_noise() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.mean((2, 3))) + torch.randn(4)

    assert nv.Network(Noisy(), size=8).unchecked is None
