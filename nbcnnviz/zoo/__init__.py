"""Networks by name: the bundled one, torchvision's, timm's, and any of them with weights from a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from nbcnnviz.core.errors import DeviceUnavailableError, UnknownNetworkError, WeightsUnavailableError
from nbcnnviz.core.network import Network
from nbcnnviz.zoo import bundled, from_timm, from_torchvision
from nbcnnviz.zoo.weights import Progress


def networks() -> list[str]:
    """Names that `load_network` takes: the bundled network, then torchvision's classifiers. timm's have ``timm:``."""
    return [bundled.NAME, *from_torchvision.names()]


def load_network(
    name: str = bundled.NAME,
    weights: str | os.PathLike[str] | None = "default",
    *,
    classes: Sequence[str] | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Network:
    """A network by name, with its weights, its own preprocessing and its class names.

    Parameters
    ----------
    name
        ``"efficientnet_lite0"`` (bundled: ImageNet weights, works offline), a torchvision name (``"resnet50"``), or
        ``"timm:NAME"``.
    weights
        ``"default"`` for the best published weights, downloaded once; None for random ones; or the path of a file
        saved with ``torch.save(module.state_dict(), path)``, which may have another number of classes.
    classes
        The class names, where weights come from a file. Default: ImageNet's, where there are 1000.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` ... Default: a GPU if there is one.
    progress
        Called with (bytes done, bytes in all) while weights are downloaded. Default: a bar is printed.

    Raises
    ------
    UnknownNetworkError
        If there is no network of this name; the message lists the nearest.
    WeightsUnavailableError
        If the weights cannot be downloaded, or the file does not fit the network.
    DeviceUnavailableError
        If the device does not exist here.
    """
    where = _device(device)
    if not isinstance(name, str):
        raise UnknownNetworkError(name, networks(), "A module of your own becomes one with nbcnnviz.Network(module).")
    load = _loader(name)
    file = None
    if weights is not None and weights != "default":
        file = Path(weights).expanduser()
        if not file.is_file():
            raise WeightsUnavailableError(f"There is no file {str(weights)!r} of weights.")
    module, preprocess, names = load(weights is not None and file is None, file, progress)
    network = Network(module.eval().to(where), preprocess, classes if classes is not None else names, name=name)
    if weights is not None:  # random ones never come again
        network.origin = f"load_network({name!r}{'' if file is None else f', {str(file)!r}'})"
    return network


def _loader(name: str) -> Callable[[bool, Path | None, Progress | None], from_timm.Loaded]:
    if name == bundled.NAME:
        return bundled.load
    if name.startswith("timm:"):
        return lambda *args: from_timm.load(name.removeprefix("timm:"), *args)
    if name in from_torchvision.names():
        return lambda *args: from_torchvision.load(name, *args)
    hint = "It is one of timm's: say" + f" 'timm:{name}'." if from_timm.has(name) else ""
    raise UnknownNetworkError(name, networks(), hint)


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
