"""Networks by name: what they are, and what is said where there is none."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision

import nbcnnviz as nv
from nbcnnviz.zoo import from_torchvision
from tests.conftest import relative_error


def unreachable(*args, **kwargs):
    raise socket.gaierror("Name or service not known")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """No connection, and nothing downloaded before."""
    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **kwargs: None)


def test_the_bundled_network_is_there_offline(offline) -> None:
    network = nv.load_network()
    assert network.name == "efficientnet_lite0"
    assert len(network.classes) == 1000
    assert network.input_shape == (3, 224, 224)
    assert not network.module.training


@pytest.mark.parametrize(("sample", "best"), [("camera", "tripod"), ("coffee", "espresso")])
def test_the_bundled_network_is_right_about_photographs(bundled: nv.Network, sample: str, best: str) -> None:
    (_, name, probability), *_ = bundled.trace(sample).top()
    assert name == best
    assert probability > 0.5


def test_the_bundled_network_sees_a_cat(bundled: nv.Network) -> None:
    top = [name for _, name, _ in bundled.trace("chelsea").top(3)]
    assert {"tabby", "tiger cat", "Egyptian cat"} & set(top)


def test_bundled_preprocessing_is_its_weights_own(bundled: nv.Network) -> None:
    # Made for pixels in [-1, 1] at 224 pixels, cut from a picture scaled to 256.
    grey = bundled.batch(torch.full((3, 300, 400), 128, dtype=torch.uint8))
    assert grey.shape == (1, 3, 224, 224)
    assert relative_error(grey, torch.full_like(grey, 128 / 127.5 - 1)) < 1e-4


def test_random_weights_need_no_connection(offline) -> None:
    torch.manual_seed(1)
    network = nv.load_network("squeezenet1_1", weights=None)
    torch.manual_seed(2)
    other = nv.load_network("squeezenet1_1", weights=None)
    assert len(network.classes) == 1000
    assert network.classes[281] == "tabby"
    assert not torch.equal(network.module.features[0].weight, other.module.features[0].weight)
    assert not torch.equal(
        nv.load_network(weights=None).module.conv_stem.weight, nv.load_network().module.conv_stem.weight
    )


@pytest.mark.parametrize("name", ["squeezenet1_1", "inception_v3"])
def test_torchvision_names_come_with_their_own_preprocessing(name: str) -> None:
    network = nv.load_network(name, weights=None)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    picture = nv.load_image("coffee")
    assert torch.equal(network.batch(picture)[0], weights.transforms()(picture))
    assert network.classes == weights.meta["categories"]
    assert network.input_shape == (3, *weights.transforms()(picture).shape[1:])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("lraspp_mobilenet_v3_large", "segmentation"), ("ssdlite320_mobilenet_v3_large", "detection")],
)
def test_torchvision_names_of_more_than_classifiers_are_taken(offline, name: str, kind: str) -> None:
    network = nv.load_network(name, weights=None)  # nor are weights of a backbone downloaded
    published = torchvision.models.get_model_weights(name).DEFAULT
    assert network.kind == kind
    assert network.classes == published.meta["categories"]
    picture = nv.load_image("coffee")
    assert torch.equal(network.batch(picture)[0], published.transforms()(picture))


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "fasterrcnn_mobilenet_v3_large_320_fpn", "fcos_resnet50_fpn"])
def test_without_a_connection_the_weights_of_more_than_classifiers_are_missed(offline, name: str) -> None:
    with pytest.raises(nv.WeightsUnavailableError, match=r"could not be downloaded.*weights=None"):
        nv.load_network(name)


def downloaded(name: str, tmp_path, state: dict) -> None:
    """Put weights where those of a name are once they were downloaded."""
    file = from_torchvision.cached(torchvision.models.get_model_weights(name).DEFAULT.url)
    assert file.is_relative_to(tmp_path)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, file)


def test_a_detection_network_is_built_as_torchvision_builds_it_for_its_weights(offline, tmp_path) -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    torch.manual_seed(0)
    bare = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    # Published weights are of frozen normalisation, which counts no batches.
    downloaded(name, tmp_path, {k: v for k, v in bare.state_dict().items() if "num_batches_tracked" not in k})
    network = nv.load_network(name)
    frozen = [m for m in network.module.modules() if isinstance(m, torchvision.ops.FrozenBatchNorm2d)]
    assert len(frozen) > 20
    plain = [m for m in network.module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not plain
    own = network.module.state_dict()
    assert all(torch.equal(own[key], value) for key, value in bare.state_dict().items() if key in own)
    assert network.origin == f"load_network({name!r})"


def test_a_segmentation_network_takes_its_weights(offline, tmp_path) -> None:
    name = "lraspp_mobilenet_v3_large"
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    downloaded(name, tmp_path, module.state_dict())
    network = nv.load_network(name)
    picture = network.batch(nv.load_image("coffee").resize((96, 64)))
    with torch.no_grad():
        torch.testing.assert_close(network.module(picture)["out"], module(picture)["out"])


def test_timm_names_come_with_their_own_preprocessing() -> None:
    network = nv.load_network("timm:lcnet_035", weights=None)
    assert network.name == "timm:lcnet_035"
    assert len(network.classes) == 1000
    data = timm.data.resolve_model_data_config(network.module)
    assert network.input_shape == data["input_size"]
    picture = nv.load_image("coffee")
    assert torch.equal(network.batch(picture)[0], timm.data.create_transform(**data)(picture))
    assert nv.attribute(network, picture, method="guided_backprop", target=0).rectifiers > 0


def test_all_names_are_listed() -> None:
    names = nv.networks()
    assert names[0] == "efficientnet_lite0"
    assert {"resnet50", "vgg16", "inception_v3", "convnext_tiny"} <= set(names)
    assert not [name for name in names if "segmentation" in name or "rcnn" in name or "deeplab" in name]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet5O", r"no network 'resnet5O'\. Nearest: resnet50"),
        ("efficientnet-lite0", "efficientnet_lite0"),
        ("lcnet_035", "one of timm's: say 'timm:lcnet_035'"),
        ("timm:lcnet_35", "timm:lcnet_035"),
        ("", "no network ''"),
        (None, r"nbcnnviz\.Network\(module\)"),
        (torch.nn.Identity(), r"nbcnnviz\.Network\(module\)"),
    ],
)
def test_an_unknown_network_is_named_with_the_nearest(name, told: str) -> None:
    with pytest.raises(nv.UnknownNetworkError, match=told):
        nv.load_network(name)


@pytest.mark.parametrize("device", ["cuda:99", "tpu9", "xpu", "gpu", "cpu:-3", 3.5])
def test_a_device_that_does_not_exist_is_an_error(device) -> None:
    with pytest.raises(nv.DeviceUnavailableError, match=r"There is no device .* here; there is cpu"):
        nv.load_network(weights=None, device=device)


def test_a_device_may_be_named_or_given() -> None:
    for device in ("cpu", torch.device("cpu")):
        assert nv.load_network("squeezenet1_1", weights=None, device=device).device == torch.device("cpu")


@pytest.mark.parametrize("name", ["squeezenet1_1", "timm:lcnet_035"])
def test_without_a_connection_it_is_told_what_works_without(offline, name: str) -> None:
    with pytest.raises(nv.WeightsUnavailableError, match=r"Offline, load_network\(\) .* weights=None"):
        nv.load_network(name)
    assert nv.load_network(name, weights=None).classes[0] == "tench"


def test_class_names_may_be_given(offline) -> None:
    names = [f"kind {i}" for i in range(1000)]
    assert nv.load_network("squeezenet1_1", weights=None, classes=names).classes == names
    with pytest.raises(nv.NetworkError, match="3 class names for a network of 1000 scores"):
        nv.load_network("squeezenet1_1", weights=None, classes=["a", "b", "c"])


@pytest.mark.parametrize(("pretrained", "transforms"), [(True, True), (False, False)])
def test_googlenets_weights_come_with_the_scale_they_learnt_on(
    monkeypatch: pytest.MonkeyPatch, pretrained: bool, transforms: bool
) -> None:
    # torchvision turns ImageNet's normalisation into [-1, 1] within the network, for its published weights.
    published = torchvision.models.get_model_weights("googlenet").DEFAULT
    state = torchvision.models.googlenet(weights=None, init_weights=False).state_dict()
    monkeypatch.setattr(from_torchvision, "download", lambda url, progress: SimpleNamespace(name="googlenet.pth"))
    monkeypatch.setattr(from_torchvision, "read_state", lambda path: state)
    module, preprocess, classes = from_torchvision.load("googlenet", pretrained, None)
    assert module.transform_input is transforms
    assert classes == published.meta["categories"]
    if pretrained:
        reference = torchvision.models.googlenet(weights=None, init_weights=False, transform_input=True).eval()
        reference.load_state_dict(state)
        picture = nv.load_image("coffee")
        x = published.transforms()(picture)[None]
        network = nv.Network(module.eval(), preprocess, classes)
        assert torch.equal(network.trace(picture).scores, reference(x))
