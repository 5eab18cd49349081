"""What is listened to in the steps that are recorded, without a hook on the network.

- The loss: while gradients arrive at a parameter, whoever called ``backward()`` is on the call stack, with the tensor it
  was called on. A hook on the parameter's accumulator, which autograd makes and forgets, looks there.
- A layer's maps: a forward hook of torch's own registry, not of the module, which a copy or a pickle of the network would
  take along.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.autograd.graph import get_gradient_edge
from torch.nn.modules.module import register_module_forward_hook

_BACKWARD = torch.autograd.backward.__code__
_HEARD_AT = 8
"""Parameters that are listened at: the loss is missed only by a step in which none of them has a gradient."""


class Listener:
    """Listens from the moment it is made until `close`.

    Parameters
    ----------
    parameters
        Of the network.
    name, layer
        Whose output to hear, if any, and what it is called.
    pick
        What to keep of that output, given it and the name.

    Attributes
    ----------
    loss : Tensor or None
        What ``backward()`` was called on since gradients were last cleared: the sum, if several times. None if it was
        not called, or on something that is not a number.
    heard : Tensor or None
        What was picked of the layer's last output.
    error : Exception or None
        What picking it failed with.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        name: str,
        layer: nn.Module | None,
        pick: Callable[[Any, str], Tensor],
    ) -> None:
        self.name = name
        self.loss: Tensor | None = None
        self.heard: Tensor | None = None
        self.error: Exception | None = None
        self._layer, self._pick = layer, pick
        self._backward = -1
        self._handles: list[Any] = []
        if layer is not None:
            self._handles.append(register_module_forward_hook(self._returned))
        for parameter in _spread(parameters):
            # An accumulator lives as long as someone holds it, and its hooks with it: nothing stays on the parameter.
            accumulator = get_gradient_edge(parameter).node
            self._handles.append(accumulator.register_prehook(self._arriving(parameter)))
            self._handles.append(_Held(accumulator))

    def close(self) -> None:
        """Hear nothing more."""
        while self._handles:
            self._handles.pop().remove()

    def _returned(self, module: nn.Module, _: Any, output: Any) -> None:
        if module is self._layer:
            try:
                self.heard, self.error = self._pick(output, self.name), None
            except Exception as error:
                self.error = error

    def _arriving(self, parameter: nn.Parameter) -> Callable[[Any], None]:
        def arriving(_: Any) -> None:
            backward = torch._C._current_graph_task_id()
            if backward == self._backward:
                return  # heard at another parameter already
            self._backward = backward
            with suppress(Exception):  # a loss that is not found is no reason to disturb a training loop
                loss = _total(_roots())
                cleared = parameter.grad is None or not bool(parameter.grad.any())
                self.loss = loss if cleared or self.loss is None or loss is None else self.loss + loss

        return arriving


class _Held:
    """An accumulator that is to live until hooks on it are removed."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def remove(self) -> None:
        self._node = None


def scale_of_step() -> float:
    """The factor that a ``GradScaler`` put on the loss, seen from a hook of the optimiser's step that it makes."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "step" and isinstance(scaler := frame.f_locals.get("self"), GradScaler):
            return float(scaler.get_scale())
        frame = frame.f_back
    return 1.0


def stands_in(code: CodeType) -> bool:
    """Whether any thread is within a call of the function that this is the code of."""
    return any(_outermost(frame, code) is not None for frame in sys._current_frames().values())


def _spread(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """A few parameters from all depths; small ones, whose gradients cost nothing to be looked at."""
    learning = [p for p in parameters if p.requires_grad]
    some = [p for p in learning if p.ndim < 2] or learning
    return [some[i * len(some) // _HEARD_AT] for i in range(_HEARD_AT)] if len(some) > _HEARD_AT else some


def _roots() -> tuple[Any, ...]:
    """What ``backward()`` was called on, seen from within it; empty if that cannot be told."""
    frame = _outermost(sys._getframe(), _BACKWARD)
    if frame is None:  # on an accelerator gradients arrive in a thread of autograd's, while the caller's waits
        waiting = [f for f in (_outermost(f, _BACKWARD) for f in sys._current_frames().values()) if f is not None]
        frame = waiting[0] if len(waiting) == 1 else None
    found = frame.f_locals.get("tensors") if frame is not None else None
    return (found,) if isinstance(found, Tensor) else tuple(found or ())


def _outermost(frame: FrameType | None, code: CodeType) -> FrameType | None:
    """The first call of a function on a stack: a checkpointed network calls ``backward()`` within ``backward()``."""
    found = None
    while frame is not None:
        if frame.f_code is code:
            found = frame
        frame = frame.f_back
    return found


def _total(roots: tuple[Any, ...]) -> Tensor | None:
    if not roots or not all(isinstance(root, Tensor) and root.numel() == 1 for root in roots):
        return None
    with torch.no_grad():
        return torch.stack([root.detach().reshape(()).clone() for root in roots]).sum()
