"""What the explorer explains of itself, and of what is chosen in it."""

from __future__ import annotations

import pytest

import nbcnnviz as nv
from nbcnnviz.explorer.panels import TABS
from nbcnnviz.explorer.words import PANELS, TERMS, help_of
from tests.explorer.conftest import PATIENCE


def test_every_panel_has_its_sentences() -> None:
    assert PANELS.keys() >= TABS.keys()


@pytest.mark.parametrize("name", sorted(nv.methods()))
def test_the_help_has_all_that_a_method_says_of_itself_with_its_source(name: str) -> None:
    method = nv.methods()[name]
    panel, said, words = help_of("explain", "Explain", name)
    assert panel["text"] == PANELS["explain"]
    assert said["heading"] == method.title
    plain = method.doc.replace("`", "").split()
    assert plain == said["text"].split()[: len(plain)]
    assert all(term in words["text"] for term in TERMS)


def test_the_help_is_of_the_panel_in_front_and_of_the_method_chosen(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    headings = lambda: [part["heading"] for part in ex._tools.help]  # noqa: E731
    assert headings() == ["Explain", "Grad-CAM", "Words"]
    ex.selection.method = "saliency"
    assert headings() == ["Explain", "Saliency", "Words"]
    ex.panel = "weights"
    ex.wait(PATIENCE)
    assert headings() == ["Weights", "Words"]
    ex.close()
    ex.selection.method = "grad_cam"
    assert headings() == ["Weights", "Words"], "closed, it follows no longer"
