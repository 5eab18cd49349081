"""The user's network is left exactly as it was found, whatever is asked and however it ends."""

from __future__ import annotations

import threading
import warnings
from contextlib import nullcontext, suppress

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import nbcnnviz as nv
from nbcnnviz.core.errors import StaleTraceError
from nbcnnviz.core.replica import replicate, unwrapped
from tests import toys
from tests.conftest import relative_error
from tests.untouched import photograph

X = torch.linspace(-1, 1, 2 * 3 * 12 * 12).reshape(2, 3, 12, 12)


def with_dropout() -> nn.Sequential:
    """Batch-norm and dropout, which behave otherwise in training, and in-place rectifiers."""
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Dropout2d(0.5),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(6, 5),
    )
    with torch.no_grad():
        module[1].running_mean.uniform_(-0.1, 0.1)
    return module


def ask_everything(network: nv.Network, x: torch.Tensor = X) -> None:
    trace = network.trace(x)
    for rule in ("gradient", "guided", "deconvnet"):
        trace.gradient(1, rule=rule)
    trace.gradient(0, nv.ALL_LAYERS)
    trace.gradient(0, nv.ALL_PARAMETERS)
    for name in nv.methods().keys() - {"cam"}:
        with suppress(nv.MethodNotApplicableError):  # what runs from a layer on refuses a network that mixes pictures
            result = nv.attribute(trace, method=name, target=2, **toys.few(name))
            result.heatmap, result.overlay()
    trace.top()


def grads_filled(module: nn.Module) -> nn.Module:
    module(X.to(next(module.parameters()).dtype)).sum().backward()
    return module


CASES = {
    "evaluating": lambda: with_dropout().eval(),
    "training": lambda: with_dropout().train(),
    "training in part": lambda: nn.Sequential(*with_dropout().eval()[:3], *with_dropout().train()[3:]),
    "frozen": lambda: with_dropout().requires_grad_(False),
    "frozen in part": lambda: nn.Sequential(*with_dropout().requires_grad_(False)[:4], *with_dropout()[4:]),
    "with gradients": lambda: grads_filled(with_dropout().eval()),
    "double": lambda: with_dropout().double(),
    "bfloat16": lambda: with_dropout().bfloat16(),
    "stateful": lambda: toys.Stateful().eval(),
    "stateful in training": lambda: toys.Stateful().train(),
    "reused": toys.Reused,
    "weight norm": lambda: nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), *toys.classic(4)).train(),
    "spectral norm": lambda: nn.Sequential(spectral_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), *toys.classic(4)).train(),
    "old weight norm": lambda: nn.Sequential(
        nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), *toys.classic(4)
    ).train(),
    "old spectral norm": lambda: nn.Sequential(
        nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), *toys.classic(4)
    ).train(),
    "compiled in place": lambda: _compiled(with_dropout()),
}


def _compiled(module: nn.Module) -> nn.Module:
    module.compile()
    return module


@pytest.mark.parametrize("modes", [(), (torch.no_grad,), (torch.inference_mode,)], ids=["", "no_grad", "inference"])
@pytest.mark.parametrize("case", CASES)
def test_a_network_is_left_as_it_was_found(case: str, modes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the old weight norm
        module = CASES[case]()
    before = photograph(module)
    with modes[0]() if modes else nullcontext():
        ask_everything(nv.Network(module, size=12))
    assert photograph(module) == before


@pytest.mark.parametrize("case", CASES)
def test_a_network_in_any_state_is_shown_in_evaluation_mode(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        module = CASES[case]()
    network = nv.Network(module, size=12)
    torch.manual_seed(3)
    trace = network.trace(X)
    module._compiled_call_impl = None
    module.eval().requires_grad_(True)
    torch.manual_seed(3)
    own_input = X.to(network.dtype).clone().requires_grad_()
    scores = module(own_input.clone())
    (gradient,) = torch.autograd.grad(scores[:, 1].sum(), own_input)
    assert torch.equal(trace.scores, scores)
    assert torch.equal(trace.gradient(1), gradient)


def test_hooks_of_the_users_own_run_and_stay() -> None:
    module = with_dropout().eval()
    calls = []
    module[4].register_forward_pre_hook(lambda m, args: calls.append("before"))
    module[4].register_forward_hook(lambda m, args, output: output * 2)
    module[0].register_forward_hook(lambda m, args, kwargs, output: calls.append("after"), with_kwargs=True)
    module[0].register_full_backward_hook(lambda m, into, out: calls.append("back"))
    module[10].register_full_backward_pre_hook(lambda m, out: calls.append("ahead"))
    module[10].weight.register_hook(lambda g: calls.append("weight"))
    before = photograph(module)
    network = nv.Network(module, size=12)
    calls.clear()
    trace = network.trace(X)
    assert calls == ["after", "before"]
    assert torch.equal(trace.scores.detach(), module(X).detach()), "the hook that doubles counts"
    assert torch.equal(trace["4"], 2 * F.conv2d(trace["3"], module[4].weight, module[4].bias, padding=1))
    calls.clear()
    trace.gradient(0)
    trace.gradient(0, nv.ALL_PARAMETERS)
    assert calls == [], "no backward hook of the user's is called"
    assert photograph(module) == before


class Explosive(toys.Stateful):
    """Fails when told to, after it has done its worst."""

    armed = False

    def forward(self, x):
        scores = super().forward(x)
        self.conv.bias.data.mul_(1)
        if self.armed:
            raise ZeroDivisionError("boom")
        return scores


def test_a_network_that_fails_is_left_as_it_was_found() -> None:
    module = Explosive().train()
    network = nv.Network(module, size=12)
    type(module).armed = True
    try:
        before = photograph(module)
        with pytest.raises(nv.NetworkError, match="boom") as caught:
            network.trace(X)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert photograph(module) == before
        with pytest.raises(nv.NetworkError):
            nv.Network(module, size=12)
        assert photograph(module) == before
    finally:
        type(module).armed = False


def test_a_keyboard_interrupt_within_the_network_passes_and_leaves_it_as_it_was() -> None:
    module = with_dropout().train()
    network = nv.Network(module, size=12)
    before = photograph(module)
    hook = module[4].register_forward_hook(_interrupt)
    with pytest.raises(KeyboardInterrupt):
        network.trace(X)
    hook.remove()
    assert photograph(module) == before


def _interrupt(module, args, output):
    raise KeyboardInterrupt


def test_a_closed_generator_leaves_the_network_as_it_was() -> None:
    module = with_dropout().train()
    network = nv.Network(module, size=12)
    before = photograph(module)
    for method in nv.methods().keys() - {
        "cam",
        "full_grad",
        "deep_lift",
    }:  # these two do not follow an instance normalisation
        frames = nv.attribute.stream(network, X, method=method, target=0, **toys.few(method))
        frames.close()
        frames = nv.attribute.stream(network, X, method=method, target=0, **toys.few(method))
        next(frames)
        frames.close()
    assert photograph(module) == before


def test_errors_in_questions_leave_the_network_and_the_trace_as_they_were() -> None:
    module = with_dropout().train()
    trace = nv.Network(module, size=12).trace(X)
    expected = trace.gradient(1)
    before = photograph(module)

    def failing(_):
        raise RuntimeError("a target of the user's")

    with pytest.raises(RuntimeError, match="of the user's"):
        trace.gradient(failing, rule="guided")
    for question in (("x", "input"), (99, "input"), (0, "nowhere"), (nv.Channel("0", 0), "10")):
        with pytest.raises(nv.NbcnnvizError):
            trace.gradient(*question, rule="deconvnet")
    assert photograph(module) == before
    assert torch.equal(trace.gradient(1), expected)


def test_wrappers_are_looked_through() -> None:
    module = toys.classic()
    x = torch.randn(1, 3, 12, 12)
    expected = nv.Network(module, size=12).trace(x)
    for wrapped in (nn.DataParallel(module), torch.compile(module), torch.compile(nn.DataParallel(module))):
        assert unwrapped(wrapped) is module
        network = nv.Network(wrapped, size=12)
        assert network.name == "Sequential"
        assert list(network.layers) == [str(i) for i in range(9)]
        trace = network.trace(x)
        assert torch.equal(trace.scores, expected.scores)
        assert torch.equal(trace.gradient(1, "0.weight"), expected.gradient(1, "0.weight"))


def test_a_torchscript_module_is_refused_with_the_reason() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(toys.classic(), torch.randn(1, 3, 12, 12))
    with pytest.raises(nv.NetworkError, match="TorchScript module hides its layers"):
        nv.Network(scripted, size=12)


def test_a_network_loaded_in_inference_mode_can_be_explained() -> None:
    with torch.inference_mode():
        module = with_dropout().eval()
    assert module[0].weight.is_inference()
    trace = nv.Network(module, size=12).trace(X)
    twin = with_dropout().eval()
    twin.load_state_dict(module.state_dict())
    expected = nv.Network(twin, size=12).trace(X)
    assert torch.equal(trace.scores, expected.scores)
    assert torch.equal(trace.gradient(1), expected.gradient(1))


def test_a_replica_shares_memory_and_nothing_else() -> None:
    module = with_dropout().train()
    module.tied = module[4]
    replica, parameters, _ = replicate(module)
    assert replica.tied is replica[4]
    assert list(parameters) == [name for name, _ in module.named_parameters(remove_duplicate=False)]
    for (name, own), (_, copy) in zip(
        [*module.named_parameters(), *module.named_buffers()],
        [*replica.named_parameters(), *replica.named_buffers()],
        strict=True,
    ):
        assert copy is not own, name
        assert copy.data_ptr() == own.data_ptr()
    assert not any(m.training for m in replica.modules())
    assert all(m.training for m in module.modules())
    replica.note = 1
    replica[0].register_forward_hook(lambda *_: None)
    assert not hasattr(module, "note")
    assert not module[0]._forward_hooks


@pytest.mark.parametrize("passes", ["trace", "again"])
def test_every_pass_starts_from_the_users_buffers(passes: str) -> None:
    module = toys.Stateful().eval()
    network = nv.Network(module, size=12)
    run = network.trace if passes == "trace" else network.tracer()
    torch.manual_seed(4)
    first, second = run(X), run(X)
    assert torch.equal(first.scores, second.scores), "the noise is drawn from the same state, too"
    assert torch.equal(first.gradient(0), second.gradient(0))
    with torch.no_grad():
        module.average += 1
    assert not torch.equal(run(X).scores, first.scores)


def test_a_trace_shows_the_network_as_it_is_now() -> None:
    module = toys.classic()
    network = nv.Network(module, size=12)
    x = torch.randn(1, 3, 12, 12)
    first = network.trace(x).scores.detach().clone()
    with torch.no_grad():
        module[8].bias += 1
    assert relative_error(network.trace(x).scores.detach(), first + 1) < 1e-6
    module[2] = nn.Tanh()
    assert network.trace(x)["2"].min() < 0


def train(module: nn.Module, steps: int, ready: threading.Event | None = None) -> dict[str, torch.Tensor]:
    """A training loop as users write it, with dropout and noise from the global random state."""
    optimizer = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
    module.train()
    for step in range(steps):
        if ready is not None and step == 1:
            ready.set()
        x = torch.randn(8, 3, 12, 12)
        loss = F.cross_entropy(module(x), torch.randint(5, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_training_in_another_thread_meanwhile_is_undisturbed() -> None:
    steps = 60

    def start() -> nn.Module:
        torch.manual_seed(5)
        module = with_dropout()
        torch.manual_seed(6)
        return module

    expected = train(start(), steps)

    module, results, ready = start(), [], threading.Event()
    network = nv.Network(module, size=12)
    torch.manual_seed(6)
    thread = threading.Thread(target=lambda: results.append(train(module, steps, ready)))
    thread.start()
    ready.wait(60)
    traces = answers = 0
    while thread.is_alive():
        trace = network.trace(X)
        traces += 1
        for rule in ("guided", "deconvnet"):
            try:
                trace.gradient(0, rule=rule)
                answers += 1
            except StaleTraceError:
                pass
    thread.join()
    assert traces > 3, "the two really ran side by side"
    assert results[0].keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(results[0][name], value), name
