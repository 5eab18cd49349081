"""timm's networks by name, with the preprocessing of their weights. timm takes a second to import: each function does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image
from torch import Tensor, nn

from nbcnnviz.core.errors import UnknownNetworkError, WeightsUnavailableError
from nbcnnviz.zoo.hub import reachable
from nbcnnviz.zoo.weights import OFFLINE, Progress, count_classes, fill, read_state

Loaded = tuple[nn.Module, Callable[[Image.Image], Tensor], "list[str] | None"]


def imagenet_classes() -> list[str]:
    """The names of ImageNet's 1000 classes, in the order that networks use."""
    from torchvision.models import ResNet50_Weights

    return list(ResNet50_Weights.DEFAULT.meta["categories"])


def has(name: str) -> bool:
    """Whether timm has a network of this name."""
    import timm

    return bool(timm.is_model(name))


def load(name: str, pretrained: bool, file: Path | None, progress: Progress | None = None) -> Loaded:
    """The network, its preprocessing and class names; see `nbcnnviz.load_network`. timm prints its own progress."""
    import timm

    if not has(name):
        raise UnknownNetworkError(f"timm:{name}", [f"timm:{n}" for n in timm.list_models()])
    if file is not None:
        state = read_state(file)
        module = timm.create_model(name)
        count = count_classes(state, module) or module.num_classes
        if count != module.num_classes:
            module = timm.create_model(name, num_classes=count)
        fill(module, state, repr(file.name))
        return with_data_of(module)
    try:
        if pretrained and not _reachable(name):
            raise OSError("no connection")
        return with_data_of(timm.create_model(name, pretrained=pretrained))
    except (OSError, RuntimeError) as error:  # no connection, no such file, no published weights
        raise WeightsUnavailableError(f"timm could not get the weights of {name} ({error}). {OFFLINE}") from error


def with_data_of(module: nn.Module) -> Loaded:
    """A timm module with the preprocessing that its weights were made for."""
    from timm.data import create_transform, resolve_model_data_config

    transform = create_transform(**resolve_model_data_config(module))
    return module, transform, imagenet_classes() if module.num_classes == 1000 else None


def _reachable(name: str) -> bool:
    """Whether the weights are in the hub's cache or the hub answers."""
    import timm

    return reachable(timm.get_pretrained_cfg(name).hf_hub_id, ("model.safetensors", "pytorch_model.bin"))
