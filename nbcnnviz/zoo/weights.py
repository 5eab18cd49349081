"""Weights from a file or from the network, read without running what they contain."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import get_ident
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from nbcnnviz.core.errors import WeightsUnavailableError

Progress = Callable[[int, int], None]

_CHUNK = 1 << 18
OFFLINE = (
    "Offline, load_network() (the bundled efficientnet_lite0) works, and so does any name with weights=None "
    "(random weights) or weights='a file of yours'."
)


def cached(url: str) -> Path:
    """Where torch.hub, and so torchvision, keeps the file of a URL."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def download(url: str, progress: Progress | None = None) -> Path:
    """The file of a URL, from torch.hub's cache if it is there; checked against the hash that its name holds."""
    path = cached(url)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}-{get_ident()}.partial")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=20) as answer, partial.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0)
            report, close = (progress, None) if progress else _bar(path.name, total)
            done = 0
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                report(done, total)
            if close:
                close()
        if done < total:
            raise WeightsUnavailableError(
                f"The download of {path.name} broke off at {done} of {total} bytes: try again."
            )
        expected = re.search(r"-([a-f0-9]{8,})\.", path.name)
        if expected and not digest.hexdigest().startswith(expected[1]):
            raise WeightsUnavailableError(f"The download of {path.name} came out damaged: try again.")
        partial.rename(path)
    except OSError as error:  # urllib's errors, time-outs and a full disk alike
        reason = getattr(error, "reason", error)
        raise WeightsUnavailableError(
            f"The weights {path.name} could not be downloaded ({reason}). {OFFLINE}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _bar(name: str, total: int) -> tuple[Progress, Callable[[], None]]:
    from tqdm.auto import tqdm

    bar = tqdm(desc=name, total=total or None, unit="B", unit_scale=True)
    return lambda done, _: bar.update(done - bar.n) and None, bar.close


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, also one nested as ``state_dict`` or ``model``, or saved from ``DataParallel``."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise whatever the bytes lead them to
        name = pickled_class(error)
        reason = f" (it holds a {name}, and reading that could run code)" if name else ""
        raise WeightsUnavailableError(
            f"{path.name!r} is no file of weights that can be read safely{reason}: save one with "
            "torch.save(module.state_dict(), path)."
        ) from error
    while isinstance(state, Mapping) and not all(isinstance(v, Tensor) for v in state.values()):
        inner = next((state[k] for k in ("state_dict", "model", "model_state_dict", "net") if k in state), None)
        if not isinstance(inner, Mapping):
            raise WeightsUnavailableError(
                f"{path.name!r} holds no state dict: save one with torch.save(module.state_dict(), path)."
            )
        state = inner
    if not isinstance(state, Mapping) or not state:
        raise WeightsUnavailableError(
            f"{path.name!r} holds no state dict: save one with torch.save(module.state_dict(), path)."
        )
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name): tensor for name, tensor in state.items()}


def pickled_class(error: BaseException) -> str | None:
    """What a pickle holds beside tensors, by the error with which torch refuses to read it; None if it is none."""
    if not isinstance(error, pickle.UnpicklingError):
        return None
    found = re.search(r"GLOBAL (\S+)", str(error))
    return found[1] if found else None


def aligned(state: Mapping[str, Tensor], module: nn.Module) -> Mapping[str, Tensor]:
    """A state dict by the names of ``module``, where it was saved from a module that holds such a one (Lightning's)."""
    own = module.state_dict().keys()
    prefixes = {name.partition(".")[0] + "." for name in state}
    if own & state.keys() or len(prefixes) != 1:
        return state
    (prefix,) = prefixes
    inner = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return inner if own & inner.keys() else state


def count_classes(state: Mapping[str, Tensor], module: nn.Module) -> int:
    """How many classes a state dict is for: the rows of what is the last weight of ``module``, of the same architecture.

    Zero if it has no such weight. The state dict's own order tells nothing: safetensors sort by name.
    """
    *_, head = (name for name, own in module.state_dict().items() if name.endswith("weight") and own.ndim >= 2)
    state = aligned(state, module)
    return state[head].shape[0] if head in state else 0


def fill(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a state dict, with a sentence instead of a page where it does not fit."""
    try:
        missing, extra = module.load_state_dict(aligned(state, module), strict=False)
    except RuntimeError as error:
        mismatch = next((line.strip() for line in str(error).splitlines()[1:]), str(error))
        raise WeightsUnavailableError(f"{what} does not fit this network: {mismatch}") from error
    # Heads that only training uses may be absent from either side.
    missing = [name for name in missing if not name.lower().startswith("aux")]
    extra = [name for name in extra if not name.lower().startswith("aux")]
    if missing or extra:
        told = [f"it lacks {missing[0]!r} and {len(missing) - 1} more"] if missing else []
        told += [f"the network has no {extra[0]!r} ({len(extra)} such)"] if extra else []
        raise WeightsUnavailableError(f"{what} does not fit this network: {'; '.join(told)}.")
