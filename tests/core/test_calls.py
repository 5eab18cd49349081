"""Inputs beside the picture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import nbcnnviz as nv

AGE = torch.tensor([[0.3, 1.0]])


class Two(nn.Module):
    """A picture and two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(10, 4)

    def forward(self, picture: Tensor, age: Tensor, *, scale: float = 1.0) -> Tensor:
        return scale * self.fc(torch.cat([self.conv(picture).relu().mean((2, 3)), age], 1))


class Turned(Two):
    """The same with the numbers first."""

    def forward(self, age: Tensor, picture: Tensor) -> Tensor:
        return super().forward(picture, age)


class Twins(nn.Module):
    """One tower for two pictures, and a score for how alike they are."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return nn.functional.cosine_similarity(self.tower(first), self.tower(second))[:, None]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 12, 10, generator=torch.Generator().manual_seed(1))


def by_hand(scores, x: Tensor, index: int) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    found = scores(x)
    (gradient,) = torch.autograd.grad(found[:, index].sum(), x)
    return found.detach(), gradient


@pytest.mark.parametrize(
    "extra", [AGE, (AGE,), [AGE], {"age": AGE}, {"age": AGE.double()}], ids=["one", "tuple", "list", "named", "double"]
)
def test_other_inputs_are_fixed_for_every_picture(extra, x: Tensor) -> None:
    module = Two().eval()
    network = nv.Network(module, size=(12, 10), extra=extra)
    trace = network.trace(x)
    scores, gradient = by_hand(lambda x: module(x, AGE.expand(len(x), -1)), x, 2)
    torch.testing.assert_close(trace.scores.detach(), scores)
    torch.testing.assert_close(trace.gradient(2), gradient)
    torch.testing.assert_close(network.tracer()(x[:2]).scores.detach(), scores[:2])
    found = nv.attribute(network, x, method="grad_cam", layer="conv", target=1)
    assert found.values.shape == (3, 1, 10, 8)


def test_inputs_by_name_may_come_before_the_picture(x: Tensor) -> None:
    module = Turned().eval()
    trace = nv.Network(module, size=12, extra={"age": AGE}).trace(x)
    torch.testing.assert_close(trace.scores, module(AGE.expand(3, -1), x))


def test_what_is_no_tensor_is_passed_as_it_is(x: Tensor) -> None:
    module = Two().eval()
    trace = nv.Network(module, size=12, extra={"age": AGE, "scale": 3.0}).trace(x)
    torch.testing.assert_close(trace.scores, 3 * module(x, AGE.expand(3, -1)))


def test_the_other_picture_of_twins_is_preprocessed(x: Tensor) -> None:
    module = Twins().eval()
    other = nv.load_image("coffee")
    preprocess = nv.Preprocess((20, 24))
    for network in (
        nv.Network(module, size=(20, 24), extra=other, scores="regression"),
        nv.Network(module, preprocess, extra={"second": other}, scores="regression"),
    ):
        trace = network.trace("chelsea")
        ours, theirs = (preprocess(nv.load_image(p))[None] for p in ("chelsea", other))
        scores, gradient = by_hand(lambda x, theirs=theirs: module(x, theirs), ours, 0)
        torch.testing.assert_close(trace.scores.detach(), scores)
        torch.testing.assert_close(trace.gradient(0), gradient)


def test_a_module_as_it_was_found_with_its_inputs_too(x: Tensor) -> None:
    age = AGE.clone().requires_grad_()
    network = nv.Network(Two().eval(), size=12, extra=age)
    network.trace(x).gradient(1)
    assert age.grad is None
    assert torch.equal(age.detach(), AGE)


def test_inputs_that_are_missing_are_named_and_no_size_is_asked_for() -> None:
    for make in (
        lambda: nv.Network(Two(), size=32),
        lambda: nv.Network(Two()),
        lambda: nv.Network(Two(), nv.Preprocess((9, 9))),
    ):
        with pytest.raises(nv.NetworkError, match=r"takes 'age' beside the picture: .*extra=") as raised:
            make()
        assert "Give the network its size" not in str(raised.value)
    with pytest.raises(nv.NetworkError, match="takes 'picture' beside"):
        nv.Network(Turned(), size=32)


def test_an_extra_input_of_a_wrong_shape_is_an_error_that_says_so() -> None:
    with pytest.raises(nv.NetworkError, match="failed on an input of shape") as raised:
        nv.Network(Two(), size=32, extra=torch.zeros(1, 7))
    assert "Give the network its size" not in str(raised.value)
    with pytest.raises(nv.NetworkError, match="unexpected keyword argument 'aeg'"):
        nv.Network(Two(), size=32, extra={"aeg": AGE})
