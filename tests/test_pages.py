"""The pages written from the registers are those that are kept, and say of each method what a reader needs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import nbcnnviz as nv
from nbcnnviz.attribution import page as of_methods
from nbcnnviz.core.markdown import plain, table
from nbcnnviz.synthesis import page as of_recipes

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PAGES = {"methods.md": of_methods, "recipes.md": of_recipes}


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """Each page as a new interpreter writes it: tests enter methods of their own."""
    code = "from nbcnnviz.{0} import page; print(page.page(), end='')"
    rooms = {"methods.md": "attribution", "recipes.md": "synthesis"}
    return {
        name: subprocess.run(
            [sys.executable, "-c", code.format(room)], capture_output=True, text=True, check=True, cwd=NOTEBOOKS.parent
        ).stdout
        for name, room in rooms.items()
    }


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_is_kept_is_that_of_the_register(name: str, written: dict[str, str]) -> None:
    kept = (NOTEBOOKS / name).read_text(encoding="utf-8")
    assert kept == written[name], f"write it anew: python -m {PAGES[name].__name__} notebooks/{name}"


def own_methods() -> list[nv.Method]:
    return [m for m in nv.methods().values() if m.run.__module__.startswith("nbcnnviz.")]


@pytest.mark.parametrize("method", own_methods(), ids=lambda m: m.name)
def test_a_method_says_its_formula_source_promises_weaknesses_and_oracle(method: nv.Method) -> None:
    about = method.about
    assert re.search(r"\b(19|20)\d\d\b", about.source), "a source has a year"
    assert about.formula.count("{") == about.formula.count("}")
    assert about.formula
    assert "$" not in about.formula
    for text in (about.promises, about.weaknesses, about.oracle):
        assert len(text) > 15
    section = method._repr_markdown_()
    assert about.formula in section
    assert all(f"`{name}`" in section for name in method.options)


def test_a_method_of_ones_own_has_a_section_too() -> None:
    own = nv.Method(
        "mine", "Mine", "own", False, False, "none", "What *it* does: a|b, ``x_1``.", lambda *a: iter(()), {}
    )
    assert own._repr_markdown_().splitlines()[4] == r"What \*it\* does: a\|b, `x_1`."


def test_of_a_docstring_the_prose_is_shown_and_not_its_sections() -> None:
    assert plain("Does a_b.\n\nMore.\n\nParameters\n----------\nx\n    A thing.\n") == "Does a\\_b.\n\nMore."
    for name in PAGES:
        text = (NOTEBOOKS / name).read_text(encoding="utf-8")
        assert not re.search(r"^(Parameters|Returns|Yields|Raises|-{4,})$", text, flags=re.M)


def test_cells_of_a_table_keep_their_pipes() -> None:
    assert table(("a", "b"), [("1|2", "x\ny")]) == "| a | b |\n| --- | --- |\n| 1\\|2 | x y |"


@pytest.mark.parametrize("name", PAGES)
def test_every_row_has_as_many_cells_as_its_head(name: str) -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", (NOTEBOOKS / name).read_text(encoding="utf-8"), flags=re.M)
    assert len(tables) > 5
    for found in tables:
        cells = {len(re.split(r"(?<!\\)\|", line)) for line in found.splitlines()}
        assert len(cells) == 1, found
