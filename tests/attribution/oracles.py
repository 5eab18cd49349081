"""Networks as the released tools need them: one ReLU module a call, nothing in place."""

from __future__ import annotations

import copy
from functools import cache
from itertools import cycle
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

SIZE = 96
CLASS = 7


@cache
def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """A torchvision network with seeded random weights, and its twin for tools that hook modules."""
    torch.manual_seed(0)
    quick = {"init_weights": False} if name.startswith("vgg") else {}
    module = torchvision.models.get_model(name, weights=None, **quick).eval()
    return module, hookable(module, calls=2 if name.startswith("resnet") else 1)


class _InTurn(nn.Module):
    """Stands for a ReLU that is called several times: its calls go to modules of their own, in turn."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(calls))
        self._next = cycle(self.relus)

    def forward(self, x: Tensor) -> Tensor:
        return next(self._next)(x)


def hookable(module: nn.Module, calls: int) -> Any:
    """A twin of ``module`` on the same weights; ``calls`` is how often each ReLU is called in the original."""
    module = copy.deepcopy(module, {id(p): p for p in module.parameters()})
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.ReLU() if calls == 1 else _InTurn(calls))
    return module
