"""How much memory can still be had."""

from __future__ import annotations

import os
from pathlib import Path

import torch

UNKNOWN = 2 * 10**9
"""Bytes taken to be free where the system does not tell."""


def free_memory(device: torch.device, system: Path = Path("/")) -> int:
    """Bytes that can still be had on a device, as far as the system says; a container's own limit counts.

    ``system`` is where the system's files lie.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        free = _numbers(system / "proc/meminfo")["MemAvailable:"] * 1024
    except (OSError, KeyError):
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return UNKNOWN
    return max(0, min([free, *_of_the_container(system / "sys/fs/cgroup")]))


def _of_the_container(folder: Path) -> list[int]:
    """What a container's limit leaves, in cgroups of either version; its cache of files can be had too."""
    left = []
    for limit, used, statistics, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        try:
            taken = int((folder / used).read_text()) - _numbers(folder / statistics).get(cache, 0)
            left.append(int((folder / limit).read_text()) - taken)
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return left


def _numbers(file: Path) -> dict[str, int]:
    """The lines ``name number`` of a file."""
    words = (line.split() for line in file.read_text(encoding="ascii").splitlines())
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}
