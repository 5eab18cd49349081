"""The explorer beside networks whose scores are no plain logits."""

from __future__ import annotations

import pytest

import nbcnnviz as nv
from tests import toys


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"classes": ["cat"]}, ["cat", "not cat"]),
        ({"classes": ["age"], "scores": "regression", "unit": "years"}, ["age"]),
    ],
)
def test_the_predictions_are_what_the_network_says(told, said) -> None:
    network = nv.Network(toys.classic(classes=1), size=16, **told)
    explorer = nv.explore(network, "chelsea")
    try:
        assert explorer.wait(60)
        assert explorer.error is None or not explorer.error
        rows = explorer._sides.predictions.widget.rows
        assert [row["name"] for row in rows] == said
        assert rows[0]["text"].endswith(" years" if "unit" in told else " %")
    finally:
        explorer.close()


def test_an_embedding_asks_for_a_reference() -> None:
    explorer = nv.explore(nv.Network(toys.classic(classes=9), size=16, scores="embedding"), "chelsea")
    try:
        explorer.wait(60)
        assert "Similarity" in str(explorer.error)
        explorer.selection.target = nv.Similarity("coffee")
        explorer.wait(60)
        assert not explorer.error
        assert explorer.result.caption == "similarity to 'coffee'"
    finally:
        explorer.close()
