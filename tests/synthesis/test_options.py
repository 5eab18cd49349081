"""The options of recipes as data, and the controls among them."""

from __future__ import annotations

import inspect
from dataclasses import asdict

import pytest
import torch

import nbcnnviz as nv
from nbcnnviz import synthesis as s
from nbcnnviz.core.options import in_force
from nbcnnviz.synthesis.recipe import _RECIPES, recipe
from tests.toys import classic


@pytest.fixture(scope="module")
def net() -> nv.Network:
    return nv.Network(classic(), size=16)


@pytest.mark.parametrize("name", list(nv.recipes()))
def test_a_recipe_tells_what_it_takes_with_its_own_defaults(name: str) -> None:
    known = nv.recipes()[name]
    assert known.options["steps"].default == known.steps
    assert known.options["seed"].kind == "int"
    controls = asdict(known.controls())
    assert {n: known.options[n].default for n in controls} == controls
    for option in known.options.values():
        assert option.help, option
        assert option.check(option.default) == option.default
    named = {n for n, p in inspect.signature(known.run).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert named - {"controls", "schedule", "canvas", "mixed"} <= set(known.options)
    shown = [p.default for p in inspect.signature(known.run).parameters.values()]
    assert not any(isinstance(default, nv.Option) for default in shown)


def test_what_a_recipe_sets_for_itself_is_its_default(net: nv.Network) -> None:
    options = nv.recipes()["class_model"].options
    assert (options["start"].default, options["optimiser"].default) == ("mean", "normalised")
    assert options["parameterization"].choices == ("pixels", "fourier")
    frame = next(nv.class_model(net, 1))
    assert frame.provenance.arguments["optimiser"] == "normalised"
    assert next(nv.class_model(net, 1, optimiser="adam")).provenance.arguments.get("optimiser", "adam") == "adam"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", -1, "learning_rate is a finite number, zero or more, not -1."),
        ("learning_rate", float("inf"), "not inf"),
        ("scale", 1, "scale is a finite number from 0 to less than 1, not 1."),
        ("jitter", 2.5, "jitter is a whole number of pixels, 0 or more, not 2.5."),
        ("clip_norm", 100, "less than 100"),
    ],
)
def test_a_control_takes_what_its_option_says(name: str, value: float, message: str) -> None:
    controls = s.Controls()
    with pytest.raises(nv.OptionValueError) as caught:
        setattr(controls, name, value)
    assert message in str(caught.value)
    assert controls == s.Controls()


def test_a_recipes_own_options_are_checked(net: nv.Network) -> None:
    with pytest.raises(nv.OptionValueError, match="octaves is a whole number, 1 or more, not 0"):
        nv.dream(net, "coffee", octaves=0)
    with pytest.raises(nv.OptionValueError, match="how is one of ascent, fgsm, pgd, not 'luck'"):
        nv.fool(net, "coffee", how="luck")


def test_a_recipes_name_that_is_taken_is_refused(monkeypatch) -> None:
    with pytest.raises(nv.NameTakenError, match="a recipe 'dream' already, Dream of nbcnnviz"):

        @recipe("Mine")
        def dream(net, objective, *, steps: int = 3, **options):
            """Not the built-in."""

    assert nv.recipes()["dream"].title == "Dream"
    monkeypatch.setitem(_RECIPES, "mine", None)
    monkeypatch.delitem(_RECIPES, "mine")
    for steps in (3, 4):  # as a notebook's cell that is run again

        @recipe("Mine")
        def mine(net, objective, *, steps: int = steps, **options):
            """A recipe of one's own."""

        assert nv.recipes()["mine"].steps == steps


def test_the_old_name_of_a_control_is_understood_with_a_warning(net: nv.Network) -> None:
    with pytest.warns(DeprecationWarning, match="wake is now redirected_relu"):
        controls = s.Controls(wake=3)
    assert controls.redirected_relu == 3
    with pytest.warns(DeprecationWarning, match="wake is now"):
        assert controls.wake == 3
    with pytest.warns(DeprecationWarning, match="wake is now"):
        controls.wake = 4
    assert controls == s.Controls(redirected_relu=4)
    with pytest.warns(DeprecationWarning, match="wake is now"):
        frame = next(nv.synthesize(net, 1, wake=0))
    assert frame.provenance.settings["redirected_relu"] == 0
    with pytest.raises(AttributeError):
        _ = controls.nothing


def test_a_choice_implies_defaults_and_says_what_makes_no_difference() -> None:
    options = nv.recipes()["fool"].options
    assert in_force(options, {})["learning_rate"] == 0.1
    assert in_force(options, {"how": "pgd"})["learning_rate"] == 0.5
    assert in_force(options, {"how": "pgd", "learning_rate": 0.2})["learning_rate"] == 0.2
    assert in_force(options, {"how": "fgsm"})["steps"] == 1
    assert options["bound"].counts({"how": "pgd"})
    assert not options["bound"].counts({"how": "ascent"})


STILL = {"jitter": 0, "scale": 0, "rotate": 0, "jitter_after": 0}


@pytest.mark.parametrize(
    ("recipe", "given", "idle", "value"),
    [
        ("fool", {}, "seed", 7),
        ("fool", {"how": "fgsm"}, "learning_rate", 50),
        ("dream", {"jitter": 0, "octaves": 2}, "seed", 7),
        ("dream", {"octaves": 1}, "octave_scale", 2.0),
        ("class_model", STILL, "seed", 7),
        ("synthesize", {**STILL, "parameterization": "pixels"}, "seed", 7),
        ("synthesize", {**STILL, "start": "mean"}, "seed", 7),
        ("feature_visualization", {"learning_rate": 3}, "clip", True),
    ],
)
def test_what_does_not_count_in_a_recipe_changes_no_picture(net: nv.Network, recipe, given, idle, value) -> None:
    known = nv.recipes()[recipe]
    assert not known.options[idle].counts(in_force(known.options, given))
    about = "coffee" if known.takes == "picture" else 1
    one, other = ([*known.run(net, about, **given, **more, steps=2)] for more in ({}, {idle: value}))
    assert torch.equal(one[-1].input, other[-1].input)
    assert not torch.equal(one[0].input, one[-1].input), "it goes somewhere"


@pytest.mark.parametrize(
    ("recipe", "given"),
    [
        *(("fool", {name: 0.5 if name == "scale" else 4}) for name in STILL),
        ("dream", {}),
        ("invert", {}),
        ("deep_visualization", {}),
        ("synthesize", STILL),
        ("synthesize", {**STILL, "parameterization": "pixels", "start": "noise"}),
    ],
)
def test_a_seed_counts_where_something_is_random(net: nv.Network, recipe: str, given: dict) -> None:
    known = nv.recipes()[recipe]
    assert known.options["seed"].counts(in_force(known.options, given))
    about = "coffee" if known.takes == "picture" else 1
    one, other = ([*known.run(net, about, **given, seed=seed, steps=2)] for seed in (0, 7))
    assert not torch.equal(one[-1].input, other[-1].input)


def test_the_class_of_a_fooling_image_is_given_by_place_or_by_name(net: nv.Network) -> None:
    by_place, by_name = next(nv.fool(net, "coffee", 3, steps=1)), next(nv.fool(net, "coffee", to=3, steps=1))
    assert by_place.to == by_name.to == 3
