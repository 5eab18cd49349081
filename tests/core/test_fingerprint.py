"""Weights that changed are told from weights that did not, however they were written to."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn

import nbcnnviz as nv
from nbcnnviz.core.fingerprint import weights_state
from nbcnnviz.session.tracing import Tracer
from tests import toys


def test_weights_that_stay_have_the_same_state() -> None:
    module = toys.classic()
    state = weights_state(module)
    module(torch.randn(1, 3, 8, 8))
    assert weights_state(module) == state


CHANGES = {
    "in place": lambda m: nn.init.zeros_(m[4].weight),
    "through data": lambda m: m[4].weight.data.add_(1),
    "through data, one of few": lambda m: m[8].bias.data[2].add_(1),
    "buffer through data": lambda m: m[1].running_mean.data.add_(1),
    "replaced": lambda m: setattr(m[4], "weight", nn.Parameter(m[4].weight.detach().clone())),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_change_have_another(change: str, dtype: torch.dtype) -> None:
    module = toys.classic().to(dtype)
    state = weights_state(module)
    with torch.no_grad():
        CHANGES[change](module)
    assert weights_state(module) != state


def test_weights_made_in_inference_mode_have_a_state() -> None:
    with torch.inference_mode():
        module = toys.classic()
    state = weights_state(module)
    module[4].weight.data.add_(1)
    assert weights_state(module) != state


def test_a_picture_is_traced_anew_after_weights_were_written_through_data() -> None:
    network = nv.Network(toys.classic(), size=12)
    tracer, picture = Tracer(lambda: None), Image.new("RGB", (12, 12), (200, 30, 90))
    first = tracer(network, picture)
    assert tracer(network, picture) is first
    network.module[8].bias.data.add_(1)
    assert torch.allclose(tracer(network, picture).scores, first.scores + 1, atol=1e-5)
