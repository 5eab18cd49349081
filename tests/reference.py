"""Rules the slow and obvious way: every call of a rectifier replaced by a function with the rule written out.

The package reads the autograd graph after an ordinary forward pass; this reads the calls while they are made. The two
share no code and no idea, so that where they agree the numbers are right.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def gradient(module: nn.Module, x: Tensor, of: int, rule: str = "gradient") -> tuple[Tensor, int]:
    """The gradient of a class score with respect to the input under a rule, and how many rectifiers were called."""
    x = x.detach().clone().requires_grad_()
    with RuledRectifiers(rule) as mode:
        scores = module(x)
    return torch.autograd.grad(scores[:, of].sum(), x)[0], mode.met


class RuledRectifiers(TorchFunctionMode):
    """Replace the rectifiers that are called within the context."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule
        self.met = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        form = FORMS.get(func.__name__.strip("_"))
        found = form and form(*args, **(kwargs or {}))
        if not found:
            return func(*args, **(kwargs or {}))
        self.met += 1
        value, slope = found
        result = _Ruled.apply(args[0], value, slope, self.rule)
        in_place = func.__name__.endswith("_") or (kwargs or {}).get("inplace")
        return args[0].copy_(result) if in_place else result


class _Ruled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, slope: Tensor, rule: str) -> Tensor:
        ctx.save_for_backward(slope)
        ctx.rule = rule
        return value.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        passed = {"gradient": g * slope, "guided": g.clamp(min=0) * slope, "deconvnet": g.clamp(min=0)}
        return passed[ctx.rule], None, None, None


# Each takes what the torch function of its name takes, and returns f(x) and f'(x); None where it is no rectifier.


def relu(x, inplace=False):
    x = x.detach()
    return x.where(x > 0, 0), (x > 0).to(x)


def hardtanh(x, min_val=-1.0, max_val=1.0, inplace=False):
    x = x.detach()
    return x.clamp(min_val, max_val), ((x > min_val) & (x < max_val)).to(x)


def relu6(x, inplace=False):
    return hardtanh(x, 0.0, 6.0)


def clamp(x, min=None, max=None):
    return hardtanh(x, 0, math.inf if max is None else max) if isinstance(min, (int, float)) and min == 0 else None


def threshold(x, threshold, value, inplace=False):
    return relu(x) if threshold == 0 == value else None


def leaky_relu(x, negative_slope=0.01, inplace=False):
    x = x.detach()
    slope = torch.ones_like(x).where(x > 0, negative_slope)
    return x * slope, slope


def prelu(x, weight):
    return leaky_relu(x, weight.detach().reshape(1, -1, *[1] * (x.ndim - 2)))


def rrelu(x, lower=1 / 8, upper=1 / 3, training=False, inplace=False):
    return leaky_relu(x, (lower + upper) / 2)


def elu(x, alpha=1.0, inplace=False):
    x = x.detach()
    return x.where(x > 0, alpha * (x.exp() - 1)), torch.ones_like(x).where(x > 0, alpha * x.exp())


def celu(x, alpha=1.0, inplace=False):
    x = x.detach()
    return x.where(x > 0, alpha * ((x / alpha).exp() - 1)), torch.ones_like(x).where(x > 0, (x / alpha).exp())


def selu(x, inplace=False):
    value, slope = elu(x, 1.6732632423543772)
    return value * 1.0507009873554805, slope * 1.0507009873554805


def silu(x, inplace=False):
    x = x.detach()
    s = 1 / (1 + (-x).exp())
    return x * s, s * (1 + x * (1 - s))


def gelu(x, approximate="none"):
    x = x.detach()
    if approximate == "tanh":
        c = math.sqrt(2 / math.pi)
        t = (c * (x + 0.044715 * x**3)).tanh()
        return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 3 * 0.044715 * x**2)
    below = 0.5 * (1 + torch.special.erf(x / math.sqrt(2)))
    return x * below, below + x * (-x * x / 2).exp() / math.sqrt(2 * math.pi)


def mish(x, inplace=False):
    x = x.detach()
    t = (1 + x.exp()).log().tanh()
    return x * t, t + x * (1 - t**2) / (1 + (-x).exp())


def softplus(x, beta=1.0, threshold=20.0):
    x = x.detach()
    return (1 + (beta * x).exp()).log() / beta, 1 / (1 + (-beta * x).exp())


def hardswish(x, inplace=False):
    x = x.detach()
    slope = ((2 * x + 3) / 6).where(x > -3, 0).where(x < 3, 1)
    return x * ((x + 3) / 6).clamp(0, 1), slope


# Under torch's names: some of them name several functions, as F.relu, torch.relu, Tensor.relu and their in-place kin.
FORMS = {
    form.__name__: form
    for form in (
        *(relu, hardtanh, relu6, clamp, threshold, leaky_relu, prelu, rrelu),
        *(elu, celu, selu, silu, gelu, mish, softplus, hardswish),
    )
} | {"clamp_min": clamp, "clip": clamp}
