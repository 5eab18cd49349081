"""Networks that are a file, made here: ONNX graphs, exported programs; and what is said of files that are none."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import nn

import nbcnnviz as nv
from tests import toys
from tests.conftest import relative_error

SIZE = (24, 32)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(3)
    return toys.classic()


def onnx_file(module: nn.Sequential, path: Path, batch: int | str = "batch", last: bool = False) -> Path:
    """The classic toy as an ONNX graph, written node by node: its channels ``last`` in the input, as TensorFlow has it."""
    conv1, norm, _, _, conv2, *_, fc = module
    arrays = {
        "w1": conv1.weight,
        "b1": conv1.bias,
        "w2": conv2.weight,
        "b2": conv2.bias,
        "w3": fc.weight,
        "b3": fc.bias,
    }
    arrays |= {"s": norm.weight, "t": norm.bias, "m": norm.running_mean, "v": norm.running_var}
    first = [helper.make_node("Transpose", ["input"], ["x0"], perm=[0, 3, 1, 2])] if last else []
    nodes = [
        *first,
        helper.make_node("Conv", ["x0" if last else "input", "w1", "b1"], ["x1"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["x1", "s", "t", "m", "v"], ["x2"]),
        helper.make_node("Relu", ["x2"], ["x3"]),
        helper.make_node("MaxPool", ["x3"], ["x4"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["x4", "w2", "b2"], ["x5"], pads=[1] * 4),
        helper.make_node("Relu", ["x5"], ["x6"]),
        helper.make_node("GlobalAveragePool", ["x6"], ["x7"]),
        helper.make_node("Flatten", ["x7"], ["x8"]),
        helper.make_node("Gemm", ["x8", "w3", "b3"], ["scores"], transB=1),
    ]
    shape = [batch, *SIZE, 3] if last else [batch, 3, *SIZE]
    graph = helper.make_graph(
        nodes,
        "classic",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 5])],
        [onnx.numpy_helper.from_array(value.detach().numpy(), name) for name, value in arrays.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def reference(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(module(x)[:, 2].sum(), x)[0]


def agrees(network: nv.Network, module: nn.Module, x: torch.Tensor) -> None:
    trace = network.trace(x)
    assert relative_error(trace.scores, module(x)) < 1e-5
    assert relative_error(trace.gradient(2), reference(module, x)) < 1e-5
    own, theirs = nv.attribute(trace, target=2), nv.attribute(nv.Network(module, size=SIZE), x, target=2)
    assert own.values.shape[2:] == theirs.values.shape[2:]
    assert nv.attribute(trace, method="guided_backprop", target=2).rectifiers == 2


@pytest.mark.parametrize("batch", ["batch", 1])
def test_an_onnx_file_is_a_network(module, batch, tmp_path: Path) -> None:
    path = onnx_file(module, tmp_path / "classic.onnx", batch)
    network = nv.load_network(str(path), device="cpu")
    assert network.name == "classic"
    assert network.input_shape == (3, *SIZE)
    assert network.origin == f"load_network({str(path)!r})"
    agrees(network, module, torch.randn(1, 3, *SIZE))
    assert nv.load_network(path, classes=list("abcde")).trace("coffee").top(1)[0][1] in "abcde"


def test_an_onnx_file_from_tensorflow_has_its_channels_last(module, tmp_path: Path) -> None:
    network = nv.load_network(onnx_file(module, tmp_path / "tf.onnx", last=True))
    assert network.input_shape == (3, *SIZE)
    agrees(network, module, torch.randn(2, 3, *SIZE))


def test_a_network_from_caffe_by_way_of_onnx_has_its_preprocessing_in_one_line(module, tmp_path: Path) -> None:
    preprocess = nv.Preprocess.caffe(SIZE, mean=(104, 117, 123))
    network = nv.load_network(onnx_file(module, tmp_path / "caffe.onnx"), preprocess=preprocess)
    picture = nv.load_image("coffee").resize((32, 24))
    blue_first = torch.from_numpy(np.asarray(picture, np.float32)[..., ::-1].copy()).permute(2, 0, 1)
    x = blue_first[None] - torch.tensor([104.0, 117, 123]).view(3, 1, 1)
    assert relative_error(network.trace(picture).scores, module(x)) < 1e-4
    assert network.origin is None, "a preprocess cannot be spelled"


@pytest.mark.parametrize("batch", [1, 2])
def test_an_exported_program_is_a_network(module, batch, tmp_path: Path) -> None:
    x = torch.randn(batch, 3, *SIZE)
    dynamic = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if batch > 1 else {}
    path = tmp_path / "classic.pt2"
    torch.export.save(torch.export.export(module, (x,), **dynamic), path)
    network = nv.load_network(path, device="cpu")
    assert network.input_shape == (3, *SIZE)
    assert {"0", "4", "8"} <= network.layers.keys(), "the modules it was made from"
    agrees(network, module, x)
    agrees(network, module, x)
    if batch == 1:
        with pytest.raises(nv.NetworkError, match="to be equal to 1, but got 2"):
            network.trace(torch.randn(2, 3, *SIZE))


class Harmful:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a file was run",))


def saved(content):
    return lambda path: torch.save(content, path)


def scripted(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(str(path))


@pytest.mark.parametrize(
    ("name", "write", "told"),
    [
        (
            "whole.pth",
            saved(nn.Linear(2, 2)),
            r"a whole pickled module \(torch.nn.modules.linear.Linear\), .* runs whatever",
        ),
        ("harmful.pt", saved(Harmful()), r"a whole pickled module \(.*[Ff]ail\), and reading one runs whatever code"),
        (
            "state.pth",
            saved(nn.Linear(2, 2).state_dict()),
            r"weights alone.*load_network\('resnet18', weights='state.pth'\)",
        ),
        ("x.safetensors", lambda p: save_file({"a": torch.ones(2)}, p), "weights alone"),
        ("scripted.pt", scripted, "TorchScript file, which hides its layers"),
        ("text.pt", lambda p: p.write_text("hello"), "cannot be read"),
        ("text.onnx", lambda p: p.write_text("hello"), "no ONNX file that can be read"),
        ("text.pt2", lambda p: p.write_text("hello"), "no exported program that this torch can read"),
    ],
)
def test_a_file_that_is_no_network_is_a_sentence(name: str, write, told: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    with pytest.raises(nv.WeightsUnavailableError, match=told) as caught:
        nv.load_network(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_go_with_a_file_is_told(module, tmp_path: Path) -> None:
    path = onnx_file(module, tmp_path / "classic.onnx")
    with pytest.raises(nv.WeightsUnavailableError, match=r"There is no file 'nowhere\.onnx'"):
        nv.load_network("nowhere.onnx")
    with pytest.raises(nv.UnknownOptionError, match="holds its weights"):
        nv.load_network(path, weights=None)
    with pytest.raises(nv.UnknownOptionError, match="comes with its own size"):
        nv.load_network("squeezenet1_1", None, size=64)
    with pytest.raises(nv.NetworkError, match="3 class names"):
        nv.load_network(path, classes=["a", "b", "c"])


def test_a_package_that_is_missing_is_named(module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_file(module, tmp_path / "classic.onnx")
    for package in ("onnx2torch", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(nv.PackageMissingError, match=r"ONNX files need onnx2torch: pip install 'nbcnnviz\[onnx\]'"):
        nv.load_network(path)
    with pytest.raises(nv.PackageMissingError, match=r"hub need transformers: pip install 'nbcnnviz\[hf\]'"):
        nv.load_network(f"hf:{tmp_path}")


@pytest.mark.parametrize("prefix", ["module._orig_mod.", "_orig_mod.", "model.", "net."])
def test_weights_are_found_under_the_prefix_of_what_they_were_saved_from(prefix: str, tmp_path: Path) -> None:
    network = nv.load_network("squeezenet1_1", None)
    state = network.module.state_dict()
    torch.save({"state_dict": {f"{prefix}{name}": value for name, value in state.items()}}, tmp_path / "mine.ckpt")
    again = nv.load_network("squeezenet1_1", tmp_path / "mine.ckpt").module.state_dict()
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_the_page_about_networks_from_elsewhere_runs(module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "notebooks" / "networks.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    assert len(blocks) == 2
    onnx_file(module, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "networks.md", "exec"), names)
    assert (tmp_path / "cat.png").is_file()
    assert names["net"].trace(torch.rand(3, 3, 32, 32)).scores.shape == (3, 4)
