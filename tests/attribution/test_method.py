"""The register of methods: names, options, and the frames' names."""

from __future__ import annotations

import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.attribution.method import _METHODS
from tests import toys


@pytest.fixture(autouse=True)
def register(monkeypatch) -> None:
    """Methods entered by a test leave with it."""
    for name in ("mine", "other"):
        monkeypatch.setitem(_METHODS, name, None)
        monkeypatch.delitem(_METHODS, name)


@pytest.fixture
def trace() -> nv.Trace:
    return nv.Network(toys.classic(), size=12).trace(torch.randn(2, 3, 12, 12))


def enter(scale: float = 1.0, **given):
    @nv.method("Mine", family="gradients", cost="B", **given)
    def mine(trace, target, layer, *, times: int = nv.option(3, low=1, help="How many times."), seed: int = 0):
        """The gradient, over and over."""
        for step in range(times):
            values = scale * trace.gradient(target)
            yield nv.Attribution(values, target, layer, trace, step=step + 1, steps=times)

    return mine


def test_the_register_names_the_frames_and_fills_in_the_options(trace: nv.Trace) -> None:
    made = enter()
    frames = list(nv.attribute.stream(trace, method="mine", target=1))
    assert [(f.method, f.step, f.steps) for f in frames] == [("mine", 1, 3), ("mine", 2, 3), ("mine", 3, 3)]
    assert torch.equal(frames[0].values, trace.gradient(1))
    assert len(list(made(trace, nv.ClassScore(1), "input", times=2))) == 2
    known = nv.methods()["mine"]
    assert known.options["times"] == nv.Option("times", 3, 1, None, None, "How many times.", "int")
    assert known.defaults == {"times": 3, "seed": 0}


def test_options_are_checked_before_anything_runs(trace: nv.Trace) -> None:
    enter()
    with pytest.raises(nv.OptionValueError, match=r"times is a whole number, 1 or more, not 0\."):
        nv.attribute.stream(trace, method="mine", times=0)
    with pytest.raises(nv.UnknownOptionError, match=r"no option 'time'\. Nearest: times"):
        nv.attribute.stream(trace, method="mine", time=1)


@pytest.mark.parametrize("how", ["second", "keyword"])
def test_a_method_that_writes_a_name_gets_its_own(trace: nv.Trace, how: str) -> None:
    @nv.method("Other", family="gradients", cost="B")
    def other(trace, target, layer):
        """Named after something else."""
        values = trace.gradient(target)
        if how == "second":
            yield nv.Attribution(values, "saliency", target, layer, trace, 4, 1, 2)
        else:
            yield nv.Attribution(values, target, layer, trace, 4, 1, 2, method="saliency")

    found = nv.attribute(trace, method="other", target=0)
    assert (found.method, found.layer, found.rectifiers, found.step, found.steps) == ("other", "input", 4, 1, 2)
    assert found.target == nv.ClassScore(0)
    assert found.trace is trace


def test_a_method_made_of_anothers_frames_names_them_without_changing_them(trace: nv.Trace) -> None:
    kept = nv.attribute(trace, method="saliency", target=0)

    @nv.method("Other", family="gradients", cost="B")
    def other(trace, target, layer):
        """Another's frame."""
        yield kept

    assert nv.attribute(trace, method="other").method == "other"
    assert kept.method == "saliency"


def test_a_frame_without_its_parts_is_an_error(trace: nv.Trace) -> None:
    with pytest.raises(nv.ArgumentTypeError, match="needs layer, trace too"):
        nv.Attribution(torch.zeros(1), nv.ClassScore(1))


def test_a_name_that_is_taken_is_refused_but_for_the_same_function_again(trace: nv.Trace) -> None:
    with pytest.raises(nv.NameTakenError, match="a method 'saliency' already, Saliency of nbcnnviz"):

        @nv.method("Mine", family="gradients", cost="B")
        def saliency(trace, target, layer):
            """Not the built-in."""
            yield nv.Attribution(trace.input, target, layer, trace)

    assert nv.methods()["saliency"].run.__module__ == "nbcnnviz.attribution.gradients"
    enter()
    enter(2.0)  # as a notebook's cell that is run again
    assert torch.equal(nv.attribute(trace, method="mine", target=1).values, 2 * trace.gradient(1))


def test_stopping_a_stream_closes_the_method(trace: nv.Trace) -> None:
    closed = []

    @nv.method("Other", family="gradients", cost="B")
    def other(trace, target, layer):
        """Frames without end."""
        try:
            while True:
                yield nv.Attribution(trace.input, target, layer, trace)
        finally:
            closed.append(True)

    frames = nv.attribute.stream(trace, method="other")
    next(frames)
    frames.close()
    assert closed == [True]


@pytest.mark.parametrize("method", list(nv.methods()))
def test_the_callers_mode_makes_no_difference_and_may_change_within_a_stream(method: str) -> None:
    network, x = nv.Network(toys.classic(), size=24), torch.randn(3, 3, 24, 24)
    asked = {"method": method, "target": 1, **toys.few(method)}
    expected = nv.attribute(network, x, **asked).values
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            frames = nv.attribute.stream(network, x, **asked)
            last = next(frames)
        for frame in frames:
            last = frame
        assert torch.allclose(last.values, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", list(nv.methods()))
@pytest.mark.parametrize("few", [True, False])
def test_targets_for_another_number_of_pictures_are_refused(method: str, few: bool) -> None:
    trace = nv.Network(toys.classic(), size=24).trace(torch.randn(3, 3, 24, 24))
    classes = (1, 2) if few else (1, 2, 3, 4)
    for target in (classes, nv.ClassScore(classes) - nv.ClassScore(0), [nv.ClassScore(k) for k in classes]):
        with pytest.raises(nv.NbcnnvizError, match="one a picture"):
            nv.attribute(trace, method=method, target=target, **toys.few(method))


@pytest.mark.parametrize("method", [name for name in nv.methods() if name != "cam"])
def test_a_function_may_give_one_number_for_all_pictures(method: str) -> None:
    trace = nv.Network(toys.classic(), size=24).trace(torch.randn(3, 3, 24, 24))
    asked = {"method": method, **toys.few(method)}
    for of_all, of_each in (
        (lambda t: t.scores[:, 1].sum(), nv.ClassScore(1) - 0),
        (lambda t: t.scores[:, :3].sum(), lambda t: t.scores[:, :3].sum(1)),
    ):
        found, expected = (nv.attribute(trace, target=target, **asked).values for target in (of_all, of_each))
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)
        if method == "integrated_gradients":
            missing = nv.attribute(trace, target=of_all, **asked).completeness
            assert torch.allclose(missing, nv.attribute(trace, target=of_each, **asked).completeness, atol=1e-6)


class Beside(torch.nn.Module):
    """A network that is given numbers beside the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.Conv2d(4, 4, 3)
        self.fc = torch.nn.Linear(6, 5)

    def forward(self, x: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.conv2(self.conv1(x)))
        return self.fc(torch.cat([maps.mean((2, 3)), numbers.expand(len(x), -1)], 1))


@pytest.mark.parametrize("method", [name for name in nv.methods() if name != "cam"])
def test_a_network_with_further_inputs_has_the_map_of_the_same_with_these_built_in(method: str) -> None:
    numbers = torch.randn(1, 2)
    module = Beside()
    built_in = Beside()
    built_in.load_state_dict(module.state_dict())
    built_in.forward = lambda x: Beside.forward(built_in, x, numbers)
    x = torch.randn(2, 3, 24, 24)
    asked = {"method": method, "target": 1, **toys.few(method)}
    found = nv.attribute(nv.Network(module, size=24, extra={"numbers": numbers}), x, **asked).values
    assert torch.allclose(found, nv.attribute(nv.Network(built_in, size=24), x, **asked).values, rtol=1e-3, atol=1e-6)
