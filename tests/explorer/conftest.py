from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import nbcnnviz as nv
from nbcnnviz.explorer import Explorer
from tests.session.conftest import PATIENCE, mlp, sampled, toy

__all__ = ["PATIENCE", "explore", "mlp", "sampled", "toy"]


@pytest.fixture
def explore() -> Iterator[Callable[..., Explorer]]:
    """As `nbcnnviz.explore`, waited for, and closed after the test."""
    opened: list[Explorer] = []

    def open_(*args: object, **kwargs: object) -> Explorer:
        opened.append(nv.explore(*args, **kwargs))
        return opened[-1].wait(PATIENCE)

    yield open_
    for ex in opened:
        ex.close()
