"""Objectives: what they are worth, their algebra, and what they say when asked for what does not exist."""

import pytest
import torch
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz import synthesis as s
from nbcnnviz.core.targets import as_target
from tests.toys import Reused, classic


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(1)
    return nv.Network(classic(), classes=list("abcde"), size=(14, 20))


@pytest.fixture
def trace(net: nv.Network) -> nv.Trace:
    return net.trace(torch.randn(3, 3, 14, 20))


def test_each_objective_is_what_its_name_says(trace: nv.Trace) -> None:
    maps = trace["4"].detach()
    v = torch.randn(8)
    expected = {
        nv.ClassScore("c"): trace.scores[:, 2],
        nv.Channel("4", 5): maps[:, 5].mean((1, 2)),
        nv.Unit("4", 5, 1, 2): maps[:, 5, 1, 2],
        nv.LayerEnergy("4"): (maps**2).mean((1, 2, 3)),
        nv.Direction("4", v): (maps.mean((2, 3)) * v).sum(1) / v.norm(),
        nv.Likeness("4", maps[:1]): -((maps - maps[:1]) ** 2).sum((1, 2, 3)) / (maps[:1] ** 2).sum(),
        nv.Channel("8", 1): trace.scores[:, 1],
    }
    for objective, value in expected.items():
        assert torch.allclose(objective(trace), value, atol=1e-6), objective


def test_a_unit_without_a_place_is_the_one_in_the_middle_of_maps_that_are_not_square(trace: nv.Trace) -> None:
    assert trace["4"].shape[2:] == (7, 10)
    assert torch.equal(nv.Unit("4", 2)(trace), trace["4"][:, 2, 3, 5])


def test_diversity_is_minus_the_mean_cosine_between_gram_matrices(trace: nv.Trace) -> None:
    grams = [m.flatten(1) @ m.flatten(1).T for m in trace["4"].detach()]
    cosine = [[float((a * b).sum() / a.norm() / b.norm()) for b in grams] for a in grams]
    expected = [-(cosine[0][1] + cosine[0][2]) / 2, -(cosine[1][0] + cosine[1][2]) / 2]
    assert nv.Diversity("4")(trace)[:2].tolist() == pytest.approx(expected, abs=1e-5)


def test_objectives_add_subtract_and_multiply(trace: nv.Trace) -> None:
    a, b, c = nv.Channel("4", 1), nv.Unit("0", 2), nv.ClassScore(3)
    va, vb, vc = a(trace), b(trace), c(trace)
    cases = {
        a + b: va + vb,
        a - b: va - vb,
        2 * a - b * 0.5 + 1: 2 * va - 0.5 * vb + 1,
        1 - a: 1 - va,
        -(a * b) / 4: -(va * vb) / 4,
        a + c: va + vc,
        nv.Channel("4", 1) + b: va + vb,
        b - nv.ClassScore("d"): vb - vc,
        as_target(2 * nv.Channel("4", 1) - nv.ClassScore("d")): 2 * va - vc,
        nv.Channel("4", 1) - nv.ClassScore("d") + b: va - vc + vb,
        -nv.Channel("4", 1) * 0.5 - b: -0.5 * va - vb,
    }
    for objective, value in cases.items():
        assert torch.allclose(objective(trace), value), objective


def test_core_targets_combine_for_a_trace_too(trace: nv.Trace) -> None:
    found = trace.gradient(nv.ClassScore("a") - 0.5 * nv.Channel("4", 1))
    expected = trace.gradient(nv.ClassScore("a")) - 0.5 * trace.gradient(nv.Channel("4", 1))
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_gradient_of_a_combination_is_the_combination_of_gradients(trace: nv.Trace) -> None:
    def gradient(objective: nv.Target) -> Tensor:
        return torch.autograd.grad(objective(trace).sum(), trace.input, retain_graph=True)[0]

    a, b = nv.Channel("4", 1), nv.LayerEnergy("0")
    assert torch.allclose(gradient(3 * a - 2 * b), 3 * gradient(a) - 2 * gradient(b), atol=1e-6)
    product = gradient(a * b)
    va, vb = (o(trace).view(-1, 1, 1, 1) for o in (a, b))
    assert torch.allclose(product, gradient(a) * vb + gradient(b) * va, atol=1e-6)


def test_an_objective_knows_what_it_looks_at() -> None:
    a, b, c = nv.Channel("4", 1), nv.Unit("0", 2), nv.ClassScore(3)
    assert (a + b).layers == {"0", "4"}
    assert not (a + b).whole
    assert (a + c).layers == {"4"}
    assert (a + c).whole
    free = as_target(lambda trace: trace["4"].mean())
    assert free.layers is None
    assert (free + a).layers is None


def test_what_users_say_becomes_an_objective(trace: nv.Trace) -> None:
    for said in (2, "c", nv.ClassScore(2), nv.ClassScore("c"), torch.tensor(2)):
        assert torch.equal(as_target(said)(trace), trace.scores[:, 2])
    assert torch.equal(as_target(nv.Unit("4", 1, 2, 3))(trace), trace["4"][:, 1, 2, 3])
    assert torch.equal(as_target(nv.LayerEnergy("4"))(trace), nv.LayerEnergy("4")(trace))
    shared = as_target(lambda t: t["4"].sum())(trace)
    assert shared.sum().item() == pytest.approx(trace["4"].sum().item(), rel=1e-5)
    with pytest.raises(nv.UnknownClassError, match="A target is"):
        as_target(None)  # type: ignore[arg-type]


def test_a_list_asks_of_each_picture_its_own(trace: nv.Trace) -> None:
    found = nv.Each([nv.Channel("4", 1), nv.ClassScore(0), nv.LayerEnergy("0")])(trace)
    expected = [
        trace["4"][0, 1].mean(),
        trace.scores[1, 0],
        trace["0"][2].square().mean(),
    ]
    assert torch.allclose(found, torch.stack(expected))


@pytest.mark.parametrize(
    ("objective", "error", "words"),
    [
        ("nothing", nv.UnknownClassError, "There is no class 'nothing'"),
        (99, nv.UnknownClassError, "5 classes, 0 to 4"),
        (nv.Channel("40", 1), nv.UnknownLayerError, "There is no layer '40'"),
    ],
)
def test_what_does_not_exist_is_said_at_once(net: nv.Network, objective: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        s.synthesize(net, objective)  # not one frame is asked for


@pytest.mark.parametrize(
    ("objective", "error", "words"),
    [
        (nv.Channel("4", 8), nv.FilterRangeError, "8 channels, 0 to 7: there is no 8"),
        (nv.Unit("4", 1, 7, 0), nv.FilterRangeError, r"maps of 7 x 10: there is no unit at \(7, 0\)"),
        (nv.Direction("4", [1.0, 2.0]), nv.FilterRangeError, "8 channels, and the direction has shape"),
        (nv.Direction("4", [0.0] * 8), nv.FilterRangeError, "not all zero"),
        (lambda trace: trace["4"], nv.GradientError, "one number a picture"),
        (lambda trace: trace["4"].detach().mean(), nv.GradientError, "one number a picture"),
    ],
)
def test_what_cannot_be_scored_is_said_at_the_first_frame(
    net: nv.Network, objective: object, error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        next(s.synthesize(net, objective))


def test_the_forward_pass_ends_at_the_deepest_layer_asked_for() -> None:
    class Trap(nn.Module):
        armed = False

        def forward(self, x: Tensor) -> Tensor:
            assert not self.armed, "the pass went on"
            return x

    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), Trap(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    net = nv.Network(module, size=12)
    Trap.armed = True
    frame = next(s.synthesize(net, nv.Channel("0", 1) + nv.Channel("2", 2)))
    assert frame.logits is None
    assert frame.top() == []
    with pytest.raises(nv.NetworkError, match="the pass went on"):
        next(s.synthesize(net, nv.Channel("0", 1) + nv.ClassScore(0)))


def test_each_call_of_a_module_called_many_times_can_be_asked_for() -> None:
    net = nv.Network(Reused(), size=10)
    for call in range(3):
        frame = next(
            s.synthesize(net, nv.Channel(f"relu:{call}", 1), seed=2, jitter=0, scale=0, rotate=0, jitter_after=0)
        )
        expected = net.trace(frame.input)[f"relu:{call}"][:, 1].mean()
        assert frame.score == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(nv.UnknownLayerError, match="called 3 times"):
        s.synthesize(net, nv.Channel("relu", 1))
