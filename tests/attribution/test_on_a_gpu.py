"""Every method on a GPU gives the map that it gives on the CPU, from tensors that stay there; skipped without one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.attribution.sampling import batch_size
from tests import toys

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

FEW = {"steps": 8, "samples": 8, "masks": 32}


def network(device: str) -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic().to(device), size=32)


@pytest.fixture(scope="module")
def networks() -> tuple[nv.Network, nv.Network]:
    return network("cpu"), network("cuda")


def asked(method: nv.Method, net: nv.Network) -> dict[str, Any]:
    layer = (
        {"layer": next(n for n, known in reversed(net.layers.items()) if known.spatial)} if method.needs_layer else {}
    )
    # Of equal values the order in which they are sorted is open, and an extremal perturbation follows it from then on.
    few = FEW | ({"steps": 1} if method.name == "extremal_perturbation" else {})
    return layer | {name: value for name, value in few.items() if name in method.options}


@pytest.mark.parametrize("name", [m.name for m in nv.methods().values() if m.run.__module__.startswith("nbcnnviz.")])
def test_a_map_is_that_of_the_cpu(networks, name: str) -> None:
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for net, device in zip(networks, ("cpu", "cuda"), strict=True):
        try:
            result = nv.attribute(net, x.to(device), method=name, target=1, **asked(nv.methods()[name], net))
        except (nv.MethodNotApplicableError, nv.PackageMissingError) as error:
            pytest.skip(str(error))
        assert result.values.device.type == device
        found.append(result.values.detach().cpu())
    assert torch.allclose(*found, rtol=1e-3, atol=1e-4 * float(found[0].abs().max()))


def test_batches_fill_the_chip(networks) -> None:
    on_cpu, on_gpu = (batch_size(net, graph=False) for net in networks)
    assert on_gpu > on_cpu
