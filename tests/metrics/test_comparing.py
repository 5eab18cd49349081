"""Maps side by side: each is what `attribute` gives alone, and their correlations are scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import nbcnnviz as nv
from nbcnnviz.attribution.method import _METHODS, method
from nbcnnviz.core.targets import as_target
from nbcnnviz.metrics import cascade, compare, randomised
from nbcnnviz.metrics.comparing import Ranks
from nbcnnviz.metrics.questions import layers_over_depth
from nbcnnviz.render import flat
from tests import toys

SIZE = 16
QUICK = ["grad_cam", "hires_cam", "saliency", "gradient", "input_x_gradient"]


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=SIZE, classes=["ant", "bee", "cat", "dog", "eel"])


@pytest.fixture(scope="module")
def trace(net: nv.Network) -> nv.Trace:
    return net.trace(torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))


def upscaled(values: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    return torch.nn.functional.interpolate(flat(values)[None], size, mode="bilinear")[0, 0].numpy()


def test_each_method_gives_the_map_that_it_gives_alone(trace) -> None:
    found = compare(trace, axis="methods", values=QUICK, target=2)
    for name in QUICK:
        assert torch.equal(found[name].values, nv.attribute(trace, method=name, target=2).values)
    assert [entry.value for entry in found.entries] == QUICK
    assert [entry.chosen for entry in found.entries] == [name == "grad_cam" for name in QUICK]


def test_the_correlations_are_those_of_scipy_at_the_finer_size_of_two(trace) -> None:
    found = compare(trace, axis="methods", values=QUICK, target=2)
    results = [entry.result for entry in found.entries]
    for i, one in enumerate(results):
        for j, other in enumerate(results):
            size = tuple(max(one.values.shape[a], other.values.shape[a]) for a in (2, 3))
            pair = [upscaled(r.values, size).ravel() for r in (one, other)]
            assert found.correlations[i, j] == pytest.approx(spearmanr(*pair).statistic, abs=1e-6), (i, j)


def test_the_cheapest_comes_first_and_what_is_shown_is_in_that_order_too(trace) -> None:
    frames = list(compare.stream(trace, axis="methods", passes=3, target=2))
    order = [entry.cost for entry in frames[-1].entries]
    assert order == sorted(order)
    assert order[-1] <= 3
    assert [f.step for f in frames] == sorted(f.step for f in frames)
    assert (frames[0].step, frames[-1].step) == (0, len(order))
    assert "rise" not in [entry.value for entry in frames[-1].entries]


def test_every_method_has_a_map_or_a_reason(net) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(144, 3))
    trace = nv.Network(module, size=8).trace(torch.randn(1, 3, 8, 8))
    found = compare(trace, axis="methods", passes=10, target=1)
    assert found.step == len(found)
    reasons = {entry.value: entry.error for entry in found.left_out}
    assert "one Linear layer over the average" in reasons["cam"]
    assert "No rectifier" in reasons["guided_backprop"]
    assert all(entry.result is not None for entry in found.entries if entry.applies)
    with pytest.raises(nv.MethodNotApplicableError, match="No rectifier"):
        found["guided_backprop"]


def test_one_that_fails_stops_no_other(trace) -> None:
    @method("Broken", family="gradients", cost="none")
    def broken(trace, target, layer):
        """It fails."""
        raise ZeroDivisionError("nothing to divide by")
        yield

    try:
        found = compare(trace, axis="methods", values=["broken", "saliency"], target=0)
    finally:
        del _METHODS["broken"]
    first, second = found.entries
    assert first.error == "ZeroDivisionError: nothing to divide by."
    assert first.applies
    assert second.result is not None
    assert math.isnan(found.correlations[0, 1])


def test_classes_are_the_likeliest_and_their_maps_come_from_one_batched_pass(net, trace, monkeypatch) -> None:
    calls = []
    own = type(trace)._batched
    monkeypatch.setattr(type(trace), "_batched", lambda self, *a: calls.append(len(a[0])) or own(self, *a))
    passes = []
    monkeypatch.setattr(nv.Network, "_recorded", lambda *_, **__: passes.append(1))
    found = compare(trace, axis="classes", most=4)
    assert passes == [], "the trace's forward pass serves them all"
    assert calls == [4]
    assert [entry.value for entry in found.entries] == [index for index, *_ in trace.top(4)]
    for entry in found.entries:
        alone = nv.attribute(trace, target=entry.value)
        assert torch.allclose(entry.result.values, alone.values, atol=1e-6)
        assert entry.result.trace is trace
    assert found.chosen == 0
    assert torch.equal(found["cat"].values, next(e for e in found.entries if e.name == "cat").result.values)


def test_down_to_the_input_each_class_has_a_pass_of_its_own(trace, monkeypatch) -> None:
    """A batched one takes longer there."""
    monkeypatch.setattr(type(trace), "_batched", lambda self, *a: pytest.fail("it was batched"))
    assert compare(trace, axis="classes", most=3, method="saliency").step == 3


def test_equal_values_share_their_ranks(trace) -> None:
    ranks = Ranks(2)
    coarse = [torch.randint(0, 3, (1, 1, 6, 6), generator=torch.Generator().manual_seed(i)).float() for i in (5, 6)]
    for at, values in enumerate(coarse):
        ranks.take(at, nv.Attribution(values, as_target(0, trace), "input", trace))
    expected = spearmanr(*(values.numpy().ravel() for values in coarse)).statistic
    assert ranks.correlations[0, 1] == pytest.approx(expected, abs=1e-12)


def test_a_class_selected_that_is_not_among_the_likeliest_is_compared_too(trace) -> None:
    last = trace.top(5)[-1][0]
    found = compare(trace, axis="classes", most=3, target=last)
    assert found.entries[found.chosen].value == last
    assert len(found) == 3


def test_the_values_of_a_regression_are_compared_as_classes_are() -> None:
    net = nv.Network(toys.classic(classes=3), size=SIZE, scores="regression")
    trace = net.trace(torch.randn(1, 3, SIZE, SIZE))
    found = compare(trace, axis="classes")
    assert [entry.value for entry in found.entries] == [0, 1, 2]
    assert torch.allclose(found.entries[2].result.values, nv.attribute(trace, target=2).values, atol=1e-6)
    with pytest.raises(nv.MethodNotApplicableError, match="name the one"):
        compare(trace, axis="methods")


def test_one_class_less_another_stands_beside_the_classes(trace) -> None:
    contrast = nv.ClassScore(2) - nv.ClassScore(1)
    found = compare(trace, axis="classes", most=3, target=contrast)
    assert (found.chosen, len(found)) == (0, 4)
    assert found.entries[0].name == "cat (2) - bee (1)"
    assert found.entries[0].value == contrast
    assert torch.equal(found.entries[0].result.values, nv.attribute(trace, target=contrast).values)


@pytest.mark.parametrize("name", ["saliency", "guided_backprop", "cam"])
def test_methods_of_other_passes_compare_classes_as_well(trace, name: str) -> None:
    found = compare(trace, axis="classes", most=3, method=name)
    for entry in found.entries:
        alone = nv.attribute(trace, method=name, target=entry.value).values
        assert torch.allclose(entry.result.values, alone, atol=1e-6)


def test_layers_are_shown_over_depth_and_made_from_the_last_on(trace) -> None:
    frames = list(compare.stream(trace, axis="layers", target=1, layer="4"))
    found = frames[-1]
    names = [entry.value for entry in found.entries]
    assert names == sorted(names)
    assert {"4", trace.network.last_maps} <= set(names)
    assert found.entries[found.chosen].value == "4"
    first_done = next(f for f in frames if f.step == 1)
    assert first_done.entries[-1].done
    for entry in found.entries:
        assert torch.equal(entry.result.values, nv.attribute(trace, target=1, layer=entry.value).values)


def test_layers_of_a_deep_network_are_the_outer_ones() -> None:
    block = lambda n: torch.nn.Sequential(torch.nn.Conv2d(n, 4, 3, padding=1), torch.nn.ReLU())  # noqa: E731
    module = torch.nn.Sequential(block(3), *(block(4) for _ in range(9)), torch.nn.Flatten(), torch.nn.Linear(256, 2))
    trace = nv.Network(module, size=8).trace(torch.randn(1, 3, 8, 8))
    found = compare(trace, axis="layers", most=5, layer="3.0")
    names = [entry.value for entry in found.entries]
    assert len(names) == 5
    assert {name for name in names if "." in name} == {"3.0", trace.network.last_maps}
    assert names == sorted(names)


def test_a_module_stands_for_its_last_layer() -> None:
    net = nv.load_network()
    blocks = [f"blocks.{i}" for i in range(6)]
    expected = ["conv_stem", "bn1", *blocks, "blocks", "conv_head", "bn2"]  # and not bn1.act, blocks.6, bn2.act
    assert layers_over_depth(net, 12, net.last_maps) == expected
    few = layers_over_depth(net, 3, "blocks.6.0")
    assert len(few) == 3
    assert {"blocks.6.0", "bn2"} <= set(few)


def test_a_method_that_explains_the_input_alone_says_so_at_each_layer(trace) -> None:
    found = compare(trace, axis="layers", method="rise", options={"masks": 3})
    assert all("RISE" in entry.error and not entry.applies for entry in found.entries)


def test_pictures_are_each_explained_for_the_same_class(net) -> None:
    found = compare(net, "chelsea", axis="pictures", values=["chelsea", "coffee"], target=3)
    assert found.chosen == 0
    for name in ("chelsea", "coffee"):
        assert torch.allclose(found[name].values, nv.attribute(net, name, target=3).values)
    own = found["coffee"].trace
    assert not own.scores.requires_grad, "it holds no graph"
    assert own.pictures[0].size == (SIZE, SIZE)


@pytest.mark.parametrize("own", [*nv.samples()[:1], nv.samples()[-1], "a picture"])
def test_the_picture_explained_is_among_the_samples_compared(net, own: str) -> None:
    image = nv.load_image("chelsea").rotate(90) if own == "a picture" else own
    entries = next(compare.stream(net, image, axis="pictures", most=3)).entries
    assert len(entries) == 3
    assert [entry.value for entry in entries if entry.chosen] == [image]
    assert len({entry.name for entry in entries}) == 3


def test_without_a_class_each_picture_is_explained_for_its_own(net) -> None:
    found = compare(net, "chelsea", axis="pictures", values=["chelsea", "coffee"])
    assert found["coffee"].target.indices(found["coffee"].trace) == tuple(net.trace("coffee").best)


def test_networks_are_compared_with_the_same_without_what_it_learnt(net, trace) -> None:
    before = {name: value.clone() for name, value in net.module.state_dict().items()}
    found = compare(trace, axis="networks", target=2, method="saliency", seed=3)
    assert [entry.name for entry in found.entries] == [net.name, f"{net.name}, weights drawn anew"]
    other = randomised(net, seed=3)
    expected = nv.attribute(other, trace.input.detach(), target=2, method="saliency")
    assert torch.equal(found.entries[1].result.values, expected.values)
    assert all(torch.equal(value, before[name]) for name, value in net.module.state_dict().items())


def test_another_network_is_asked_for_the_class_of_the_same_name(net, trace) -> None:
    other = nv.Network(toys.classic(), size=SIZE, classes=["eel", "cat", "ant", "x", "y"], name="other")
    missing = nv.Network(toys.classic(classes=2), size=SIZE, classes=["x", "y"], name="missing")
    found = compare(trace, trace.pictures[0], axis="networks", values=[net, other, missing], target="cat")
    assert found["other"].target.indices(found["other"].trace) == (1,)
    assert "cat" in found.entries[2].error
    assert found.entries[2].applies


def test_a_cascade_is_that_of_adebayo(net, trace) -> None:
    found = compare(trace, axis="cascade", target=2, method="gradient", most=3)
    stages = list(cascade(net, trace.input.detach(), method="gradient", target=2, stages=3))
    assert len(found) == len(stages)
    for entry, stage in zip(found.entries, stages, strict=True):
        assert torch.allclose(entry.result.values, stage.result.values)
    assert np.allclose(found.correlations[0], [stage.correlation for stage in stages], atol=1e-6)
    assert found.entries[1].name == "from 8 up"


def test_what_is_known_is_not_made_again(trace) -> None:
    first = compare(trace, axis="methods", values=["saliency", "grad_cam"], target=2)
    frames = list(compare.stream(trace, axis="methods", values=QUICK, target=2, method="saliency", known=first))
    assert frames[0].step == 2
    assert frames[-1]["grad_cam"] is first["grad_cam"]
    assert frames[-1].entries[frames[-1].chosen].value == "saliency"
    assert frames[0].correlations[0, 2] == first.correlations[0, 1]
    other = next(compare.stream(trace, axis="methods", values=QUICK, target=1, known=first))
    assert other.step == 0, "of another class nothing is known"


def test_classes_are_known_too(trace) -> None:
    first = compare(trace, axis="classes", most=3)
    assert next(compare.stream(trace, axis="classes", most=3, target=first.entries[1].value, known=first)).step == 3


def test_a_method_of_many_passes_shows_its_map_as_it_comes(trace) -> None:
    options = {"masks": 6, "batch": 2}
    frames = list(compare.stream(trace, values=["rise", "saliency"], method="rise", options=options, target=0))
    under_way = [f for f in frames if f.entries[0].result is not None and not f.entries[0].done]
    assert [f.entries[0].result.step for f in under_way] == [2, 4]
    assert all(f.entries[1].done for f in under_way), "the cheaper one was made before"


def test_what_cannot_be_compared_is_refused(net, trace) -> None:
    with pytest.raises(nv.UnknownOptionError, match="axes are methods"):
        compare(trace, axis="sizes")
    with pytest.raises(nv.ArgumentTypeError, match="picture"):
        compare(net)
    with pytest.raises(nv.UnknownMethodError):
        compare(trace, values=["no_method"])
    with pytest.raises(nv.UnknownLayerError):
        compare(trace, axis="layers", values=["no layer"])
    with pytest.raises(nv.UnknownLayerError):
        randomised(net, ["2"])
    with pytest.raises(nv.MethodNotApplicableError, match="nothing to compare"):
        compare(trace, axis="classes", values=[])
