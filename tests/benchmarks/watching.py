"""Watching a network learn: how much longer a training loop takes, as a ratio over the same loop unwatched.

The loops run in a kernel of Jupyter's, as they would in a notebook, in turn for about a second each: some whole rounds of
steps between records without a watch, then as many with one, so that each turn has its records and what is drawn of them.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from tests.benchmarks.table import Row, at_most, ms

LOOP = """
import json, time, torch, torchvision
from torch import nn
import nbcnnviz as nv

def small():
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )

def resnet():
    return torchvision.models.resnet18(weights=None, num_classes=10)

def measure(make, batch, size, rounds, **options):
    torch.manual_seed(0)
    net = make()
    optimiser = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    x, y = torch.randn(batch, 3, size, size), torch.randint(0, 10, (batch,))

    def learn(steps):
        start, computing = time.perf_counter(), time.process_time()
        for _ in range(steps):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimiser.step()
        return time.perf_counter() - start, time.process_time() - computing

    w = nv.watch(net, **options)
    if SHOWN:
        display(w)
    learn(20)
    steps = 20 * max(1, round(1 / learn(20)[0]))
    took = []
    for turn in range(-2, rounds):
        pair = {}
        for watched in (False, True) if turn % 2 else (True, False):
            w.start() if watched else pause(w)
            pair[watched] = learn(steps)
        if turn >= 0:
            took.append((*pair[False], *pair[True]))
    w.stop()
    return {"took": took, "steps": steps, "cost": w.cost}

def pause(w):
    # The hooks go; the thread that draws stays, as in a watch that was never stopped.
    w._hooks.remove()
    w._elapsed, w._on = w.elapsed, False
"""

CASES = (
    ("small network, batch of 64 at 32 px", "small, 64, 32", {}),
    ("ResNet-18, batch of 16 at 64 px", "resnet, 16, 64", {}),
    ("ResNet-18, batch of 4 at 32 px", "resnet, 4, 32", {}),
    ("small network, every step recorded", "small, 64, 32", {"every": 1}),
)


def tables(rounds: int) -> Iterator[tuple[str, list[Row]]]:
    """Yield a table for loops that nobody looks at, and one for loops that are shown."""
    for shown in (False, True):
        title = "with its panel on the page" if shown else "without a panel"
        yield f"Watching: a training loop watched over the same unwatched, {title}", _rows(rounds, shown)


def _rows(rounds: int, shown: bool) -> list[Row]:
    rows = []
    with _Kernel() as kernel:
        kernel.run(f"SHOWN = {shown}\n{LOOP}")
        for what, case, options in CASES:
            more = "".join(f", {name}={value}" for name, value in options.items())
            found = json.loads(kernel.run(f"print(json.dumps(measure({case}, {max(8, rounds)}{more})))"))
            took = found["took"]
            ratio = statistics.median(watched / plain for plain, _, watched, _ in took)
            computing = statistics.median(watched / plain for _, plain, _, watched in took)
            step = ms(statistics.median(plain for plain, *_ in took) / found["steps"])
            note = f"{step} a step; {computing:.3f} x in processor time; by its own account {found['cost']:.1%}"
            rows.append(Row(what, f"{ratio:.3f} x", note=note) if options else at_most(what, ratio, 1.05, note))
    return rows


class _Kernel:
    """A kernel of this interpreter."""

    def __enter__(self) -> _Kernel:
        self._manager = KernelManager()
        self._manager._kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
        )
        self._manager.start_kernel()
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        return self

    def run(self, code: str) -> str:
        """What the code prints."""
        said: list[str] = []

        def hear(message: dict) -> None:  # type: ignore[type-arg]
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                said.append(message["content"]["text"])

        reply = self._client.execute_interactive(code, output_hook=hear, timeout=1200)
        if reply["content"]["status"] != "ok":
            raise RuntimeError("\n".join(reply["content"]["traceback"]))
        return "".join(said)

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
