"""What is asked about: classes, channels, units, layers, and functions of the user's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nbcnnviz as nv
from nbcnnviz.core.targets import as_target, describe
from tests import toys

CLASSES = ["ant", "Bee", "crane", "crane", "eel"]


@pytest.fixture
def trace() -> nv.Trace:
    return nv.Network(toys.classic(), size=(12, 10), classes=CLASSES).trace(torch.randn(3, 3, 12, 10))


def value(target, trace: nv.Trace) -> float:
    return target(trace).item()


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
        ([1, 2, 3], nv.UnknownClassError, "class index or name"),
        (np.array([1, 2, 3]), nv.UnknownClassError, "class index or name"),
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


def test_a_layer_without_channels_is_an_error() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2d(3, 6, 4, stride=4), nn.LayerNorm(6), nn.Linear(6, 2)

        def forward(self, x):
            return self.fc(self.norm(self.conv(x).flatten(2).transpose(1, 2)).mean(1))

    trace = nv.Network(Tokens().eval(), size=8).trace(torch.randn(1, 3, 8, 8))
    with pytest.raises(nv.MethodNotApplicableError, match="has no channels"):
        trace.gradient(nv.Channel("norm", 0))
    assert trace.gradient(nv.LayerEnergy("norm")).shape == (1, 3, 8, 8)


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

    assert describe(nv.ClassScore("eel"), trace) == "eel (4)"
    assert describe(nv.ClassScore((0, 1, 0)), trace) == "ant (0), Bee (1)"
    assert describe(nv.Channel("4", 2), trace) == "channel 2 of 4"
    assert describe(nv.Unit("4", 2, 1, 0), trace) == "unit (2, 1, 0) of 4"
    assert describe(nv.LayerEnergy("4"), trace) == "energy of 4"
    assert describe(margin, trace) == "margin"
