"""The documentation: every sample of code runs, every link leads somewhere, every error is explained, and it builds offline."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.core import errors

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
PAGES = [
    *sorted(NOTEBOOKS.glob("*.md")),
    *sorted(ROOT.glob("*.md")),
    ROOT / "binder" / "README.md",
]
ELSEWHERE = {"networks.md", "CONTRIBUTING.md"}
"""networks.md needs files that tests/zoo makes, and runs there; CONTRIBUTING.md shows a method that there is, see below."""

OFFLINE = """
import socket, sys

def refuse(*args, **kwargs):
    raise OSError("this build has no network")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse

from sphinx.cmd.build import main

sys.exit(main(sys.argv[1:]))
"""


def samples(page: Path) -> list[str]:
    """The samples of Python on a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


RUN = [page for page in PAGES if samples(page) and page.name not in ELSEWHERE]


@pytest.mark.parametrize("page", RUN, ids=[page.stem for page in RUN])
def test_every_sample_of_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for sample in samples(page):
        exec(compile(sample, page.name, "exec"), names)


def test_the_method_shown_to_contributors_is_one_and_gives_the_packages_map(
    bundled: nv.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    [sample] = samples(ROOT / "CONTRIBUTING.md")
    method_module = importlib.import_module("nbcnnviz.attribution.method")
    monkeypatch.setattr(
        method_module, "_METHODS", dict(method_module._METHODS)
    )  # what is entered here ends with the test
    names = {**vars(nv.attribution), **vars(method_module), "Attribution": nv.Attribution, "Trace": nv.Trace}
    exec(
        compile(sample.replace("def hires_cam", "def shown"), "CONTRIBUTING.md", "exec"), {**names, "Target": nv.Target}
    )
    trace = bundled.trace("chelsea")
    found, expected = (nv.attribute(trace, method=name, layer="blocks.4") for name in ("shown", "hires_cam"))
    torch.testing.assert_close(found.values, expected.values)


def outside_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The names that GitHub and the documentation give a page's headings."""
    titles = re.findall(r"^#+ (.+)$", outside_code(page), re.M)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", title)) for title in titles)
    return {title.strip().lower().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_and_picture_is_there(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", outside_code(page)):
        if target.startswith("http"):
            continue
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_command_of_make_is_a_target(page: Path) -> None:
    targets = {*re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)}
    assert "demo" in targets
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.M)
    assert {*named} <= targets


def test_every_error_has_an_entry() -> None:
    page = (NOTEBOOKS / "troubleshooting.md").read_text(encoding="utf-8")
    explained = re.findall(r"^### (\w+)$", page, re.M)
    named = [
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.NbcnnvizError)
    ]
    assert sorted(explained) == sorted(named), "one entry for each error of core/errors.py"
    for name in named:
        entry = page.partition(f"### {name}\n")[2].partition("\n#")[0]
        assert len(entry.split()) > 8, name


@pytest.mark.parametrize("name", ["which_method.md", "gallery.md", "coming_from.md"])
def test_every_method_named_exists(name: str) -> None:
    page = (NOTEBOOKS / name).read_text(encoding="utf-8")
    named = {n for n in re.findall(r"`(?:method=['\"])?([a-z_]+)['\"]?[,`]", page) if "_" in n or n in nv.methods()}
    known = {*nv.methods(), *nv.recipes(), *vars(nv.metrics), *nv.__all__, *nv.samples()}
    theirs = {
        "grad_cam",
        "guided_backprop",
        "show_cam_on_image",
        "overlay_mask",
        "sensitivity_max",
        "reshape_transform",
    }
    assert len(named) > 5
    assert named - known - theirs == set()


def test_the_gallery_shows_methods_and_recipes_with_their_pictures() -> None:
    page = (NOTEBOOKS / "gallery.md").read_text(encoding="utf-8")
    shown = re.findall(r"\(images/gallery/(\w+)\.webp\)", page)
    assert len({*shown} & {*nv.methods()}) >= 20
    assert {*nv.recipes()} <= {*shown}
    assert {*shown} <= {*nv.methods(), *nv.recipes()}, "made of what there was: run make gallery"


def test_the_picture_of_the_readme_moves_and_is_small() -> None:
    [path] = re.findall(r"\]\((notebooks/images/[\w-]+\.webp)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert (ROOT / path).stat().st_size < 2_000_000
    with Image.open(ROOT / path) as film:
        milliseconds = 0
        for at in range(film.n_frames):
            film.seek(at)
            film.load()
            milliseconds += film.info["duration"]
    assert film.n_frames > 20
    assert 8_000 <= milliseconds <= 20_000


def test_it_builds_offline_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("myst_nb")
    command = [sys.executable, "-c", OFFLINE, "-W", "--keep-going", "-q", str(NOTEBOOKS), str(tmp_path / "html")]
    built = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
    assert "02_gradients_of_anything.html" in page
    assert "two_classes.webp" in page
    assert "load_network" in (tmp_path / "html" / "api.html").read_text(encoding="utf-8")
