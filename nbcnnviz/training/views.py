"""What a watch shows of the network itself: the first convolution's filters, and one layer's feature maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nbcnnviz.core.errors import ImageError, MethodNotApplicableError, NbcnnvizError
from nbcnnviz.core.network import Network
from nbcnnviz.core.recording import Recorder
from nbcnnviz.training.listening import Listener

_FILTERS_KEPT = 256


class Views:
    """Takes the filters and the feature maps of the step that is recorded.

    Attributes
    ----------
    layer
        Whose maps.
    first
        The first convolution, if there is one.
    trouble
        Why there are no maps, in words; empty if there are.
    """

    def __init__(self, module: nn.Module, compiled: bool, picture: Any, network: Network | None) -> None:
        self.modules = {name: m for name, m in module.named_modules() if name}
        self.first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
        self.layer, self.trouble = "", ""
        self._module, self._compiled = module, compiled
        self._picture = _input(picture, network)

    def usual_layer(self) -> str:
        """The first convolution, so that a map belongs to a filter that is shown."""
        convolutions = (name for name, m in self.modules.items() if isinstance(m, nn.Conv2d))
        return next(convolutions, next(iter(self.modules), ""))

    def check(self) -> None:
        """Raise the error that says why the picture given cannot be run, if it cannot."""
        if self._picture is not None:
            self._maps_of_picture()

    def listener(self, parameters: list[nn.Parameter]) -> Listener:
        """What listens to the step about to come: for its loss, and for the layer's output where it can be had."""
        layer = None if self._compiled or self._picture is not None else self.modules.get(self.layer)
        return Listener(parameters, self.layer, layer, _maps)

    def take(self, listener: Listener | None, known: bool) -> dict[str, Tensor]:
        """The first convolution's kernels, and the layer's maps of one picture; ``known``: whether it had some before."""
        pictures = {}
        if self.first is not None:
            pictures["filters"] = self.first.weight.detach()[:_FILTERS_KEPT].float().clone()
        if not self.layer:
            return pictures
        listener = listener if listener is not None and listener.name == self.layer else None
        maps = listener.heard if listener is not None else None
        error = listener.error if listener is not None else None
        if self._picture is not None:
            try:
                maps = self._maps_of_picture()
            except NbcnnvizError as failure:
                error = failure
        if maps is not None:
            pictures["of " + self.layer] = maps
            self.trouble = ""
        elif error is not None:
            self.trouble = str(error)
        elif self._compiled:
            self.trouble = (
                "A compiled network does not tell what its layers return: give watch(..., picture=tensor), and that picture "
                "is run through the layers beside it."
            )
        elif listener is not None and not known:
            self.trouble = f"Layer {self.layer!r} was not called in the last step recorded."
        return pictures

    def now(self) -> Tensor | None:
        """The layer's maps of the picture given, as the network is now; None without one, or if it cannot be run."""
        if self._picture is None or not self.layer:
            return None
        try:
            return self._maps_of_picture()
        except NbcnnvizError as failure:
            self.trouble = str(failure)
            return None

    def _maps_of_picture(self) -> Tensor:
        assert self._picture is not None
        like = next(self._module.parameters())
        recorder = Recorder(self._module, [self.layer], parameters=False, stop=True)
        try:
            recording = recorder(self._picture.to(like.device, like.dtype), differentiable=False)
        except Exception as error:  # the user's code may raise anything
            raise ImageError(f"The picture of {tuple(self._picture.shape)} could not be run: {error}") from error
        if not recording.activations:
            raise MethodNotApplicableError(f"Layer {self.layer!r} is not called for the picture given.")
        return _maps(next(iter(recording.activations.values())).output, self.layer)


def _input(picture: Any, network: Network | None) -> Tensor | None:
    """A picture as the network takes it, (1, C, H, W)."""
    if picture is None:
        return None
    if network is not None:
        return network.batch(picture)[:1]
    if not isinstance(picture, Tensor) or picture.ndim not in (3, 4):
        raise ImageError(
            "The picture of a module is a preprocessed tensor (C, H, W): give that, or watch a nv.Network, which knows "
            "how to make it."
        )
    return (picture if picture.ndim == 4 else picture[None])[:1].detach().clone()


def _maps(output: Any, layer: str) -> Tensor:
    """The maps (C, h, w) of the first picture in what a layer returned."""
    if not isinstance(output, Tensor) or output.ndim != 4 or not len(output):
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise MethodNotApplicableError(f"Layer {layer!r} returns {what}, not maps (N, C, h, w): choose another.")
    return output[0].detach().float().clone()
