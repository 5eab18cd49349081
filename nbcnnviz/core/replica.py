"""The user's network again: the same tensors in module objects of our own.

Hooks, evaluation mode and gradients are set on the replica, so the user's modules are never touched, not even for the
length of a forward pass: they may be training in another thread meanwhile. A replica is made for each pass, so that
it shows the network as it is now; it costs a few microseconds a module and no memory, but for the buffers that a
forward pass may write to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from nbcnnviz.core.errors import NetworkError


def unwrapped(module: nn.Module) -> nn.Module:
    """The module within the wrappers that hide it: ``DataParallel`` and ``torch.compile``."""
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        elif isinstance(getattr(module, "_orig_mod", None), nn.Module):
            module = cast(nn.Module, module._orig_mod)
        elif isinstance(module, torch.jit.ScriptModule):
            raise NetworkError(
                "A TorchScript module hides its layers: give the Python module that it was made from, with its weights."
            )
        else:
            return module


def replicate(
    module: nn.Module, requires_grad: bool | None = True, channels_last: bool = False
) -> tuple[nn.Module, dict[str, Tensor], Callable[[], None]]:
    """A replica in evaluation mode, its parameters by the names they have in ``module``, and what renews its buffers.

    Every floating-point parameter is a leaf of its own that shares the storage of the user's and requires a
    gradient, or none does, whether the user's are frozen or not; where it does not matter (``requires_grad=None``, which
    is quickest) they are the user's own. With ``channels_last`` the kernels are copies, laid out as a CPU convolves
    quickest what comes to it in that layout. Buffers share the user's storage too; what renews
    them, to be called before each pass, gives copies to the modules whose forward may write to them.
    """
    replicas: dict[nn.Module, nn.Module] = {}
    leaves: dict[nn.Parameter, nn.Parameter] = {}

    def leaf(parameter: nn.Parameter) -> nn.Parameter:
        if requires_grad is None and not parameter.is_inference():
            return leaves.setdefault(parameter, parameter)
        if parameter not in leaves:
            differentiable = bool(requires_grad) and (parameter.is_floating_point() or parameter.is_complex())
            own = _usable(parameter.detach())
            if channels_last and own.ndim == 4:
                own = own.contiguous(memory_format=torch.channels_last)
            leaves[parameter] = nn.Parameter(own, requires_grad=differentiable)
        return leaves[parameter]

    def replica(original: nn.Module) -> nn.Module:
        if original in replicas:
            return replicas[original]
        copy = replicas[original] = object.__new__(type(original))
        state = copy.__dict__
        state.update(original.__dict__)
        state["training"] = False
        state["_forward_hooks"] = OrderedDict(original._forward_hooks)
        state["_backward_hooks"] = OrderedDict()
        state["_backward_pre_hooks"] = OrderedDict()
        state["_compiled_call_impl"] = None  # what ``module.compile()`` set: it runs the original
        state["_buffers"] = {n: b if b is None else _usable(b.detach()) for n, b in original._buffers.items()}
        state["_parameters"] = {n: p if p is None else leaf(p) for n, p in original._parameters.items()}
        state["_modules"] = {n: m if m is None else replica(m) for n, m in original._modules.items()}
        return copy

    def renew() -> None:
        copies: dict[Tensor, Tensor] = {}  # a buffer that two modules share stays shared
        for original, copy in stateful:
            for name, own in original._buffers.items():
                if own is not None and own not in copies:
                    copies[own] = own.detach().clone()
                copy._buffers[name] = None if own is None else copies[own]

    top = replica(module)
    stateful = [(original, copy) for original, copy in replicas.items() if original._buffers and _may_write(original)]
    return top, {name: leaves[p] for name, p in module.named_parameters(remove_duplicate=False)}, renew


def _may_write(module: nn.Module) -> bool:
    """Whether a module's forward pass may write to its buffers in evaluation mode."""
    return not type(module).__module__.startswith("torch.nn.modules.")


def _usable(tensor: Tensor) -> Tensor:
    """A tensor that autograd may keep: itself, but a copy of one that was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor
