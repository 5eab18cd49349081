"""The same work on the workers of a Dask cluster: the only file that knows Dask."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import torch

from nbcnnviz.core.errors import EngineError, NbcnnvizError
from nbcnnviz.core.network import Network

T = TypeVar("T")


def spread(
    client: Any, work: Callable[..., T], shared: Sequence[Any], chunks: Sequence[int], *options: Any
) -> Iterator[T]:
    """``work(*shared, chunk, *options)`` for every chunk on the workers of a client, results as they come.

    What is shared travels once to each worker. A chunk whose worker is lost is run again on another. Closing the
    generator cancels what has not been run.

    Raises
    ------
    EngineError
        If Dask is not installed, the client is none, or a chunk failed on its worker.
    """
    try:
        import distributed
    except ImportError as error:
        raise EngineError("A client needs Dask: pip install 'nbcnnviz[dataset]'.") from error
    as_completed: Any = distributed.as_completed
    if not isinstance(client, distributed.Client):
        raise EngineError(f"The client is a dask.distributed.Client, not a {type(client).__name__}.")
    client = cast(Any, client)  # untyped from here on
    # `hash=False`: two scans of one network must not share what one of them may release.
    placed = client.scatter(list(shared), broadcast=True, hash=False)
    futures = [client.submit(_task, work, chunk, options, *placed, pure=False, retries=3) for chunk in chunks]
    try:
        for future in as_completed(futures):
            if future.status == "error":
                failure = future.exception()
                if isinstance(failure, NbcnnvizError):
                    raise failure
                raise EngineError(f"A worker failed ({type(failure).__name__}: {failure}).") from failure
            if future.status != "finished":
                raise EngineError("The cluster gave up a part of the work: are its workers still there?")
            result = future.result()
            future.release()
            yield result
    finally:
        client.cancel([f for f in futures if not f.done()])
        for future in [*futures, *placed]:
            future.release()


def _task(work: Callable[..., T], chunk: int, options: Sequence[Any], *shared: Any) -> T:
    """Run a chunk on a worker, with the network on the worker's own GPU where it has one."""
    return work(*(on_device(part) if isinstance(part, Network) else part for part in shared), chunk, *options)


def on_device(network: Network) -> Network:
    """The network on this worker's GPU, itself where there is none; moved once, and kept with the worker."""
    if not torch.cuda.is_available() or network.device.type == "cuda":
        return network
    from distributed import get_worker

    worker = get_worker()
    kept: dict[int, Network] = worker.__dict__.setdefault("nbcnnviz_networks", {})
    if id(network) not in kept:
        moved = copy.copy(network)
        # One worker a GPU: Dask-CUDA shows each its own as the first.
        moved.module = copy.deepcopy(network.module).to("cuda")
        kept[id(network)] = moved
    return kept[id(network)]
