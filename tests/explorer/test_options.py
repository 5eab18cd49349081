"""A method's options: controls in the menu, the cost before the start, and the code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.attribution import methods
from nbcnnviz.attribution.method import _METHODS
from nbcnnviz.core.options import Option
from nbcnnviz.explorer.options import OptionControls
from tests.session.conftest import PATIENCE

SKETCH = Path(__file__).parents[1] / "sketches" / "rise.py"


@pytest.fixture
def rise() -> Iterator[str]:
    """The sketch of a new method, entered by importing its file."""
    sys.modules.pop("tests.sketches.rise", None)
    importlib.import_module("tests.sketches.rise")
    yield "rise_sketch"
    del _METHODS["rise_sketch"]


# A new method, in one file of under sixty lines, with nothing else told of it.


def test_the_sketch_is_short() -> None:
    assert len(SKETCH.read_text(encoding="utf-8").splitlines()) < 60


def test_a_new_method_streams_with_progress_and_pauses(explore, toy: nv.Network, rise: str) -> None:
    ex = explore(toy, target=1)
    controls, steps = ex._controls, []
    assert ("RISE, sketched", rise) in nv_menu(ex)
    ex.session.observe(lambda frame: steps.append((frame.step, frame.steps)))
    controls.method.value = rise
    ex.session.task.pause()
    assert ex.session.task.wait(PATIENCE)
    ex.session.task.step()
    assert ex.session.task.wait(PATIENCE)
    before = ex.result.step
    assert ex._status.paused
    assert ex._status.status == f"Paused at {before} of 64"
    ex.session.task.step()
    assert ex.session.task.wait(PATIENCE)
    assert ex.result.step == before + 8
    assert ex.session.task.seconds_left > 0
    ex._status._handle_custom_msg({"type": "pause"}, [])
    assert ex.wait(PATIENCE).result.step == 64
    assert steps[-1] == (64, 64)
    assert ex.result.values.equal(nv.attribute(toy, "chelsea", method=rise, target=1).values)


def test_its_options_have_controls_and_its_cost_is_said(explore, toy: nv.Network, rise: str) -> None:
    ex = explore(toy, target=1)
    options = ex._controls.options
    assert options.controls == {}
    ex._controls.method.value = rise
    ex.wait(PATIENCE)
    assert list(options.controls) == ["masks", "cells", "keep", "seed"]
    assert [control.description for control in options.controls.values()] == ["Masks", "Cells", "Keep", "Seed"]
    assert "How many random masks" in options.controls["masks"].tooltip
    assert (options.controls["masks"].min, options.controls["masks"].max) == (1, 100_000)
    assert options.cost.value.startswith("64 passes, about ")
    options.controls["masks"].value = 16
    assert ex.wait(PATIENCE).result.steps == 16
    assert options.cost.value.startswith("16 passes, about ")
    assert ex.selection.options == {"masks": 16}
    assert ex.code().endswith(f"method={rise!r}, target=1, masks=16)")
    options.controls["masks"].value = 64
    assert ex.selection.options == {}
    ex._tools._handle_custom_msg({"type": "undo"}, [])
    assert options.controls["masks"].value == 16
    ex.selection.options = {"keep": 0.25}
    assert options.controls["keep"].value == 0.25
    assert options.controls["masks"].value == 64
    ex._controls.method.value = "grad_cam"
    ex.wait(PATIENCE)
    assert options.controls == {}
    assert options.cost.value.startswith("Cost: ")


def nv_menu(ex) -> tuple:
    ex._controls.follow()
    return ex._controls.method.options


# Controls of every kind.


OPTIONS = {
    "count": Option("count", 3, 1, 9, help="How many.", kind="int", unit="pixels"),
    "share": Option("share", 0.5, 0.0, 1.0, kind="float"),
    "free": Option("free", 2.0, kind="float"),
    "mean": Option("mean", True, kind="bool"),
    "fill": Option("fill", "mean", choices=("mean", "black"), kind="choice"),
    "note": Option("note", "x", kind="text"),
    "baseline": Option("baseline", None),
}


def test_each_kind_of_option_has_its_control_and_others_have_none() -> None:
    changed: list = []
    shown = OptionControls(lambda name, value: changed.append((name, value)))
    shown.show(OPTIONS, {})
    kinds = {name: type(control).__name__ for name, control in shown.controls.items()}
    assert kinds == {
        "count": "BoundedIntText", "share": "BoundedFloatText", "free": "BoundedFloatText", "mean": "Checkbox",
        "fill": "Dropdown", "note": "Text",
    }  # fmt: skip
    assert {name: control.value for name, control in shown.controls.items()} == {
        name: option.default for name, option in OPTIONS.items() if name != "baseline"
    }
    assert shown.controls["count"].description == "Count (pixels)"
    assert shown.controls["share"].step == pytest.approx(0.01)
    changed.clear()
    shown.controls["mean"].value = False
    shown.controls["fill"].value = "black"
    assert changed == [("mean", False), ("fill", "black")]


@pytest.mark.parametrize("kind", ["baseline", "picture"])
@pytest.mark.parametrize("given", [torch.zeros(1, 3, 8, 8), np.zeros((8, 8, 3), np.uint8), "cat.png"], ids=str)
def test_a_picture_given_in_python_is_said_and_can_be_left(kind: str, given: object) -> None:
    """The menu has no entry for it, and a tensor cannot be compared with one."""
    changed: list = []
    options = {"start": Option("start", "mean", kind=kind)}
    shown = OptionControls(lambda name, value: changed.append((name, value)))
    shown.show(options, {})
    menu = shown.controls["start"]
    before = menu.options
    assert menu.value == "mean"
    assert "noise" in dict(before).values()
    shown.show(options, {"start": given})
    assert (menu.value, changed) == ("given in Python", [])
    menu.value = "noise"
    shown.show(options, {"start": "noise"})
    assert changed == [("start", "noise")]
    assert (menu.options, menu.value) == (before, "noise")


def test_every_method_with_a_baseline_offers_those_by_name(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    found = [name for name, method in methods().items() if "baseline" in method.options]
    assert {"integrated_gradients", "occlusion", "extremal_perturbation"} <= set(found)
    for name in found:
        ex.selection.method = name
        menu = ex._controls.options.controls["baseline"]
        assert [value for _, value in menu.options] == ["black", "mean", "blur", "noise"], name
        assert menu.value == methods()[name].options["baseline"].default, name
    ex.selection.method = "integrated_gradients"
    ex.wait(PATIENCE)
    ex._controls.options.controls["baseline"].value = "blur"
    ex.wait(PATIENCE)
    assert ex.selection.options["baseline"] == "blur"
    assert ex.code().endswith("baseline='blur')")


def seen(ex) -> list[str]:
    """The options whose controls are shown."""
    controls = ex._controls.options.controls
    return [name for name, control in controls.items() if control.layout.display != "none"]


def test_an_option_is_shown_where_it_makes_a_difference(explore, toy: nv.Network) -> None:
    ex = explore(toy, method="integrated_gradients")
    assert seen(ex) == ["steps", "baseline"]
    ex._controls.options.controls["baseline"].value = "noise"
    assert seen(ex) == ["steps", "baseline", "seed"]
    ex.selection.options = {"baseline": np.zeros((8, 8, 3), np.uint8)}
    assert seen(ex) == ["steps", "baseline"]
    ex.stop()
    ex.selection.method = "lrp"
    assert seen(ex) == ["rule", "epsilon", "gamma"]
    ex._controls.options.controls["rule"].value = "alpha_beta"
    assert seen(ex) == ["rule", "alpha"]


def test_numbers_that_may_be_left_out_have_a_field(explore, toy: nv.Network) -> None:
    ex = explore(toy, target=1)
    ex.selection.method = "extremal_perturbation"
    ex.stop()
    controls = ex._controls.options.controls
    assert seen(ex) == ["area", "areas", "steps", "variant", "sigma", "stride", "baseline", "flip"]
    assert [controls[name].value for name in ("areas", "sigma", "stride")] == ["", "", ""]
    for name, text, value in (
        ("steps", 3, 3),
        ("areas", "0.05, 0.2", (0.05, 0.2)),
        ("sigma", "9.5", 9.5),
        ("stride", "4", 4),
    ):
        controls[name].value = text
        assert ex.selection.options[name] == value
        assert ex.error is None
    assert "area" not in seen(ex)
    result = ex.wait(PATIENCE).result
    line = ex.code().splitlines()[-1]
    assert "areas=(0.05, 0.2)" in line
    expected = nv.attribute(toy, "chelsea", method="extremal_perturbation", target=1, **ex.selection.options)
    assert result.values.equal(expected.values)
    controls["areas"].value = ""
    assert "areas" not in ex.selection.options
    assert "area" in seen(ex)
    ex.stop()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("areas", "0.1, 2", "areas is one number or several from 0.001 to 0.999"),
        ("areas", "half", "not 'half'"),
        ("sigma", "0", "sigma is a finite number of pixels from 1 to 4096, not 0"),
        ("stride", "2.5", "stride is a whole number of pixels from 1 to 4096, not 2.5"),
        ("stride", "3 4", "not '3 4'"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence_and_taken_back(explore, toy: nv.Network, name, text, said) -> None:
    ex = explore(toy, target=1)
    ex.selection.method = "extremal_perturbation"
    ex.stop()
    control = ex._controls.options.controls[name]
    control.value = text
    assert said in str(ex.error)
    assert said in ex._status.error
    assert control.value == ""
    assert ex.selection.options == {}
    ex.stop()


def test_controls_of_a_method_that_was_left_are_closed() -> None:
    shown = OptionControls(lambda name, value: None)
    shown.show(OPTIONS, {})
    before = list(shown.controls.values())
    shown.show({}, {})
    assert all(control.comm is None for control in before)


def test_the_sketch_finds_what_the_class_looks_at(rise: str) -> None:
    """A network that sees only one corner: the map is strongest there."""
    torch.manual_seed(0)

    class Corner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(1, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x[:, :, :8, :8].mean((1, 2, 3))[:, None])

    module = Corner()
    with torch.no_grad():
        module.fc.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    network = nv.Network(module, size=32)
    values = nv.attribute(network, torch.ones(3, 32, 32), method=rise, target=0, masks=256).values[0, 0]
    assert values[:8, :8].mean() > values[16:, 16:].mean() + 0.05
