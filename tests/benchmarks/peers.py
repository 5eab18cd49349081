"""The tools that nbcnnviz is measured against, each in its most efficient documented way.

What a tool sets up once is set up here, outside the clock.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from captum.attr import Deconvolution, GuidedBackprop, GuidedGradCam, LayerGradCam, Saliency
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import GradCAM as TorchCam

OfClass = Callable[[int], object]


@contextmanager
def grad_cams(module: nn.Module, layer: str, x: Tensor) -> Iterator[dict[str, OfClass]]:
    """By tool: a call from a class to its Grad-CAM at ``layer``."""
    captum = LayerGradCam(module, module.get_submodule(layer))
    # The hooks of the other two stay on their module: each has a module of its own over the same weights.
    held, hooked = twin(module), twin(module)
    with TorchCam(held, layer) as torch_cam, GradCAM(hooked, [hooked.get_submodule(layer)]) as grad_cam:
        yield {
            "Captum": lambda c: captum.attribute(x, target=c, relu_attributions=True),
            "torch-cam": lambda c: torch_cam(c, held(x)),
            "pytorch-grad-cam": lambda c: grad_cam(x, [ClassifierOutputTarget(c)]),
        }


@contextmanager
def torch_cam_with_scores_kept(module: nn.Module, layer: str, x: Tensor) -> Iterator[OfClass]:
    """torch-cam for many classes of one forward pass: for those who keep the scores and know of ``retain_graph``."""
    held = twin(module)
    with TorchCam(held, layer) as torch_cam:
        scores = held(x)
        yield lambda c: torch_cam(c, scores, retain_graph=True)


def captum_five(module: nn.Module, layer: str, x: Tensor) -> OfClass:
    """Saliency, guided backprop, deconvnet, Grad-CAM and guided Grad-CAM of a class."""
    module = twin(module)
    for submodule in module.modules():
        if isinstance(submodule, nn.ReLU):
            submodule.inplace = False  # as Captum asks for
    x = x.clone().requires_grad_()
    at = module.get_submodule(layer)
    saliency, guided, deconvnet = Saliency(module), GuidedBackprop(module), Deconvolution(module)
    grad_cam, guided_grad_cam = LayerGradCam(module, at), GuidedGradCam(module, at)

    def five(c: int) -> list[Tensor]:
        return [
            saliency.attribute(x, target=c),
            guided.attribute(x, target=c),
            deconvnet.attribute(x, target=c),
            grad_cam.attribute(x, target=c, relu_attributions=True),
            guided_grad_cam.attribute(x, target=c, interpolate_mode="bilinear"),
        ]

    return five


def twin(module: nn.Module) -> nn.Module:
    """The module again, with hooks and flags of its own and the same tensors."""
    return copy.deepcopy(module, {id(t): t for t in [*module.parameters(), *module.buffers()]})


@contextmanager
def quiet() -> Iterator[None]:
    """Without the peers' warnings, which take time to print."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
