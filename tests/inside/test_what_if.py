"""What the network would say: against the module itself with a hook, and a linear network by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nbcnnviz as nv
from tests import toys

SIZE = 16


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=SIZE)


@pytest.fixture
def trace(net: nv.Network) -> nv.Trace:
    return net.trace(torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))


def hooked(net: nv.Network, x: torch.Tensor, layer: str, channels: list[int], scale: float) -> torch.Tensor:
    """The scores of the module itself, a hook scaling the channels."""

    def scaled(_module, _args, output):
        output = output.clone()
        output[:, channels] *= scale
        return output

    handle = dict(net.module.named_modules())[layer].register_forward_hook(scaled)
    try:
        with torch.no_grad():
            return net.module(x)[0]
    finally:
        handle.remove()


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, -1.0, 3.0])
@pytest.mark.parametrize(("layer", "channels"), [("0", [2]), ("5", [0, 7]), ("7", [3]), ("8", [1])])
def test_a_filter_scaled_gives_what_the_module_gives_with_a_hook(net, trace, layer, channels, scale) -> None:
    found = nv.what_if(trace, layer, channels, scale=scale)
    expected = hooked(net, trace.input.detach(), layer, channels, scale)
    assert torch.allclose(found.after, expected, atol=1e-5)
    assert torch.allclose(found.before, trace.scores[0].detach())
    assert torch.allclose(found.probabilities[1], expected.softmax(0), atol=1e-6)


def test_of_a_linear_network_each_change_can_be_written_down() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))
        module[3].weight.copy_(torch.tensor([[1.0, 1.0], [3.0, 0.0]]))
        module[3].bias.copy_(torch.tensor([0.5, 0.0]))
    net = nv.Network(module, preprocess=lambda image: torch.zeros(1, 4, 4))
    x = torch.arange(16.0).view(1, 1, 4, 4)
    trace = net.trace(x)
    mean = 7.5
    assert trace.scores.tolist()[0] == pytest.approx([mean - 2 * mean + 0.5, 3 * mean])
    off = nv.what_if(trace, "0", 1)
    assert off.after.tolist() == pytest.approx([mean + 0.5, 3 * mean])
    twice = nv.what_if(trace, "0", 0, scale=2)
    assert twice.after.tolist() == pytest.approx([2 * mean - 2 * mean + 0.5, 6 * mean])
    # The first row is 0 to 3, the rest 4 to 15; what is hidden is the mean of all, 7.5.
    hidden = (4 * mean + sum(range(4, 16))) / 16
    assert nv.what_if(trace, box=(0, 0, 4, 1)).after.tolist() == pytest.approx([-hidden + 0.5, 3 * hidden])
    alone = (sum(range(4)) + 12 * mean) / 16
    kept = nv.what_if(trace, box=(0, 0, 4, 1), region="keep")
    assert kept.after.tolist() == pytest.approx([-alone + 0.5, 3 * alone])
    both = nv.what_if(trace, "0", 1, box=(0, 0, 4, 1), region="keep")
    assert both.after.tolist() == pytest.approx([alone + 0.5, 3 * alone])
    assert both.change == "the part (0, 0, 4, 1) alone and channel 1 of 0 off"


def test_the_classes_shown_are_the_likeliest_of_both(net, trace) -> None:
    found = nv.what_if(trace, "5", range(8))
    before, after = (
        trace.scores[0].detach().softmax(0),
        hooked(net, trace.input.detach(), "5", [*range(8)], 0).softmax(0),
    )
    shown = found.top(1)
    assert {index for index, *_ in shown} == {int(before.argmax()), int(after.argmax())}
    for index, name, was, now in found.top(3):
        assert name == net.classes[index]
        assert (was, now) == pytest.approx((float(before[index]), float(after[index])), abs=1e-6)
    shares = [was for _, _, was, _ in found.top(3)]
    assert shares == sorted(shares, reverse=True)


def test_what_comes_before_the_layer_is_run_once(net, trace, monkeypatch) -> None:
    nv.what_if(trace, "5", 0)
    passes = []
    own = nv.Network._recorded
    monkeypatch.setattr(nv.Network, "_recorded", lambda self, *a, **k: passes.append(1) or own(self, *a, **k))
    for channel in range(4):
        nv.what_if(trace, "5", channel, scale=0.3)
    assert len(passes) == 4, "one pass each, from the layer on"
    [scorer] = trace.memory["what if"].values()
    assert scorer.cached


def test_only_the_last_few_scorers_are_kept(trace) -> None:
    for left in range(5):
        nv.what_if(trace, "5", 0, box=(left, 0, left + 2, 2))
    assert len(trace.memory["what if"]) == 2


def test_tokens_have_channels_too() -> None:
    timm = pytest.importorskip("timm")
    module = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, patch_size=8, depth=2)
    net = nv.Network(module.eval(), size=32)
    trace = net.trace(torch.randn(1, 3, 32, 32))
    found = nv.what_if(trace, "blocks.0", 5, scale=1.0)
    assert torch.allclose(found.after, found.before, atol=1e-4)
    assert not torch.allclose(nv.what_if(trace, "blocks.0", 5, scale=40.0).after, found.before, atol=1e-4)


def test_what_the_network_was_given_can_be_looked_at(net) -> None:
    trace = net.trace("chelsea")
    picture = np.asarray(nv.what_if(trace, box=(2, 3, 10, 8)).picture, float)
    own = np.asarray(trace.pictures[0], float)
    outside = np.ones((SIZE, SIZE), bool)
    outside[3:8, 2:10] = False
    assert np.abs(picture - own)[outside].max() <= 1
    assert picture[3:8, 2:10].std((0, 1)).max() < 1e-6, "one colour"
    assert isinstance(nv.what_if(trace, box=(2, 3, 10, 8)).picture, Image.Image)


def test_one_picture_of_a_batch_is_changed(net) -> None:
    x = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
    found = nv.what_if(net.trace(x), "0", 1, picture=1)
    assert torch.allclose(found.after, hooked(net, x[1:], "0", [1], 0), atol=1e-5)


def test_what_cannot_be_changed_is_refused(trace) -> None:
    with pytest.raises(nv.MethodNotApplicableError, match="Nothing is changed"):
        nv.what_if(trace)
    with pytest.raises(nv.MethodNotApplicableError, match="name both"):
        nv.what_if(trace, "0")
    with pytest.raises(nv.FilterRangeError, match="6 channels"):
        nv.what_if(trace, "0", 6)
    with pytest.raises(nv.UnknownLayerError):
        nv.what_if(trace, "no layer", 0)
    with pytest.raises(nv.UnknownOptionError, match="finite"):
        nv.what_if(trace, "0", 0, scale=float("nan"))
    with pytest.raises(nv.ImageError, match="no pixels"):
        nv.what_if(trace, box=(20, 20, 30, 30))
    with pytest.raises(nv.UnknownOptionError, match="hide"):
        nv.what_if(trace, box=(0, 0, 3, 3), region="remove")
    with pytest.raises(nv.FilterRangeError, match="no picture 1"):
        nv.what_if(trace, "0", 0, picture=1)
