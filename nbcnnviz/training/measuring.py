"""The numbers of one step, worked out where the tensors are and brought to the host together, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LearningLayer:
    """A module with parameters of its own.

    Attributes
    ----------
    name
        As in ``named_modules()``, of the network itself its class; a parametrised weight counts to the module it is the
        weight of.
    columns
        Where its parameters are among all of the network's.
    filters
        The column of the weight that has a filter in each row, if any.
    transposed
        0, or for a transposed convolution its number of groups: its weight has the filters in its second axis.
    """

    name: str
    columns: range
    filters: int | None
    transposed: int = 0


def layers_of(module: nn.Module) -> tuple[list[LearningLayer], list[str]]:
    """Every layer that can learn, in the order of the modules, and the names of their parameters."""
    owners: dict[str, list[str]] = {}
    modules = dict(module.named_modules())
    parameters = dict(module.named_parameters())
    for name in parameters:
        owner = name.rpartition(".")[0]
        owners.setdefault(owner.partition(".parametrizations.")[0], []).append(name)
    layers: list[LearningLayer] = []
    names: list[str] = []
    for owner, own in owners.items():
        columns = range(len(names), len(names) + len(own))
        kind = modules[owner]
        has_filters = isinstance(kind, (nn.modules.conv._ConvNd, nn.Linear))
        weights = [c for c, n in zip(columns, own, strict=True) if parameters[n].ndim >= 2]
        transposed = kind.groups if isinstance(kind, nn.modules.conv._ConvTransposeNd) else 0
        filters = weights[0] if weights and has_filters else None
        layers.append(LearningLayer(owner or type(kind).__name__, columns, filters, transposed))
        names += own
    return layers, names


class Measurement:
    """One step's norms, on their way to the host.

    Parameters
    ----------
    parameters
        Those that the step was made for, by column.
    before
        Their values before the step, by column; overwritten. Without them the update is not known.
    filters
        The layers whose filters are to be looked at for dead ones, with their place among all.
    loss
        What the step was to make smaller, if known.
    pictures
        Tensors to be brought along, by name.
    """

    def __init__(
        self,
        parameters: dict[int, nn.Parameter],
        before: dict[int, Tensor] | None,
        filters: Sequence[tuple[int, LearningLayer]],
        loss: Tensor | float | None,
        pictures: dict[str, Tensor],
    ) -> None:
        grads = {c: _values(p.grad) for c, p in parameters.items() if p.grad is not None}
        self.columns = np.array(list(grads), np.intp)
        after = {c: _real(parameters[c].detach()) for c in grads}
        precise = any(t.dtype == torch.float64 for t in (*grads.values(), *after.values()))
        dtype = torch.float64 if precise else torch.float32

        # The norms of the filters' gradients tell the dead ones, and make the whole gradient's.
        by_filter = {}
        self.layers = np.array(
            [i for i, layer in filters if _has_filters(grads.get(layer.filters or 0), layer)], np.intp
        )
        chosen = set(self.layers.tolist())
        for i, layer in filters:
            if i in chosen and layer.filters is not None:
                by_filter[layer.filters] = _filter_norms(grads[layer.filters], layer.transposed, dtype)
        norms = _norms([by_filter.get(c, g) for c, g in grads.items()], dtype)
        if before is None:
            weights, updates = _norms(list(after.values()), dtype), []
        else:
            then = [_real(before[c]) for c in grads]
            weights = _norms(then, dtype)
            if then:
                torch._foreach_sub_(then, list(after.values()))
            updates = _norms(then, dtype)
        dead = [(norm == 0).to(dtype).mean() for norm in by_filter.values()]

        self.has_updates = before is not None
        self._loss = loss if isinstance(loss, float) else None
        told = [] if loss is None or isinstance(loss, float) else [loss.detach().reshape(())]
        scalars = [*told, *norms, *weights, *updates, *dead]
        place = next((s.device for s in scalars), torch.device("cpu"))
        packed = torch.stack([s.to(place, dtype) for s in scalars]) if scalars else torch.zeros(0)
        self._has_loss = bool(told)
        self._packed = _to_host(packed)
        self.pictures = {name: _to_host(picture) for name, picture in pictures.items()}
        devices = {t.device for t in (packed, *pictures.values()) if t.is_cuda}
        self._events: list[Any] = [torch.cuda.current_stream(device).record_event() for device in devices]

    def arrived(self, wait: bool = False) -> bool:
        """Whether the numbers are there."""
        for event in self._events:
            if wait:
                event.synchronize()
            elif not event.query():
                return False
        return True

    def numbers(self) -> Numbers:
        """The numbers, once they have arrived."""
        values = self._packed.double().numpy()
        loss = self._loss
        if self._has_loss:
            loss, values = float(values[0]), values[1:]
        n = len(self.columns)
        grads, weights, values = values[:n], values[n : 2 * n], values[2 * n :]
        updates, values = (values[:n], values[n:]) if self.has_updates else (np.full(n, np.nan), values)
        return Numbers(loss, grads, weights, updates, values)


@dataclass(frozen=True)
class Numbers:
    """One step's numbers: the norms by parameter, and the dead filters' share by layer."""

    loss: float | None
    gradient: np.ndarray
    weight: np.ndarray
    update: np.ndarray
    dead: np.ndarray = field(repr=False)


def _to_host(tensor: Tensor) -> Tensor:
    """A tensor on its way to the host: from a CUDA device without waiting for it."""
    return tensor.to("cpu", non_blocking=tensor.is_cuda)


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _values(grad: Tensor) -> Tensor:
    """A gradient's numbers; of a sparse one those that are there."""
    return _real((grad.coalesce().values() if grad.is_sparse else grad).detach())


def _norms(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return list(torch._foreach_norm(tensors, 2, dtype=dtype)) if tensors else []


def _has_filters(grad: Tensor | None, layer: LearningLayer) -> bool:
    return layer.filters is not None and grad is not None and grad.ndim >= 2


def _filter_norms(grad: Tensor, transposed: int, dtype: torch.dtype) -> Tensor:
    if transposed:  # (groups x in, out, ...): a filter is one of the group's out
        grad = grad.unflatten(0, (transposed, -1)).movedim(1, 2)
    norms: Tensor = torch.linalg.vector_norm(grad, dim=tuple(range(2 if transposed else 1, grad.ndim)), dtype=dtype)
    return norms.flatten()
