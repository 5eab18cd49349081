"""What Binder builds from: complete, well formed, and enough for the network that comes with the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"

# What conda calls otherwise than the Python package index does.
CONDA_NAMES = {"torch": "pytorch-cpu"}

# Binder gives 2 GB, of which JupyterLab's server and the explorer's own widgets need some.
MOST_MEGABYTES = 1500

OFFLINE = """
import socket
from pathlib import Path

def refuse(*args, **kwargs):
    raise OSError("this test has no network")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse

import nbcnnviz as nv

trace = nv.load_network(device="cpu").trace("chelsea")
assert any("cat" in name for _, name, _ in trace.top(3)), trace.top(3)
nv.attribute(trace, method="grad_cam").overlay()
nv.attribute(trace, method="saliency").overlay()
nv.explore().wait(120)
# Not getrusage, which begins with what the process that started this one had taken.
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak.split()[1]) / 1e3)
"""


def requirements(lines: list[str]) -> dict[str, str]:
    """From name to the rest of each requirement."""
    found = (re.match(r"([A-Za-z0-9._-]+)\s*(.*)", line) for line in lines)
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def test_the_environment_holds_every_runtime_dependency_of_the_package() -> None:
    listed = yaml.safe_load((BINDER / "environment.yml").read_text())["dependencies"]
    environment = requirements([line for line in listed if isinstance(line, str)])
    environment |= requirements(next(line["pip"] for line in listed if isinstance(line, dict)))
    wanted = requirements(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    for name, versions in wanted.items():
        assert environment.get(CONDA_NAMES.get(name, name)) == versions, name


def test_the_environment_holds_what_the_notebooks_need() -> None:
    listed = yaml.safe_load((BINDER / "environment.yml").read_text())["dependencies"]
    environment = requirements([line for line in listed if isinstance(line, str)])
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, versions in requirements(extras["classroom"]).items():
        assert environment.get(name) == versions, name


def test_the_environment_has_what_builds_and_opens_the_explorer() -> None:
    listed = yaml.safe_load((BINDER / "environment.yml").read_text())
    assert {"jupyterlab", "nodejs", "pip", "python"} <= requirements(
        [d for d in listed["dependencies"] if str(d) == d]
    ).keys()
    assert listed["channels"] == ["conda-forge", "nodefaults"]


def test_post_build_is_a_program_that_bash_can_read() -> None:
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!")
    subprocess.run(["bash", "-n", script], check=True)


def test_the_link_opens_a_notebook_that_exists() -> None:
    opened = re.findall(r"\?urlpath=lab/tree/([\w./-]+\.ipynb)", (BINDER / "README.md").read_text())
    assert opened
    assert all((ROOT / path).is_file() for path in opened)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux, as Binder's, tells the peak this way")
def test_the_bundled_network_explains_a_picture_without_a_network_and_within_binders_memory(tmp_path: Path) -> None:
    nowhere = {"HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", OFFLINE], env=os.environ | nowhere, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout.split()[-1]) < MOST_MEGABYTES
