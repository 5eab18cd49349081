"""transformers' image classifiers by name or from a folder, with the preprocessing and labels published with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import ImageError, NetworkError, PackageMissingError, WeightsUnavailableError
from nbcnnviz.zoo.from_timm import Loaded
from nbcnnviz.zoo.hub import reachable
from nbcnnviz.zoo.weights import OFFLINE, fill, read_state

LONGEST = 50
"""How many times as long as wide a picture may be: these preprocessings scale first and crop then."""


@dataclass(frozen=True)
class ImageProcessor:
    """An image processor of transformers, as a function from a picture to an input (C, H, W)."""

    processor: Any

    def __call__(self, picture: Image.Image) -> Tensor:
        """The input for a picture."""
        if max(picture.size) > LONGEST * min(picture.size):
            raise ImageError(
                f"The picture is {picture.width} x {picture.height}; this network's image processor would scale it whole, "
                f"and takes up to {LONGEST} times as long as wide: crop it first."
            )
        pixels: Tensor = self.processor(images=picture, return_tensors="pt")["pixel_values"][0]
        return pixels


def load(name: str, pretrained: bool, file: Path | None, progress: Callable[[int, int], None] | None = None) -> Loaded:
    """The network, its image processor and its labels; see `nbcnnviz.load_network`. transformers prints its progress.

    ``name`` is a repository of the hub, or a folder that ``save_pretrained`` wrote.
    """
    try:
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
    except ImportError as error:
        raise PackageMissingError("transformers", "networks of the Hugging Face hub", "hf") from error
    if not Path(name).expanduser().is_dir() and not reachable(name, ("config.json",)):
        raise WeightsUnavailableError(
            f"The Hugging Face hub cannot be reached, {name} is not in its cache, and there is no such folder. {OFFLINE}"
        )
    source = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    try:
        config = AutoConfig.from_pretrained(source)
        if pretrained:
            module, told = AutoModelForImageClassification.from_pretrained(source, output_loading_info=True)
        else:
            module, told = AutoModelForImageClassification.from_config(config), {}
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise WeightsUnavailableError(f"transformers could not load {name}: {_first_line(error)}") from error
    missing = sorted(told.get("missing_keys", ()))
    if missing:  # transformers makes them up, with a warning
        raise WeightsUnavailableError(
            f"{name} lacks the weights of {missing[0]!r} and {len(missing) - 1} more, which would be random: it was not "
            "trained to classify pictures."
        )
    if file is not None:
        fill(module, read_state(file), repr(file.name))
    labels = [str(config.id2label[i]) for i in range(len(config.id2label))] if config.id2label else None
    try:
        preprocess: Callable[[Image.Image], Tensor] = ImageProcessor(AutoImageProcessor.from_pretrained(source))
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise NetworkError(
            f"{name} has no image processor that transformers can load ({_first_line(error)}): load the module yourself, "
            "and say nbcnnviz.Network(module, preprocess)."
        ) from error
    return module.to(torch.get_default_dtype()), preprocess, labels


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
