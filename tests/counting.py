"""How much work something is, in operations of torch: the same on every machine, however busy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class _Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(act: Callable[[], object]) -> int:
    """How many operations of torch ``act`` performs."""
    with _Count() as counted:
        act()
    return counted.count
