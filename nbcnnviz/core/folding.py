"""Convolutions that do the work of the batch norm behind them, where that gives the same scores.

In evaluation mode a batch norm scales and shifts each channel by fixed numbers, which a convolution's kernel and bias can
do as well (`torch.nn.utils.fusion`). It is done where one pass shows that nothing else reads what the convolution returns,
nor the parameters of either.

Beside it, on a CPU: a convolution of a stride over few channels as one without a stride over more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

Prepare = Callable[[dict[str, nn.Module], ExitStack], None]

_FEW = 4
"""Channels of a strided convolution for which a convolution without a stride is quicker on its way back."""

# What tells of a tensor's kind, and not of its values.
_OUTSIDE = frozenset({"dim", "size", "stride", "numel", "__len__", "is_contiguous", "is_floating_point", "ndimension"})


@dataclass(frozen=True)
class Fold:
    """A convolution and the batch norm behind it, by name, and the parameters that do what both do."""

    conv: str
    norm: str
    weight: nn.Parameter
    bias: nn.Parameter


class Folds:
    """Watches one pass of a replica for what can be folded.

    Parameters
    ----------
    kept
        Names of layers whose outputs are looked at, and so stay as they are.
    """

    def __init__(self, kept: Collection[str]) -> None:
        self._kept = frozenset(kept)
        self._readers = _Readers()
        self._returned: dict[int, tuple[str, nn.Conv2d, Tensor]] = {}
        self._met: list[tuple[str, str, nn.Conv2d, nn.BatchNorm2d, Tensor]] = []
        self._calls: dict[str, int] = {}

    def listen(self, modules: dict[str, nn.Module], hooks: ExitStack) -> None:
        """To be called ahead of the pass: see ``prepare`` of `nbcnnviz.core.recording.Recorder`."""
        for name, module in modules.items():
            if name in self._kept or module._forward_hooks or module._forward_pre_hooks:
                continue
            if isinstance(module, nn.Conv2d):
                hooks.callback(module.register_forward_hook(self._convolved(name)).remove)
            elif isinstance(module, nn.BatchNorm2d) and _without(module) is not None:
                hooks.callback(module.register_forward_pre_hook(self._norms(name)).remove)
        hooks.enter_context(self._readers)

    def _convolved(self, name: str) -> Any:
        def hook(module: nn.Conv2d, args: Any, output: Any) -> None:
            self._calls[name] = self._calls.get(name, 0) + 1
            if isinstance(output, Tensor):
                # It is kept, so that no other tensor gets its id.
                self._returned[id(output)] = (name, module, output)

        return hook

    def _norms(self, name: str) -> Any:
        def hook(module: nn.BatchNorm2d, args: Any) -> None:
            self._calls[name] = self._calls.get(name, 0) + 1
            given = self._returned.get(id(args[0])) if len(args) == 1 else None
            if given is not None:
                conv, convolution, output = given
                self._met.append((conv, name, convolution, module, output))

        return hook

    def found(self) -> list[Fold]:
        """What can be folded, by the pass."""
        folds = []
        for conv, norm, convolution, module, output in self._met:
            once = self._calls[conv] == self._calls[norm] == 1
            if once and self._alone(convolution, module, output):
                weight, bias = fuse_conv_bn_weights(
                    convolution.weight.detach(),
                    None if convolution.bias is None else convolution.bias.detach(),
                    module.running_mean,  # type: ignore[arg-type]
                    module.running_var,  # type: ignore[arg-type]
                    module.eps,
                    None if module.weight is None else module.weight.detach(),
                    None if module.bias is None else module.bias.detach(),
                )
                own = (nn.Parameter(tensor.detach(), requires_grad=False) for tensor in (weight, bias))
                folds.append(Fold(conv, norm, *own))
        return folds

    def _alone(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, output: Tensor) -> bool:
        """Whether the pass read the output, and the parameters of both, only where these two modules do."""
        if norm.training or norm.running_mean is None or norm.running_var is None:
            return False
        own = [conv.weight, *([] if conv.bias is None else [conv.bias])]
        theirs = [output, norm.running_mean, norm.running_var, *(p for p in (norm.weight, norm.bias) if p is not None)]
        return all(self._readers.of(tensor) == ["conv2d"] for tensor in own) and all(
            self._readers.of(tensor) == ["batch_norm"] for tensor in theirs
        )


def folding(run: Callable[[Prepare], Sequence[Tensor]], kept: Collection[str]) -> tuple[Prepare, int] | None:
    """What folds batch norms in a pass, and how many; None where there are none, or what a pass gives would change.

    Parameters
    ----------
    run
        A pass of a few pictures, prepared: what it gives.
    kept
        Names of layers whose outputs are looked at.
    """
    folds = Folds({name.partition(":")[0] for name in kept})
    expected = run(folds.listen)
    found = folds.found()
    if found and all(map(agree, run(folded(found)), expected)):
        return folded(found), len(found)
    return None


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether numbers are the same but for rounding."""
    if one.shape != other.shape or not bool(one.isfinite().all() and other.isfinite().all()):
        return False
    size = torch.maximum(one.abs().amax(), other.abs().amax())
    return bool((one - other).abs().amax() <= 10 * torch.finfo(one.dtype).eps ** 0.75 * size)


def folded(folds: list[Fold]) -> Prepare:
    """What puts the folded parameters in a replica's modules for one pass; see ``prepare`` of `Recorder`."""

    def prepare(modules: dict[str, nn.Module], hooks: ExitStack) -> None:
        for fold in folds:
            conv, norm = modules[fold.conv], modules[fold.norm]
            hooks.callback(conv._parameters.update, conv._parameters.copy())
            conv._parameters.update(weight=fold.weight, bias=fold.bias)
            norm.__dict__["forward"] = _without(norm)
            hooks.callback(norm.__dict__.pop, "forward", None)

    return prepare


def unstrided(modules: dict[str, nn.Module], hooks: ExitStack) -> None:
    """For one pass, convolutions of a stride over few channels as ones without a stride; see ``prepare`` of `Recorder`.

    The pixels of each square of stride x stride become channels (`torch.nn.functional.pixel_unshuffle`), those of the
    kernel too: the same products and sums. A first layer's backward pass is three times as quick so on a CPU.
    """
    for module in modules.values():
        if _strided(module):
            module.__dict__["forward"] = _Unstrided(module)  # type: ignore[arg-type]
            hooks.callback(module.__dict__.pop, "forward", None)


def _strided(module: nn.Module) -> bool:
    if type(module) is not nn.Conv2d or "forward" in module.__dict__ or isinstance(module.padding, str):
        return False
    stride, plain = module.stride[0], module.groups == 1 and module.padding_mode == "zeros"
    even = module.stride == (stride, stride) and module.dilation == (1, 1) and stride > 1
    return plain and even and module.in_channels <= _FEW and min(module.kernel_size) > stride


class _Unstrided:
    """The forward of such a convolution."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self._conv = conv
        self._padding = tuple(int(size) for size in conv.padding)

    def __call__(self, x: Tensor) -> Tensor:
        conv, stride = self._conv, self._conv.stride[0]
        if x.ndim != 4:
            return cast(Tensor, conv._conv_forward(x, conv.weight, conv.bias))
        around: list[int] = []
        missing: list[int] = []
        for size, kernel, padding in zip(x.shape[:1:-1], conv.kernel_size[::-1], self._padding[::-1], strict=True):
            cells = math.ceil(kernel / stride)
            places = (size + 2 * padding - kernel) // stride + 1
            around += [padding, (places - 1 + cells) * stride - size - padding]
            missing += [0, cells * stride - kernel]
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        weight = F.pixel_unshuffle(F.pad(conv.weight, missing), stride).contiguous(memory_format=layout)
        return F.conv2d(F.pixel_unshuffle(F.pad(x, around), stride).contiguous(memory_format=layout), weight, conv.bias)


def _without(norm: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """What a batch norm's forward does beside normalising; None where that is not known."""
    if "forward" in norm.__dict__:
        return None
    if type(norm) is nn.BatchNorm2d:
        return _identity
    if type(norm).__name__ == "BatchNormAct2d":  # timm's
        return lambda x: norm.act(norm.drop(x))  # type: ignore[operator]
    return None


def _identity(x: Tensor) -> Tensor:
    return x


class _Readers(TorchFunctionMode):
    """Notes which torch calls read which tensors, by their ids: those asked about must outlive the pass."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[int, list[str]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        values = (*args, *(kwargs or {}).values())
        if isinstance(result, Tensor) and all(result is not value for value in values):
            self._names.pop(id(result), None)  # the id was another's, which is gone
        if name not in _OUTSIDE and not (name == "__get__" and not isinstance(result, Tensor)):
            self._note("batch_norm" if func is F.batch_norm else name, values)
        return result

    def _note(self, name: str, values: Any) -> None:
        for value in values:
            if isinstance(value, (list, tuple)):
                self._note(name, value)
            elif isinstance(value, Tensor):
                self._names.setdefault(id(value), []).append(name)

    def of(self, tensor: Tensor) -> list[str]:
        """The names of the calls that read a tensor."""
        return self._names.get(id(tensor), [])
