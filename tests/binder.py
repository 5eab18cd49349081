"""What Binder does with ``binder/``, as far as it can be done here: ``python -m tests.binder``, or ``make binder-check``.

A fresh virtual environment gets what ``environment.yml`` lists, from a package registry in conda's place; ``postBuild`` runs in
a copy of the repository; then, without internet and with an empty home, JupyterLab serves notebook 00, which is executed, and
the explorer opens every panel. Memory is measured meanwhile. Takes minutes and some gigabytes of disk, as torch does.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
ENVIRONMENT, POST_BUILD = BINDER / "environment.yml", BINDER / "postBuild"
NOTEBOOK = "notebooks/00_explorer.ipynb"

# What conda calls otherwise than the Python package index does, by the index's name.
CONDA_NAMES = {"torch": "pytorch-cpu"}
PROGRAMS = {"python", "nodejs", "pip"}
"""What a registry of Python packages does not have: these are looked for on this machine."""
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"

# Binder gives 2 GB: the rest is for the system, for a second kernel that starts, and for pictures of one's own.
MOST_MEGABYTES = 1500

EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

LOOK = '''
from pathlib import Path
def peak():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1e3
print("notebook", peak())
for panel in ("features", "weights", "gradients", "synthesize", "compare", "explain"):
    ex.panel = panel
    ex.wait(120)
    assert ex.error is None, (panel, ex.error)
print("panels", peak())
'''
notebook = nbformat.read(sys.argv[1], as_version=4)
notebook.cells.append(nbformat.v4.new_code_cell(LOOK))
NotebookClient(notebook, timeout=600, resources={"metadata": {"path": "notebooks"}}).execute()
shown = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
assert any("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in shown), "no widget"
print("".join(o["text"] for o in notebook.cells[-1].outputs if o.output_type == "stream" and o.name == "stdout"))
"""


def requirements(lines: list[str]) -> dict[str, str]:
    """From name to the rest of each requirement."""
    found = (re.match(r"([A-Za-z0-9._-]+)\s*(.*)", line) for line in lines)
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def listed() -> dict[str, str]:
    """What the environment lists, conda's and pip's, from name to version."""
    every = yaml.safe_load(ENVIRONMENT.read_text(encoding="utf-8"))["dependencies"]
    return requirements([line for line in every if isinstance(line, str)]) | requirements(
        [line for group in every if isinstance(group, dict) for line in group["pip"]]
    )


def for_pip() -> list[str]:
    """The same as a package index calls it, without what it does not have."""
    ours = {theirs: name for name, theirs in CONDA_NAMES.items()}
    return [f"{ours.get(name, name)}{version}" for name, version in listed().items() if name not in PROGRAMS]


def main() -> None:
    """Build, run and measure; ends with an error at the first step that fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.binder", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to make the environment of")
    parser.add_argument("--keep", type=Path, help="where to build, and leave what was built (a temporary folder)")
    given = parser.parse_args()
    wanted = listed()["python"].lstrip("=")
    version = subprocess.check_output([given.python, "--version"], text=True).split()[1]
    if not version.startswith(f"{wanted}."):
        print(f"Binder has Python {wanted}, this is {version}: --python chooses another.")
    with tempfile.TemporaryDirectory(prefix="nbcnnviz-binder-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        check(folder, given.python)


def check(folder: Path, python: str) -> None:
    """The steps of an image, in a folder of their own."""
    home, copy = folder / "home", folder / "repository"
    home.mkdir(exist_ok=True)
    _copied(copy)
    started = time.monotonic()
    bin_ = _installed(folder / "environment", python)
    path = f"{bin_}{os.pathsep}{os.environ['PATH']}"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "JUPYTER", "VIRTUAL"))}
    # An empty home; which registry npm asks is the user's own setting all the same.
    own |= {"HOME": str(home), "PATH": path, "NPM_CONFIG_USERCONFIG": str(Path.home() / ".npmrc")}
    _say("postBuild")
    subprocess.run(["bash", str(copy / POST_BUILD.relative_to(ROOT))], cwd=copy, env=own, check=True)
    print(f"built in {time.monotonic() - started:.0f} s")
    run(copy, bin_, own)


def run(copy: Path, bin_: Path, own: dict[str, str]) -> None:
    """Run notebook 00 and the explorer in what was built, and measure both and JupyterLab."""
    # At run time nothing is fetched: whoever tries meets a proxy that there is not.
    nowhere = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "HTTP", "HTTPS")}
    own |= nowhere | {"no_proxy": "127.0.0.1,localhost", "HF_HUB_OFFLINE": "1"}
    _say("JupyterLab, notebook 00, every panel of the explorer")
    server = _served(copy, bin_, own)
    told = subprocess.check_output([str(bin_ / "python"), "-c", EXECUTE, NOTEBOOK], cwd=copy, env=own, text=True)
    peaks = {line.split()[0]: float(line.split()[1]) for line in told.splitlines() if len(line.split()) == 2}
    print(f"{'JupyterLab':28} {server:6.0f} MB at its peak")
    print(f"{'kernel, notebook 00':28} {peaks['notebook']:6.0f} MB")
    print(f"{'kernel, every panel opened':28} {peaks['panels']:6.0f} MB")
    total = server + peaks["panels"]
    print(f"{'together':28} {total:6.0f} MB, of {MOST_MEGABYTES} allowed")
    if total >= MOST_MEGABYTES:
        sys.exit("That is too much for Binder.")


def _say(step: str) -> None:
    print(f"--- {step}", flush=True)


def _copied(copy: Path) -> None:
    """The repository as git has it, with what is changed and not committed; nothing that was built or installed."""
    names = subprocess.check_output(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT)
    for name in filter(None, names.decode().split("\0")):
        source = ROOT / name
        if source.is_file() and not source.is_symlink():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / name)


def _installed(environment: Path, python: str) -> Path:
    """What the environment lists, installed; the folder of its programs."""
    node = subprocess.check_output(["node", "--version"], text=True).strip().lstrip("v")
    if int(node.split(".")[0]) < int(listed()["nodejs"].lstrip(">=")):
        sys.exit(f"Node {node} is older than {ENVIRONMENT.name} says.")
    _say(f"{ENVIRONMENT.relative_to(ROOT)}: {len(for_pip())} packages by pip, Node {node}")
    subprocess.run([python, "-m", "venv", str(environment)], check=True)
    bin_ = environment / "bin"
    torch = [name for name in for_pip() if re.match(r"torch(vision)?\W", name)]
    pip = [str(bin_ / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    # Of that index alone: a torch from one and a torchvision from another do not fit together.
    alone = {name: value for name, value in os.environ.items() if name not in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL")}
    quick = ["--retries=0", "--timeout=10", f"--index-url={CPU_BUILDS}"]
    subprocess.run(
        [*pip, *quick, *torch], check=False, stderr=subprocess.DEVNULL, env=alone | {"PIP_CONFIG_FILE": os.devnull}
    )
    subprocess.run([*pip, *for_pip()], check=True)  # whatever torch the registry has, where the CPU builds were not
    version = [str(bin_ / "python"), "-c", "import torch; print(torch.__version__)"]
    print(
        f"torch {subprocess.check_output(version, text=True).strip()}; Binder takes the build without CUDA, which is smaller"
    )
    return bin_


def _served(copy: Path, bin_: Path, environment: dict[str, str]) -> float:
    """Start JupyterLab, fetch the notebook's page and the notebook from it, end it; its peak in megabytes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(bin_ / "jupyter"), "lab", "--no-browser", f"--port={port}", "--IdentityProvider.token="]
    server = subprocess.Popen(
        [*command, "--allow-root", "--ServerApp.port_retries=0"], cwd=copy, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        for page in ("api", f"lab/tree/{NOTEBOOK}", f"api/contents/{NOTEBOOK}"):
            assert len(_fetched(f"http://127.0.0.1:{port}/{page}", server)) > 10, page
        return peak_megabytes(Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8"))
    finally:
        server.terminate()
        server.wait(20)


def _fetched(address: str, server: subprocess.Popen[bytes]) -> bytes:
    """What a server answers that is starting."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        try:
            with opener.open(address, timeout=120) as answer:
                return answer.read()  # type: ignore[no-any-return]
        except urllib.error.URLError as error:
            if isinstance(error, urllib.error.HTTPError) or server.poll() is not None:
                sys.exit(f"JupyterLab does not serve {address}: {error}")
            time.sleep(0.2)
    sys.exit("JupyterLab did not start.")


def peak_megabytes(status: str) -> float:
    """The most that a process has had in memory, from what Linux says of it; not getrusage, which begins with its parent's."""
    [peak] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 1e3


if __name__ == "__main__":
    main()
