"""A layer's weights, put so that they can be drawn: one row a filter, whatever the module keeps them in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

import torch
from torch import Tensor, nn

from nbcnnviz.core.errors import GradientError, MethodNotApplicableError, UnknownLayerError, UnknownOptionError
from nbcnnviz.core.network import Network
from nbcnnviz.core.replica import replicate, unwrapped
from nbcnnviz.core.targets import TargetLike
from nbcnnviz.core.trace import Trace

Kind = Literal["rgb", "kernels", "matrix", "scales"]
By = Literal["index", "norm", "gradient"]
ORDERS: Final[tuple[By, ...]] = get_args(By)


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a layer, filter by filter.

    Attributes
    ----------
    layer : str
        Whose.
    parameter : str
        The parameter's name in ``named_parameters()``; ``"weight"`` behind the layer's where it is made of others.
    kind : str
        ``"rgb"``: kernels that see the picture's three channels, each one picture.
        ``"kernels"``: each of a filter's inputs a picture.
        ``"matrix"``: of a linear layer.
        ``"scales"``: one number a channel, as of a normalisation.
    values : Tensor
        (F, 3, h, w), (F, I, h, w), (F, I) or (F,), apart from the graph. Where the module keeps them like that it is the
        module's own memory, so that it shows what training does to it: do not write to it.
    shifts : Tensor or None
        (F,) of ``"scales"`` that have them: what is added after the scaling.
    gradient, shift_gradient : Tensor or None
        The target's gradient with respect to them, of the same shapes, if asked for: what would raise the score. The
        change that an optimiser would make has this direction where it maximises.
    norms : Tensor
        (F,) the L2 norm of each filter, in single precision or better.
    gradient_norms : Tensor or None
        (F,) the same of the gradient.
    by : str
        The order asked for.
    order : Tensor
        (F,) int64: the filters in that order, the largest first. The other tensors are in the module's.
    filters : tuple[str, ...]
        What each filter is called: its index, or the name of the class that it scores.
    inputs : Tensor or None
        (F, I) int64: which of the layer's input channels each kernel is for; filters in groups see different ones. None
        for ``"scales"``.
    """

    layer: str
    parameter: str
    kind: Kind
    values: Tensor
    shifts: Tensor | None
    gradient: Tensor | None
    shift_gradient: Tensor | None
    norms: Tensor
    gradient_norms: Tensor | None
    by: By
    order: Tensor
    filters: tuple[str, ...]
    inputs: Tensor | None

    def __len__(self) -> int:
        return len(self.values)


def weights(
    source: Network | Trace, layer: str, *, by: By = "index", gradient: bool = False, target: TargetLike = None
) -> Weights:
    """The weights of a layer's module, as the forward pass uses them.

    Parameters
    ----------
    source
        A network; or a trace, which the gradient needs.
    layer
        Its name, with or without the number of the call.
    by
        ``"index"``: as the module has them; ``"norm"``: by their L2 norm; ``"gradient"``: by the norm of the gradient.
    gradient
        Whether to find the gradient of ``target`` too: one backward pass down to the layer. ``by="gradient"`` does.
    target
        As in `Trace.gradient`.

    Raises
    ------
    MethodNotApplicableError
        If the module has no weights of its own, or none that are known how to draw.
    GradientError
        If a gradient is asked for and ``source`` is no trace, the target does not depend on the weights, or they are made
        of other parameters (a parametrisation), so that no gradient arrives at them.
    UnknownLayerError, UnknownClassError
        If there is no such layer or class.
    UnknownOptionError
        If there is no such order.
    """
    if by not in ORDERS:
        raise UnknownOptionError(by, ORDERS, f"Weights are ordered by {', '.join(ORDERS)}.")
    network = source.network if isinstance(source, Trace) else source
    module = _module(network, layer)
    name = main_parameter(module)
    if name is None:
        raise MethodNotApplicableError(
            f"Layer {layer!r}, a {type(module).__name__}, has no weights of its own: choose one that has, such as "
            f"{_with_weights(network)!r}."
        )
    prefix = f"{layer.partition(':')[0]}."
    weight = _as_used(network, layer, name)
    kind, values = _kind(layer, module, weight), _filters_first(module, weight)
    shift = module._parameters.get("bias") if kind == "scales" and name != "bias" else None
    slope = shift_slope = None
    if gradient or by == "gradient":
        grads = _gradients(source, [prefix + name, *([prefix + "bias"] if shift is not None else [])], target)
        slope, shift_slope = _filters_first(module, grads[prefix + name]), grads.get(prefix + "bias")
    norms, slope_norms = norms_of(values), None if slope is None else norms_of(slope)
    return Weights(
        layer,
        prefix + name,
        kind,
        values,
        None if shift is None else shift.detach(),
        slope,
        shift_slope,
        norms,
        slope_norms,
        by,
        ordered(by, norms, slope_norms),
        _filter_names(network, layer, kind, len(values)),
        None if kind == "scales" else _inputs(module, values),
    )


def ordered(by: By, norms: Tensor, gradient_norms: Tensor | None) -> Tensor:
    """The rows in an order, the largest first; by norm where there is no gradient to order by."""
    if by == "index":
        return torch.arange(len(norms), device=norms.device)
    judged = gradient_norms if by == "gradient" and gradient_norms is not None else norms
    return judged.argsort(descending=True, stable=True)


def norms_of(values: Tensor) -> Tensor:
    """The L2 norm of each row, in single precision or better."""
    norms: Tensor = torch.linalg.vector_norm(
        values.flatten(1) if values.ndim > 1 else values[:, None], dim=1, dtype=_wide(values)
    )
    return norms


def with_weights(network: Network) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The layers that have weights of their own, with their class and the weight's shape."""
    modules = dict(unwrapped(network.module).named_modules())
    found = {}
    for name, layer in network.layers.items():
        module = modules[name.partition(":")[0]]
        main = main_parameter(module)
        if main is not None:
            found[name] = layer.kind, tuple(getattr(module, main).shape)
    return found


def main_parameter(module: nn.Module) -> str | None:
    """The name of a module's weight: what is called so, else the largest of its own parameters; None if it has none."""
    # Not by ``module.weight``: a parametrisation computes it, and may write to buffers as it does.
    made = module._modules.get("parametrizations")
    if module._parameters.get("weight") is not None or isinstance(module.__dict__.get("weight"), Tensor):
        return "weight"
    if made is not None and "weight" in made._modules:
        return "weight"
    own = {name: p.numel() for name, p in module.named_parameters(recurse=False) if p.ndim}
    return max(own, key=own.__getitem__) if own else None


def _module(network: Network, layer: str) -> nn.Module:
    modules = dict(unwrapped(network.module).named_modules())
    module: nn.Module | None = modules.get(layer.partition(":")[0]) if isinstance(layer, str) and layer else None
    if module is None:
        raise UnknownLayerError(layer, [*network.layers])
    return module


def _with_weights(network: Network) -> str | None:
    return next((name for name in network.layers if main_parameter(_module(network, name))), None)


def _as_used(network: Network, layer: str, name: str) -> Tensor:
    """The weight that the forward pass uses; made on a replica, since a parametrisation may write to the user's buffers."""
    module = _module(network, layer)
    if name in module._parameters:
        return cast(Tensor, module._parameters[name]).detach()
    with torch.inference_mode(False), torch.no_grad():
        replica, _, renew = replicate(module, requires_grad=None)
        renew()
        return cast(Tensor, getattr(replica, name)).detach()


def _kind(layer: str, module: nn.Module, weight: Tensor) -> Kind:
    if _is_vector(module, weight):
        return "scales"
    if weight.ndim == 2:
        return "matrix"
    if weight.ndim in (3, 4):
        convolution = isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1
        return "rgb" if convolution else "kernels"
    raise MethodNotApplicableError(
        f"Layer {layer!r}, a {type(module).__name__}, has weights of shape {tuple(weight.shape)}: only those of one "
        "and two dimensions in space can be drawn."
    )


def _is_vector(module: nn.Module, weight: Tensor) -> bool:
    mixes = isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))  # however few its inputs
    return not mixes and weight.numel() == max(weight.shape, default=1)


def _filters_first(module: nn.Module, weight: Tensor) -> Tensor:
    """A weight, or its gradient, as one row a filter."""
    if _is_vector(module, weight):
        return weight.flatten()
    if weight.ndim == 3:  # of one dimension in space: one row of pixels
        weight = weight.unsqueeze(2)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):  # (in, out / groups, h, w)
        grouped: Tensor = weight.unflatten(0, (module.groups, -1)).transpose(1, 2)
        return grouped.flatten(0, 1)
    return weight


def _inputs(module: nn.Module, values: Tensor) -> Tensor:
    filters, each = values.shape[:2]
    groups = module.groups if isinstance(module, nn.modules.conv._ConvNd) else 1
    group = torch.arange(filters, device=values.device) // (filters // groups)
    return group[:, None] * each + torch.arange(each, device=values.device)


def _wide(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def _gradients(source: Network | Trace, names: list[str], target: TargetLike) -> dict[str, Tensor]:
    if not isinstance(source, Trace):
        raise GradientError("A gradient needs a forward pass: give a trace, nbcnnviz.Network.trace(image).")
    if names[0] not in source.parameters:
        module = names[0].rpartition(".")[0]
        makers = ", ".join(repr(name) for name in source.parameters if name.startswith(f"{module}."))
        raise GradientError(
            f"{names[0]!r} is made of other parameters: ask for theirs, with nbcnnviz.Trace.gradient and the names {makers}."
        )
    return source.gradient(target, names)


def _filter_names(network: Network, layer: str, kind: Kind, count: int) -> tuple[str, ...]:
    scores = kind == "matrix" and layer == next(reversed(network.layers)) and count == len(network.classes)
    return tuple(network.classes) if scores else tuple(map(str, range(count)))
