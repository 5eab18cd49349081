"""Convolutions that do the work of the batch norm behind them, where that gives the same scores.

In evaluation mode a batch norm scales and shifts each channel by fixed numbers, which a convolution's kernel and bias can
do as well (`torch.nn.utils.fusion`). It is done where one pass shows that nothing else reads what the convolution returns,
nor the parameters of either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

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


def folded(folds: list[Fold]) -> Callable[[dict[str, nn.Module], ExitStack], None]:
    """What puts the folded parameters in a replica's modules for one pass; see ``prepare`` of `Recorder`."""

    def prepare(modules: dict[str, nn.Module], hooks: ExitStack) -> None:
        for fold in folds:
            conv, norm = modules[fold.conv], modules[fold.norm]
            hooks.callback(conv._parameters.update, conv._parameters.copy())
            conv._parameters.update(weight=fold.weight, bias=fold.bias)
            norm.__dict__["forward"] = _without(norm)
            hooks.callback(norm.__dict__.pop, "forward", None)

    return prepare


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
