"""A photograph of everything about a network and a process that nobody may change."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

_HOOKS = [
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_state_dict_hooks", "_load_state_dict_pre_hooks"),
]


def photograph(module: nn.Module) -> dict[str, Any]:
    """What is compared with ``==`` before and after; tensors by identity and by every bit."""
    seen: dict[str, Any] = {
        "random state": _bits(torch.get_rng_state()),
        "gradients are on": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "function modes": _get_current_function_mode_stack(),
        "state dict": {name: _bits(value) for name, value in module.state_dict().items()},
    }
    for name, submodule in module.named_modules():
        seen[name] = {
            "itself": (id(submodule), type(submodule)),
            "training": submodule.training,
            "attributes": {
                key: id(value) for key, value in submodule.__dict__.items() if not key.startswith(("_buffers", "_mod"))
            },
            "hooks": {key: [(n, id(h)) for n, h in getattr(submodule, key).items()] for key in _HOOKS},
        }
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        seen[f"tensor {name}"] = {
            "itself": (id(tensor), tensor.data_ptr(), tensor.dtype, tuple(tensor.shape)),
            "value": _bits(tensor),
            "requires_grad": tensor.requires_grad,
            "grad_fn": tensor.grad_fn,
            "grad": None if tensor.grad is None else (id(tensor.grad), _bits(tensor.grad)),
            "hooks": tensor._backward_hooks and list(tensor._backward_hooks),
        }
    return seen


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
