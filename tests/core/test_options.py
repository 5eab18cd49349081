"""Options as data: what is declared, what is checked, and what is said of a value that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.attribution import methods
from nbcnnviz.core.errors import OptionValueError
from nbcnnviz.core.options import Above, Option, checked, declared, option
from tests import toys


def sampled(
    trace,
    *,
    masks: int = nv.option(4000, low=1, high=100_000, help="How many random masks."),
    share: float = nv.option(0.5, low=0, high=1, below=True),
    fill: str = nv.option("mean", choices=["mean", "black"]),
    seed: int = 0,
    layer: str | None = None,
    smooth: bool = False,
):
    """A function with options."""


OPTIONS = declared(sampled)


def test_a_keyword_only_parameter_is_an_option_with_its_default() -> None:
    assert list(OPTIONS) == ["masks", "share", "fill", "seed", "layer", "smooth"]
    assert OPTIONS["masks"] == Option("masks", 4000, 1, 100_000, None, "How many random masks.", "int")
    assert OPTIONS["fill"].choices == ("mean", "black")
    assert [option.kind for option in OPTIONS.values()] == ["int", "float", "choice", "int", "any", "bool"]


def test_an_option_without_a_default_is_refused() -> None:
    def needy(*, masks: int) -> None: ...

    with pytest.raises(nv.OptionValueError, match="'masks' of needy has no default"):
        declared(needy)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("masks", 7, 7),
        ("masks", np.int64(7), 7),
        ("masks", 7.0, 7),
        ("share", 0, 0.0),
        ("share", np.float32(0.25), 0.25),
        ("fill", "black", "black"),
        ("smooth", np.bool_(True), True),
        ("layer", None, None),
    ],
)
def test_a_value_is_taken_as_the_method_takes_it(name: str, given, expected) -> None:
    found = OPTIONS[name].check(given)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("masks", 0, "masks is a whole number from 1 to 100000, not 0."),
        ("masks", 1e6, "masks is a whole number from 1 to 100000, not 1000000.0."),
        ("masks", 2.5, "not 2.5"),
        ("masks", "many", "not 'many'"),
        ("masks", True, "not True"),
        ("masks", None, "not None"),
        ("share", 1, "share is a finite number from 0 to less than 1, not 1."),
        ("share", float("nan"), "not nan"),
        ("fill", "grey", "fill is one of mean, black, not 'grey'."),
        ("smooth", 1, "smooth is True or False, not 1."),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_a_sentence(name: str, given, message: str) -> None:
    with pytest.raises(nv.OptionValueError) as caught:
        checked(OPTIONS, {name: given}, "sampled")
    assert message in str(caught.value)
    assert isinstance(caught.value, nv.UnknownOptionError)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(nv.UnknownOptionError, match=r"no option 'mask'\. Nearest: masks\. Options of sampled: masks, "):
        checked(OPTIONS, {"mask": 3}, "sampled")


def test_bounds_without_a_kind_are_refused_where_they_are_declared() -> None:
    """They would be checked by nobody: no default tells whether a whole number is meant."""
    with pytest.raises(OptionValueError, match="say the kind"):
        option(None, low=1, high=4096)


def test_every_bound_of_every_method_is_checked() -> None:
    bounded = [found for one in methods().values() for found in one.options.values() if found.low is not None]
    assert {"batch", "steps", "samples", "sigma"} <= {found.name for found in bounded}
    for found in bounded:
        for wrong in (found.low - 1, "x"):
            with pytest.raises(OptionValueError, match=found.name):
                found.check(wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(0.25, (0.25,)), ([0.1, np.float32(0.5)], (0.1, 0.5)), (np.array([0.5, 0.25]), (0.5, 0.25)), (None, None)],
)
def test_several_numbers_are_taken_as_a_tuple(given, expected) -> None:
    assert Option("areas", None, 0.1, 0.9, kind="numbers").check(given) == expected


@pytest.mark.parametrize("given", ["all", "0.5", [], [True], [0.5, "x"], [0.5, 1], 0, torch.tensor(2.0)])
def test_several_numbers_are_each_within_the_bounds(given) -> None:
    with pytest.raises(OptionValueError, match=r"areas is one number or several from 0\.1 to 0\.9, not "):
        Option("areas", None, 0.1, 0.9, kind="numbers").check(given)


@pytest.mark.parametrize("given", [torch.zeros(2, 2), np.zeros(3), object()], ids=["tensor", "array", "object"])
def test_an_option_counts_where_the_others_have_the_values_that_it_needs(given) -> None:
    seed = Option("seed", 0, when={"baseline": ("noise",), "steps": Above(1)})
    assert seed.counts({"baseline": "noise", "steps": 2})
    assert not seed.counts({"baseline": "noise", "steps": 1})
    assert not seed.counts({"baseline": "black", "steps": 2})
    assert not seed.counts({"baseline": given, "steps": 2})


def test_of_several_conditions_one_suffices() -> None:
    seed = Option("seed", 0, when=({"jitter": Above(0)}, {"start": (None,), "made_of": ("waves",)}))
    assert seed.counts({"jitter": 1, "start": "mean"})
    assert seed.counts({"jitter": 0, "start": None, "made_of": "waves"})
    assert not seed.counts({"jitter": 0, "start": "mean", "made_of": "waves"})


@pytest.mark.parametrize(
    ("method", "given", "idle", "value"),
    [
        ("smooth_grad", {"sigma": 0, "samples": 2}, "seed", 7),
        ("smooth_grad_squared", {"sigma": 0, "samples": 2}, "seed", 7),
        ("layer_fusion", {"stages": 1}, "how", "mean"),
    ],
)
def test_what_does_not_count_at_a_number_changes_no_map(method: str, given: dict, idle: str, value: object) -> None:
    torch.manual_seed(0)
    trace = nv.Network(toys.classic(), size=32).trace(torch.rand(3, 32, 32))
    known = methods()[method]
    assert not known.options[idle].counts(known.defaults | given)
    assert known.options[idle].counts(known.defaults)
    one, other = (nv.attribute(trace, method=method, target=1, **given, **more) for more in ({}, {idle: value}))
    assert one.values.equal(other.values)


def test_a_seed_of_a_baseline_counts_where_that_is_noise_alone() -> None:
    """Every method with a baseline whose only chance is that baseline's."""
    for name, method in methods().items():
        options = method.options
        if (
            {"baseline", "seed"} <= set(options)
            and "random" not in options["seed"].help
            and "sets" not in options["seed"].help
        ):
            assert options["seed"].counts(method.defaults | {"baseline": "noise"}), name
            assert not options["seed"].counts(method.defaults | {"baseline": "black"}), name


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "lrp"])
def test_what_does_not_count_changes_no_map(method: str) -> None:
    """Each option that is not shown at another option's value is given there, and the map is the same."""
    torch.manual_seed(0)
    net = nv.Network(toys.classic(), size=32)
    trace, known = net.trace(torch.rand(3, 32, 32)), methods()[method]
    small = {"steps": 3, "window": 16, "stride": 16}
    usual = {name: value for name, value in small.items() if name in known.options}
    switches = {name: found for found in known.options.values() for name in found.when}
    for switch in switches:
        for value in known.options[switch].choices or ("black", "blur"):
            given = usual | {switch: value}
            before = nv.attribute(trace, method=method, target=1, **given).values
            idle = [one for one in known.options.values() if one.when and not one.counts(known.defaults | given)]
            assert idle
            other = {one.name: one.default + 3 for one in idle}
            assert nv.attribute(trace, method=method, target=1, **given, **other).values.equal(before), (value, other)


def test_no_option_of_a_method_or_recipe_is_of_any_kind() -> None:
    """Each says what it can be, and so can be checked and have a control."""
    for known in (*methods().values(), *nv.recipes().values()):
        assert [one.name for one in known.options.values() if one.kind == "any"] == [], known.name
