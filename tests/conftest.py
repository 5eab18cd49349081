"""What every test may use."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

import nbcnnviz as nv

# Small networks gain nothing by a second thread, and lose much where something else runs on the machine.
torch.set_num_threads(1)
# Nor do the kernels and servers that tests start, which share the cores with a browser.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def bundled() -> nv.Network:
    """The bundled network, loaded once."""
    return nv.load_network(device="cpu")


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, over the largest magnitude expected."""
    assert found.shape == expected.shape
    found, expected = found.detach(), expected.detach()
    assert expected.abs().max() > 0, "an all-zero map compares with nothing"
    return float((found - expected).abs().max() / expected.abs().max())


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of the networks swept, wherever they were run."""
    reports = [r for kind in ("passed", "skipped", "failed") for r in terminalreporter.stats.get(kind, [])]
    rows = sorted(str(row) for r in reports for name, row in getattr(r, "user_properties", ()) if name == "sweep")
    if rows:
        terminalreporter.section("one network of each family: default layer, its kind, its maps")
        terminalreporter.write_line("\n".join(dict.fromkeys(rows)))
