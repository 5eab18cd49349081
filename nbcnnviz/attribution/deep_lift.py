"""DeepLIFT by Captum, on a network all of whose activations and max-poolings are modules of their own.

Captum's rules are hooks on modules: an activation called as a function has none, one module called twice is refused, and
one written in place counts its output for its input. So the recorded pass calls, at each activation, a module made for that
call alone, which is all that Captum gets to see; the network's own are not hooked. Captum's rule for max-pooling loses what
overlapping windows share: here windows are laid out side by side first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nbcnnviz.attribution.method import About, Frames, method
from nbcnnviz.attribution.result import Attribution
from nbcnnviz.attribution.sampling import NOISY, Nearby, Variants
from nbcnnviz.attribution.sampling import baseline as baseline_of
from nbcnnviz.core.errors import CompletenessError, MethodNotApplicableError, PackageMissingError
from nbcnnviz.core.grids import arranged
from nbcnnviz.core.options import option
from nbcnnviz.core.targets import Target
from nbcnnviz.core.trace import Trace

_SHARE = 0.01
"""How much of the change of the score may be missing."""

_ACTIVATIONS = frozenset(
    name + ending
    for ending in ("", "_")
    for name in (
        *("relu", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "silu", "gelu", "mish"),
        *("hardswish", "hardsigmoid", "softplus", "sigmoid", "tanh", "logsigmoid", "softsign", "tanhshrink"),
        *(
            "softshrink",
            "hardshrink",
            "threshold",
            "clamp",
            "clamp_min",
            "clamp_max",
            "clip",
            "abs",
            "exp",
            "log",
            "log1p",
        ),
        *("expm1", "sqrt", "rsqrt", "square", "erf", "sin", "cos", "atan"),
    )
)
"""Functions of one number: of the difference that goes in, the rescale rule passes on what comes out."""


@method(
    "DeepLIFT",
    family="propagation",
    cost="4 F + 2 B",
    passes=lambda options, trace: 8.0 * len(trace),
    about=About(
        formula=(
            r"C_{\Delta x_i} = \Delta x_i\, m_{\Delta x_i \Delta S},\quad "
            r"m_{\Delta x \Delta f} = \frac{f(x) - f(x')}{x - x'}\ \text{at each activation}"
        ),
        source="Shrikumar et al. 2017, equations 1, 3 and 12, rule rescale (arXiv 1704.02685)",
        promises="Completeness: the map's sum is $S(x) - S(x')$; one that is not so to 1 % is refused.",
        weaknesses=(
            "Depends on the baseline. Not implementation invariant. What multiplies two activations (gates, attention) has no "
            "rule, and is refused."
        ),
        oracle="Captum `DeepLift` on networks with plain `nn.ReLU` modules; the rule by hand; completeness on all others",
    ),
)
def deep_lift(
    trace: Trace,
    target: Target,
    layer: str,
    *,
    baseline: Any = option(
        "black",
        kind="baseline",
        help="What the picture is compared with: black, mean, blur, noise, a picture or a tensor.",
    ),
    seed: int = option(0, low=0, high=2**31 - 1, help="Of a noisy baseline.", when=NOISY),
) -> Frames:
    """The difference from a baseline, times the slope between the two at every activation passed (Shrikumar et al. 2017).

    Equations 1 and 3, the rule rescale, by Captum: ``pip install 'nbcnnviz[captum]'``. However an activation is called, as
    a module, one module many times, a function or in place, its rule holds. The map's sum should be S(x) - S(x'), which is
    its `completeness`, for the input; where more than 1 % is missing, in a network that multiplies activations say, there
    is a `CompletenessError` and no map.
    """
    attr = captum_attr()
    if layer != "input":
        trace.maps(layer)
    x, start = trace.input.detach(), baseline_of(trace, baseline, seed)
    lifted = _Lifted(Nearby(trace, target, () if layer == "input" else (layer,)), layer)
    with torch.inference_mode(False), torch.enable_grad():
        both = torch.stack([x, start]).clone()
        lifted.count(both)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that it sets hooks, on modules that are ours
            found = attr.DeepLift(lifted).attribute(both[0].clone().requires_grad_(), baselines=both[1])
    found = found.detach()
    after, before = lifted.scores
    total, change = found.double().flatten(1).sum(1), after - before
    missing = (total - change).abs()
    size = found.double().abs().flatten(1).sum(1) + after.abs() + before.abs()
    rounding = 50 * torch.finfo(x.dtype).eps * size
    if not bool((missing <= _SHARE * change.abs() + rounding).all()):
        worst = int((missing / change.abs().clamp_min(1e-12)).argmax())
        raise CompletenessError(
            f"DeepLIFT accounts for {float(total[worst]):.4g} of a change of the score by {float(change[worst]):.4g}: "
            f"{trace.network.name} has something that it has no rule for, such as a product of activations or a "
            "normalisation over the picture. Take 'integrated_gradients', which needs no rules."
        )
    if layer == "input":
        yield Attribution(found.to(x), target, layer, trace, completeness=missing)
        return
    yield Attribution(lifted.at_layer(), target, layer, trace)


def captum_attr() -> ModuleType:
    """Captum's methods; PackageMissingError where they are not installed."""
    try:
        import captum.attr
    except ImportError as error:
        raise PackageMissingError("Captum", "maps by DeepLIFT and KernelSHAP", "captum") from error
    found: ModuleType = captum.attr
    return found


class _Lifted(nn.Module):
    """What Captum takes for the network: pictures and baselines (2 N, C, H, W) to scores (2 N,), its only modules ours."""

    def __init__(self, nearby: Nearby, layer: str) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        self._nearby, self._layer = nearby, layer
        self._multipliers: Tensor | None = None
        self._variants: Variants | None = None
        self._scores: Tensor | None = None

    def count(self, both: Tensor) -> None:
        """Make a module for each activation that a pass calls."""
        with _Called(self.steps, growing=True):
            self._nearby(both)

    def forward(self, both: Tensor) -> Tensor:
        called = _Called(self.steps)
        with called:
            self._variants = self._nearby(both.detach().unflatten(0, (2, -1)))
        if called.met != len(self.steps):
            raise MethodNotApplicableError(
                "The network computes something else at each pass: DeepLIFT cannot follow it."
            )
        scores = self._variants.target(self._variants.trace)
        self._scores = scores.detach().double().unflatten(0, (2, -1))
        return _Through.apply(both, scores, self._down)  # type: ignore[no-any-return]

    def _down(self) -> Tensor:
        """The multipliers at the input, and at the layer; Captum's hooks do their work on the way."""
        assert self._variants is not None
        wanted = list(dict.fromkeys(["input", self._layer]))
        found = self._variants.trace.gradient(self._variants.target, wanted)
        self._multipliers = found[self._layer].detach()
        at_input: Tensor = found["input"]
        return at_input

    @property
    def scores(self) -> Tensor:
        """Those of the pictures and of the baselines, (2, N), float64."""
        assert self._scores is not None
        return self._scores

    def at_layer(self) -> Tensor:
        """The contributions at the layer, laid out as its maps: (N, C, h, w)."""
        assert self._variants is not None
        assert self._multipliers is not None
        trace = self._variants.trace
        multipliers = arranged(trace.network, self._layer, self._multipliers)
        picture, baseline = self._variants.split(trace.maps(self._layer).detach())
        found: Tensor = (picture - baseline) * self._variants.split(multipliers)[0]
        return found


class _Through(torch.autograd.Function):
    """Scores of a pass that began at a copy of the pictures, with its gradient there for theirs."""

    @staticmethod
    def forward(ctx: Any, pictures: Tensor, scores: Tensor, down: Callable[[], Tensor]) -> Tensor:
        ctx.down = down
        return scores.detach().clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        with torch.enable_grad():
            found = ctx.down()
        return found * grads[0].view(-1, 1, 1, 1).to(found), None, None


class _Called(TorchFunctionMode):
    """Has each activation and each max-pooling of a pass done by the next of some modules."""

    def __init__(self, steps: nn.ModuleList, growing: bool = False) -> None:
        super().__init__()
        self._steps, self._growing, self.met = steps, growing, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        pool = name == "max_pool2d"
        if not (pool or name in _ACTIVATIONS) or not args or not _moves(args[0]):
            return func(*args, **kwargs)
        x, rest = args[0], args[1:]
        if self._growing:
            self._steps.append(nn.MaxPool2d(1) if pool else nn.ReLU())
        if self.met >= len(self._steps) or isinstance(self._steps[self.met], nn.MaxPool2d) != pool:
            raise MethodNotApplicableError(
                "The network computes something else at each pass: DeepLIFT cannot follow it."
            )
        step = self._steps[self.met]
        self.met += 1
        if pool:
            return _pooled(step, x, func, rest, kwargs)
        in_place = False

        def activation(t: Tensor) -> Tensor:
            nonlocal in_place
            given = t.clone()
            result: Tensor = func(given, *rest, **kwargs)
            in_place = result is given
            return result

        # Captum knows its rule for any function of one number by the type of the module alone.
        step.__dict__["forward"] = activation
        result = step(x.clone())
        del step.__dict__["forward"]
        return x.copy_(result) if in_place else result


def _moves(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad and x.ndim > 1 and len(x) % 2 == 0


def _pooled(step: nn.Module, x: Tensor, func: Any, rest: Any, kwargs: dict[str, Any]) -> Tensor:
    """Max-pooling with windows laid side by side, (N, C, k, places), so that each number is in one alone."""
    named = dict(zip(("kernel_size", "stride", "padding", "dilation", "ceil_mode"), rest, strict=False)) | kwargs
    kernel, padding, dilation = (
        _two(named["kernel_size"]),
        _two(named.get("padding", 0)),
        _two(named.get("dilation", 1)),
    )
    stride = _two(named.get("stride") or kernel)
    out = func(x.detach(), *rest, **kwargs).shape[2:]
    ends = []  # how far the last window reaches beyond the edge
    for i in (1, 0):
        reach = (out[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1
        ends += [padding[i], reach - padding[i] - x.shape[2 + i]]
    padded = F.pad(x, ends, value=float(x.detach().min()) - 1)
    windows = F.unfold(padded, kernel, dilation=dilation, stride=stride)
    windows = windows.view(len(x), x.shape[1], kernel[0] * kernel[1], -1)
    step.kernel_size = step.stride = (kernel[0] * kernel[1], 1)  # type: ignore[assignment]
    return step(windows).view(len(x), x.shape[1], *out)  # type: ignore[no-any-return]


def _two(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[-1]))
