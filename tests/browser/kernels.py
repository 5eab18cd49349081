"""The ipykernels that the explorer is tested with, each in a folder beside this environment's own packages.

``python -m tests.browser.kernels`` installs them. A kernel takes ipykernel from its folder, and the rest from here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

VERSIONS = ("6.31.0", "7.2.0", "7.4.0")


def folder(version: str) -> Path:
    """Where a version's packages are."""
    return Path(sys.prefix) / "kernels" / version


def install() -> None:
    """Install the versions that are not there."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet")
    for version in VERSIONS:
        if not (folder(version) / f"ipykernel-{version}.dist-info").is_dir():
            # --no-deps: what else a kernel needs is in this environment, for the newest.
            subprocess.run([*pip, "--no-deps", f"--target={folder(version)}", f"ipykernel=={version}"], check=True)


if __name__ == "__main__":
    install()
