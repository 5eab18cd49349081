"""What is remembered of a trace, and how long a pass is taken to last."""

from __future__ import annotations

import torch
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.session import tracing
from tests import toys


def test_a_pass_is_said_to_take_what_the_quickest_took(monkeypatch) -> None:
    net = nv.Network(toys.classic().eval(), size=32)
    clock = iter((0.0, 5.0, 10.0, 11.0, 20.0, 23.0))
    tracer = tracing.Tracer(lambda: None)
    assert tracer.seconds_of(net) is None
    monkeypatch.setattr(tracing.time, "perf_counter", lambda: next(clock))
    trace = tracer(net, Image.new("RGB", (32, 32)))
    assert tracer.seconds_of(net) == 5
    tracer.warm_up(trace, lambda: False)
    assert tracer.seconds_of(net) == 1  # of a pass without a graph, when the process is warm
    tracer(net, Image.new("RGB", (32, 32), "red"))
    assert tracer.seconds_of(net) == 1


def test_a_warm_up_leaves_the_trace_and_the_network_as_they_were() -> None:
    module = toys.classic().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tracer = tracing.Tracer(lambda: None)
    trace = tracer(nv.Network(module, size=32), Image.new("RGB", (32, 32)))
    scores = trace.scores.detach().clone()
    tracer.warm_up(trace, lambda: False)
    assert torch.equal(trace.scores, scores)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
