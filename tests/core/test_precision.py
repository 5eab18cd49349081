"""Convolutions on a GPU are computed in float32 where maps are read as numbers, and torch's setting stays the user's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.core import precision
from nbcnnviz.core.precision import full_float32
from tests import toys

CUDNN: Any = torch.backends.cudnn
BY_OPERATION = hasattr(CUDNN, "conv")
GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture(autouse=True)
def set_back() -> Iterator[None]:
    SEEN.clear()
    yield
    if BY_OPERATION:
        torch.backends.fp32_precision = "none"  # type: ignore[attr-defined]
    CUDNN.allow_tf32 = True


def on() -> bool:
    return CUDNN.conv.fp32_precision == "tf32" if BY_OPERATION else CUDNN.allow_tf32


def state() -> tuple[object, ...]:
    if not BY_OPERATION:
        return (CUDNN.allow_tf32,)
    try:
        legacy = CUDNN.allow_tf32
    except RuntimeError:
        legacy = "mixed"
    return legacy, CUDNN.conv.fp32_precision, CUDNN.rnn.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def test_torch_takes_tf32_unless_told_otherwise() -> None:
    assert on()


def as_it_is() -> None:
    pass


def off() -> None:
    CUDNN.allow_tf32 = False


def by_operation() -> None:
    CUDNN.conv.fp32_precision = "tf32"
    CUDNN.rnn.fp32_precision = "ieee"


def exact_by_operation() -> None:
    CUDNN.conv.fp32_precision = "ieee"


def for_all() -> None:
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]
    CUDNN.allow_tf32 = False


@pytest.mark.parametrize("setting", [as_it_is, off, by_operation, exact_by_operation, for_all])
def test_within_it_tf32_is_off_and_after_it_all_is_as_it_was_set(setting) -> None:
    if not BY_OPERATION and setting not in (as_it_is, off):
        pytest.skip("this torch has one setting")
    setting()
    before = state()
    with full_float32(GPU):
        assert not on()
        with full_float32(GPU):
            assert not on()
        assert not on()
    assert state() == before
    with pytest.raises(ZeroDivisionError), full_float32(GPU):
        _ = 1 / 0
    assert state() == before


def test_the_last_of_several_threads_sets_it_back() -> None:
    entered, leave, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with full_float32(GPU):
            entered.set()
            leave.wait(10)
            seen.append(on())

    thread = threading.Thread(target=other)
    with full_float32(GPU):
        thread.start()
        assert entered.wait(10)
    assert not on()  # the other is still within
    leave.set()
    thread.join(10)
    assert seen == [False]
    assert on()


def test_a_cpu_and_who_does_not_want_it_change_nothing() -> None:
    for context in (full_float32(CPU), full_float32(GPU, False)):
        with context:
            assert on()


SEEN: list[tuple[str, bool]] = []  # by all replicas of the module


class Noting(torch.nn.Module):
    """Notes whether convolutions would be computed in TF32, in each pass forward and back."""

    def __init__(self) -> None:
        super().__init__()
        self.net = toys.classic()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        SEEN.append(("forward", on()))
        y = self.net(x)
        if y.requires_grad:
            y.register_hook(lambda g: SEEN.append(("backward", on())))
        return y


@pytest.fixture
def as_on_a_gpu(monkeypatch) -> None:
    """The CPU taken for a GPU by who asks: it reads no setting, but a module that it runs can."""
    monkeypatch.setattr(precision, "_WITH_TF32", ("cuda", "cpu"))


@pytest.mark.parametrize(
    "name", ["gradient", "grad_cam", "integrated_gradients", "rise", "lrp", "deep_lift", "full_grad"]
)
def test_a_method_runs_all_its_passes_in_float32(as_on_a_gpu, name: str) -> None:
    net = nv.Network(Noting(), size=32)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    options = {key: 4 for key in ("steps", "masks") if key in nv.methods()[name].options}
    try:
        for _ in nv.attribute.stream(net, x, method=name, target=1, **options):
            assert on()  # what the user computes between two frames is as she set it
    except nv.PackageMissingError as error:
        pytest.skip(str(error))
    assert SEEN
    assert not any(tf32 for _, tf32 in SEEN)


def test_the_gradients_of_a_trace_are_taken_in_float32(as_on_a_gpu) -> None:
    trace = nv.Network(Noting(), size=32).trace(torch.zeros(1, 3, 32, 32))
    trace.gradient(1, "input")
    trace.gradients([0, 1], "input")
    assert {what for what, _ in SEEN} == {"forward", "backward"}
    assert not any(tf32 for _, tf32 in SEEN)


def test_a_synthesis_runs_as_torch_is_set(as_on_a_gpu) -> None:
    net = nv.Network(Noting(), size=32)
    SEEN.clear()
    next(nv.synthesize(net, 1, steps=2))
    assert ("backward", True) in SEEN


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_gradient_is_that_of_float64() -> None:
    torch.manual_seed(0)
    module = toys.classic()
    x = torch.randn(1, 3, 32, 32)
    found = nv.Network(module.cuda(), size=32).trace(x.cuda()).gradient(1, "input").cpu().double()
    expected = nv.Network(module.cpu().double(), size=32).trace(x.double()).gradient(1, "input")
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4
