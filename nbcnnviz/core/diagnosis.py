"""Why a network has no gradient: found out by a pass that is watched, when somebody asked for one in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from nbcnnviz.core.guard import Guard
from nbcnnviz.core.heads import main_output
from nbcnnviz.core.replica import Replica

REENTRANT = (
    "The forward pass uses reentrant checkpointing, whose backward pass gives no gradient for what is asked here: use "
    "torch.utils.checkpoint.checkpoint(..., use_reentrant=False) in the module."
)
_DETACHES = {"detach": "detaches", "detach_": "detaches", "__get__": "takes the .data of"}
_ROUNDS = frozenset({"argmax", "argmin", "round", "floor", "ceil", "sign", "trunc", "heaviside", "bucketize"})


def cause(module: nn.Module, x: Tensor, call: Callable[[nn.Module, Tensor], Any]) -> str | None:
    """What cuts the gradient between the scores and the input of ``call(module, x)``, in a sentence; None if nothing does.

    The module is not run: a replica is.
    """
    quantised = _quantised(module)
    if quantised is not None:
        return quantised
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as hooks:
        replica = Replica(module)
        where = _Where()
        for name, submodule in replica.module.named_modules():
            hooks.callback(submodule.register_forward_pre_hook(where.enter(name)).remove)
            hooks.callback(submodule.register_forward_hook(where.leave, always_call=True).remove)
        watch, leaf = _Cuts(where), x.detach().clone().requires_grad_()
        try:
            with Guard(lambda _: None, own=replica.own()), watch:
                output = main_output(call(replica.module, leaf.clone()))
        except Exception:  # as when inference mode within the module makes autograd refuse
            return watch.said(module)
        if isinstance(output, Tensor) and _is_reentrant(output):
            return REENTRANT
        if isinstance(output, Tensor) and output.requires_grad and _reaches(output, leaf):
            return None
        return watch.said(module)


def _quantised(module: nn.Module) -> str | None:
    for name, submodule in module.named_modules():
        if ".quantized" in type(submodule).__module__ or any(
            b is not None and b.is_quantized for b in _tensors(submodule)
        ):
            return (
                f"The network is quantised (layer {name!r} is a {type(submodule).__name__}), and quantised operations have "
                "no gradient: explain the network in floating point from which it was made."
            )
    return None


def _tensors(module: nn.Module) -> Iterable[Tensor | None]:
    return (*module._parameters.values(), *module._buffers.values())


class _Where:
    """Which modules are running, the outermost first."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.off: str | None = None  # the outermost module that ran with gradients off
        self.inference = False

    def enter(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, args: Any) -> None:
            self.names.append(name)
            if self.off is None and not torch.is_grad_enabled():
                self.off, self.inference = name, torch.is_inference_mode_enabled()

        return note

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.names:
            self.names.pop()


class _Cuts(TorchFunctionMode):
    """Notes the first call that takes what requires a gradient and returns numbers that do not."""

    def __init__(self, where: _Where) -> None:
        super().__init__()
        self._where = where
        self._first: tuple[str, str] | None = None
        self._off_outside: str | None = None  # the module in which gradients were off around no submodule

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        takes = any(isinstance(a, Tensor) and a.requires_grad for a in (*args, *kwargs.values()))
        result = func(*args, **kwargs)
        if takes and isinstance(result, Tensor) and not result.requires_grad:
            self._note(getattr(func, "__name__", ""), result)
        return result

    def _note(self, name: str, result: Tensor) -> None:
        module = self._where.names[-1] if self._where.names else ""
        if not torch.is_grad_enabled():
            if self._off_outside is None:
                self._off_outside = module
        elif self._first is None and (name in _DETACHES or name in _ROUNDS or result.is_floating_point()):
            self._first = module, name

    def said(self, module: nn.Module) -> str | None:
        """The cause as a sentence; gradients that were off come before calls that have none."""
        if self._where.off is not None:
            mode = "inference_mode" if self._where.inference else "no_grad"
            return (
                f"The forward pass runs {_called(self._where.off, module)} under torch.{mode} (or with grad mode off), so no "
                "gradient passes through it: take that out of the module's forward."
            )
        if self._off_outside is not None:
            return (
                f"The forward pass of {_called(self._off_outside, module)} computes under torch.no_grad (or with grad mode "
                "off), so no gradient passes through it: take that out of the module's forward."
            )
        if self._first is None:
            return None
        name, function = self._first
        does = _DETACHES.get(function)
        what = f"{does} a tensor" if does else f"calls {function}, which has no gradient"
        return (
            f"The forward pass of {_called(name, module)} {what}, so no gradient passes: take that out of its forward."
        )


def _called(name: str, module: nn.Module) -> str:
    return f"layer {name!r}" if name else f"the module itself ({type(module).__name__})"


def _is_reentrant(output: Tensor) -> bool:
    return any(node.name().startswith("CheckpointFunction") for node in _nodes(output))


def _reaches(output: Tensor, leaf: Tensor) -> bool:
    return any(getattr(node, "variable", None) is leaf for node in _nodes(output))


def _nodes(output: Tensor) -> Iterable[Node]:
    stack = [] if output.grad_fn is None else [output.grad_fn]
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)
