"""Forward passes without a graph, in which each layer's output is looked at as it returns, and nothing is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.core.errors import NetworkError, first_sentence
from nbcnnviz.core.guard import Guard
from nbcnnviz.core.network import Network
from nbcnnviz.core.recording import Enough
from nbcnnviz.core.replica import Replica, unwrapped


class Observer:
    """Runs a network on one preprocessed batch after the other and calls ``look(layer, output)`` for some layers.

    It keeps one replica of the network, which is never touched itself. A pass ends as soon as the last of the layers has
    returned. Memory does not grow with the number of layers: an output is gone when the network no longer needs it.

    Parameters
    ----------
    network
        The network.
    layers
        Names of the layers looked at, as in `Network.layers`.
    look
        Called with a layer's name and its output, before anything overwrites it. It must not change it.
    """

    def __init__(self, network: Network, layers: Collection[str], look: Callable[[str, Tensor], None]) -> None:
        for name in layers:
            if name not in network.layers:
                raise network.unknown_layer(name)
        self._network, self._layers, self._look = network, frozenset(layers), look
        # Kernels in the layout that a CPU convolves quickest.
        with torch.inference_mode(False):
            self._replica = Replica(unwrapped(network.module), False, network.device.type == "cpu")
        wanted = {name.partition(":")[0] for name in layers}
        self._modules = [(n, m) for n, m in self._replica.module.named_modules() if n in wanted]

    def __call__(self, x: Tensor) -> None:
        """Run a batch (N, C, H, W).

        Raises
        ------
        NetworkError
            If the module fails on it.
        """
        awaited, count = set(self._layers), Counter[str]()

        def hook(name: str) -> Callable[..., None]:
            def seen(module: Any, args: Any, output: Any) -> None:
                call, count[name] = f"{name}:{count[name]}", count[name] + 1
                found = name if name in self._layers else call if call in self._layers else None
                if found is not None and isinstance(output, Tensor):
                    self._look(found, output)
                awaited.difference_update({name, call})
                if not awaited:
                    raise Enough

            return seen

        guard = Guard(lambda _: None, own=self._replica.own())
        with torch.no_grad(), ExitStack() as hooks:
            self._replica.renew()
            for name, module in self._modules:
                hooks.callback(module.register_forward_hook(hook(name)).remove)
            x = x.clone(memory_format=torch.channels_last) if x.device.type == "cpu" else x.clone()
            try:
                with suppress(Enough), guard:
                    self._network._call(self._replica.module, x)
            except (torch.OutOfMemoryError, NetworkError):
                raise
            except Exception as error:  # the user's code may raise anything
                raise NetworkError(
                    f"The network failed on an input of shape {tuple(x.shape)}: {first_sentence(error)}"
                ) from error
