"""Networks by name: the bundled one, torchvision's, timm's, the Hugging Face hub's; or from a file, or with weights from one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import (
    DeviceUnavailableError,
    UnknownNetworkError,
    UnknownOptionError,
    WeightsUnavailableError,
)
from nbcnnviz.core.heads import Classes
from nbcnnviz.core.network import Network
from nbcnnviz.zoo import bundled, from_files, from_hf, from_timm, from_torchvision
from nbcnnviz.zoo.weights import Progress


def networks() -> list[str]:
    """Names of classifiers that `load_network` takes: the bundled network, then torchvision's. timm's have ``timm:``.

    torchvision's names of segmentation and detection networks it takes as well.
    """
    return [bundled.NAME, *from_torchvision.names()]


def load_network(
    name: str | os.PathLike[str] = bundled.NAME,
    weights: str | os.PathLike[str] | None = "default",
    *,
    classes: Classes | None = None,
    preprocess: Callable[[Image.Image], Tensor] | None = None,
    size: int | tuple[int, int] | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Network:
    """A network by name or from a file, with its weights, its own preprocessing and its class names.

    Parameters
    ----------
    name
        ``"efficientnet_lite0"`` (bundled: ImageNet weights, works offline); a torchvision name (``"resnet50"``),
        also of a segmentation or detection network (``"deeplabv3_resnet50"``, ``"fasterrcnn_resnet50_fpn"``);
        ``"timm:NAME"``; ``"hf:NAME"`` for an image classifier of the Hugging Face hub, or of a folder that
        ``save_pretrained`` wrote (needs transformers). Or the path of a file that holds a network: an ONNX graph
        (``"model.onnx"``, needs onnx2torch) or a program that `torch.export.save` wrote (``"model.pt2"``).
    weights
        ``"default"`` for the best published weights, downloaded once; None for random ones; or the path of a file
        saved with ``torch.save(module.state_dict(), path)`` or safetensors, which may have another number of classes.
    classes
        The class names, where weights come from a file. Default: ImageNet's, where there are 1000.
    preprocess
        From a PIL picture to a (C, H, W) tensor. Default: the one published with the weights; a file tells of none, so
        that a network from one has that of `Network`: ImageNet's normalisation for three channels. See
        `Preprocess.caffe` for networks that come from Caffe.
    size
        Height and width of the input of a network from a file. Default: what the file says.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` ... Default: a GPU if there is one.
    progress
        Called with (bytes done, bytes in all) while weights are downloaded. Default: a bar is printed.

    Raises
    ------
    UnknownNetworkError
        If there is no network of this name; the message lists the nearest.
    WeightsUnavailableError
        If the weights cannot be downloaded, the file does not fit the network, or holds no network that can be read
        safely: a whole pickled module would run code.
    PackageMissingError
        If the network needs a package that is not installed.
    NetworkError
        If the file's network is no classifier of pictures.
    DeviceUnavailableError
        If the device does not exist here.
    """
    where = _device(device)
    if isinstance(name, os.PathLike):
        name = os.fspath(name)
    if not isinstance(name, str):
        raise UnknownNetworkError(name, networks(), "A module of your own becomes one with nbcnnviz.Network(module).")
    if from_files.is_file(name):
        return _from_file(name, weights, where, preprocess, classes, size)
    if size is not None:
        raise UnknownOptionError("size", (), f"{name} comes with its own size: give a preprocess for another.")
    load = _loader(name)
    file = None
    if weights is not None and weights != "default":
        file = Path(weights).expanduser()
        if not file.is_file():
            raise WeightsUnavailableError(f"There is no file {str(weights)!r} of weights.")
    module, published, names = load(weights is not None and file is None, file, progress)
    network = Network(
        module.eval().to(where), preprocess or published, classes if classes is not None else names, name=name
    )
    if weights is not None and preprocess is None:  # random ones never come again
        network.origin = f"load_network({name!r}{'' if file is None else f', {str(file)!r}'})"
    return network


def _from_file(
    name: str,
    weights: str | os.PathLike[str] | None,
    device: torch.device,
    preprocess: Callable[[Image.Image], Tensor] | None,
    classes: Classes | None,
    size: int | tuple[int, int] | None,
) -> Network:
    if weights != "default":
        raise UnknownOptionError("weights", (), f"{Path(name).name!r} holds its weights: leave them out.")
    module, shape = from_files.load(name)
    if preprocess is None and size is None:
        size = from_files.size_of(shape)
    network = Network(module.to(device), preprocess, classes, size=size, name=Path(name).stem)
    if preprocess is None and size == from_files.size_of(shape):
        network.origin = f"load_network({name!r})"
    return network


def _loader(name: str) -> Callable[[bool, Path | None, Progress | None], from_timm.Loaded]:
    if name == bundled.NAME:
        return bundled.load
    if name.startswith("timm:"):
        return lambda *args: from_timm.load(name.removeprefix("timm:"), *args)
    if name.startswith("hf:"):
        return lambda *args: from_hf.load(name.removeprefix("hf:"), *args)
    if name in from_torchvision.all_names():
        return lambda *args: from_torchvision.load(name, *args)
    hint = "It is one of timm's: say" + f" 'timm:{name}'." if from_timm.has(name) else ""
    raise UnknownNetworkError(name, [bundled.NAME, *from_torchvision.all_names()], hint)


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        here = ["cpu"]
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is not None:
            here += [f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count())]
        raise DeviceUnavailableError(f"There is no device {str(device)!r} here; there is {', '.join(here)}.") from error
    return found
