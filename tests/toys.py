"""Networks small enough to know everything about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nbcnnviz as nv


def classic(channels: int = 3, classes: int = 5) -> nn.Sequential:
    """Two convolutions, a global average and one linear layer: every method has a meaning here."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    ).eval()


class Tiny(nn.Module):
    """Convolution, activation, convolution, activation, average, linear; the activation is any function."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2)
        self.fc = nn.Linear(8, 4)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.conv1(x))
        x = self.activation(self.conv2(x))
        return self.fc(x.mean((2, 3)))


class Branching(nn.Module):
    """A rectifier whose input goes round it too, where hooks on modules lose their way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(6, 6, 3)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = self.relu(y) - 0.5 * y
        z = self.conv2(y)
        return self.fc((F.relu(z) + z.sin()).mean((2, 3)))


class Reused(nn.Module):
    """One ReLU module, called three times, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        x = self.relu(x + self.conv2(x))
        x = self.relu(self.conv2(x))
        return self.fc(x.mean((2, 3)))


class EveryLayer(nn.Module):
    """One of each kind of layer that carries gradient, smooth enough for finite differences."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3, padding=1)
        self.batch_norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, groups=4, padding=1, bias=False)
        self.dilated = nn.Conv2d(8, 8, 3, dilation=2)
        self.depthwise = nn.Conv2d(8, 8, (1, 3), groups=8, stride=(1, 2))
        self.silu = nn.SiLU()
        self.group_norm = nn.GroupNorm(2, 8)
        self.average_pool = nn.AvgPool2d(3, 1, padding=1)
        self.max_pool = nn.MaxPool2d(3, 2)
        self.transposed = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.local_norm = nn.LocalResponseNorm(3)
        self.prelu = nn.PReLU(6)
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear")
        self.adaptive_pool = nn.AdaptiveAvgPool2d((2, 2))
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(24, 10)
        self.layer_norm = nn.LayerNorm(10)
        self.gelu = nn.GELU()
        self.fc = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class Stateful(nn.Module):
    """A network with habits: it counts, keeps averages, draws noise, writes attributes and over its own input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, 4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("average", torch.zeros(6))
        self.register_buffer("shifted", torch.arange(6.0))
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("variance", torch.ones(6))
        self.seen = None

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.1
        x = F.relu(self.conv(x), inplace=True)
        self.calls += 1
        self.average.mul_(0.9).add_(0.1 * x.mean((0, 2, 3)))
        self.shifted[:3] = self.shifted[3:] + 1
        self.seen = x
        x = F.batch_norm(x, self.mean, self.variance, training=True)
        noise = torch.randn(6) + F.dropout(torch.ones(6), 0.5, training=True)
        return self.fc(x.mean((2, 3)) + self.average + 0.1 * noise)


class BatchCentred(nn.Module):
    """A normalisation by hand that takes the mean of the batch away."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean((0, 2, 3), keepdim=True)


def few(method: str) -> dict[str, Any]:
    """Options with which a method of many passes takes few: its numbers then mean little, and all else is tested."""
    less: dict[str, Any] = {"masks": 6, "samples": 3, "steps": 4, "channels": 4, "window": 12, "stride": 12}
    less |= {"baseline": "mean"}  # what black is, is not known of every number of channels
    return {name: less[name] for name in nv.methods()[method].options if name in less}


class Brightness(nn.Module):
    """A segmentation: each place dark (0), bright (1) or, never, something else (2); of one class, bright or nothing."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.score = nn.Conv2d(3, classes, 1)
        weight, bias = torch.zeros(classes, 3, 1, 1), torch.full((classes,), -9.0)
        weight[0], weight[min(1, classes - 1)], bias[: min(2, classes)] = -1.0, 1.0, 0.0
        self.score.load_state_dict({"weight": weight, "bias": bias})

    def forward(self, x: Tensor) -> Tensor:
        return self.score(x)


class Boxes(nn.Module):
    """A detection: three boxes of each picture, whose scores are its brightness within; as torchvision returns them."""

    corners = ((2.0, 2.0, 20.0, 20.0), (10.0, 2.0, 30.0, 22.0), (14.0, 10.0, 19.0, 15.0))
    labels = (1, 2, 2)
    bases = (3.0, 1.0, 0.0)  # the surest first

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        nn.init.constant_(self.conv.weight, 0.1)

    def found(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, labels and scores of a picture (1, H, W)."""
        cut = [x[:, int(t) : int(b), int(le) : int(r)].mean() for le, t, r, b in self.corners]
        scores = torch.stack([base + 0.1 * mean for base, mean in zip(self.bases, cut, strict=True)]).sigmoid()
        return torch.tensor(self.corners).to(x), torch.tensor(self.labels, device=x.device), scores

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        return [
            dict(zip(("boxes", "labels", "scores"), self.found(one), strict=True))
            for one in self.conv(torch.stack(list(x)))
        ]
