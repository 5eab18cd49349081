"""Scans of many pictures: beside the plain forward pass over the same loader, in memory, and on workers of a cluster."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.dataset import scanning
from nbcnnviz.dataset.sources import source_of
from tests import toys
from tests.benchmarks.table import Row, at_least, at_most, ms

STAGES = ["layer1", "layer2", "layer3", "layer4"]
BATCH = 16


class Synthetic(torch.utils.data.Dataset):
    """Noise of so many pixels a side, made when it is asked for, and preprocessed already."""

    def __init__(self, count: int, side: int) -> None:
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.randn(3, self.side, self.side, generator=torch.Generator().manual_seed(index))


def tables(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Yield a table for each thing asked of a scan."""
    yield "Scan: pictures a second, over the plain forward pass with the same loader", _throughput(rounds)
    yield "Scan: memory, 100,000 synthetic pictures over 1,000", _memory()
    yield "Scan: two workers of one thread over one", _workers(rounds)


# Throughput.


def _throughput(rounds: int) -> list[Row]:
    torch.manual_seed(0)
    net = nv.Network(torchvision.models.resnet18(weights=None).eval(), size=224)
    with tempfile.TemporaryDirectory() as folder:
        _write_pictures(Path(folder), 96)
        calls = {"plain": lambda: _plain(net, folder), "scan": lambda: nv.scan(net, folder, layers=STAGES, batch=BATCH)}
        took: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(-1, max(5, rounds // 2)):
            for name in list(calls)[:: 1 if turn % 2 else -1]:
                start = time.perf_counter()
                calls[name]()
                if turn >= 0:
                    took[name].append(time.perf_counter() - start)
    ratio = statistics.median(p / s for p, s in zip(took["plain"], took["scan"], strict=True))
    a_picture = {name: statistics.median(seconds) / 96 for name, seconds in took.items()}
    note = f"a picture {ms(a_picture['scan'])}, plain {ms(a_picture['plain'])}; what begins a scan included"
    return [at_least("ResNet-18, 224 px, last layers of 4 stages, 96 JPEG files", ratio, 0.9, note)]


def _plain(net: nv.Network, folder: str) -> None:
    """A loop such as one would write: decoded by as many threads, the same batches, the module alone."""
    source = source_of(folder)
    with ThreadPoolExecutor(2) as pool, torch.inference_mode():
        waiting: list[torch.Tensor] = []
        for x in pool.map(lambda i: net.batch(source[i][0]), range(len(source))):
            waiting.append(x)
            if len(waiting) == BATCH:
                net.module(torch.cat(waiting))
                waiting.clear()
        if waiting:
            net.module(torch.cat(waiting))


def _write_pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.integers(0, 256, (32, 40, 3), np.uint8)
        Image.fromarray(pixels).resize((320, 256), Image.Resampling.BICUBIC).save(folder / f"{i:04}.jpg")


# Memory. In processes of their own: what a process once had stays its own.


def scanned(count: int) -> dict[str, float]:
    """Scan so many pictures in this process: its size early on, and the largest that it was, in MB."""
    import psutil

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = nv.Network(toys.classic(), size=12)
    process, seen, done = psutil.Process(), [], 0
    start = time.perf_counter()
    for frame in nv.scan.stream(net, Synthetic(count, 12), batch=64):
        seen.append(process.memory_info().rss / 1e6)
        done = frame.seen
    assert done == count
    return {"early": seen[min(2, len(seen) - 1)], "most": max(seen), "seconds": time.perf_counter() - start}


def _memory() -> list[Row]:
    found = {}
    for count in (1_000, 100_000):
        code = f"import json; from tests.benchmarks.dataset import scanned; print(json.dumps(scanned({count})))"
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        found[count] = json.loads(output.splitlines()[-1])
    few, many = found[1_000], found[100_000]
    note = f"{few['most']:.0f} MB and {many['most']:.0f} MB; the 100,000 took {many['seconds']:.0f} s"
    return [
        at_most("largest size of the process", many["most"] / few["most"], 1.1, note),
        at_most("at its largest over after two chunks", many["most"] / many["early"], 1.1),
    ]


# Workers.


def _workers(rounds: int) -> list[Row]:
    from distributed import Client, LocalCluster

    net = _resnet()
    pictures, took = Synthetic(8 * scanning.CHUNK, 112), {}
    for count in (1, 2):
        options = {"dashboard_address": None, "worker_dashboard_address": None}
        with LocalCluster(n_workers=count, threads_per_worker=1, **options) as cluster, Client(cluster) as client:
            client.wait_for_workers(count, timeout=60)
            client.run(torch.set_num_threads, 1)
            nv.scan(net, Synthetic(count * scanning.CHUNK, 112), layers=STAGES, batch=BATCH, client=client)  # warm
            start = time.perf_counter()
            nv.scan(net, pictures, layers=STAGES, batch=BATCH, client=client)
            took[count] = time.perf_counter() - start
    apart = {count: _apart(count, len(pictures) // count) for count in (1, 2)}
    note = f"{took[1]:.1f} s and {took[2]:.1f} s for {len(pictures)} pictures of 112 px, ResNet-18"
    bound = f"what the cores give: {apart[1] / apart[2]:.2f} times, by processes that share nothing"
    return [at_least("a scan on a LocalCluster", took[1] / took[2], 1.7, f"{note}; {bound}")]


def _resnet() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(torchvision.models.resnet18(weights=None).eval(), size=112)


def _apart(count: int, each: int) -> float:
    """Seconds that so many processes take that start together, and scan so many pictures each, with one thread."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(count) as pool:
        together = manager.Barrier(count)
        return max(pool.starmap(_scanned_alone, [(each, together)] * count, chunksize=1))


def _scanned_alone(pictures: int, together: Any) -> float:
    torch.set_num_threads(1)
    net = _resnet()
    nv.scan(net, Synthetic(scanning.LEAST, 112), layers=STAGES, batch=BATCH)  # warm
    together.wait()
    start = time.perf_counter()
    nv.scan(net, Synthetic(pictures, 112), layers=STAGES, batch=BATCH)
    return time.perf_counter() - start
