"""Class activation maps of networks that work with tokens, against pytorch-grad-cam with its reshape_transform."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
import torchvision
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.reshape_transforms import vit_reshape_transform
from torch import Tensor, nn

import nbcnnviz as nv
from tests.conftest import relative_error

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], str, Callable[[Tensor], Tensor]]] = {
    "ViT": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4),
        (64, 64),
        "blocks.3.norm1",
        lambda t: vit_reshape_transform(t, 4, 4),
    ),
    "ViT, not square": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=(64, 96), depth=3),
        (64, 96),
        "blocks.2.norm1",
        lambda t: vit_reshape_transform(t, 4, 6),
    ),
    "DeiT with a distillation token": (
        lambda: timm.create_model("deit_tiny_distilled_patch16_224", img_size=64, depth=3),
        (64, 64),
        "blocks.2.norm1",
        lambda t: t[:, 2:].reshape(len(t), 4, 4, -1).permute(0, 3, 1, 2),
    ),
    "ViT with registers": (
        lambda: timm.create_model("vit_small_patch14_reg4_dinov2", img_size=70, depth=2, num_classes=6),
        (70, 70),
        "blocks.1.norm1",
        lambda t: t[:, 5:].reshape(len(t), 5, 5, -1).permute(0, 3, 1, 2),
    ),
    "Swin": (
        lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=128, window_size=4),
        (128, 128),
        "layers.3.blocks.1.norm1",
        lambda t: t.permute(0, 3, 1, 2),
    ),
    "torchvision's Swin": (
        lambda: torchvision.models.swin_t(weights=None),
        (64, 96),
        "features.7.1.norm1",
        lambda t: t.permute(0, 3, 1, 2),
    ),
    "BEiT": (
        lambda: timm.create_model("beit_base_patch16_224", img_size=64, depth=2, embed_dim=96, num_heads=3),
        (64, 64),
        "blocks.1.norm1",
        lambda t: vit_reshape_transform(t, 4, 4),
    ),
}


def theirs(kind: type, module: nn.Module, layer: str, reshape: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The map before it is scaled: relu of pytorch-grad-cam's weighted sum."""
    place = module.get_submodule(layer)
    with kind(module, [place], reshape_transform=reshape) as cam:
        scores = cam.activations_and_grads(x)
        scores[:, 1].sum().backward()
        seen = cam.activations_and_grads
        maps, gradients = seen.activations[0].numpy(), seen.gradients[0].numpy()
        return torch.from_numpy(np.maximum(cam.get_cam_image(x, place, None, maps, gradients, False), 0))[:, None]


@pytest.mark.parametrize("case", CASES)
def test_tokens_give_the_maps_that_pytorch_grad_cam_gives_with_a_reshape_transform(case: str) -> None:
    make, size, layer, reshape = CASES[case]
    module = make().eval()
    network = nv.Network(module, size=size)
    x = torch.randn(2, 3, *size)
    trace = network.trace(x)
    assert network.layers[layer].spatial
    methods = {"grad_cam": GradCAM, "hires_cam": HiResCAM, "layer_cam": LayerCAM}
    for method, kind in methods.items():
        if method in nv.methods():
            found = nv.attribute(trace, method=method, target=1, layer=layer).values
            assert relative_error(found, theirs(kind, module, layer, reshape, x)) < 1e-4


@pytest.mark.parametrize("case", ["ViT", "ViT, not square", "DeiT with a distillation token", "ViT with registers"])
def test_the_default_of_a_class_token_head_is_what_the_last_block_is_given(case: str) -> None:
    make, size, layer, _ = CASES[case]
    network = nv.Network(make().eval(), size=size)
    assert network.last_maps == layer
    block = layer.rpartition(".")[0]
    assert network.trace(torch.randn(1, 3, *size)).map_gradient(1, block).abs().max() == 0


def test_swins_default_is_its_last_norm_and_its_windows_are_refused() -> None:
    make, size, _, _ = CASES["Swin"]
    network = nv.Network(make().eval(), size=size)
    assert network.last_maps == "norm"
    for inner in ("layers.0.blocks.1.attn.qkv", "layers.0.blocks.1.attn.softmax", "layers.0.blocks.1.attn.proj"):
        if inner in network.layers:
            assert not network.layers[inner].spatial
            assert "its first axis is not the batch" in network.layers[inner].reason
    assert all(network.layers[f"layers.{i}.blocks.{j}"].spatial for i in range(3) for j in range(2))


def test_filters_and_units_of_tokens_are_shown_and_projected() -> None:
    from nbcnnviz.inside.features import feature_maps, ranking, strongest
    from nbcnnviz.inside.receptive import receptive_field

    make, size, layer, reshape = CASES["ViT, not square"]
    trace = nv.Network(make().eval(), size=size).trace(torch.randn(1, 3, *size))
    maps = reshape(trace[layer].detach())[0]
    assert torch.equal(feature_maps(trace, layer).values, maps)
    best = strongest(trace, layer, 7)
    assert maps[7].max() == maps[7, best.row, best.column] == best.value
    gradient = reshape(trace.gradient(1, layer))[0]
    order = ranking(trace, layer, "contribution", target=1)
    torch.testing.assert_close(order.values, (gradient * maps).sum((1, 2)).sort(descending=True).values)
    # A token of the first block sees its own patch; one behind attention the whole picture.
    assert tuple(receptive_field(trace, "blocks.0.norm1", 2, 4)) == (32, 64, 48, 80)
    seen = trace.gradient(nv.Unit("blocks.0.norm1", 7, 2, 4))[0].abs().sum(0)
    inside = torch.zeros(size, dtype=torch.bool)
    inside[32:48, 64:80] = True
    assert torch.equal(seen > 0, inside)
    assert tuple(receptive_field(trace, layer, 2, 4)) == (0, 0, 64, 96)
