"""What every measure refuses."""

from __future__ import annotations

import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.metrics.sanity import cascade
from tests import toys


def test_arguments_in_the_wrong_place_are_refused_with_what_is_taken_there() -> None:
    m, net = nv.metrics, nv.Network(toys.classic(), size=16)
    trace = net.trace(torch.randn(1, 3, 16, 16))
    result = nv.attribute(trace, target=1)
    for measure in (m.insertion, m.deletion, m.road, m.completeness, m.infidelity):
        for first, second in ((result, trace), (trace, None), (net, result)):
            with pytest.raises(nv.ArgumentTypeError, match=rf"{measure.__name__}\(trace, result.* takes a"):
                measure(first, second)
    with pytest.raises(nv.ArgumentTypeError, match="takes a Trace as trace, not a Attribution"):
        m.sensitivity(result)
    with pytest.raises(nv.ArgumentTypeError, match="takes a Attribution as result, not a Trace"):
        m.pointing(trace, (0, 0, 4, 4))
    for measure in (m.sanity, cascade):
        with pytest.raises(nv.ArgumentTypeError, match="takes a Network as network, not a Trace"):
            measure(trace, result)
