"""Small networks and loops for watching, and what is worked out by hand beside them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def small(classes: int = 4) -> nn.Sequential:
    """Two convolutions with a batch-norm, dropout and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 8, 3, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8, classes),
    )


def batches(count: int, size: int = 5, seed: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures and labels."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randn(size, 3, 12, 10, generator=generator), torch.randint(0, 4, (size,), generator=generator)


def learn(module: nn.Module, optimiser: torch.optim.Optimizer, steps: int, seed: int = 1) -> list[float]:
    """The usual loop; its losses."""
    losses = []
    for x, y in batches(steps, seed=seed):
        optimiser.zero_grad()
        loss = F.cross_entropy(module(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def copies(module: nn.Module) -> dict[str, Tensor]:
    """The parameters as they are now."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def norm_over(tensors: list[Tensor]) -> float:
    """The norm of several tensors as of one, in double precision."""
    return torch.cat([t.detach().double().flatten() for t in tensors]).square().sum().sqrt().item()


def registries() -> list[int]:
    """How many hooks torch's own registries hold."""
    from torch.nn.modules import module
    from torch.optim import optimizer

    return [
        len(optimizer._global_optimizer_pre_hooks),
        len(optimizer._global_optimizer_post_hooks),
        len(module._global_forward_hooks),
    ]
