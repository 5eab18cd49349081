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

from tests.binder import (
    BINDER,
    CONDA_NAMES,
    ENVIRONMENT,
    MOST_MEGABYTES,
    NOTEBOOK,
    POST_BUILD,
    PROGRAMS,
    ROOT,
    for_pip,
    listed,
    requirements,
)

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


def test_the_environment_holds_every_runtime_dependency_of_the_package() -> None:
    wanted = requirements(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    for name, versions in wanted.items():
        assert listed().get(CONDA_NAMES.get(name, name)) == versions, name


def test_the_environment_holds_what_the_notebooks_need() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, versions in requirements(extras["classroom"]).items():
        assert listed().get(name) == versions, name


def test_the_check_follows_every_file_that_binder_builds_from() -> None:
    """``make binder-check`` takes minutes, and is not run here: that it follows these files is."""
    assert {path.name for path in BINDER.iterdir()} - {"README.md"} == {ENVIRONMENT.name, POST_BUILD.name}
    text = ENVIRONMENT.read_text(encoding="utf-8")
    lines = [line.split("#")[0].strip(" -\n") for line in text.partition("dependencies:")[2].splitlines()]
    packages = {line for line in lines if line and line != "pip:"}
    by_pip = {name.replace("torch>", "pytorch-cpu>") for name in for_pip()}
    assert {re.split(r"[<>=]", line)[0] for line in packages - by_pip} == PROGRAMS
    assert by_pip <= packages


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
    assert {*opened} == {NOTEBOOK}
    assert all((ROOT / path).is_file() for path in opened)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux, as Binder's, tells the peak this way")
def test_the_bundled_network_explains_a_picture_without_a_network_and_within_binders_memory(tmp_path: Path) -> None:
    nowhere = {"HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", OFFLINE], env=os.environ | nowhere, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout.split()[-1]) < MOST_MEGABYTES
