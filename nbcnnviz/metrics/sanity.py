"""Whether a map depends on what the network has learnt (Adebayo et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from nbcnnviz.attribution import Attribution, attribute
from nbcnnviz.core.errors import NetworkError
from nbcnnviz.core.network import Network
from nbcnnviz.core.replica import unwrapped
from nbcnnviz.core.targets import TargetLike, as_target
from nbcnnviz.metrics.agreement import rank_correlation
from nbcnnviz.metrics.score import Score, typed


@dataclass(frozen=True, eq=False)
class Stage:
    """The map after the weights of the last ``step`` modules were drawn anew.

    Attributes
    ----------
    module : str
        The name of the module re-initialised last; ``""`` for the network as it was.
    step, steps : int
        How many have been, of how many.
    result : Attribution
        The map.
    correlation : float
        Its rank correlation with the map of the network as it was: 1 where it is the same, 0 where it is another.
    """

    module: str
    step: int
    steps: int
    result: Attribution
    correlation: float


@typed
def cascade(
    network: Network,
    image: Any,
    *,
    method: str = "grad_cam",
    target: TargetLike = None,
    layer: str | None = None,
    stages: int | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    **given: Any,
) -> Iterator[Stage]:
    """The cascading randomisation of Adebayo et al. 2018: from the top of the network down, module by module.

    A copy of the network is changed, never the network itself. The target stays the class that the network itself
    names, or the one given.

    Parameters
    ----------
    network, image, method, target, layer, **given
        As `nbcnnviz.attribute` takes them.
    stages
        How many stages beside the first; modules are then re-initialised in groups. Default: one a module.
    seed
        Of the new weights.
    options
        The method's options, as ``**given``, also those that have the name of an argument here: ``{"seed": 3}``.

    Yields
    ------
    Stage
        First that of the network as it is.

    Raises
    ------
    NetworkError
        If the network cannot be copied, or has no weights.
    """
    own = dict(options or {}) | given
    clone = _clone(network)
    groups = stages_of(network, stages)
    seeds = _seeds(network, seed)
    batch = network.batch(image)
    trace = network.trace(batch)
    asked = as_target(target, trace)
    first = attribute(trace, method=method, target=asked, layer=layer, **own)
    yield Stage("", 0, len(groups), first, 1.0)
    original = first.values.detach()
    modules = dict(unwrapped(clone.module).named_modules())
    for step, group in enumerate(groups, 1):
        for name in group:
            reinitialise(modules[name], seeds[name])
        result = attribute(clone.trace(batch), method=method, target=asked, layer=first.layer, **own)
        correlations = [rank_correlation(a, b) for a, b in zip(original, result.values.detach(), strict=True)]
        yield Stage(group[-1], step, len(groups), result, sum(correlations) / len(correlations))


@typed
def sanity(network: Network, image: Any, **options: Any) -> Score:
    """The rank correlation of a map with that of the network fully randomised; see `cascade`, whose arguments it takes.

    A method that explains what was learnt gives another map, near 0. A map that stays the same shows the picture's
    edges, whatever the network knows.

    Returns
    -------
    Score
        ``details`` holds ``modules`` and ``correlations``, stage by stage.
    """
    stages = list(cascade(network, image, **options))
    return Score(
        "sanity",
        stages[-1].correlation,
        0.0,
        "The rank correlation with the map of the same network without what it learnt: near 1, the map does not "
        "depend on it.",
        {"modules": [s.module for s in stages], "correlations": [s.correlation for s in stages]},
    )


def stages_of(network: Network, stages: int | None = None) -> list[list[str]]:
    """The modules that a cascade re-initialises at each stage, from the top of the network down.

    Raises
    ------
    NetworkError
        If the network has no weights.
    """
    names = [name for name, _ in weighted(network)][::-1]
    if not names:
        raise NetworkError(f"{network.name} has no weights that could be drawn anew.")
    return _groups(names, stages)


def randomised(network: Network, modules: Sequence[str] | None = None, seed: int = 0) -> Network:
    """A copy of a network whose weights are drawn anew, with the same weights as `cascade` draws for this seed.

    Parameters
    ----------
    network
        It stays as it is.
    modules
        The names of the modules whose weights are drawn. Default: all that have any.
    seed
        Of the new weights.

    Raises
    ------
    NetworkError
        If the network cannot be copied, or has no weights.
    UnknownLayerError
        If a module named has no weights, or does not exist.
    """
    seeds = _seeds(network, seed)
    if not seeds:
        raise NetworkError(f"{network.name} has no weights that could be drawn anew.")
    for name in modules or ():
        if name not in seeds:
            raise network.unknown_layer(name, seeds)
    clone = _clone(network)
    clone.name, clone.origin = f"{network.name}, weights drawn anew", None
    known = dict(unwrapped(clone.module).named_modules())
    for name in seeds if modules is None else modules:
        reinitialise(known[name], seeds[name])
    return clone


def _seeds(network: Network, seed: int) -> dict[str, int]:
    """The seed of the new weights of each module, by its name."""
    return {name: seed + at for at, (name, _) in enumerate(weighted(network), 1)}


def weighted(network: Network) -> list[tuple[str, nn.Module]]:
    """The modules with parameters of their own, in the order in which they are called, each once."""
    modules = dict(unwrapped(network.module).named_modules())
    names = dict.fromkeys(name.partition(":")[0] for name in network.layers)
    return [(n, modules[n]) for n in names if n in modules and any(True for _ in modules[n].parameters(recurse=False))]


def reinitialise(module: nn.Module, seed: int) -> None:
    """Draw a module's own weights anew: as the module itself does it, or normal with the spread that they had."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
            return
        generator = torch.Generator().manual_seed(seed)
        for parameter in module.parameters(recurse=False):
            if parameter.is_floating_point():
                spread = parameter.float().std(unbiased=False).cpu() if parameter.numel() > 1 else torch.tensor(1.0)
                drawn = torch.randn(parameter.shape, generator=generator) * spread
                parameter.copy_(drawn.to(parameter))


def _clone(network: Network) -> Network:
    clone = copy.copy(network)
    try:
        with torch.inference_mode(False):
            clone.module = copy.deepcopy(unwrapped(network.module))
    except Exception as error:  # the user's module may hold anything
        raise NetworkError(
            f"{network.name} cannot be copied ({type(error).__name__}), and the network itself is never changed."
        ) from error
    return clone


def _groups(names: Sequence[str], stages: int | None) -> list[list[str]]:
    count = len(names) if stages is None else max(1, min(stages, len(names)))
    edges = torch.linspace(0, len(names), count + 1).round().int().tolist()
    return [list(names[a:b]) for a, b in pairwise(edges)]
