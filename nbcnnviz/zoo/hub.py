"""The Hugging Face hub: whether it can be reached, and what of it is on this machine already."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from urllib.parse import urlparse


def reachable(repository: str | None, files: Iterable[str]) -> bool:
    """Whether one of a repository's files is in the cache, or the hub answers; libraries retry for most of a minute."""
    from huggingface_hub import constants, try_to_load_from_cache

    if repository and any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        return True
    hub = urlparse(constants.ENDPOINT)
    try:
        socket.create_connection((hub.hostname, hub.port or 443), timeout=5).close()
    except OSError:
        return False
    return True
