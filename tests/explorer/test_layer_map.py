from __future__ import annotations

import numpy as np
import pytest

import nbcnnviz as nv
from nbcnnviz.core.outline import activity


def choose(ex, layer: object) -> None:
    ex._sides.map._handle_custom_msg({"type": "choose", "layer": layer}, [])
    ex.wait(30)


def test_the_map_shows_the_layers_and_follows_the_selection(explore, toy: nv.Network, mlp: nv.Network) -> None:
    ex = explore(toy)
    assert sorted(n for n, k in zip(ex._sides.map.names, ex._sides.map.kinds, strict=True) if k) == sorted(toy.layers)
    assert ex._sides.map.current == toy.last_maps
    ex.selection.layer = "0"
    assert ex._sides.map.current == "0"
    ex.selection.network = mlp
    assert set(mlp.layers) <= set(ex._sides.map.names)
    assert ex._sides.map.current == ""


def test_identities_are_left_out(explore, bundled: nv.Network) -> None:
    ex = explore(bundled)
    assert not any(kind == "Identity" for kind in ex._sides.map.kinds)
    assert len(ex._sides.map.order) == sum(layer.kind != "Identity" for layer in bundled.layers.values())


def test_a_layer_chosen_on_the_map_is_selected(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    choose(ex, "0")
    assert ex.selection.layer == ex.result.layer == ex._sides.map.current == "0"


@pytest.mark.parametrize("layer", ["nowhere", 3, None])
def test_what_is_no_layer_is_a_sentence(explore, toy: nv.Network, layer: object) -> None:
    ex = explore(toy)
    choose(ex, layer)
    assert ex.selection.layer == toy.last_maps
    assert "\n" not in ex._status.error


def test_the_map_is_coloured_by_the_activity_of_the_picture(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    for picture in ("chelsea", "coffee"):
        ex.selection.image = picture
        ex.wait(30)
        expected = activity(toy.trace(picture))
        heat = dict(zip(ex._sides.map.names, np.frombuffer(ex._sides.map.heat, np.float32), strict=True))
        assert {name: heat[name] for name in expected} == pytest.approx(expected, rel=1e-5)
