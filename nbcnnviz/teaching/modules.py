"""Small networks for digits, and their twins that learn badly."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from nbcnnviz.core.errors import OptionValueError

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
_WIDTHS = (16, 32, 48)


def digits_module(*, activation: str = "relu", norm: bool = False, extra: int = 0, seed: int = 0) -> nn.Sequential:
    """A convolutional network for pictures (N, 1, 32, 32) of digits, with random weights.

    Three convolutions (7 x 7 with 16 filters, 3 x 3 with 32 and with 48), a max-pool of 2 x 2 after the first and the
    second, the average over places, and one Linear layer to ten scores. Layers are called ``conv1``, ``act1``, ``pool1`` ...
    ``average``, ``flatten``, ``classifier``.

    Parameters
    ----------
    activation
        ``"relu"``, ``"sigmoid"`` or ``"tanh"``.
    norm
        Whether a batch-norm stands between each convolution and its activation.
    extra
        How many more convolutions of 3 x 3 follow the third: a deep network, to see gradients vanish in.
    seed
        Of the weights; torch's own random state is left as it is. Two networks of one seed that differ in ``activation``
        only have the same weights.

    Raises
    ------
    OptionValueError
        If there is no such activation, or ``extra`` is negative.
    """
    if activation not in _ACTIVATIONS:
        raise OptionValueError(f"activation is one of {', '.join(_ACTIVATIONS)}, not {activation!r}.", "activation")
    if not isinstance(extra, int) or isinstance(extra, bool) or extra < 0:
        raise OptionValueError(f"extra is a whole number of convolutions, 0 or more, not {extra!r}.", "extra")
    widths = (1, *_WIDTHS, *[_WIDTHS[-1]] * extra)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for i in range(1, len(widths)):
            size = 7 if i == 1 else 3
            layers[f"conv{i}"] = convolution = nn.Conv2d(widths[i - 1], widths[i], size, padding=size // 2)
            if extra:  # torch's own start is too small for many layers with rectifiers; see He et al. 2015
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            if i == 1:  # smaller at the start, so that what is seen of the filters is what they learnt
                convolution.weight.mul_(0.5)
            if norm:
                layers[f"norm{i}"] = nn.BatchNorm2d(widths[i])
            layers[f"act{i}"] = _ACTIVATIONS[activation]()
            if i <= 2:
                layers[f"pool{i}"] = nn.MaxPool2d(2)
        layers["average"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["classifier"] = nn.Linear(widths[-1], 10)
    return nn.Sequential(layers)
