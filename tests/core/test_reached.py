"""Modules reached in any way, and state kept in any form: the replica runs nothing of the user's and writes nothing to it."""

from __future__ import annotations

import functools
import operator
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.core.replica import Replica
from tests.conftest import relative_error
from tests.untouched import photograph

X = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8) + 0.5


class Net(nn.Module):
    """What every case computes: convolution, batch-norm, dropout, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


def expected(module: Net) -> tuple[Tensor, Tensor]:
    """Scores and input gradient of a plain network with the same weights, in evaluation mode."""
    plain = Net()
    plain.load_state_dict({name.replace("_orig_mod.", ""): value for name, value in module.state_dict().items()})
    x = X.clone().requires_grad_()
    scores = plain.eval()(x)
    return scores.detach(), torch.autograd.grad(scores[:, 1].sum(), x)[0]


def own_forward(net: Net) -> None:
    net.forward = types.MethodType(lambda self, x: self.fc(self.body(x).mean((2, 3))), net)


def wrapped_forward(net: Net) -> None:
    """As accelerate's hooks wrap a submodule."""
    old = net.body.forward

    def new(module: nn.Module, *args: Any) -> Any:
        return old(*args)

    net.body.forward = functools.update_wrapper(functools.partial(new, net.body), old)


def weakly_wrapped_forward(net: Net) -> None:
    """As fairscale's checkpoint wrapper: the class's forward, and a weak reference."""

    def call(forward: Callable, reference: weakref.ref, x: Tensor) -> Tensor:
        return forward(reference(), x)

    net.body.forward = functools.partial(call, type(net.body).forward, weakref.ref(net.body))


def kept_forward(net: Net) -> None:
    net.body._old_forward = net.body.forward
    net.body.forward = lambda x: net.body._old_forward(x)


def bound_method(net: Net) -> None:
    net.forward = functools.partial(Net.forward, net)


def closure(net: Net) -> None:
    body, fc = net.body, net.fc
    net.forward = lambda x: fc(body(x).mean((2, 3)))


def default_argument(net: Net) -> None:
    def forward(x: Tensor, body: nn.Module = net.body, *, fc: nn.Module = net.fc) -> Tensor:
        return fc(body(x).mean((2, 3)))

    net.forward = forward


def nested_closure(net: Net) -> None:
    def outer() -> Callable:
        def inner(x: Tensor) -> Tensor:
            return (lambda y: net.fc(y.mean((2, 3))))(net.body(x))

        return inner

    net.forward = outer()


_GLOBAL: Any = None


def global_variable(net: Net) -> None:
    global _GLOBAL
    _GLOBAL = net.body
    net.forward = lambda x: net.fc(_GLOBAL(x).mean((2, 3)))


def kept_in(make: Callable[[nn.Module, nn.Module], Any], get: Callable[[Any, int], nn.Module]) -> Callable[[Net], None]:
    def change(net: Net) -> None:
        net.kept = make(net.body, net.fc)
        net.forward = types.MethodType(lambda s, x: get(s.kept, 1)(get(s.kept, 0)(x).mean((2, 3))), net)

    return change


class Parts(NamedTuple):
    body: nn.Module
    fc: nn.Module


@dataclass
class Record:
    body: nn.Module
    fc: nn.Module


@dataclass(frozen=True, slots=True)
class Slotted:
    body: nn.Module
    fc: nn.Module
    rest: dict = field(default_factory=dict)


class Plain:
    def __init__(self, body: nn.Module, fc: nn.Module) -> None:
        self.lock = threading.Lock()
        self.parts = {"deep": [(body, fc)]}

    def __getitem__(self, i: int) -> nn.Module:
        return self.parts["deep"][0][i]


def parent_reference(net: Net) -> None:
    net.body.__dict__["parent"] = net
    net.body.forward = types.MethodType(lambda s, x: nn.Sequential.forward(s.parent.body, x), net.body)


def compiled_submodule(net: Net) -> None:
    net.body = torch.compile(net.body, backend="eager")


def compiled_method(net: Net) -> None:
    net.forward = torch.compile(net.forward, backend="eager")


class Compiled(Net):
    forward = torch.compile(Net.forward, backend="eager")


def parallel_submodule(net: Net) -> None:
    net.body.forward = nn.DataParallel(net.body).module.forward


def hooked(net: Net) -> None:
    """A hook that puts another module's output in the place of the body's."""
    net.body.register_forward_pre_hook(lambda m, args: (net.body[0](args[0]),))
    net.body.forward = lambda x: net.body[3](net.body[2](net.body[1](x)))


def in_dict(body: nn.Module, fc: nn.Module) -> dict:
    return {0: body, 1: fc}


def fields(made: Any, i: int) -> nn.Module:
    return (made.body, made.fc)[i]


WAYS: dict[str, Callable[[Net], None]] = {
    "as it is": lambda net: None,
    "own forward": own_forward,
    "wrapped forward": wrapped_forward,
    "weakly wrapped forward": weakly_wrapped_forward,
    "kept forward": kept_forward,
    "bound method": bound_method,
    "closure": closure,
    "default argument": default_argument,
    "nested closure": nested_closure,
    "global variable": global_variable,
    "parent reference": parent_reference,
    "compiled submodule": compiled_submodule,
    "compiled method": compiled_method,
    "compiled class": lambda net: setattr(net, "__class__", Compiled),
    "bound method of a wrapper": parallel_submodule,
    "hook": hooked,
    "list": kept_in(lambda *parts: list(parts), operator.getitem),
    "tuple": kept_in(lambda *parts: parts, operator.getitem),
    "deque": kept_in(lambda *parts: deque(parts), operator.getitem),
    "dict": kept_in(in_dict, operator.getitem),
    "ordered dict": kept_in(lambda *parts: OrderedDict(enumerate(parts)), operator.getitem),
    "default dict": kept_in(lambda *parts: defaultdict(list, enumerate(parts)), operator.getitem),
    "set": kept_in(lambda *parts: set(parts), lambda s, i: next(m for m in s if isinstance(m, nn.Linear) == i)),
    "keys": kept_in(
        lambda *parts: dict.fromkeys(parts, 1), lambda s, i: next(m for m in s if isinstance(m, nn.Linear) == i)
    ),
    "weak reference": kept_in(lambda *parts: [weakref.ref(p) for p in parts], lambda s, i: s[i]()),
    "weak proxy": kept_in(lambda *parts: [weakref.proxy(p) for p in parts], operator.getitem),
    "weak keys": kept_in(
        lambda *parts: weakref.WeakKeyDictionary(dict.fromkeys(parts, 1)),
        lambda s, i: next(m for m in s if isinstance(m, nn.Linear) == i),
    ),
    "partial": kept_in(lambda *parts: [functools.partial(lambda m, x: m(x), p) for p in parts], operator.getitem),
    "method": kept_in(lambda *parts: [p.forward for p in parts], operator.getitem),
    "named tuple": kept_in(Parts, fields),
    "dataclass": kept_in(Record, fields),
    "dataclass with slots": kept_in(Slotted, fields),
    "object": kept_in(Plain, operator.getitem),
    "namespace": kept_in(lambda body, fc: types.SimpleNamespace(body=body, fc=fc), fields),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_way_a_module_is_reached_its_replica_runs(way: str) -> None:
    module = Net()
    with torch.no_grad():
        module.body[1].running_mean.uniform_(-1, 1)
    scores, gradient = expected(module)
    WAYS[way](module)
    module.train()
    before = photograph(module)
    network = nv.Network(module, size=8)
    trace = network.trace(X)
    assert relative_error(trace.scores, scores) < 1e-5
    assert relative_error(trace.gradient(1), gradient) < 1e-5
    assert len(trace.gradient(1, nv.ALL_PARAMETERS)) == 6, "every parameter has a gradient"
    assert any(name.endswith("body.0") or name.endswith("_orig_mod.0") for name in trace.layers)
    run = network.tracer()
    assert relative_error(run(X).scores, scores) < 1e-5
    assert torch.equal(run(X).scores, run(X).scores)
    assert photograph(module) == before
    assert not any(p.grad_fn or p.grad is not None for p in module.parameters())


def recurrent() -> nn.Module:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3)
            self.lstm = nn.LSTM(5, 6, num_layers=2, dropout=0.5, batch_first=True, bidirectional=True)
            self.fc = nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.lstm(self.conv(x).flatten(2).mT)[0].mean(1))

    return Recurrent()


def test_a_recurrent_head_gives_its_parameters_a_gradient() -> None:
    module = recurrent().train()
    trace = nv.Network(module, size=8).trace(X)
    scores = module.eval()(X)
    own = torch.autograd.grad(scores[:, 1].sum(), list(module.parameters()))
    found = trace.gradient(1, nv.ALL_PARAMETERS)
    for (name, _), gradient in zip(module.named_parameters(), own, strict=True):
        torch.testing.assert_close(found[name], gradient)


def test_a_recurrent_module_without_dropout_computes_the_same_in_training_mode() -> None:
    # What `replica` relies on for CUDA, where cuDNN has a backward pass in training mode only.
    lstm = nn.LSTM(3, 4, num_layers=2, dropout=0.5).eval()
    x = torch.randn(5, 2, 3)
    evaluated = lstm(x)[0]
    lstm.dropout = 0.0
    assert torch.equal(lstm.train()(x)[0], evaluated)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_recurrent_head_has_gradients_on_cuda() -> None:
    module = recurrent().cuda().eval()
    on_gpu = nv.Network(module, size=8).trace(X).gradient(1).cpu()
    on_cpu = nv.Network(module.cpu(), size=8).trace(X).gradient(1)
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-4)


class Remembers(nn.Module):
    """Keeps state as plain attributes of every kind, and lets it into the scores."""

    shared: list = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, 4)
        self.tensor = torch.zeros(6)
        self.number = 0
        self.items: list = []
        self.table = {"calls": 0, "maps": []}
        self.names: set = set()
        self.array = np.zeros(2)
        self.record = types.SimpleNamespace(last=None, n=0)
        self.generator = torch.Generator().manual_seed(1)
        count = [0]

        def counted(x: Tensor) -> Tensor:
            count[0] += 1
            return x + count[0]

        self.count, self.counted = count, counted

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        self.tensor = 0.5 * self.tensor + x.mean((0, 2, 3))
        self.number += 1
        self.items.append(x)
        self.table["calls"] += 1
        self.table["maps"].append(x)
        self.names.add(self.number)
        self.array += 1
        self.record.last, self.record.n = x, self.record.n + 1
        self.shared.append(x)
        self.late = x
        self.register_buffer("made", x.detach().clone(), persistent=False)
        kept = len(self.items) + len(self.table["maps"]) + len(self.names) + len(self.shared) + self.record.n
        noise = torch.rand(6, generator=self.generator)
        return self.fc(self.counted(x.mean((2, 3))) + self.tensor + self.number + kept + float(self.array[0]) + noise)


def test_state_kept_as_attributes_lasts_for_one_pass_only() -> None:
    module = Remembers().eval()
    state = module.generator.get_state()
    network = nv.Network(module, size=8)
    run = network.tracer()
    first = run(X).scores.detach()
    for _ in range(3):
        assert torch.equal(run(X).scores, first)
        assert torch.equal(network.trace(X).scores, first)
    assert torch.equal(module.tensor, torch.zeros(6))
    assert (module.number, module.items, module.table, module.names) == (0, [], {"calls": 0, "maps": []}, set())
    assert (module.array.tolist(), module.record.last, module.record.n) == ([0, 0], None, 0)
    assert Remembers.shared == []
    assert module.count == [0]
    assert not hasattr(module, "late")
    assert "made" not in module._buffers
    assert not module._non_persistent_buffers_set
    assert torch.equal(module.generator.get_state(), state)
    assert torch.equal(module(X), first), "the module's own first pass gives the same"
    Remembers.shared.clear()


def test_state_written_in_place_is_not_the_users() -> None:
    class Leaks(Net):
        def __init__(self) -> None:
            super().__init__()
            self.membrane = torch.zeros(6)

        def forward(self, x: Tensor) -> Tensor:
            self.membrane.mul_(0.5).add_(1)
            return self.fc(self.body(x).mean((2, 3)) * self.membrane)

    module = Leaks().eval()
    network = nv.Network(module, size=8)
    trace, run = network.trace(X), network.tracer()
    assert torch.equal(trace.scores, run(X).scores)
    assert torch.equal(trace.scores, run(X).scores)
    assert not module.membrane.any()
    assert torch.equal(trace.scores, module(X))
    assert relative_error(trace.gradient(1), nv.Network(module, size=8).trace(X).gradient(1) * 2 / 3) < 1e-5


def test_what_a_module_shares_with_another_stays_shared() -> None:
    class Writes(nn.Module):
        def __init__(self, board: dict) -> None:
            super().__init__()
            self.board = board

        def forward(self, x: Tensor) -> Tensor:
            self.board["x"] = x
            return x

    class Reads(Writes):
        def forward(self, x: Tensor) -> Tensor:
            return x + self.board.pop("x")

    board: dict = {}
    module = nn.Sequential(Writes(board), nn.Conv2d(3, 3, 1), Reads(board), nn.Flatten(), nn.Linear(192, 4)).eval()
    scores = nv.Network(module, size=8).trace(X).scores
    assert torch.equal(scores, module(X))
    assert board == {}


class Cached(nn.Module):
    """As several vision transformers keep their attention biases in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.bias = nn.Parameter(torch.randn(4))
        self.cache: dict = {}

    def train(self, mode: bool = True) -> Cached:
        if mode and self.cache:
            self.cache = {}
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            bias = self.bias * 2
        else:
            if "bias" not in self.cache:
                self.cache["bias"] = self.bias * 2
            bias = self.cache["bias"]
        return self.fc((self.conv(x) + bias.view(1, -1, 1, 1)).relu().mean((2, 3)))


@pytest.mark.parametrize("state", ["training", "evaluating", "used", "used without a graph"])
def test_a_cache_of_evaluation_mode_costs_no_gradient_and_is_never_stale(state: str) -> None:
    module = Cached().train(state == "training")
    if state == "used":
        module(X)
    if state == "used without a graph":
        with torch.no_grad():
            module(X)
    kept = dict(module.cache)
    network = nv.Network(module, size=8)
    assert len(network.trace(X).gradient(0, nv.ALL_PARAMETERS)) == 5
    with torch.no_grad():
        module.bias.add_(3.0)
    plain = Cached()
    plain.load_state_dict(module.state_dict())
    assert torch.allclose(network.trace(X).scores, plain.eval()(X), atol=1e-5)
    assert module.cache.keys() == kept.keys()
    assert all(module.cache[name] is value for name, value in kept.items())


def test_a_class_variable_that_leads_to_the_users_modules_is_refused_with_the_parameter() -> None:
    class Elsewhere(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(_GLOBAL(x).mean((2, 3)))

    module = Elsewhere()
    global_variable(module)
    del module.forward
    with pytest.raises(nv.NetworkError, match=r"'body\.0\.weight'.*reaches"):
        nv.Network(module, size=8)


def test_a_lazy_layer_is_named() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(5))
    with pytest.raises(nv.NetworkError, match=r"Layer '2' has no weights yet.*run the module once"):
        nv.Network(module, size=8)
    assert isinstance(module[2].weight, nn.UninitializedParameter)


def test_a_torchscript_part_is_named() -> None:
    scripted = torch.jit.trace(nn.Conv2d(3, 4, 3), X)
    module = nn.Sequential(OrderedDict(stem=scripted, rest=nn.Flatten(), fc=nn.Linear(144, 4)))
    with pytest.raises(nv.NetworkError, match="Submodule 'stem' is TorchScript, which hides its layers"):
        nv.Network(module, size=8)


def test_what_leads_to_a_trainer_is_shared_and_the_replica_is_right() -> None:
    module = Net().eval()
    module.trainer = types.SimpleNamespace(
        model=module, optimizer=torch.optim.Adam(module.parameters()), data=[object() for _ in range(50_000)]
    )
    replica = Replica(module)
    assert replica.module.trainer is module.trainer
    assert torch.equal(nv.Network(module, size=8).trace(X).scores, module(X))


def test_what_cannot_be_copied_is_shared() -> None:
    module = Net().eval()
    module.lock, module.iterator = threading.Lock(), iter(range(3))
    module.function = F.relu
    replica = Replica(module).module
    assert replica.lock is module.lock
    assert replica.function is F.relu
    assert torch.equal(nv.Network(module, size=8).trace(X).scores, module(X))
