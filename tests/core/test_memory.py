"""The memory that can still be had, where a container has a limit of its own and where not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nbcnnviz.core.memory import UNKNOWN, free_memory

CPU = torch.device("cpu")
V2 = {"memory.max": "{limit}", "memory.current": "1500", "memory.stat": "anon 900\ninactive_file 400\n"}
V1 = {
    "memory/memory.limit_in_bytes": "{limit}",
    "memory/memory.usage_in_bytes": "1500",
    "memory/memory.stat": "cache 500\ntotal_inactive_file 400\n",
}


def system(folder: Path, files: dict[str, str], limit: str = "2000") -> Path:
    """A system with 8 kB to be had, and a container's files."""
    files = {f"sys/fs/cgroup/{name}": text.replace("{limit}", limit) for name, text in files.items()}
    for name, text in ({"proc/meminfo": "MemTotal: 16 kB\nMemAvailable:    8 kB\n"} | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("files", [V1, V2])
def test_a_containers_limit_counts_less_what_it_uses_but_for_its_cache_of_files(
    tmp_path: Path, files: dict[str, str]
) -> None:
    assert free_memory(CPU, system(tmp_path, files)) == 2000 - (1500 - 400)


@pytest.mark.parametrize(("files", "limit"), [(V2, "max"), (V1, "9223372036854771712"), ({}, "")])
def test_without_a_limit_it_is_what_the_machine_has(tmp_path: Path, files: dict[str, str], limit: str) -> None:
    assert free_memory(CPU, system(tmp_path, files, limit)) == 8 * 1024


def test_a_container_beyond_its_limit_has_none_left(tmp_path: Path) -> None:
    assert free_memory(CPU, system(tmp_path, V2, "1000")) == 0


def test_of_a_machine_that_tells_nothing_something_is_taken_to_be_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.sysconf")
    assert free_memory(CPU, tmp_path) == UNKNOWN
