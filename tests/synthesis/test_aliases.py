"""The names that targets had in synthesis stand for one version more."""

from __future__ import annotations

import pytest
import torch

import nbcnnviz as nv
from nbcnnviz import synthesis as s
from tests.toys import classic


@pytest.mark.parametrize(
    ("old", "arguments", "new"),
    [
        (s.class_score, (2,), nv.ClassScore(2)),
        (s.channel, ("4", 1), nv.Channel("4", 1)),
        (s.unit, ("4", 1), nv.Unit("4", 1)),
        (s.unit, ("4", 1, 2, 3), nv.Unit("4", 1, 2, 3)),
        (s.direction, ("4", [1.0, 2.0]), nv.Direction("4", [1.0, 2.0])),
        (s.layer_energy, ("4",), nv.LayerEnergy("4")),
        (s.diversity, ("4",), nv.Diversity("4")),
        (s.each, ([1, 2],), nv.Each([1, 2])),
    ],
    ids=lambda case: getattr(case, "__name__", None),
)
def test_an_old_name_makes_the_new_target_and_says_so(old, arguments: tuple, new: nv.Target) -> None:
    with pytest.warns(DeprecationWarning, match=f"is now nbcnnviz.{type(new).__name__}"):
        assert old(*arguments) == new


def test_likeness_too() -> None:
    activation = torch.randn(1, 2, 3, 3)
    with pytest.warns(DeprecationWarning, match="is now nbcnnviz.Likeness"):
        assert torch.equal(s.likeness("4", activation).activation, activation)


def test_an_objective_is_a_function_with_its_layers() -> None:
    net = nv.Network(classic(), size=12)
    with pytest.warns(DeprecationWarning, match="is now nbcnnviz.Target"):
        mine = s.Objective(lambda t: t["0"].mean((1, 2, 3)), "mine", layers={"0"})
    assert (mine.layers, mine.whole, repr(mine)) == ({"0"}, False, "mine")
    frame = next(s.synthesize(net, mine - nv.Channel("0", 1), jitter=0, scale=0, rotate=0, jitter_after=0))
    assert frame.logits is None
    maps = net.trace(frame.input)["0"][0]
    assert frame.score == pytest.approx(float(maps.mean() - maps[1].mean()), rel=1e-4)


def test_the_old_names_of_synthesis_still_work_and_say_the_new_ones() -> None:
    net = nv.Network(classic(), size=(16, 20))
    with pytest.warns(DeprecationWarning, match="canvas= is now parameterization="):
        frame = next(s.synthesize(net, 0, canvas="pixels"))
    assert frame.provenance.arguments["parameterization"] == "pixels"
    assert frame.provenance == next(s.synthesize(net, 0, parameterization="pixels")).provenance
    with pytest.warns(DeprecationWarning, match="Reel is now FrameBuffer"):
        assert s.Reel is s.FrameBuffer
    recipe = s.recipes()["fool"]
    with pytest.warns(DeprecationWarning, match=r"Recipe\.resolve"):
        assert recipe.settle(None, {"l2": 1}) == recipe.resolve(None, {"l2": 1})
