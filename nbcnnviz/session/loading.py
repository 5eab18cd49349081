"""Loading a network by name, as a task."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from nbcnnviz.core.network import Network
from nbcnnviz.session.task import Task
from nbcnnviz.zoo import load_network


def loading(task: Task, name: str, then: Callable[[Network], None]) -> Generator[Any, None, None]:
    """Load a network, telling how far its download is, and hand it on unless the task is given up."""

    def progress(done: int, total: int) -> None:
        task.check()
        task.tell(f"Downloading {name}: {done / 1e6:.0f} of {total / 1e6:.0f} MB", done, total)

    task.tell(f"Loading {name} ...")
    network = load_network(name, progress=progress)
    task.check()
    task.tell("Computing ...")
    then(network)
    yield from ()
