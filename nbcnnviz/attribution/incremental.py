"""Forward passes of a picture that is changed in a small window, computing again only what the window changes.

Where a network begins with a chain of local operations (convolutions, pools, normalisations, pointwise functions), a
window of the input changes a window of each layer's maps, a little wider each time. Only that window is computed; what
is around it is known from the picture as it is. Behind the chain the network goes on as usual (Nakandala et al.,
SIGMOD 2019, "Incremental and approximate inference for faster occlusion-based deep CNN explanations").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbcnnviz.core.errors import NbcnnvizError, NetworkError
from nbcnnviz.core.guard import Guard
from nbcnnviz.core.network import Network
from nbcnnviz.core.recording import Enough
from nbcnnviz.core.replica import Replica, unwrapped
from nbcnnviz.core.targets import Target

_WORTH_IT = 0.6
"""A window of a map is computed alone as long as it is no larger a share of the map."""

_TRIES = 12
"""So many places, from the deepest up, are tried as the end of the chain."""


@dataclass(frozen=True)
class Step:
    """One operation of the chain: how it looks at its input along the two axes, and the maps it returned.

    Attributes
    ----------
    module
        The operation, in evaluation mode.
    kernel, stride, padding, dilation
        Along rows and columns; a pointwise operation has kernel 1, stride 1, padding 0.
    fill
        What stands beyond the edge.
    output
        What it returned for the picture as it is, (1, C, h, w).
    """

    module: nn.Module
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    fill: float
    output: Tensor

    @property
    def pointwise(self) -> bool:
        """Whether each place is computed from that place alone."""
        return self.kernel == self.stride == (1, 1) and self.padding == (0, 0)

    def apply(self, x: Tensor) -> Tensor:
        """The operation on maps that have their padding already."""
        module = self.module
        if isinstance(module, nn.Conv2d):
            return F.conv2d(x, module.weight, module.bias, module.stride, 0, module.dilation, module.groups)
        if isinstance(module, nn.MaxPool2d):
            return F.max_pool2d(x, self.kernel, self.stride, 0, self.dilation)
        if isinstance(module, nn.AvgPool2d):
            return F.avg_pool2d(x, self.kernel, self.stride, 0)
        result: Tensor = module(x)
        return result


_POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.GELU, nn.Mish, nn.Hardswish,
    nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity, nn.BatchNorm2d, nn.Dropout, nn.Dropout2d,
)  # fmt: skip


def step_of(module: nn.Module, output: Tensor) -> Step | None:
    """The step that a module is, None if it is none that is known to be local."""
    if type(module) in _POINTWISE:
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is None:  # it looks at the whole picture
            return None
        return Step(module, (1, 1), (1, 1), (0, 0), (1, 1), 0.0, output)
    if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        return Step(
            module, _two(module.kernel_size), _two(module.stride), _two(module.padding), _two(module.dilation), 0.0, output
        )  # fmt: skip
    if type(module) is nn.MaxPool2d and not module.return_indices:
        kernel, stride, padding = _two(module.kernel_size), _two(module.stride), _two(module.padding)
        return Step(module, kernel, stride, padding, _two(module.dilation), float("-inf"), output)
    if type(module) is nn.AvgPool2d and _two(module.padding) == (0, 0) and module.divisor_override is None:
        return Step(module, _two(module.kernel_size), _two(module.stride), (0, 0), (1, 1), 0.0, output)
    return None


class Chain:
    """The steps from the input on, as far as windows of these sizes are worth computing alone.

    Parameters
    ----------
    x
        The picture as it is, (1, C, H, W).
    steps
        The operations that follow one another from the input on.
    starts
        The upper left corners of the windows, (n, 2), rows and columns.
    window
        Their height and width.
    """

    def __init__(self, x: Tensor, steps: Sequence[Step], starts: Tensor, window: tuple[int, int]) -> None:
        self.input = x
        self._plans: list[tuple[Step, _Plan]] = []
        here = [_Extent(starts[:, axis], window[axis], x.shape[2 + axis]) for axis in (0, 1)]
        for step in steps:
            following = [here[a].through(step, a, step.output.shape[2 + a]) for a in (0, 1)]
            height, width = step.output.shape[2:]
            if following[0].length * following[1].length > _WORTH_IT * height * width:
                break
            self._plans.append((step, _Plan(here, following)))
            here = following
        self._last = here

    @property
    def length(self) -> int:
        """How many steps are computed by window."""
        return len(self._plans)

    def __call__(self, windows: Tensor, which: Tensor) -> Tensor:
        """The maps (B, C, h, w) behind the chain, of the picture with ``windows`` (B, C, h, w) in their places.

        ``which`` are their numbers, (B,).
        """
        around, patch = self.input, windows
        for step, plan in self._plans:
            if not step.pointwise:
                patch = plan.gather(step, around, patch, which)
            patch = step.apply(patch)
            around = step.output
        maps = around.expand(len(which), -1, -1, -1).clone(memory_format=torch.contiguous_format)
        rows = self._last[0].places(which, around.device)
        columns = self._last[1].places(which, around.device)
        batch = torch.arange(len(which), device=around.device)
        maps[batch[:, None, None], :, rows[:, :, None], columns[:, None, :]] = patch.permute(0, 2, 3, 1)
        return maps


@dataclass(frozen=True)
class _Extent:
    """Where the windows are along one axis of some maps: their first places, and their common length."""

    starts: Tensor
    length: int
    size: int

    def through(self, step: Step, axis: int, size: int) -> _Extent:
        """Where what they change lies in a step's output of a size, all of one length, within the maps."""
        reach = (step.kernel[axis] - 1) * step.dilation[axis]
        padding, stride = step.padding[axis], step.stride[axis]
        first = ((self.starts + padding - reach).clamp_min(0) + stride - 1) // stride
        last = (self.starts + self.length - 1 + padding) // stride
        first, last = first.clamp(0, size - 1), last.clamp(0, size - 1)
        length = int((last - first).max()) + 1
        return _Extent(first.clamp_max(size - length), length, size)

    def places(self, which: Tensor, device: torch.device) -> Tensor:
        """The places of some windows, (B, length)."""
        return (self.starts[which][:, None] + torch.arange(self.length)).to(device)


class _Plan:
    """What a step needs of the windows before it, and of the maps around them."""

    def __init__(self, before: list[_Extent], after: list[_Extent]) -> None:
        self._before, self._after = before, after

    def gather(self, step: Step, around: Tensor, patch: Tensor, which: Tensor) -> Tensor:
        """The step's input (B, C, h, w) for its windows: from the windows before where they are, else from around."""
        known, inside, within = [], [], []
        for axis in (0, 1):
            before, after = self._before[axis], self._after[axis]
            needed = (after.length - 1) * step.stride[axis] + (step.kernel[axis] - 1) * step.dilation[axis] + 1
            first = after.starts[which] * step.stride[axis] - step.padding[axis]
            places = first[:, None] + torch.arange(needed)
            inside.append(((places >= 0) & (places < before.size)).to(around.device))
            known.append(places.clamp(0, before.size - 1).to(around.device))
            within.append((places - before.starts[which][:, None]).to(around.device))
        rows, columns = known
        found = around[0][:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)
        new = [(w >= 0) & (w < e.length) for w, e in zip(within, self._before, strict=True)]
        r, c = (w.clamp(0, e.length - 1) for w, e in zip(within, self._before, strict=True))
        batch = torch.arange(len(which), device=around.device)
        changed = patch[batch[:, None, None], :, r[:, :, None], c[:, None, :]].permute(0, 3, 1, 2)
        out = torch.where((new[0][:, :, None] & new[1][:, None, :])[:, None], changed, found)
        if any(step.padding):
            there = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
            out = torch.where(there, out, torch.full((), step.fill, dtype=out.dtype, device=out.device))
        return out


def _two(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def leading_chain(network: Network, x: Tensor) -> list[tuple[str, Step]]:
    """The steps that follow one another from the input on, each with its layer's name, for one picture (1, C, H, W).

    Whether something else looks at what a step returned is not known of them: see `windowed`.
    """
    with torch.inference_mode(False):
        replica = Replica(unwrapped(network.module), False, network.device.type == "cpu")
    names = {module: name for name, module in replica.module.named_modules() if not list(module.children())}
    found: list[tuple[str, Step]] = []
    calls = Counter[str]()
    now = x.clone()

    def follow(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal now
        name = names[module]
        call, calls[name] = f"{name}:{calls[name]}", calls[name] + 1
        step = step_of(module, output.clone()) if isinstance(output, Tensor) else None
        if step is None or len(args) != 1 or args[0] is not now:
            raise Enough
        found.append((call if call in network.layers else name, step))
        now = output

    with torch.no_grad(), ExitStack() as hooks, suppress(Enough):
        for module in names:
            hooks.callback(module.register_forward_hook(follow).remove)
        replica.renew()
        with Guard(lambda _: None, own=replica.own()):
            network._call(replica.module, now)
    return found


def windowed(
    network: Network, target: Target | None, x: Tensor, starts: Tensor, fill: Tensor, window: tuple[int, int]
) -> Callable[[Tensor], Tensor] | None:
    """A function from the numbers of windows, (B,), to the scores of a picture with ``fill`` in these windows.

    None where the network does not begin with a chain that is worth it. That it gives what whole passes give is tried out
    on two windows.

    Parameters
    ----------
    target
        None for all scores, (B, K).
    x, fill
        The picture and what is put in its place, (1, C, H, W).
    starts, window
        See `Chain`.
    """
    try:
        steps = leading_chain(network, x)
    except (NetworkError, torch.OutOfMemoryError):
        return None
    whole = network.scorer(target)
    tried = torch.tensor([len(starts) // 2, len(starts) - 1])
    cut = _cutting(fill, starts, window)
    expected = whole(torch.cat([covered(x, fill, starts[i], window) for i in tried]))
    scale = expected.abs().amax().clamp_min(1e-12)
    length = Chain(x, [step for _, step in steps], starts, window).length
    for end in range(length, max(0, length - _TRIES), -1):
        name, step = steps[end - 1]
        if isinstance(step.module, nn.Conv2d) or name not in network.layers:
            continue  # what follows it is cheap, and may work in place
        chain = Chain(x, [s for _, s in steps[:end]], starts, window)
        try:
            rest = network.scorer(target, replace=name, picture=x)
            scores = rest(chain(cut(tried), tried))
        except NbcnnvizError:
            continue
        if bool(((scores - expected).abs() <= 1e-4 * scale).all()):
            return lambda which, chain=chain, rest=rest: rest(chain(cut(which), which))  # type: ignore[misc]
    return None


def covered(x: Tensor, fill: Tensor, start: Tensor, window: tuple[int, int]) -> Tensor:
    """A picture with one window of it filled, (1, C, H, W)."""
    out = x.clone()
    rows, columns = (slice(int(s), int(s) + n) for s, n in zip(start, window, strict=True))
    out[..., rows, columns] = fill[..., rows, columns]
    return out


def _cutting(fill: Tensor, starts: Tensor, window: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """A function from the numbers of windows to what fills them, (B, C, h, w)."""

    def cut(which: Tensor) -> Tensor:
        parts = [fill[0, :, r : r + window[0], c : c + window[1]] for r, c in starts[which].tolist()]
        return torch.stack(parts)

    return cut
