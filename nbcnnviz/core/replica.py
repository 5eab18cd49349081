"""The user's network again: the same tensors in module objects of our own.

Hooks, evaluation mode and gradients are set on the replica, so the user's modules are never touched, not even for the
length of a forward pass: they may be training in another thread meanwhile. A replica is made for each pass, so that
it shows the network as it is now; it costs a few microseconds a module and no memory for tensors.
"""

from __future__ import annotations

from collections import OrderedDict
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


def replicate(module: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """A replica in evaluation mode, and its parameters by the names they have in ``module``.

    Every floating-point parameter is a leaf of its own that shares the storage of the user's and requires a
    gradient, whether the user's is frozen or not.
    """
    replicas: dict[nn.Module, nn.Module] = {}
    leaves: dict[nn.Parameter, nn.Parameter] = {}

    def leaf(parameter: nn.Parameter) -> nn.Parameter:
        if parameter not in leaves:
            differentiable = parameter.is_floating_point() or parameter.is_complex()
            leaves[parameter] = nn.Parameter(_usable(parameter.detach()), requires_grad=differentiable)
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
        state["_buffers"] = {n: b if b is None else _usable(b) for n, b in original._buffers.items()}
        state["_parameters"] = {n: p if p is None else leaf(p) for n, p in original._parameters.items()}
        state["_modules"] = {n: m if m is None else replica(m) for n, m in original._modules.items()}
        return copy

    top = replica(module)
    return top, {name: leaves[p] for name, p in module.named_parameters(remove_duplicate=False)}


def _usable(tensor: Tensor) -> Tensor:
    """A tensor that autograd may keep: itself, but a copy of one that was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor
