"""Batch norms folded into the convolutions before them: the same scores, and only where nothing else reads."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nbcnnviz as nv


class Block(nn.Module):
    """Two convolutions with batch norms, and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6, affine=False)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.fc(self.relu(self.bn2(self.conv2(x)) + x).mean((2, 3)))


class ReadsTheMaps(Block):
    """What the first convolution returns is read by the sum too."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv1(x)
        return self.fc((self.relu(self.bn1(maps)) + maps.tanh()).mean((2, 3)))


class ReadsTheMapsInPart(Block):
    """As `ReadsTheMaps`, through a view, so little that the scores differ by rounding only."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv1(x)
        return self.fc((self.relu(self.bn1(maps)) + 1e-9 * maps[:, :1]).mean((2, 3)))


class SharesTheKernel(Block):
    """The kernel of the first convolution is used without the module too."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.bn1(self.conv1(x)) + 1e-9 * F.conv2d(x, self.conv1.weight, padding=1)).mean((2, 3)))


class CallsTwice(Block):
    """One batch norm behind one convolution, and behind another tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.bn1(self.conv1(x)) + self.bn1(x.repeat(1, 2, 1, 1))).mean((2, 3)))


class NormsAnother(Block):
    """What lies between the two is a rectifier."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.bn1(self.relu(self.conv1(x))).mean((2, 3)))


class UsesTheStatistics(Block):
    """The mean that the batch norm keeps is used elsewhere too."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.bn1(self.conv1(x)).mean((2, 3)) + self.bn1.running_mean * 1e-9)


class WithoutStatistics(Block):
    """A batch norm that takes the mean of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(6, track_running_stats=False)
        self.bn2 = nn.BatchNorm2d(6, track_running_stats=False)


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm's: the rectifier is within."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.1, self.eps)
        return self.act(self.drop(x))


class Rectifying(Block):
    def __init__(self) -> None:
        super().__init__()
        self.bn1 = BatchNormAct2d(6)


def made(kind: type[nn.Module]) -> nn.Module:
    """With batch norms that change what they are given."""
    torch.manual_seed(4)
    module = kind().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.2, 3)
            if part.affine:
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
    return module


@pytest.mark.parametrize(
    ("kind", "folds"),
    [
        (Block, 2),
        (Rectifying, 2),
        (ReadsTheMaps, 0),
        (ReadsTheMapsInPart, 0),
        (SharesTheKernel, 0),
        (CallsTwice, 0),
        (NormsAnother, 0),
        (UsesTheStatistics, 0),
        (WithoutStatistics, 0),
    ],
)
def test_scores_are_those_of_the_network_in_float64_and_only_what_may_be_is_folded(
    kind: type[nn.Module], folds: int
) -> None:
    module = made(kind)
    exact, before = copy.deepcopy(module).double(), copy.deepcopy(module.state_dict())
    run, x = nv.Network(module, size=9).scorer(), torch.randn(16, 3, 9, 9)
    for _ in range(3):
        torch.testing.assert_close(run(x), exact(x.double()).float().detach(), atol=1e-5, rtol=1e-5)
    assert run.folds == folds
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not any("forward" in vars(part) or part._forward_hooks for part in module.modules())


def test_a_layer_that_a_target_looks_at_keeps_what_it_returns() -> None:
    module, x = made(Block), torch.randn(16, 3, 9, 9)
    run = nv.Network(module, size=9).scorer(nv.Channel("conv1", 2))
    for _ in range(2):
        found = run(x)
    torch.testing.assert_close(found, module.conv1(x)[:, 2].mean((1, 2)).detach(), atol=1e-5, rtol=1e-5)
    assert run.folds == 0
    behind = nv.Network(module, size=9).scorer(nv.Channel("relu:1", 2) + 0.5 * nv.Channel("bn2", 1))
    for _ in range(2):
        found = behind(x)
    trace = nv.Network(module, size=9).trace(x)
    expected = trace["relu:1"][:, 2].mean((1, 2)) + 0.5 * trace["bn2"][:, 1].mean((1, 2))
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-5)
    assert behind.folds == 1


def test_a_hook_of_the_users_sees_the_convolution_itself() -> None:
    module, x = made(Block), torch.randn(16, 3, 9, 9)
    module.conv1.register_forward_hook(lambda module, args, output: output.sigmoid())
    run = nv.Network(module, size=9).scorer()
    for _ in range(2):
        torch.testing.assert_close(run(x), module(x).detach(), atol=1e-5, rtol=1e-5)
    assert run.folds == 1


def test_a_target_that_cannot_be_asked_of_two_pictures_is_asked_of_the_network_as_it_is() -> None:
    module, x = made(Block), torch.randn(16, 3, 9, 9)
    run = nv.Network(module, size=9).scorer([1] * 16)
    for _ in range(2):
        torch.testing.assert_close(run(x), module(x)[:, 1].detach(), atol=1e-5, rtol=1e-5)
    assert run.folds == 0


def test_the_first_pictures_are_not_worth_it() -> None:
    run = nv.Network(made(Block), size=9).scorer()
    counts = []
    for _ in range(4):
        run(torch.randn(6, 3, 9, 9))
        counts.append(run.folds)
    assert counts == [0, 0, 0, 2]
