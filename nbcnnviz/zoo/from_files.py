"""Networks that are a file: ONNX graphs and exported programs, which hold what they compute beside the weights."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nbcnnviz.core.errors import NetworkError, PackageMissingError, WeightsUnavailableError
from nbcnnviz.zoo.weights import pickled_class

SUFFIXES = (".onnx", ".pt2", ".pt", ".pth", ".pth.tar", ".bin", ".ckpt", ".pkl", ".safetensors")
Shape = tuple[int | None, ...]  # of the input, (N, C, H, W); None where any number will do
WHOLE_MODULE = (
    "a whole pickled module{names}, and reading one runs whatever code it holds. Where you trust it, load it yourself and "
    "say nbcnnviz.Network(torch.load(path, weights_only=False)); better, save its weights with "
    "torch.save(module.state_dict(), path), or all of it with torch.export.save"
)


def is_file(name: str) -> bool:
    """Whether a name is that of a file: by its ending, or since there is one."""
    return name.endswith(SUFFIXES) or ("/" in name and Path(name).expanduser().is_file())


def load(name: str) -> tuple[nn.Module, Shape | None]:
    """The module in a file, and the shape of its input where the file tells; see `nbcnnviz.load_network`."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsUnavailableError(f"There is no file {name!r}.")
    if path.suffix == ".onnx":
        return _from_onnx(path)
    if path.suffix == ".pt2" or kind_of(path) == "exported":
        return _from_exported(path)
    raise WeightsUnavailableError(f"{path.name!r} is no network by itself: {_what_is_in(path)}.")


def kind_of(path: Path) -> str:
    """What a file of torch's is, without reading what it holds: exported, torchscript, pickle or other."""
    if not zipfile.is_zipfile(path):
        return "other"
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    if "archive_format" in names or "serialized_exported_program.json" in [*names, *archive.namelist()]:
        return "exported"
    if any(name.startswith("code/") for name in names):
        return "torchscript"
    return "pickle" if "data.pkl" in names else "other"


def _what_is_in(path: Path) -> str:
    if kind_of(path) == "torchscript":
        return (
            "it is a TorchScript file, which hides its layers. Give the Python module that it was made from, or export "
            "that with torch.export"
        )
    weights = (
        "it holds weights alone. Say which network they are for, load_network('resnet18', "
        f"weights={path.name!r}), or load them into your module and say nbcnnviz.Network(module)"
    )
    if path.suffix == ".safetensors":
        return weights
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise whatever the bytes lead them to
        name = pickled_class(error)
        return f"it holds {WHOLE_MODULE.format(names=f' ({name})')}" if name else "it cannot be read"
    return weights


def _from_onnx(path: Path) -> tuple[nn.Module, Shape | None]:
    try:
        import onnx
        from onnx2torch import convert
    except ImportError as error:
        raise PackageMissingError("onnx2torch", "ONNX files", "onnx") from error
    try:
        model = onnx.load(path)
        constants = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in constants]
    except Exception as error:  # protobuf's errors
        raise WeightsUnavailableError(
            f"{path.name!r} is no ONNX file that can be read: {_first_line(error)}"
        ) from error
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs)
        raise NetworkError(f"{path.name!r} has {len(inputs)} inputs ({names}); a classifier of pictures has one.")
    shape: Shape = tuple(d.dim_value or None for d in inputs[0].type.tensor_type.shape.dim)
    try:
        module = convert(model)
    except Exception as error:  # an operation that onnx2torch does not have
        raise NetworkError(
            f"onnx2torch cannot make a module of {path.name!r} ({_first_line(error)}): a newer version of it may, or "
            "another opset in the export."
        ) from error
    if len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3):  # as TensorFlow exports
        return ChannelsLast(module), (shape[0], shape[3], shape[1], shape[2])
    return module, shape


class ChannelsLast(nn.Module):
    """A network whose input is (N, H, W, C), for one that is (N, C, H, W)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        """What the network returns."""
        return self.network(x.permute(0, 2, 3, 1))


def _from_exported(path: Path) -> tuple[nn.Module, Shape | None]:
    try:
        program = torch.export.load(path)
        module = torch.export.unflatten(program)
        module.training = False  # an exported program has no other mode, and no eval()
    except Exception as error:  # torch raises whatever the bytes lead it to
        raise WeightsUnavailableError(
            f"{path.name!r} is no exported program that this torch can read ({_first_line(error)}): save one with "
            "torch.export.save(torch.export.export(module.eval(), (x,)), path)."
        ) from error
    inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(inputs) != 1 or not isinstance(inputs[0].meta.get("val"), Tensor):
        raise NetworkError(f"{path.name!r} has {len(inputs)} inputs; a classifier of pictures has one.")
    return module, tuple(n if isinstance(n, int) else None for n in inputs[0].meta["val"].shape)


def size_of(shape: Shape | None) -> tuple[int, int] | None:
    """Height and width of an input, None where any will do."""
    if shape is None or len(shape) != 4 or shape[2] is None or shape[3] is None:
        return None
    return shape[2], shape[3]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
