"""Many targets of one trace: their gradients at once, and a class against those nearest to it."""

from __future__ import annotations

import pytest
import torch

import nbcnnviz as nv
from tests import toys


@pytest.fixture(params=[toys.classic, toys.Branching, toys.Reused], ids=lambda make: make.__name__)
def trace(request) -> nv.Trace:
    return nv.Network(request.param(), size=12).trace(torch.randn(2, 3, 12, 12))


@pytest.mark.parametrize("rule", ["gradient", "guided", "deconvnet"])
def test_gradients_at_once_are_those_one_by_one(trace: nv.Trace, rule) -> None:
    layer = trace.layers[1]
    targets = [
        *range(len(trace.network.classes)),
        nv.ClassScore(1) - 2 * nv.ClassScore(0),
        lambda t: t.scores[:, 1] ** 2,
    ]
    expected = [trace.gradient(target, ["input", layer], rule) for target in targets]
    found = trace.gradients(targets, ["input", layer], rule)
    for name in ("input", layer):
        torch.testing.assert_close(found[name], torch.stack([e[name] for e in expected]), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(trace.gradients(range(2), layer, rule), found[layer][:2])


def test_a_target_that_does_not_depend_on_the_layer_has_zeros_and_all_of_them_an_error() -> None:
    trace = nv.Network(toys.classic(), size=12).trace(torch.randn(2, 3, 12, 12))
    found = trace.gradients([nv.Channel("0", 1), 2], "4")
    assert not found[0].any()
    torch.testing.assert_close(found[1], trace.gradient(2, "4"))
    with pytest.raises(nv.GradientError, match="do not depend on '4'"):
        trace.gradients([nv.Channel("0", 1), nv.Channel("0", 2)], "4")
    with pytest.raises(nv.ArgumentTypeError, match="one or more"):
        trace.gradients([], "4")
    with pytest.raises(nv.UnknownClassError):
        trace.gradients([1, 99], "4")


def test_gradients_of_more_targets_than_fit_in_one_pass() -> None:
    trace = nv.Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 300)), size=4).trace(
        torch.randn(1, 3, 4, 4)
    )
    weight = trace.network.module[1].weight.detach()
    torch.testing.assert_close(trace.gradients(range(300)), weight.reshape(300, 1, 3, 4, 4))


def test_every_classs_grad_cam_comes_from_one_pass(bundled: nv.Network) -> None:
    trace, layer = bundled.trace("chelsea"), bundled.last_maps
    assert layer is not None
    classes = [281, 282, 285, 0, 999]
    weights = trace.map_gradients(classes, layer).mean((3, 4), keepdim=True)
    maps = (weights * trace.maps(layer)).sum(2, keepdim=True).relu()
    for found, index in zip(maps, classes, strict=True):
        expected = nv.attribute(trace, method="grad_cam", target=index).values
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-3)


# A class against those nearest to it.


@pytest.fixture
def given() -> nv.Trace:
    """A network whose scores are its input's four colours, for two pictures."""
    network = nv.Network(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), size=(2, 2))
    x = torch.tensor([[5.0, 4.0, 1.0], [0.0, 9.0, 8.0]])[:, :, None, None].expand(2, 3, 2, 2)
    return network.trace(x.contiguous())


def test_the_nearest_in_score_are_subtracted(given: nv.Trace) -> None:
    # Of class 1, the first picture's nearest is class 0 (5 against 4), the second's class 2 (8 against 9).
    torch.testing.assert_close(nv.Finer(1, nearest=1)(given), torch.tensor([4 - 0.6 * 5, 9 - 0.6 * 8]))
    both = nv.Finer(1, 0.5, nearest=2)
    torch.testing.assert_close(both(given), torch.tensor([4 - 0.5 * 3, 9 - 0.5 * 4]))
    torch.testing.assert_close(nv.Finer((2, 0), nearest=1)(given), torch.tensor([1 - 0.6 * 4, 0 - 0.6 * 8]))
    with pytest.raises(nv.MethodNotApplicableError, match="3 other classes, and Sequential has 3 in all"):
        nv.Finer(0)(given)


def test_its_gradient_takes_the_choice_of_classes_as_given(given: nv.Trace) -> None:
    found = trace_gradient = given.gradient(nv.Finer(1, nearest=1)).sum((2, 3))
    torch.testing.assert_close(found, torch.tensor([[-0.6, 1.0, 0.0], [0.0, 1.0, -0.6]]))
    pinned = nv.Finer(1, nearest=1).pinned(given)
    torch.testing.assert_close(given.gradient(pinned).sum((2, 3)), trace_gradient)


def test_pinned_it_asks_the_same_classes_of_every_other_pass(given: nv.Trace) -> None:
    network = given.network
    first = network.trace(given.input[:1].detach())
    other = network.trace(torch.tensor([[0.0, 1.0, 1.1]])[:, :, None, None].expand(3, 3, 2, 2).contiguous())
    finer = nv.Finer(1, nearest=1)
    torch.testing.assert_close(finer(other), torch.full((3,), 1 - 0.6 * 1.1))
    torch.testing.assert_close(finer.pinned(first)(other), torch.full((3,), 1 - 0.6 * 0.0))


def test_it_says_itself(given: nv.Trace) -> None:
    for target in (nv.Finer(1), nv.Finer("class 0", 0.5), nv.Finer(1, nearest=2), nv.Finer(1, 0.5, 2)):
        assert eval(repr(target), {"nv": nv}) == target
    assert repr(nv.Finer(281)) == "nv.Finer(281)"
    assert nv.Finer(1).describe(given.network) == "class 1 (1) against the 3 classes nearest in score"
    assert nv.Finer(1).whole
