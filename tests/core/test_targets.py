"""What is asked about: classes, channels, units, layers, and functions of the user's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.core.targets import as_target, in_python
from tests import toys

CLASSES = ["ant", "Bee", "crane", "crane", "eel"]


@pytest.fixture
def trace() -> nv.Trace:
    return nv.Network(toys.classic(), size=(12, 10), classes=CLASSES).trace(torch.randn(3, 3, 12, 10))


def value(target, trace: nv.Trace) -> float:
    return target(trace).sum().item()


def test_a_class_score_is_the_logit_summed_over_the_batch(trace: nv.Trace) -> None:
    assert value(nv.ClassScore(4), trace) == pytest.approx(trace.scores[:, 4].sum().item())
    assert value(nv.ClassScore("ant"), trace) == pytest.approx(trace.scores[:, 0].sum().item())
    assert value(nv.ClassScore("bee"), trace) == pytest.approx(trace.scores[:, 1].sum().item())
    assert value(nv.ClassScore(-1), trace) == value(nv.ClassScore(4), trace)


def test_a_tuple_names_one_class_a_picture(trace: nv.Trace) -> None:
    scores = trace.scores
    expected = scores[0, 1] + scores[1, 0] + scores[2, 4]
    assert value(nv.ClassScore((1, "ant", -1)), trace) == pytest.approx(expected.item())
    assert value(nv.ClassScore((2, 2, 2)), trace) == pytest.approx(scores[:, 2].sum().item())
    with pytest.raises(nv.UnknownClassError, match="one a picture: 3, not 2"):
        trace.gradient(nv.ClassScore((1, 2)))


def test_channels_units_and_layers_are_what_they_say(trace: nv.Trace) -> None:
    maps = trace["4"]
    assert maps.shape == (3, 8, 6, 5)
    assert value(nv.Channel("4", 2), trace) == pytest.approx(maps[:, 2].mean((1, 2)).sum().item(), rel=1e-5)
    assert value(nv.Unit("4", 2, 5, 4), trace) == pytest.approx(maps[:, 2, 5, 4].sum().item(), rel=1e-5)
    assert value(nv.Unit("4", -1, -1, -1), trace) == pytest.approx(maps[:, 7, 5, 4].sum().item(), rel=1e-5)
    assert value(nv.LayerEnergy("4"), trace) == pytest.approx((maps**2).mean((1, 2, 3)).sum().item(), rel=1e-5)
    assert value(nv.Channel("8", 1), trace) == pytest.approx(trace.scores[:, 1].sum().item(), rel=1e-5)
    assert value(nv.Unit("7", 3), trace) == pytest.approx(trace["7"][:, 3].sum().item(), rel=1e-5)


def test_a_channel_of_a_layer_with_its_channels_last_is_along_the_last_axis() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2d(3, 6, 3, padding=1), nn.LayerNorm(6), nn.Linear(6, 2)

        def forward(self, x):
            return self.fc(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

    network = nv.Network(Last().eval(), size=8)
    assert network.layers["norm"].channels_last
    assert network.layers["norm"].filters == 6
    trace = network.trace(torch.randn(1, 3, 8, 8))
    assert value(nv.Unit("norm", 5, 7, 6), trace) == trace["norm"][0, 7, 6, 5].item()
    with pytest.raises(nv.FilterRangeError, match="6 channels, 0 to 5"):
        trace.gradient(nv.Channel("norm", 6))


@pytest.mark.parametrize(
    "index", [2, np.int64(2), torch.tensor(2), torch.tensor([2])], ids=["int", "numpy", "tensor", "tensor of one"]
)
def test_whatever_counts_as_an_index_is_a_class(trace: nv.Trace, index) -> None:
    assert as_target(index, trace) == nv.ClassScore(2)
    assert torch.equal(trace.gradient(index), trace.gradient(nv.ClassScore(2)))


@pytest.mark.parametrize("target", [True, False, np.True_, (0, True), [True, 1]])
def test_true_and_false_are_no_classes(trace: nv.Trace, target) -> None:
    with pytest.raises(nv.UnknownClassError):
        nv.attribute(trace, method="gradient", target=target)


def test_no_target_is_each_pictures_own_top_class(trace: nv.Trace) -> None:
    top = tuple(trace.scores.argmax(1).tolist())
    assert as_target(None, trace) == nv.ClassScore(top)
    assert torch.equal(trace.gradient(), trace.gradient(nv.ClassScore(top)))


def test_a_function_of_the_trace_is_a_target(trace: nv.Trace) -> None:
    def margin(t: nv.Trace) -> torch.Tensor:
        return t.scores[:, 1].sum() - t.scores[:, 4].sum()

    found = trace.gradient(margin)
    torch.testing.assert_close(found, trace.gradient(1) - trace.gradient(4))
    mixed = trace.gradient(lambda t: t["2"].mean() * t.input.sum(), ["input", "2"])
    assert mixed["2"].unique().numel() == 1
    probability = trace.gradient(lambda t: t.probabilities[0, 3])
    assert probability[1:].abs().max() == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda t: t.scores, r"shape \(3, 5\)"),
        (lambda t: 3.0, "a float"),
        (lambda t: None, "a NoneType"),
        (lambda t: t.scores.sum().detach(), "does not depend on the trace"),
        (lambda t: t.scores.argmax(), "does not depend on the trace"),
        (lambda t: torch.tensor(1.0, requires_grad=True), "does not depend on 'input'"),
    ],
)
def test_a_target_that_is_no_scalar_of_the_trace_is_an_error(trace: nv.Trace, target, message: str) -> None:
    with pytest.raises(nv.GradientError, match=message):
        trace.gradient(target)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (5, nv.UnknownClassError, "5 classes, 0 to 4"),
        (-6, nv.UnknownClassError, "5 classes"),
        ("ants", nv.UnknownClassError, r"no class 'ants'\. Nearest: ant"),
        ("crane", nv.UnknownClassError, r"names 2 classes: give an index, \[2, 3\]"),
        (3.5, nv.UnknownClassError, "class index or name"),
        (object(), nv.UnknownClassError, "class index or name"),
        ([1, 2], nv.UnknownClassError, "one a picture: 3, not 2"),
        (np.array([1, 2]), nv.UnknownClassError, "one a picture: 3, not 2"),
        ([1, 2.5, 3], nv.UnknownClassError, "no class 2.5.* class index or name"),
        ([], nv.UnknownClassError, "class index or name"),
        (np.array([1.0, 2.0, 3.0]), nv.UnknownClassError, "class index or name"),
        (torch.tensor(1.0), nv.UnknownClassError, "class index or name"),
        (nv.Channel("4", 8), nv.FilterRangeError, "8 channels, 0 to 7"),
        (nv.Channel("4", -9), nv.FilterRangeError, "8 channels"),
        (nv.Unit("4", 0, 6, 0), nv.FilterRangeError, r"6 x 5: there is no unit at \(6, 0\)"),
        (nv.Unit("4", 0, 0, -6), nv.FilterRangeError, "6 x 5"),
        (nv.Unit("8", 0, 0, 1), nv.FilterRangeError, "1 x 1"),
        (nv.Channel("nowhere", 0), nv.UnknownLayerError, "nowhere"),
        (nv.LayerEnergy("44"), nv.UnknownLayerError, "Nearest: 4"),
    ],
)
def test_what_does_not_exist_is_named(trace: nv.Trace, target, error, message: str) -> None:
    with pytest.raises(error, match=message):
        trace.gradient(target)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 6, 4, stride=4), nn.LayerNorm(6), nn.Linear(6, 2)
        self.pairs = nn.Identity()

    def forward(self, x):
        tokens = self.norm(self.conv(x).flatten(2).transpose(1, 2))
        return self.fc(self.pairs(tokens.softmax(1).transpose(1, 2) @ tokens).mean(1))


def test_a_layer_without_channels_is_an_error() -> None:
    trace = nv.Network(Tokens().eval(), size=8).trace(torch.randn(1, 3, 8, 8))
    assert trace["pairs"].shape == (1, 6, 6)
    with pytest.raises(nv.MethodNotApplicableError, match=r"not maps .* such as 'norm'"):
        trace.gradient(nv.Channel("pairs", 0))
    assert trace.gradient(nv.LayerEnergy("pairs")).shape == (1, 3, 8, 8)


def test_channels_and_units_of_tokens_are_those_of_their_grid() -> None:
    trace = nv.Network(Tokens().eval(), size=8).trace(torch.randn(2, 3, 8, 8))
    tokens = trace["norm"]
    assert value(nv.Channel("norm", 5), trace) == pytest.approx(tokens[:, :, 5].mean(1).sum().item(), rel=1e-5)
    assert value(nv.Unit("norm", 2, 1, 0), trace) == pytest.approx(tokens[:, 2, 2].sum().item(), rel=1e-5)


def test_imagenets_dog_and_garment_are_told_apart_by_a_capital(bundled: nv.Network) -> None:
    assert bundled.class_index("Cardigan") == 264
    assert bundled.class_index("cardigan") == 474
    with pytest.raises(nv.UnknownClassError, match=r"names 2 classes: give an index, \[264, 474\]"):
        bundled.class_index("CARDIGAN")
    assert bundled.class_index("tabby") == 281
    with pytest.raises(nv.UnknownClassError, match="tabby"):
        bundled.class_index("tabbi")


def test_targets_are_described_in_words(trace: nv.Trace) -> None:
    def margin(t):
        return t.scores[0, 0]

    assert as_target(nv.ClassScore("eel")).describe(trace.network) == "eel (4)"
    assert as_target(nv.ClassScore((0, 1, 0))).describe(trace.network) == "ant (0), Bee (1)"
    assert as_target(nv.Channel("4", 2)).describe(trace.network) == "channel 2 of 4"
    assert as_target(nv.Unit("4", 2, 1, 0)).describe(trace.network) == "unit (2, 1, 0) of 4"
    assert as_target(nv.LayerEnergy("4")).describe(trace.network) == "energy of 4"
    assert as_target(margin).describe(trace.network) == "margin"


MADE = [
    nv.ClassScore("ant"),
    nv.ClassScore((1, "ant", -1)),
    nv.Probability(2, log=True),
    nv.Channel("4", 2),
    nv.Unit("4", 2),
    nv.Unit("4", 2, 1, 0),
    nv.LayerEnergy("4"),
    nv.Direction("4", [1.0, 0.5, -1.0, 0.0, 0.0, 0.0, 0.0, 2.0]),
    nv.Diversity("4"),
    nv.ClassScore(1) - 0.5 * nv.Channel("4", 2),
    -nv.Channel("4", 2),
    1 * nv.Channel("4", 2),
    (2 * nv.ClassScore(1) - 1) * (nv.Channel("4", 2) + nv.Unit("4", 1)) / 3 + 0.25,
    1 / (nv.LayerEnergy("4") + 1),
    nv.Each([1, nv.Channel("4", 0), "eel"]),
    sum([nv.ClassScore(0), nv.ClassScore(1)]),
]


@pytest.mark.parametrize("target", MADE, ids=repr)
def test_what_is_printed_of_a_target_is_the_code_that_makes_it(trace: nv.Trace, target: nv.Target) -> None:
    again = eval(repr(target), {"nv": nv})
    assert again == target
    assert hash(again) == hash(target)
    assert torch.equal(again(trace), target(trace))
    assert target(trace).shape == (3,)
    assert as_target(target) is target
    assert target.describe(trace.network)


def test_the_code_of_a_difference_reads_as_it_was_written() -> None:
    assert (
        repr(nv.ClassScore(281) - 0.5 * nv.Channel("layer3", 4)) == "nv.ClassScore(281) - 0.5 * nv.Channel('layer3', 4)"
    )
    assert repr(-2 * nv.LayerEnergy("a") / 4 + 1) == "-0.5 * nv.LayerEnergy('a') + 1.0"


@pytest.mark.parametrize("target", [t for t in MADE if not isinstance(t, nv.Diversity)], ids=repr)
def test_a_pictures_score_depends_on_that_picture_alone(trace: nv.Trace, target: nv.Target) -> None:
    if target.pictures is not None:
        return
    for i in range(3):
        alone = target(trace.network.trace(trace.input[i : i + 1].detach()))
        torch.testing.assert_close(alone, target(trace)[i : i + 1])


@pytest.mark.parametrize(
    "classes",
    [[1, "ant", 4], (1, 0, 4), torch.tensor([1, 0, 4]), np.array([1, 0, 4])],
    ids=["list", "tuple", "tensor", "array"],
)
def test_one_class_a_picture_works_wherever_a_class_does(trace: nv.Trace, classes) -> None:
    each = [trace.gradient(c)[i] for i, c in enumerate((1, 0, 4))]
    assert torch.equal(trace.gradient(classes), torch.stack(each))
    found = nv.attribute(trace, method="gradient", target=classes)
    assert torch.equal(found.values, torch.stack(each))
    assert found.caption == "Bee (1), ant (0), eel (4)"
    frame = next(nv.synthesize(trace.network, classes, jitter=0, scale=0, rotate=0, jitter_after=0, redirected_relu=0))
    scores = trace.network.trace(frame.input).scores
    assert frame.scores == pytest.approx([scores[i, c].item() for i, c in enumerate((1, 0, 4))], rel=1e-4)


def test_a_list_asks_something_else_of_each_picture(trace: nv.Trace) -> None:
    asked = [nv.Channel("4", 1), 2, lambda t: t["0"].mean()]
    expected = [trace.gradient(target)[i] for i, target in enumerate(asked[:2])]
    found = trace.gradient(asked)
    for got, wanted in zip(found, expected, strict=False):
        torch.testing.assert_close(got, wanted)
    (last,) = torch.autograd.grad(trace["0"][2].mean(), trace.input, retain_graph=True)
    torch.testing.assert_close(found[2], last[2])
    with pytest.raises(nv.MethodNotApplicableError, match="2 targets, one a picture, and 3 pictures"):
        trace.gradient(asked[:2])


def test_a_contrast_of_classes_is_explained_raised_and_described(bundled: nv.Network) -> None:
    rather = nv.ClassScore("tiger cat") - nv.ClassScore("Egyptian cat")
    trace = bundled.trace("chelsea")
    expected = trace.gradient("tiger cat", "blocks.4") - trace.gradient("Egyptian cat", "blocks.4")
    torch.testing.assert_close(trace.gradient(rather, "blocks.4"), expected, atol=1e-6, rtol=1e-3)
    found = nv.attribute(bundled, "chelsea", target=rather)
    assert found.layer == bundled.last_maps
    assert found.caption == "tiger cat (282) - Egyptian cat (285)"
    assert torch.equal(found.values, nv.attribute(trace, target=rather).values)
    first, *_, last = nv.synthesize(bundled, rather, steps=6, size=64)
    assert last.score > first.score


def test_a_function_may_give_one_number_a_picture(trace: nv.Trace) -> None:
    torch.testing.assert_close(trace.gradient(lambda t: t.scores[:, 2]), trace.gradient(2))
    torch.testing.assert_close(trace.gradient(lambda t: 2 * t.scores[:, 2:3]), 2 * trace.gradient(2))
    shared = as_target(lambda t: t["4"].sum())(trace)
    torch.testing.assert_close(shared, trace["4"].sum().expand(3) / 3)
    torch.testing.assert_close(
        trace.gradient(nv.ClassScore(1) - (lambda t: t.scores[:, 2])), trace.gradient(1) - trace.gradient(2)
    )


def test_a_probability_is_the_softmax_and_its_logarithm(trace: nv.Trace) -> None:
    torch.testing.assert_close(nv.Probability("eel")(trace), trace.scores.softmax(1)[:, 4])
    torch.testing.assert_close(nv.Probability((0, 1, 2), log=True)(trace), trace.scores.softmax(1).log().diagonal())


def test_double_precision_stays(trace: nv.Trace) -> None:
    network = nv.Network(toys.classic().double(), size=(12, 10), classes=CLASSES)
    exact = network.trace(torch.randn(3, 3, 12, 10, dtype=torch.float64))
    for target in (*MADE, nv.Likeness("4", exact["4"][:1])):
        assert target(exact).dtype == torch.float64, target


def test_what_a_target_leaves_to_the_caller_is_said_in_its_code(trace: nv.Trace) -> None:
    def margin(t):
        return t.scores[:, 0]

    assert in_python("ant") == ([], "'ant'")
    assert in_python(nv.ClassScore(3)) == ([], "3")
    assert in_python(nv.Channel("4", 1)) == ([], "nv.Channel('4', 1)")
    assert in_python(margin) == (["margin = ...  # your function of the trace"], "margin")
    lines, code = in_python(nv.ClassScore(1) - (lambda t: t.scores[:, 0]))
    assert (lines, code) == (["target = ...  # your function of the trace"], "nv.ClassScore(1) - target")
    assert in_python(nv.Likeness("4", trace["4"]))[1] == "nv.Likeness('4', activation)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nv.Channel("4", 1.5), nv.FilterRangeError, "channel is a whole number, not 1.5"),
        (lambda: nv.Unit("4", "a"), nv.FilterRangeError, "channel is a whole number, not 'a'"),
        (lambda: nv.Unit("4", 1, 0.5, 2), nv.FilterRangeError, "row is a whole number, not 0.5"),
        (lambda: nv.LayerEnergy(["4"]), nv.UnknownLayerError, "named by one string"),
        (lambda: nv.Direction("4", "up"), nv.FilterRangeError, "one number a channel"),
        (lambda: nv.ClassScore(None), nv.UnknownClassError, "class index or name"),
        (lambda: nv.ClassScore(((1, 2), 3)), nv.UnknownClassError, "class index or name"),
    ],
)
def test_an_argument_of_a_wrong_type_is_an_error_of_ours(make, error, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_target_of_ones_own_needs_its_score_alone(trace: nv.Trace) -> None:
    class Margin(nv.Target):
        def __call__(self, trace: nv.Trace) -> torch.Tensor:
            best = trace.scores.topk(2).values
            return best[:, 0] - best[:, 1]

    margin = Margin()
    assert margin.layers is None
    assert margin.whole
    twice = trace.gradient(margin + margin)
    torch.testing.assert_close(twice, 2 * trace.gradient(margin))
