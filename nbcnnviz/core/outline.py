"""A network's layers as a tree that a person can read: modules within modules, in the order of the forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from nbcnnviz.core.layers import Layer
from nbcnnviz.core.trace import Trace


@dataclass(frozen=True)
class Branch:
    """A module in its place.

    Attributes
    ----------
    name : str
        The module's full name, with ``:call`` behind it where it is called several times.
    depth : int
        How many modules it is within.
    layer : Layer or None
        What it returns; None where the module itself is never called, as a ``ModuleList``, or returns no tensor.
    size : int
        How many branches below belong to it: they follow it in the list.
    """

    name: str
    depth: int
    layer: Layer | None
    size: int


def outline(layers: Mapping[str, Layer]) -> list[Branch]:
    """The tree of a network's layers, a branch before what is within it.

    Modules that are not layers themselves are there where a layer is within them. What stands on one level is in the
    order in which the first of each's layers returns.
    """
    children: dict[str, dict[str, None]] = {"": {}}
    for name in layers:
        path, parent = name.partition(":")[0].split("."), ""
        for i in range(1, len(path)):
            here = ".".join(path[:i])
            children[parent].setdefault(here)
            parent = here
            children.setdefault(here, {})
        # The calls of one module stand side by side; what is within it stands under its first.
        children[parent].setdefault(name)
        children.setdefault(name.removesuffix(":0"), {})

    branches: list[Branch] = []

    def grow(name: str, depth: int) -> None:
        at = len(branches)
        branches.append(Branch(name, depth, layers.get(name), 0))
        for child in children.get(name, ()):
            grow(child, depth + 1)
        branches[at] = Branch(name, depth, layers.get(name), len(branches) - at - 1)

    for name in children[""]:
        grow(name, 0)
    return branches


def activity(trace: Trace) -> dict[str, float]:
    """The root mean square of what each layer returned; reduced where the tensors are, and copied once."""
    norms: dict[tuple[int, int, int], torch.Tensor] = {}  # a container returns the very tensor of its last module
    of: dict[str, tuple[int, int, int]] = {}
    for name in trace.layers:
        output = trace[name].detach()
        if not output.is_floating_point() or output.numel() == 0:
            continue
        of[name] = key = (output.data_ptr(), output._version, output.numel())
        if key not in norms:
            wide = torch.promote_types(output.dtype, torch.float32)
            norms[key] = torch.linalg.vector_norm(output, dtype=wide) / output.numel() ** 0.5
    if not norms:
        return {}
    values = dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True))
    return {name: values[key] for name, key in of.items()}
