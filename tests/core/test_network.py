"""What a network is made of, and what cannot be one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms import v2

import nbcnnviz as nv
from tests import toys


@pytest.fixture
def network() -> nv.Network:
    return nv.Network(toys.classic(), size=(12, 10))


def test_a_module_alone_makes_a_network() -> None:
    module = toys.classic()
    network = nv.Network(module)
    assert network.module is module
    assert network.input_shape == (3, 224, 224)
    assert network.classes == [f"class {i}" for i in range(5)]
    assert network.device == torch.device("cpu")
    assert network.dtype == torch.float32
    assert network.name == "Sequential"
    assert repr(network) == "<Network Sequential: input 3 x 224 x 224, 9 layers, 5 classes, cpu>"


def test_the_input_size_is_found_where_none_is_given() -> None:
    assert nv.Network(nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(2304, 3))).input_shape == (
        *(1, 28, 28),
    )
    assert nv.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(3600, 3))).input_shape == (3, 32, 32)
    fully = nn.Sequential(nn.Conv2d(3, 5, 32))  # scores of a single place count as scores
    assert nv.Network(fully).input_shape == (3, 32, 32)


def test_layers_tell_their_kind_shape_and_parameters(network: nv.Network) -> None:
    assert list(network.layers) == [str(i) for i in range(9)]
    assert network.layers["0"] == nv.Layer("0", "Conv2d", (6, 12, 10), ("0.weight", "0.bias"))
    assert network.layers["3"] == nv.Layer("3", "MaxPool2d", (6, 6, 5), ())
    assert network.layers["8"] == nv.Layer("8", "Linear", (5,), ("8.weight", "8.bias"))
    assert [name for name, layer in network.layers.items() if layer.spatial] == ["0", "1", "2", "3", "4", "5"]
    assert [layer.filters for layer in network.layers.values()] == [6, 6, 6, 6, 8, 8, 8, 8, 5]


@pytest.mark.parametrize(
    ("name", "size", "last"),
    [
        ("resnet18", 64, "layer4"),
        ("squeezenet1_1", 64, "classifier.2"),
        ("mobilenet_v2", 64, "features"),
        ("densenet121", 64, "features"),
    ],
)
def test_the_last_maps_are_where_a_cam_is_taken(name: str, size: int, last: str) -> None:
    network = nv.Network(torchvision.models.get_model(name, weights=None), size=size)
    assert network.last_maps == last
    assert network.layers[last].spatial


def test_a_frozen_double_network_stays_double(network: nv.Network) -> None:
    network.module.double().requires_grad_(False)
    assert network.dtype == torch.float64
    trace = network.trace(torch.rand(1, 3, 12, 10))
    assert trace.scores.dtype == trace.gradient(0).dtype == trace.gradient(0, "0.weight").dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_every_method_works_in_other_precisions(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = toys.classic()
    x = torch.randn(2, 3, 12, 10)
    exact = nv.Network(module, size=(12, 10)).trace(x)
    other = nv.Network(toys.classic().to(dtype), size=(12, 10))
    other.module.load_state_dict(module.state_dict())
    trace = other.trace(x)
    for method in nv.methods():
        found = nv.attribute(trace, method=method, target=1, **toys.few(method))
        expected = nv.attribute(exact, method=method, target=1, **toys.few(method)).values
        assert found.values.dtype == dtype
        assert found.heatmap.dtype == np.float32
        if dtype is torch.float64:
            torch.testing.assert_close(found.values.float(), expected, rtol=1e-3, atol=1e-6)
        elif expected.abs().max() > 0 and method != "guided_grad_cam":
            cosine = F.cosine_similarity(found.values.float().flatten(), expected.flatten(), dim=0)
            assert cosine > 0.95


class Returns(nn.Module):
    def __init__(self, what) -> None:
        super().__init__()
        self.what, self.classic = what, toys.classic()

    def forward(self, x):
        return self.what(self.classic(x), x)


@pytest.mark.parametrize(
    "what",
    [
        lambda scores, x: (scores, x),
        lambda scores, x: [scores],
        lambda scores, x: {"logits": scores, "loss": None},
        lambda scores, x: {"out": scores},
        lambda scores, x: type("Output", (), {"logits": scores})(),
        lambda scores, x: scores[:, :, None, None],
    ],
    ids=["tuple", "list", "logits", "out", "attribute", "one place"],
)
def test_scores_are_found_in_what_classifiers_return(what) -> None:
    module = Returns(what).eval()
    trace = nv.Network(module, size=12).trace(x := torch.randn(2, 3, 12, 12))
    assert torch.equal(trace.scores, module.classic(x))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (lambda scores, x: x, r"shape \(1, 3, 12, 12\)"),
        (lambda scores, x: scores.argmax(1), "torch.int64"),
        (lambda scores, x: scores.long(), "torch.int64"),
        (lambda scores, x: scores.sum(), r"shape \(\)"),
        (lambda scores, x: (x, scores), r"shape \(1, 3, 12, 12\)"),
        (lambda scores, x: (), "a tuple"),
        (lambda scores, x: {"boxes": scores}, "a dict"),
        (lambda scores, x: None, "a NoneType"),
        (lambda scores, x: "cat", "a str"),
    ],
    ids=["maps", "classes", "integers", "one number", "tuple", "empty", "dict", "nothing", "text"],
)
def test_a_module_that_is_no_classifier_is_an_error(what, told: str) -> None:
    with pytest.raises(
        nv.NetworkError, match=f"This module returns .*{told}.*; a classifier of pictures returns scores"
    ):
        nv.Network(Returns(what), size=12)


def test_what_is_no_module_is_an_error() -> None:
    for wrong in ("resnet18", None, torchvision.models.resnet18, nn.Module):
        with pytest.raises(nv.NetworkError, match=r"made of a torch\.nn\.Module, not of a"):
            nv.Network(wrong)
    with pytest.raises(nv.NetworkError, match="forward"):
        nv.Network(nn.Module(), size=12)


def test_what_the_module_says_is_passed_on() -> None:
    with pytest.raises(nv.NetworkError, match=r"shape \(1, 3, 10, 10\).*mat1 and mat2.*Give the network its size"):
        nv.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 3)), size=10)
    network = nv.Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(256, 3)), size=10)
    with pytest.raises(nv.NetworkError, match=r"failed on an input of shape \(1, 3, 11, 11\)"):
        network.trace(torch.zeros(1, 3, 11, 11))
    with pytest.raises(nv.NetworkError, match="expected input"):
        network.trace(torch.zeros(1, 4, 10, 10))


@pytest.mark.parametrize("count", [0, 4, 6])
def test_class_names_of_the_wrong_length_are_an_error(count: int) -> None:
    with pytest.raises(nv.NetworkError, match=f"{count} class names for a network of 5 scores"):
        nv.Network(toys.classic(), size=12, classes=["x"] * count)


def test_classes_are_found_by_index_and_by_name() -> None:
    network = nv.Network(toys.classic(), size=12, classes=["ant", "Bee", "bee", "cat", "cat"])
    assert [network.class_index(c) for c in (0, -1, "ant", "ANT", "Bee", "bee")] == [0, 4, 0, 0, 1, 2]
    with pytest.raises(nv.UnknownClassError, match=r"names 2 classes: give an index, \[3, 4\]"):
        network.class_index("cat")
    with pytest.raises(nv.UnknownClassError, match=r"names 2 classes: give an index, \[1, 2\]"):
        network.class_index("BEE")
    with pytest.raises(nv.UnknownClassError, match=r"no class 'ants'\. Nearest: ant"):
        network.class_index("ants")
    with pytest.raises(nv.UnknownClassError, match="There are 5 classes, 0 to 4"):
        network.class_index(5)


def test_pictures_become_a_batch_of_the_networks_type(network: nv.Network) -> None:
    one, many = network.batch("chelsea"), network.batch(["chelsea", Image.new("RGB", (30, 20))])
    assert one.shape == (1, 3, 12, 10)
    assert many.shape == (2, 3, 12, 10)
    assert torch.equal(many[:1], one)
    network.module.double()
    assert network.batch("chelsea").dtype == torch.float64
    assert network.batch(torch.zeros(3, 3, 5, 5)).shape == (3, 3, 5, 5)
    pixels = torch.rand(3, 20, 20)
    assert torch.equal(network.batch(pixels), network.batch(nv.load_image(pixels))), "three axes are a picture"


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([], "no picture in an empty list"),
        (torch.full((1, 3, 12, 10), torch.nan), "NaN"),
        (torch.full((1, 3, 12, 10), torch.inf), "infinite"),
        (torch.zeros(0, 3, 12, 10), "one or more pictures"),
        (torch.zeros(1, 3, 12, 10, dtype=torch.complex64), "real numbers"),
        ("no such file.png", "no file"),
        (["chelsea", b"junk"], "not a picture"),
        (3, "no picture"),
        (torch.zeros(2, 1, 3, 12, 10), "no picture"),
    ],
)
def test_what_is_no_batch_is_an_error(network: nv.Network, images, told: str) -> None:
    with pytest.raises(nv.ImageError, match=told):
        network.trace(images)


@pytest.mark.parametrize(
    ("preprocess", "told"),
    [
        (lambda picture: picture, "returned a Image"),
        (lambda picture: torch.zeros(5, 5), r"returned shape \(5, 5\)"),
        (lambda picture: torch.zeros(2, 3, 5, 5), r"returned shape \(2, 3, 5, 5\)"),
    ],
)
def test_a_preprocess_that_makes_no_input_is_an_error(preprocess, told: str) -> None:
    with pytest.raises(nv.ImageError, match=told):
        nv.Network(toys.classic(), preprocess)


def test_pictures_of_different_shapes_are_not_stacked() -> None:
    network = nv.Network(toys.classic(), v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]))
    with pytest.raises(nv.ImageError, match="different shapes"):
        network.trace([Image.new("RGB", (30, 20)), Image.new("RGB", (20, 30))])
    assert network.trace(Image.new("RGB", (30, 20))).size == (20, 30)


@pytest.mark.parametrize("size", [(64, 64), (40, 60), (60, 40), (32, 96)])
@pytest.mark.parametrize("source", [(225, 150), (150, 225), (96, 96)])
def test_preprocess_scales_and_crops_as_torchvision_does(size, source) -> None:
    picture = nv.load_image("chelsea").resize(source)
    height, width = size
    # Resize takes the shorter side; the scale that covers the crop gives it.
    scale = max(height / picture.height, width / picture.width)
    shorter = round(min(picture.height, picture.width) * scale)
    expected = v2.Compose(
        [
            v2.Resize(shorter, antialias=True),
            v2.CenterCrop(size),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(picture)
    found = nv.Preprocess(size)(picture)
    assert found.shape == (3, *size)
    # Where torchvision cuts the longer side's fraction of a pixel, the two differ by as much.
    exact = (picture.width * scale) % 1 == (picture.height * scale) % 1 == 0
    assert (found - expected).abs().mean() < (1e-6 if exact else 0.05)


def test_one_channel_is_grey_and_others_take_no_picture() -> None:
    picture = nv.load_image("coffee")
    grey = nv.Preprocess.of((20, 30), 1)(picture)
    assert grey.shape == (1, 20, 30)
    expected = np.asarray(picture.convert("L").resize((60, 40))).mean() / 255 * 2 - 1
    assert grey.mean().item() == pytest.approx(expected, abs=0.1)
    network = nv.Network(toys.classic(4), size=12)
    with pytest.raises(nv.ImageError, match=r"this network takes 4: give a preprocessed \(N, 4, H, W\)"):
        network.trace("chelsea")
    assert nv.attribute(network, torch.randn(1, 4, 12, 12), target=0).overlay().size == (12, 12)


def bgr(picture: Image.Image) -> torch.Tensor:
    """As Caffe's networks take it: blue first, from 0 to 255, less a mean."""
    pixels = torch.from_numpy(np.array(picture.resize((70, 50)), np.float32)).permute(2, 0, 1)
    return pixels.flip(0) - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)


def opponent(picture: Image.Image) -> torch.Tensor:
    """Brightness and two differences of colours."""
    pixels = torch.from_numpy(np.array(picture.resize((70, 50)), np.float32)).permute(2, 0, 1) / 255
    return torch.stack([pixels.mean(0), pixels[0] - pixels[1], pixels[2] - pixels[1]])


@pytest.mark.parametrize(
    ("preprocess", "size"),
    [
        (nv.Preprocess((50, 70)), None),
        (nv.Preprocess((50, 70), (0.1, 0.5, 0.9), (1.0, 0.2, 3.0)), None),
        (bgr, (70, 50)),
        (opponent, (70, 50)),
        (v2.Compose([v2.Resize((50, 70)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]), None),
        (torchvision.models.ResNet18_Weights.DEFAULT.transforms(), None),
    ],
    ids=["default", "other statistics", "blue first", "mixed", "no normalisation", "torchvision's"],
)
def test_unprocess_inverts_any_preprocess_that_normalises(preprocess, size) -> None:
    network = nv.Network(toys.classic(), preprocess)
    picture = nv.load_image("astronaut")
    x = network.batch(picture)
    pixels = network.unprocess(x)
    assert pixels.shape == (1, 3, *x.shape[2:])
    shown = Image.fromarray((pixels[0].permute(1, 2, 0) * 255).round().byte().numpy())
    if size:
        assert np.abs(np.asarray(shown, int) - np.asarray(picture.resize(size), int)).max() <= 1
    else:  # what comes back is what goes in: the same preprocess, without its scaling and cropping, gives x again
        *_, height, width = x.shape
        white, black = (preprocess(Image.new("RGB", (width, height), c)).mean((1, 2)) for c in ("white", "black"))
        again = black.view(-1, 1, 1) + pixels * (white - black).view(-1, 1, 1)
        assert (again - x).abs().max() < 1e-4


def test_pictures_are_what_the_network_saw() -> None:
    network = nv.Network(toys.classic(), size=(60, 90))
    picture = nv.load_image("coffee").resize((90, 60))
    trace = network.trace([picture, picture.rotate(180)])
    assert [p.size for p in trace.pictures] == [(90, 60)] * 2
    assert np.abs(np.asarray(trace.pictures[0], int) - np.asarray(picture, int)).max() <= 1
    assert np.abs(np.asarray(trace.pictures[1], int) - np.asarray(picture.rotate(180), int)).max() <= 1


def test_grey_and_many_channelled_inputs_have_pictures_too() -> None:
    grey = nv.Network(toys.classic(1), size=20)
    picture = Image.new("L", (20, 20), 60)
    picture.paste(200, (0, 0, 10, 20))
    shown = np.asarray(grey.trace(picture).pictures[0])
    assert np.abs(shown[..., 0].astype(int) - np.asarray(picture, int)).max() <= 1
    assert (shown[..., 0] == shown[..., 1]).all()
    assert (shown[..., 0] == shown[..., 2]).all()
    many = nv.Network(toys.classic(5), size=12).trace(torch.randn(2, 5, 12, 14))
    assert [p.size for p in many.pictures] == [(14, 12)] * 2


def test_unknown_methods_and_options_are_named_with_the_nearest(network: nv.Network) -> None:
    x = torch.randn(1, 3, 12, 10)
    with pytest.raises(nv.UnknownMethodError, match=r"no method 'gradcam'\. Nearest: grad_cam"):
        nv.attribute(network, x, method="gradcam")
    with pytest.raises(nv.UnknownMethodError):
        nv.attribute(network, x, method=["grad_cam"])
    with pytest.raises(nv.UnknownOptionError, match=r"no option 'sigma'.*Options of grad_cam"):
        nv.attribute(network, x, method="grad_cam", sigma=3)
    with pytest.raises(nv.UnknownLayerError):
        nv.attribute(network, x, layer="layer4")
    with pytest.raises(TypeError, match="A trace holds its picture already"):
        nv.attribute(network.trace(x), x)
    with pytest.raises(TypeError, match="takes a Network or a Trace"):
        nv.attribute(network.module, x)


def test_every_method_tells_what_a_menu_needs() -> None:
    classic = [
        "saliency",
        "gradient",
        "input_x_gradient",
        "guided_backprop",
        "deconvnet",
        "cam",
        "grad_cam",
        "guided_grad_cam",
    ]
    methods = nv.methods()
    assert set(classic) <= methods.keys()
    for name, method in methods.items():
        assert method.name == name
        assert method.title
        assert method.doc
        assert method.cost
        assert method.family
    assert {name for name in classic if methods[name].needs_layer} == {"cam", "grad_cam", "guided_grad_cam"}


def test_a_stream_ends_in_what_attribute_returns(network: nv.Network) -> None:
    trace = network.trace(torch.randn(1, 3, 12, 10))
    for method in ("saliency", "cam", "guided_grad_cam"):
        frames = list(nv.attribute.stream(trace, method=method, target=1))
        assert [(f.step, f.steps) for f in frames] == [(1, 1)]
        assert torch.equal(frames[-1].values, nv.attribute(trace, method=method, target=1).values)


@pytest.mark.parametrize("norm", [lambda: nn.BatchNorm2d(6, track_running_stats=False), toys.BatchCentred])
def test_a_batch_whose_pictures_mix_is_told(norm) -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), norm(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nv.Network(module.append(nn.Linear(6, 4)).eval(), size=12)
    x = torch.randn(3, 3, 12, 12)
    for question in (network.trace, lambda batch: nv.attribute(network, batch, method="saliency")):
        with pytest.warns(UserWarning, match=r"depend on the other pictures .* trace the pictures one by one"):
            question(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert network.trace(x[:1]).scores.shape == (1, 4)


@pytest.mark.parametrize("norm", [lambda: nn.BatchNorm2d(6), lambda: nn.GroupNorm(2, 6), lambda: nn.InstanceNorm2d(6)])
def test_a_batch_whose_pictures_do_not_mix_is_traced(norm) -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), norm(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nv.Network(module.append(nn.Linear(6, 4)).eval(), size=12)
    x = torch.randn(3, 3, 12, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(network.trace(x).scores[1], network.trace(x[1:2]).scores[0], atol=1e-6)
