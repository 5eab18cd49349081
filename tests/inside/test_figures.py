"""Figures from a script: the picture that a panel shows, and the numbers that the functions behind it give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nbcnnviz as nv
from nbcnnviz import inside
from nbcnnviz.inside.figures import features_figure, gradients_figure, weights_figure
from tests import toys


@pytest.fixture(scope="module")
def trace() -> nv.Trace:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        module = toys.classic()
    return nv.Network(module, size=(24, 20), name="toy").trace("chelsea")


def saved(figure, folder: Path) -> dict[str, np.ndarray]:
    """The numbers, read again, of a figure whose picture is one that can be opened."""
    figure.save(folder / "figure.png")
    assert Image.open(folder / "figure.png").size == figure.picture.size
    assert np.asarray(figure.picture).std() > 5, "there is something to see"
    figure.save(folder / "figure.npz")
    with np.load(folder / "figure.npz") as file:
        return dict(file)


def test_features(trace: nv.Trace, tmp_path: Path) -> None:
    figure = features_figure(trace, "4", by="mean", unit=(2, 1))
    found, order = saved(figure, tmp_path), inside.ranking(trace, "4", "mean")
    assert np.array_equal(found["activations"], trace["4"][0].detach().numpy())
    assert found["filters"].tolist() == order.filters.tolist()
    unit = nv.Unit("4", int(order.filters[0]), 2, 1)
    assert np.allclose(found["unit_map"], trace.gradient(unit)[0], atol=1e-6)
    assert tuple(found["receptive_field"]) == tuple(inside.receptive_field(trace, "4", 2, 1))
    assert "row 2, column 1" in figure.caption


def test_weights(trace: nv.Trace, tmp_path: Path) -> None:
    figure = weights_figure(trace, "4", 2, filter=3)
    found, module = saved(figure, tmp_path), trace.network.module[4]
    name = next(name for name in trace.parameters if name == "4.weight")
    assert np.array_equal(found["weights"], module.weight.detach().numpy())
    assert np.allclose(found["gradient"], trace.gradient(2, [name])[name], atol=1e-6)
    assert figure.caption.startswith("Weights of 4 of toy, and the gradient of")


def test_gradients(trace: nv.Trace, tmp_path: Path) -> None:
    found = saved(gradients_figure(trace, "4", 1, learning_rate=0.1), tmp_path)
    at = found["layers"].tolist().index("4")
    assert found["gradient"][at] == pytest.approx(float(torch.linalg.vector_norm(trace.gradient(1, "4"))), rel=1e-5)
    assert found["activations_counts"].sum() == trace["4"].numel()
    assert float(found["learning_rate"]) == 0.1
