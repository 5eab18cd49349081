"""Networks of transformers, from a folder written here: no connection is needed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from PIL import Image

import nbcnnviz as nv
from tests.conftest import relative_error

transformers = pytest.importorskip("transformers")

LABELS = {0: "ant", 1: "bee", 2: "cat"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resnet")
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        id2label=LABELS,
        label2id={name: i for i, name in LABELS.items()},
    )
    torch.manual_seed(0)
    transformers.ResNetForImageClassification(config).save_pretrained(path)
    transformers.ConvNextImageProcessor(size={"shortest_edge": 48}).save_pretrained(path)
    return path


def test_a_folder_of_transformers_is_a_network(folder: Path) -> None:
    network = nv.load_network(f"hf:{folder}", device="cpu")
    assert list(network.classes) == ["ant", "bee", "cat"]
    picture = nv.load_image("coffee")
    module = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    x = transformers.AutoImageProcessor.from_pretrained(folder)(images=picture, return_tensors="pt")["pixel_values"]
    assert network.input_shape == tuple(x.shape[1:])
    trace = network.trace(picture)
    assert relative_error(trace.scores, module(x).logits) < 1e-5
    x.requires_grad_()
    (expected,) = torch.autograd.grad(module(x).logits[0, 1], x)
    assert relative_error(trace.gradient("bee"), expected) < 1e-5
    assert nv.attribute(trace, method="guided_backprop", target="cat").rectifiers > 0
    assert nv.attribute(trace, target="cat").overlay().size == trace.pictures[0].size
    assert network.origin == f"load_network({f'hf:{folder}'!r})"


def test_its_weights_may_be_random_or_from_a_file(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    random = nv.load_network(f"hf:{folder}", weights=None, device="cpu")
    trained = nv.load_network(f"hf:{folder}", device="cpu")
    weight = "resnet.embedder.embedder.convolution.weight"
    assert not torch.equal(random.module.state_dict()[weight], trained.module.state_dict()[weight])
    torch.save(random.module.state_dict(), tmp_path / "own.pth")
    again = nv.load_network(f"hf:{folder}", tmp_path / "own.pth", device="cpu")
    assert torch.equal(random.module.state_dict()[weight], again.module.state_dict()[weight])


def test_a_network_without_a_head_is_refused_not_given_a_random_one(folder: Path, tmp_path: Path) -> None:
    transformers.ResNetModel.from_pretrained(folder).save_pretrained(tmp_path)
    transformers.AutoImageProcessor.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(nv.WeightsUnavailableError, match=r"lacks the weights of 'classifier.* would be random"):
        nv.load_network(f"hf:{tmp_path}")


def test_a_folder_that_is_none_of_transformers_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(nv.WeightsUnavailableError, match="transformers could not load"):
        nv.load_network(f"hf:{tmp_path}")
    transformers.AutoModelForImageClassification.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(nv.NetworkError, match="has no image processor"):
        nv.load_network(f"hf:{tmp_path}")


def test_without_a_connection_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args, **kwargs):
        raise OSError("no connection")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(nv.WeightsUnavailableError, match=r"hub cannot be reached.* Offline, load_network\(\)"):
        nv.load_network("hf:somebody/some-network-that-is-not-cached")


def test_a_picture_too_long_for_it_is_refused(folder: Path) -> None:
    network = nv.load_network(f"hf:{folder}", device="cpu")
    assert network.trace(Image.new("RGB", (400, 10))).scores.shape == (1, 3)
    with pytest.raises(nv.ImageError, match="up to 50 times as long as wide: crop it first"):
        network.trace(Image.new("RGB", (4000, 1)))
