"""The same scan on workers: one, two and three of them, and one that is lost in the middle."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.dataset import scan
from tests import toys
from tests.dataset.test_scan import same

distributed = pytest.importorskip("distributed")

COUNT = 2100  # thirty-three chunks


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=12)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.randn(COUNT, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, worker_dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def here(net, pictures):
    return scan(net, pictures, layers=["2", "4"])


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same(net, pictures, cluster, here, workers) -> None:
    cluster.scale(workers)
    with distributed.Client(cluster) as client:
        client.wait_for_workers(workers, timeout=60)
        same(scan(net, pictures, layers=["2", "4"], client=client), here)


def test_a_worker_that_is_lost_in_the_middle_loses_nothing(net, pictures, cluster, here) -> None:
    cluster.scale(2)
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        result = None
        for result in scan.stream(net, pictures, layers=["2", "4"], client=client):
            if len(result.chunks) == 2:
                process = next(iter(client.run(os.getpid).values()))
                os.kill(process, signal.SIGKILL)
        same(result, here)


def test_closing_it_cancels_what_has_not_run(net, pictures, cluster) -> None:
    with distributed.Client(cluster) as client:
        client.wait_for_workers(1, timeout=60)
        frames = scan.stream(net, pictures, layers=["2", "4"], client=client)
        next(frames)
        next(frames)
        frames.close()
        end = time.monotonic() + 30
        while client.futures and time.monotonic() < end:
            threading.Event().wait(0.05)
        assert not client.futures


def test_what_is_no_client_is_refused(net, pictures) -> None:
    with pytest.raises(nv.EngineError, match=r"dask\.distributed\.Client"):
        scan(net, pictures, layers="4", client="localhost:8786")


def test_without_dask_the_extra_is_named(net, pictures, monkeypatch) -> None:
    import builtins

    real = builtins.__import__

    def missing(name: str, *args: object, **kwargs: object) -> object:
        if name == "distributed":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(nv.EngineError, match=r"nbcnnviz\[dataset\]"):
        scan(net, pictures, layers="4", client=object())
