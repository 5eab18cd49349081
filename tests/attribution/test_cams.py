"""Class activation maps against independent implementations, and by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import GuidedGradCam, LayerGradCam
from torch import nn
from torchcam.methods import CAM
from torchray.attribution.grad_cam import grad_cam as torchray_grad_cam

import nbcnnviz as nv
from tests import toys
from tests.attribution.oracles import CLASS, SIZE, pair
from tests.conftest import relative_error

pytestmark = [
    pytest.mark.filterwarnings("ignore:Setting backward hooks"),
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torchray"),
]


@pytest.fixture(scope="module")
def resnet() -> tuple[nn.Module, nn.Module, nv.Trace]:
    module, twin = pair("resnet18")
    return module, twin, nv.Network(module, size=SIZE).trace(torch.randn(2, 3, SIZE, SIZE))


def shown_class(trace: nv.Trace, layer: str, but: int = 0) -> int:
    """The first class, but for some, whose Grad-CAM at the layer is not cut to zero throughout."""
    for index in range(trace.scores.shape[1]):
        weights = trace.gradient(index, layer).mean((2, 3), keepdim=True)
        if ((weights * trace[layer].detach()).sum(1).flatten(1).amax(1) > 0).all():
            if not but:
                return index
            but -= 1
    raise AssertionError("no class has anything to show")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("resnet18", "layer2.0"),
        ("vgg16", "features.28"),
        ("vgg16", "features.29"),
        ("squeezenet1_1", "features.12"),
        ("squeezenet1_1", "features.7"),
    ],
)
def test_grad_cam_equals_captum_and_torchray(name: str, layer: str) -> None:
    module, twin = pair(name)
    x = torch.randn(2, 3, SIZE, SIZE)
    trace = nv.Network(module, size=SIZE).trace(x)
    index = shown_class(trace, layer)
    found = nv.attribute(trace, method="grad_cam", target=index, layer=layer).values
    expected = LayerGradCam(twin, twin.get_submodule(layer)).attribute(x, index, relu_attributions=True)
    assert relative_error(found, expected) < 1e-5
    expected = torchray_grad_cam(twin, x.clone(), torch.tensor([index, index]), saliency_layer=layer)
    assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("layer", ["bn2", "blocks.4", "conv_stem"])
def test_grad_cam_of_the_bundled_network_equals_captum(bundled: nv.Network, layer: str) -> None:
    trace = bundled.trace("chelsea")
    found = nv.attribute(trace, method="grad_cam", target=282, layer=layer).values
    module = bundled.module
    expected = LayerGradCam(module, module.get_submodule(layer)).attribute(
        trace.input.detach().clone(), 282, relu_attributions=True
    )
    assert relative_error(found, expected) < 1e-5


def test_grad_cam_before_an_in_place_relu_uses_what_the_layer_returned() -> None:
    module, twin = pair("vgg16")
    assert isinstance(module.features[29], nn.ReLU)
    assert module.features[29].inplace
    x = torch.randn(1, 3, 64, 64)
    trace = nv.Network(module, size=64).trace(x)

    with torch.no_grad():
        before = twin.features[:29](x)
    assert torch.equal(trace["features.28"], before)
    assert before.min() < 0, "the rectifier has something to cut"
    assert torch.equal(trace["features.29"], before.relu())

    before.requires_grad_()
    rest = nn.Sequential(*twin.features[29:], twin.avgpool, nn.Flatten(), twin.classifier)
    (gradient,) = torch.autograd.grad(rest(before)[0, CLASS], before)
    assert relative_error(trace.gradient(CLASS, "features.28"), gradient) < 1e-5
    index = shown_class(trace, "features.28")
    (gradient,) = torch.autograd.grad(rest(before)[0, index], before)
    cam = (gradient.mean((2, 3), keepdim=True) * before).sum(1, keepdim=True).relu()
    found = nv.attribute(trace, method="grad_cam", target=index, layer="features.28").values
    assert relative_error(found, cam) < 1e-5
    confused = (gradient.mean((2, 3), keepdim=True) * before.relu()).sum(1, keepdim=True).relu()
    assert relative_error(confused, cam) > 0.01, "the rectified activation gives another map"


def test_cam_equals_torchcam(resnet) -> None:
    module, _, trace = resnet
    with CAM(module, "layer4", fc_layer="fc") as extractor:
        scores = module(trace.input.detach())
        (expected,) = extractor([CLASS, 11], scores, normalized=False)
    found = nv.attribute(trace, method="cam", target=nv.ClassScore((CLASS, 11))).values
    assert relative_error(found, expected.detach().relu().reshape(found.shape)) < 1e-5


def test_cam_is_grad_cam_times_the_number_of_places(resnet) -> None:
    _, _, trace = resnet
    cam = nv.attribute(trace, method="cam", target=CLASS)
    grad_cam = nv.attribute(trace, method="grad_cam", target=CLASS)
    assert cam.layer == grad_cam.layer == "layer4"
    height, width = cam.values.shape[2:]
    assert relative_error(grad_cam.values * height * width, cam.values) < 1e-5


@pytest.mark.parametrize("layer", ["layer4", "layer3"])
def test_guided_grad_cam_equals_captum_with_bilinear_upsampling(resnet, layer: str) -> None:
    _, twin, trace = resnet
    index = shown_class(trace, layer)
    expected = GuidedGradCam(twin, twin.get_submodule(layer)).attribute(
        trace.input.detach().clone(), index, interpolate_mode="bilinear"
    )
    found = nv.attribute(trace, method="guided_grad_cam", target=index, layer=layer)
    assert relative_error(found.values, expected) < 1e-5
    assert found.rectifiers == 17


def test_a_batch_gives_what_its_pictures_give_one_by_one(resnet) -> None:
    _, _, trace = resnet
    classes = (shown_class(trace, "layer4"), shown_class(trace, "layer4", but=1))
    for method in ("cam", "grad_cam", "guided_grad_cam"):
        together = nv.attribute(trace, method=method, target=nv.ClassScore(classes)).values
        for i, index in enumerate(classes):
            alone = nv.attribute(trace.network, trace.input[[i]], method=method, target=index).values
            assert relative_error(together[[i]], alone) < 1e-5


def test_grad_cam_of_a_filter_looks_at_that_filters_layer() -> None:
    trace = nv.Network(toys.classic(), size=12).trace(torch.randn(1, 3, 12, 12))
    result = nv.attribute(trace, target=nv.Channel("4", 2))
    assert result.layer == "4"
    # The mean of channel 2 weighs that channel by 1 / places, and no other.
    expected = trace["4"][:, [2]].detach().relu() / trace["4"].shape[2:].numel()
    assert relative_error(result.values, expected) < 1e-5
    below = nv.attribute(trace, target=nv.Unit("4", 2, 3, 3), layer="2")
    assert below.values.shape == (1, 1, 12, 12)


def test_cam_says_where_it_does_not_apply(resnet) -> None:
    _, _, trace = resnet
    with pytest.raises(nv.MethodNotApplicableError, match="average"):
        nv.attribute(trace, method="cam", target=0, layer="layer3")
    with pytest.raises(nv.MethodNotApplicableError, match="class"):
        nv.attribute(trace, method="cam", target=nv.Channel("layer4", 3))
    module, _ = pair("vgg16")
    with pytest.raises(nv.MethodNotApplicableError, match="Grad-CAM"):
        nv.attribute(nv.Network(module, size=64), torch.randn(1, 3, 64, 64), method="cam", target=0)
    bounded = nn.Sequential(*toys.classic(), nn.Tanh())
    with pytest.raises(nv.MethodNotApplicableError, match="CAM needs scores"):
        nv.attribute(nv.Network(bounded, size=12), torch.randn(1, 3, 12, 12), method="cam", target=0)


class Heads(nn.Module):
    """A classifier, and an auxiliary head of the same shape that is computed after it."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.aux = toys.classic(), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = self.body[:-1](x)
        return self.body[-1](pooled), self.aux(pooled)


def convolutional() -> nn.Sequential:
    return nn.Sequential(*toys.classic()[:6], nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("module", "maps", "head", "target", "row", "sign"),
    [
        (Heads(), "body.5", "body.8", 1, 1, 1),
        (convolutional(), "5", "6", 1, 1, 1),
        (nn.Sequential(*toys.classic(), nn.Sigmoid()), "5", "8", 1, 1, 1),
        (nn.Sequential(*toys.classic(), nn.Softmax(1)), "5", "8", 1, 1, 1),
        (toys.classic(classes=1), "5", "8", "positive", 0, 1),
        (toys.classic(classes=1), "5", "8", "negative", 0, -1),
    ],
    ids=["auxiliary", "convolution", "sigmoid", "softmax", "positive", "negative"],
)
def test_cam_finds_the_layer_that_makes_the_scores(module: nn.Module, maps: str, head: str, target, row, sign) -> None:
    torch.manual_seed(1)
    for part in module.modules():  # or the weights would hang on which tests are collected
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    trace = nv.Network(module.eval(), size=12).trace(torch.randn(2, 3, 12, 12))
    found = nv.attribute(trace, method="cam", target=target, layer=maps).values
    weight = sign * module.get_submodule(head).weight[row].view(1, -1, 1, 1)
    expected = (weight * trace[maps]).sum(1, keepdim=True).relu().detach()
    assert relative_error(found, expected) < 1e-5
    places = trace[maps].shape[2:].numel()
    assert (
        relative_error(found, places * nv.attribute(trace, method="grad_cam", target=target, layer=maps).values) < 1e-4
    )


def test_cam_refuses_scores_that_are_all_zero_which_any_layer_would_give() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    nn.init.zeros_(module[4].weight)
    nn.init.zeros_(module[4].bias)
    trace = nv.Network(module.eval(), size=16).trace(torch.randn(1, 3, 16, 16))
    for layer in ("0", "1"):
        with pytest.raises(nv.MethodNotApplicableError, match="every score is zero"):
            nv.attribute(trace, method="cam", target=1, layer=layer)


def test_cam_applies_to_a_linear_layer_without_bias() -> None:
    module = toys.classic()
    module[-1] = nn.Linear(8, 5, bias=False)
    trace = nv.Network(module, size=12).trace(torch.randn(1, 3, 12, 12))
    found = nv.attribute(trace, method="cam", target=1).values
    maps = trace["5"].detach()
    expected = (module[-1].weight[1].view(1, -1, 1, 1) * maps).sum(1, keepdim=True).relu()
    assert relative_error(found, expected.detach()) < 1e-5


@pytest.mark.parametrize("method", ["grad_cam", "cam", "guided_grad_cam", "gradient"])
def test_a_layer_without_maps_is_an_error_that_names_one_with(method: str) -> None:
    trace = nv.Network(toys.classic(), size=12).trace(torch.randn(1, 3, 12, 12))
    with pytest.raises(nv.MethodNotApplicableError, match=r"not maps .* such as '5'.* the input .*'saliency'"):
        nv.attribute(trace, method=method, target=0, layer="8")


@pytest.mark.parametrize("method", [name for name, known in nv.methods().items() if known.needs_layer])
@pytest.mark.parametrize("of_a_trace", [False, True])
def test_a_method_of_maps_refuses_the_input_and_says_which_methods_explain_it(method: str, of_a_trace: bool) -> None:
    network = nv.Network(toys.classic(), size=12)
    x = torch.randn(1, 3, 12, 12)
    source = (network.trace(x),) if of_a_trace else (network, x)
    with pytest.raises(nv.MethodNotApplicableError, match=r"which the input is not: .* such as '5'.* 'saliency'"):
        nv.attribute(*source, method=method, target=0, layer="input")
    with pytest.raises(nv.UnknownLayerError, match="no layer 'nowhere'"):
        nv.attribute(*source, method=method, target=0, layer="nowhere")


def test_a_layer_with_its_channels_last_has_maps_too() -> None:
    module = torchvision.models.convnext_tiny(weights=None).eval()
    network = nv.Network(module, size=64)
    x = torch.randn(1, 3, 64, 64)
    trace = network.trace(x)
    inner = "features.5.0.block.3"
    assert network.layers[inner].kind == "Linear"
    assert network.layers[inner].channels_last
    kept = {}
    module.get_submodule(inner).register_forward_hook(lambda m, args, output: kept.update(output=output))
    (gradient,) = torch.autograd.grad(module(x)[0, 0], kept["output"])
    maps, gradient = (t.detach().permute(0, 3, 1, 2) for t in (kept["output"], gradient))
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    assert relative_error(nv.attribute(trace, target=0, layer=inner).values, expected) < 1e-4
    assert relative_error(nv.attribute(trace, target=0, layer=inner, method="gradient").values, gradient) < 1e-4
    assert relative_error(trace.maps(inner), maps) < 1e-4
    assert nv.attribute(trace, target=0, layer="features.5.0").values.shape == (1, 1, 4, 4)


def test_a_network_without_maps_is_an_error() -> None:
    flat = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 2))
    network = nv.Network(flat, size=8)
    assert network.last_maps is None
    with pytest.raises(nv.MethodNotApplicableError, match="needs a layer that returns maps"):
        nv.attribute(network, torch.randn(1, 3, 8, 8), target=0)


CAT = (slice(30, 215), slice(15, 212))
"""Rows and columns of the cat's face in `chelsea` as the bundled network sees it: brow to chin, cheek to far eye."""


@pytest.mark.parametrize("cat", [281, 282, 285])
def test_grad_cams_maximum_lies_on_the_cat(bundled: nv.Network, cat: int) -> None:
    heatmap = nv.attribute(bundled, "chelsea", target=cat).heatmap
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    assert CAT[0].start <= y < CAT[0].stop
    assert CAT[1].start <= x < CAT[1].stop


def test_grad_cam_tells_apart_what_stands_side_by_side(bundled: nv.Network) -> None:
    cat, cup = bundled.batch(["chelsea", "coffee"])
    trace = bundled.trace(torch.cat([cat, cup], 2)[None])
    for index, half in ((282, slice(0, 224)), (967, slice(224, 448))):
        heatmap = nv.attribute(trace, target=index).heatmap
        assert heatmap.shape == (224, 448)
        assert heatmap[:, half].max() == heatmap.max() == 1
        assert heatmap[:, half].sum() > 0.8 * heatmap.sum()


def test_upscaling_for_guided_grad_cam_is_bilinear_between_pixel_centres(resnet) -> None:
    _, _, trace = resnet
    guided = nv.attribute(trace, method="guided_backprop", target=CLASS).values
    cam = nv.attribute(trace, method="grad_cam", target=CLASS)
    expected = guided * F.interpolate(cam.values, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    found = nv.attribute(trace, method="guided_grad_cam", target=CLASS).values
    assert torch.equal(found, expected)


def test_grad_cam_is_not_the_same_for_every_class(resnet) -> None:
    _, _, trace = resnet
    one, other = (nv.attribute(trace, target=shown_class(trace, "layer4", but)).values for but in (0, 1))
    assert relative_error(one, other) > 0.01


def test_the_maps_of_every_class_come_at_once_and_are_each_that_of_cam() -> None:
    net = nv.Network(toys.classic(), size=16)
    trace = net.trace(torch.randn(2, 3, 16, 16))
    maps = nv.class_maps(trace)
    assert maps.shape[:2] == (2, 5)
    for index in range(5):
        assert torch.allclose(maps[:, index : index + 1], nv.attribute(trace, method="cam", target=index).values)
    scores = nv.class_maps(trace, rectified=False).mean((2, 3)) + net.module[8].bias
    assert torch.allclose(scores, trace.scores, atol=1e-5)
    with pytest.raises(nv.MethodNotApplicableError, match="average"):
        nv.class_maps(trace, "0")


def test_cam_of_one_class_less_another_is_that_of_the_difference_of_their_weights() -> None:
    trace = nv.Network(toys.classic(), size=16).trace(torch.randn(2, 3, 16, 16))
    raw = nv.class_maps(trace, rectified=False)
    found = nv.attribute(trace, method="cam", target=nv.ClassScore(3) - nv.ClassScore(1))
    assert torch.allclose(found.values[:, 0], (raw[:, 3] - raw[:, 1]).relu(), atol=1e-6)
    each = nv.attribute(trace, method="cam", target=nv.ClassScore((3, 0)) - 0.5 * nv.ClassScore(1))
    assert torch.allclose(each.values[1, 0], (raw[1, 0] - 0.5 * raw[1, 1]).relu(), atol=1e-6)
    with pytest.raises(nv.MethodNotApplicableError, match="Grad-CAM"):
        nv.attribute(trace, method="cam", target=nv.ClassScore(3) - nv.Channel("4", 1))
