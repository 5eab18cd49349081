"""What a pass or a run held is freed as it ends, not at some later collection of reference cycles."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import nbcnnviz as nv
from nbcnnviz import metrics
from tests.toys import Branching, classic, few

X = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def first(net: nv.Network) -> str:
    return next(iter(net.layers))


SYNTHESES = {
    "synthesize": lambda net: nv.synthesize(net, nv.Channel(first(net), 1), steps=3, size=24),
    "fool": lambda net: nv.fool(net, X, 3, steps=3),
    "invert": lambda net: nv.invert(net, X, first(net), steps=3),
    "dream": lambda net: nv.dream(net, X, first(net), steps=3, octaves=1),
    "class_model": lambda net: nv.class_model(net, 3, steps=3),
}


@contextmanager
def garbage() -> Iterator[list[Any]]:
    """What is only freed by a collection, of all that is made within."""
    found: list[Any] = []
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.extend(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def held(act: Callable[[], Any]) -> list[str]:
    """The tensors and modules in reference cycles that ``act`` leaves; its second run, since the first imports."""
    act()
    with garbage() as found:
        act()
    return [type(one).__qualname__ for one in found if isinstance(one, (torch.Tensor, torch.nn.Module, nv.Network))]


@pytest.fixture(scope="module", params=[classic, Branching])
def network(request: pytest.FixtureRequest) -> nv.Network:
    return nv.Network(request.param(), size=24)


def test_a_tensor_in_a_cycle_is_seen() -> None:
    def cycle() -> None:
        held: list[Any] = [torch.zeros(1)]
        held.append(held)

    assert held(cycle) == ["Tensor"]


def test_a_pass_leaves_no_cycle(network: nv.Network) -> None:
    assert held(lambda: network.trace(X).gradient(1)) == []
    assert held(lambda: network.scores(X)) == []


# CAM has no meaning on this network; what explains with Captum's KernelShap leaves Captum's own cycle, without the network.
@pytest.mark.parametrize("method", [name for name in nv.methods() if name not in ("cam", "kernel_shap")])
def test_a_map_leaves_no_cycle(method: str) -> None:
    network = nv.Network(classic(), size=24)
    assert held(lambda: nv.attribute(network, X, method=method, target=1, **few(method))) == []


@pytest.mark.parametrize("recipe", SYNTHESES)
def test_a_synthesis_leaves_no_cycle_ended_or_stopped(network: nv.Network, recipe: str) -> None:
    def stopped() -> None:
        frames = SYNTHESES[recipe](network)
        next(frames)
        frames.close()

    assert held(stopped) == []
    assert held(lambda: list(SYNTHESES[recipe](network))) == []


def test_scores_of_a_map_and_what_if_leave_no_cycle(network: nv.Network) -> None:
    trace = network.trace(X)
    result = nv.attribute(trace, method="saliency", target=1)
    for metric in (metrics.insertion, metrics.deletion, metrics.road):
        assert held(lambda metric=metric: metric(trace, result)) == []
    layer = next(iter(network.layers))
    assert held(lambda: nv.what_if(trace, layer, 0)) == []
