"""torchvision's networks by name, each with the preprocessing and class names published with its weights.

torchvision takes seconds to import: each function does.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

from torch import nn

from nbcnnviz.zoo.from_timm import Loaded
from nbcnnviz.zoo.weights import Progress, cached, count_classes, download, fill, read_state


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """torchvision's names of image classifiers."""
    from torchvision import models

    return tuple(models.list_models(module=models))


@lru_cache(maxsize=1)
def segmentation_names() -> tuple[str, ...]:
    """torchvision's names of networks that give a class to each place."""
    from torchvision import models

    return tuple(models.list_models(module=models.segmentation))


@lru_cache(maxsize=1)
def detection_names() -> tuple[str, ...]:
    """torchvision's names of networks that find boxes."""
    from torchvision import models

    return tuple(models.list_models(module=models.detection))


def all_names() -> tuple[str, ...]:
    """All of torchvision's names that can be loaded."""
    return (*names(), *segmentation_names(), *detection_names())


def is_cached(name: str) -> bool:
    """Whether the weights of a network are on this machine already."""
    return cached(_published(name).url).exists()


def load(name: str, pretrained: bool, file: Path | None, progress: Progress | None = None) -> Loaded:
    """The network, its preprocessing and class names; see `nbcnnviz.load_network`."""
    published = _published(name)
    classes = list(published.meta["categories"])
    if pretrained:
        file = download(published.url, progress)
    state = None if file is None else read_state(file)
    if pretrained and name in detection_names():
        return _detector(name), published.transforms(), classes
    module = _build(name, len(classes))
    if file is None or state is None:
        return module, published.transforms(), classes
    # Of a detection network the last weight is of boxes: a file has as many classes as the published weights, or does not fit.
    counted = 0 if name in detection_names() else count_classes(state, module)
    count = counted or len(classes)
    if count != len(classes):
        module = _build(name, count)
    if hasattr(module, "transform_input"):
        # GoogLeNet and Inception learnt on pixels in [-1, 1]: with their weights they turn ImageNet's scale into that.
        module.transform_input = True  # type: ignore[assignment]
    fill(module, state, repr(file.name))
    return module, published.transforms(), classes if count == len(classes) else None


def _published(name: str):  # type: ignore[no-untyped-def]  # torchvision's WeightsEnum member
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _detector(name: str) -> nn.Module:
    """A detection network with its published weights, which are in torch.hub's cache.

    torchvision builds it otherwise for them than without weights: frozen normalisation, and other constants in it.
    """
    from torchvision import models

    module: nn.Module = models.get_model(name, weights=_published(name), progress=False)
    return module


def _build(name: str, count: int) -> nn.Module:
    from torchvision import models

    dense = name in (*segmentation_names(), *detection_names())
    parts = {"weights_backbone": None} if dense else {}  # which would be downloaded, to be replaced
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the initialisation of weights that are replaced, or random on purpose
        module: nn.Module = models.get_model(name, weights=None, num_classes=count, **parts)
    return module
