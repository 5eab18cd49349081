"""One small member of each family of timm's and torchvision's, with random weights, against plain torch.

The module itself, copied and in evaluation mode, tells what is right: its scores, its gradients by autograd, and by hooks
on it what its layers return. The table that the run prints at its end names each network's default layer, and of those
refused the sentence.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import nbcnnviz as nv
from tests.untouched import photograph

# Names and sizes of the input: small, but where the network is made for one size.
# fmt: off
TIMM = {
    "convit_tiny": 224, "coat_tiny": 224, "crossvit_9_240": 240, "test_byobnet": 96, "cait_xxs24_224": 224,
    "test_convnext": 96, "cpubone_nano": 96, "cs3darknet_s": 96, "cspnext_tiny": 96, "davit_tiny": 96,
    "deit_tiny_distilled_patch16_224": 224, "densenet121": 96, "dla46_c": 96, "dpn48b": 96, "edgenext_xx_small": 96,
    "efficientformer_l1": 224, "efficientformerv2_s0": 224, "test_efficientnet": 96, "efficientvit_b0": 96,
    "efficientvit_m0": 224, "eva02_tiny_patch14_224": 224, "fasternet_t0": 96, "fastvit_t8": 96, "ghostnet_050": 96,
    "hgnetv2_b0": 96, "inception_next_atto": 96, "lcnet_035": 96, "levit_128s": 224, "mambaout_femto": 96,
    "test_coatnet": 160, "test_maxvit": 160, "poolformer_s12": 96, "gmlp_ti16_224": 224, "mobilenetv3_small_050": 96,
    "mobilevit_xxs": 96, "mobilevitv2_050": 96, "test_nfnet": 96, "pit_ti_224": 224, "pvt_v2_b0": 96, "regnetx_002": 96,
    "repghostnet_050": 96, "repvit_m0_9": 96, "resnest14d": 96, "test_resnet": 96, "resnetv2_18": 96, "rexnet_100": 96,
    "legacy_seresnet18": 96, "shvit_s1": 96, "skresnet18": 96, "starnet_s050": 96, "swiftformer_xs": 224,
    "swin_tiny_patch4_window7_224": 224, "swinv2_tiny_window8_256": 256, "tiny_vit_5m_224": 224, "tnt_s_patch16_224": 224,
    "twins_pcpvt_small": 224, "visformer_tiny": 224, "test_vit": 160, "vit_tiny_r_s16_p8_224": 224, "test_vit_relpos": 160,
    "ese_vovnet19b_slim_dw": 96, "xcit_nano_12_p16_224": 224, "hardcorenas_a": 96, "gcvit_xxtiny": 224,
}
TORCHVISION = {
    "alexnet": 96, "squeezenet1_1": 96, "googlenet": 96, "shufflenet_v2_x0_5": 96, "mnasnet0_5": 96, "mobilenet_v2": 96,
    "efficientnet_b0": 96, "regnet_y_400mf": 96, "resnet18": 96, "swin_v2_t": 96,
}
# fmt: on
CASES = [("timm", *item) for item in TIMM.items()] + [("torchvision", *item) for item in TORCHVISION.items()]


def made(library: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    if library == "timm":
        return timm.create_model(name, pretrained=False, num_classes=10).eval()
    options: dict[str, Any] = {"init_weights": True} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, num_classes=10, **options).eval()


def outputs_of(module: nn.Module, layer: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer returned, as the rest of the module used it, and the scores; by a hook on the module."""
    name, _, call = layer.partition(":")
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        kept.append(output.clone())
        return kept[-1].clone()

    handle = module.get_submodule(name).register_forward_hook(keep)
    scores = module(x)
    handle.remove()
    scores = scores[0] if isinstance(scores, tuple) else getattr(scores, "logits", scores)
    return kept[int(call or 0)], scores


@pytest.mark.parametrize(("library", "name", "size"), CASES, ids=[name for _, name, _ in CASES])
def test_a_network_of_this_family_is_right_or_refused(library, name, size, record_property) -> None:
    module = made(library, name)
    before = photograph(module)
    plain = copy.deepcopy(module)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    try:
        net = nv.Network(module, size=size)
        layer = net.last_maps
        assert layer is not None, "no layer has maps"
    except nv.NbcnnvizError as error:
        record_property("sweep", f"{name:36} refused: {error}")
        pytest.skip(f"refused: {error}")
    trace = net.trace(x)
    output, scores = outputs_of(plain, layer, x.requires_grad_())
    assert torch.allclose(trace.scores.detach(), scores.detach(), rtol=1e-4, atol=1e-5)

    # The default layer: one row a picture, places of which a corner of the picture changes that corner most.
    layout = net.layers[layer].layout
    maps = layout.maps(output.detach())
    assert maps.shape[0] == 2
    assert maps.shape[2] * maps.shape[3] > 1
    assert torch.allclose(trace.maps(layer), maps, rtol=1e-3, atol=1e-4 * float(maps.abs().max()))
    assert float((maps[0] - maps[1]).abs().max()) > 1e-6 * float(maps.abs().max())

    # Grad-CAM and saliency, by autograd on the copy.
    top = scores[:, 3].sum()
    g_layer, g_input = torch.autograd.grad(top, [output, x])
    g = layout.maps(g_layer)
    cam = (g.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    for method, expected in (("grad_cam", cam), ("saliency", g_input.abs().amax(1, keepdim=True))):
        found = nv.attribute(trace, method=method, target=3).values
        scale = float(expected.abs().max())
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * scale + 1e-12), method
    assert photograph(module) == before
    places = " x ".join(map(str, maps.shape[1:]))
    record_property("sweep", f"{name:36} {layer:42} {net.layers[layer].kind:28} {places}")
