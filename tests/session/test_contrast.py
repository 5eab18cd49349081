"""One class rather than another: explained by every method, named, and made again by the code."""

from __future__ import annotations

import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.metrics import deletion, insertion
from nbcnnviz.session import Selection, Session
from tests.session.conftest import PATIENCE
from tests.toys import few

CONTRAST = nv.ClassScore(2) - nv.ClassScore(1)


@pytest.fixture
def session(toy):
    opened = Session(Selection(toy, "chelsea", method="saliency"))
    opened.explain()
    yield opened
    opened.close()


@pytest.mark.parametrize("method", ["gradient", "input_x_gradient"])
def test_its_gradient_is_the_difference_of_both(toy, method: str) -> None:
    trace = toy.trace("chelsea")
    one, other = (nv.attribute(trace, method=method, target=index).values for index in (2, 1))
    assert torch.allclose(nv.attribute(trace, method=method, target=CONTRAST).values, one - other, atol=1e-6)


@pytest.mark.parametrize("method", list(nv.methods()))
def test_every_method_explains_it_in_a_session_and_the_code_makes_the_map_again(session, method: str) -> None:
    selection = session.selection
    selection.target = CONTRAST
    selection.method = method
    selection.options = few(method)
    session.wait(PATIENCE)
    if isinstance(session.error, MethodNotApplicableError):
        assert "choose" in str(session.error) or "class" in str(session.error)
        return
    assert session.error is None
    assert session.result.caption == "cat (2) - bee (1)"
    code = session.code()
    assert "target=nv.ClassScore(2) - nv.ClassScore(1)" in code
    lines = [line for line in code.splitlines() if not line.startswith(("net =", "import"))]
    made = {"nv": nv, "net": selection.network}
    exec("\n".join(lines), made)
    assert torch.allclose(made["result"].values, session.result.values, atol=1e-5)


def test_it_is_judged_by_its_own_score(toy) -> None:
    trace = toy.trace("chelsea")
    result = nv.attribute(trace, target=CONTRAST)
    whole = float(trace.scores[0, 2] - trace.scores[0, 1])
    assert insertion(trace, result, steps=2, random_maps=0).values[-1] == pytest.approx(whole, rel=1e-4)
    assert deletion(trace, result, steps=2, random_maps=0).values[0] == pytest.approx(whole, rel=1e-4)
