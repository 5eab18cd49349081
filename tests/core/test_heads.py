"""What the scores of a network mean, found by numbers or told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nbcnnviz as nv
from tests import toys


class Ends(nn.Module):
    """A small classifier, whose scores go through a function at the end."""

    def __init__(self, end, count: int = 5, scale: float = 1.0) -> None:
        super().__init__()
        self.body, self.end = toys.classic(classes=count), end
        with torch.no_grad():
            self.body[-1].weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.body(x))


def by_hand(module: nn.Module, x: Tensor, index: int, sign: float = 1) -> Tensor:
    """The gradient of the module's raw score, in float64 and by plain autograd."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sign * module(x)[:, index].sum(), x)
    return gradient


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_plain_scores_are_logits(x: Tensor) -> None:
    network = nv.Network(toys.classic(), size=12)
    assert network.kind == "logits"
    assert network.head.note == ""
    trace = network.trace(x)
    assert torch.equal(trace.probabilities, network.module(x).softmax(1))
    assert trace.class_scores is trace.scores


SOFTMAXES = {
    "module": nn.Softmax(1),
    "last axis": nn.Softmax(-1),
    "function": lambda z: F.softmax(z, dim=1),
    "method": lambda z: z.softmax(dim=1),
    "torch": lambda z: torch.softmax(z, 1),
    "of a quotient": lambda z: torch.softmax(z / 2, 1),
    "reshaped": lambda z: z[:, :, None, None].softmax(1),
    "2d": lambda z: nn.Softmax2d()(z[:, :, None, None]),
    "in a tuple": lambda z: (z.softmax(1), z.sigmoid().softmax(1)),
    "in a dictionary": lambda z: {"scores": z.softmax(1)},
}


@pytest.mark.parametrize("end", SOFTMAXES.values(), ids=SOFTMAXES)
def test_behind_a_softmax_the_logits_are_explained_and_the_networks_probabilities_shown(end, x: Tensor) -> None:
    module = Ends(end, scale=50).eval()
    network = nv.Network(module, size=12)
    assert network.kind == "probabilities"
    assert "softmax" in network.head.note
    assert "softmax" in repr(network)
    trace = network.trace(x)
    own = module(x)
    own = own[0] if isinstance(own, tuple) else own["scores"] if isinstance(own, dict) else own
    torch.testing.assert_close(trace.probabilities, own.reshape(3, 5))
    divisor = 2 if end is SOFTMAXES["of a quotient"] else 1
    torch.testing.assert_close(trace.scores, module.body(x) / divisor)
    torch.testing.assert_close(trace.gradient(2), by_hand(module.body, x, 2) / divisor)
    index, name, share = trace.top(1)[0]
    assert (index, name) == (int(own[0].argmax()), f"class {index}")
    assert share == pytest.approx(own[0].max().item())


@pytest.mark.parametrize("end", [nn.LogSoftmax(1), lambda z: F.log_softmax(z, 1)], ids=["module", "function"])
def test_behind_a_log_softmax_too(end, x: Tensor) -> None:
    module = Ends(end).eval()
    network = nv.Network(module, size=12)
    assert network.kind == "probabilities"
    assert "log_softmax" in network.head.note
    trace = network.trace(x)
    torch.testing.assert_close(trace.probabilities, module(x).exp())
    torch.testing.assert_close(trace.gradient(1), by_hand(module.body, x, 1))


def test_probabilities_without_logits_in_the_graph_are_explained_themselves_and_it_is_said(x: Tensor) -> None:
    module = Ends(lambda z: z.square() / z.square().sum(1, keepdim=True)).eval()
    network = nv.Network(module, size=12)
    assert network.kind == "probabilities"
    assert "not in the graph" in network.head.note
    trace = network.trace(x)
    torch.testing.assert_close(trace.scores, module(x))
    torch.testing.assert_close(trace.probabilities, module(x))
    torch.testing.assert_close(trace.gradient(1), by_hand(module, x, 1))


def test_log_probabilities_without_logits_in_the_graph(x: Tensor) -> None:
    module = Ends(lambda z: z - z.exp().sum(1, keepdim=True).log()).eval()
    network = nv.Network(module, size=12)
    assert network.kind == "probabilities"
    assert "log-probabilities" in network.head.note
    torch.testing.assert_close(network.trace(x).probabilities, module(x).exp())


def test_attention_inside_is_not_taken_for_the_end(x: Tensor) -> None:
    network = nv.Network(Ends(lambda z: z * z.softmax(1)).eval(), size=12)
    assert network.kind == "logits"


def test_a_softmax_behind_an_auxiliary_head_is_not_the_scores_own(x: Tensor) -> None:
    module = Ends(lambda z: (z, z.softmax(1))).eval()
    network = nv.Network(module, size=12)
    assert network.kind == "logits"
    torch.testing.assert_close(network.trace(x).scores, module.body(x))


@pytest.mark.parametrize("flat", [False, True], ids=["(N, 1)", "(N,)"])
@pytest.mark.parametrize("end", [None, torch.sigmoid, nn.Sigmoid(), lambda z: z.clone().sigmoid_()])
def test_one_logit_has_two_sides(end, flat: bool, x: Tensor) -> None:
    body = toys.classic(classes=1)
    with torch.no_grad():
        body[-1].bias.fill_(-3)
    end = end or nn.Identity()
    module = Ends(lambda z: end(z).flatten() if flat else end(z)).eval()
    module.body = body
    network = nv.Network(module, size=12, classes=["dog", "cat"])
    assert network.kind == "binary"
    assert network.classes == ["dog", "cat"]
    trace = network.trace(x)
    logit = body(x)
    torch.testing.assert_close(trace.scores, logit)
    torch.testing.assert_close(trace.probabilities, torch.cat([1 - logit.sigmoid(), logit.sigmoid()], 1))
    torch.testing.assert_close(trace.gradient("cat"), by_hand(body, x, 0))
    torch.testing.assert_close(trace.gradient(1), by_hand(body, x, 0))
    torch.testing.assert_close(trace.gradient("dog"), by_hand(body, x, 0, -1))
    for i in range(3):
        likely = "cat" if logit[i, 0] > 0 else "dog"
        (_, first, p), (_, second, q) = trace.top(picture=i)
        assert first == likely != second
        assert p >= 0.5 >= q
        assert p + q == pytest.approx(1)
        assert network.classes[trace.best[i]] == likely


def test_of_one_logit_with_one_name_that_one_comes_first(x: Tensor) -> None:
    module = toys.classic(classes=1)
    with torch.no_grad():
        module[-1].bias.fill_(-5)
    network = nv.Network(module, size=12, classes=["cat"])
    assert network.classes == ["cat", "not cat"]
    trace = network.trace(x)
    p = float(module(x)[0].sigmoid())
    assert [(i, name) for i, name, _ in trace.top()] == [(0, "cat"), (1, "not cat")]
    assert [q for *_, q in trace.top()] == pytest.approx([p, 1 - p])
    torch.testing.assert_close(trace.gradient("not cat"), by_hand(module, x, 0, -1))
    torch.testing.assert_close(trace.gradient(0), by_hand(module, x, 0))
    assert trace.best == [1, 1, 1]
    assert nv.Network(module, size=12).classes == ["positive", "negative"]


def test_sigmoids_at_the_end_are_independent_labels(x: Tensor) -> None:
    module = Ends(torch.sigmoid, scale=30).eval()
    network = nv.Network(module, size=12, classes={0: "a", 4: "e"})
    assert network.kind == "multilabel"
    assert network.classes == ["a", "class 1", "class 2", "class 3", "e"]
    trace = network.trace(x)
    torch.testing.assert_close(trace.probabilities, module(x))
    torch.testing.assert_close(trace.scores, module.body(x))
    torch.testing.assert_close(trace.gradient("e"), by_hand(module.body, x, 4))


def test_independent_logits_are_told(x: Tensor) -> None:
    module = toys.classic()
    trace = nv.Network(module, size=12, scores="multilabel").trace(x)
    torch.testing.assert_close(trace.probabilities, module(x).sigmoid())


def test_a_regression_has_values_with_a_unit_and_no_probabilities(x: Tensor) -> None:
    module = toys.classic(classes=1)
    network = nv.Network(module, size=12, classes=["age"], scores="regression", unit="years")
    assert network.kind == "regression"
    assert network.classes == ["age"]
    assert "years" in repr(network)
    trace = network.trace(x)
    assert trace.top() == [(0, "age", float(module(x)[0]))]
    assert network.head.text(31.25) == "31.25 years"
    with pytest.raises(nv.MethodNotApplicableError, match="no probabilities"):
        _ = trace.probabilities
    torch.testing.assert_close(trace.gradient(), by_hand(module, x, 0))
    many = nv.Network(toys.classic(), size=12, scores="regression").trace(x)
    assert [name for _, name, _ in many.top(3)] == ["value 0", "value 1", "value 2"]
    with pytest.raises(nv.MethodNotApplicableError, match="name the one to explain"):
        many.gradient()


def test_rows_of_unit_length_are_an_embedding(x: Tensor) -> None:
    module = Ends(lambda z: F.normalize(z, dim=1), count=16).eval()
    network = nv.Network(module, size=12)
    assert network.kind == "embedding"
    trace = network.trace(x)
    assert trace.top() == []
    with pytest.raises(nv.MethodNotApplicableError, match="no best class"):
        trace.gradient()
    with pytest.raises(nv.MethodNotApplicableError, match="no probabilities"):
        _ = trace.probabilities
    torch.testing.assert_close(trace.gradient(3), by_hand(module, x, 3))
    assert nv.Network(toys.classic(), size=12, scores="embedding").kind == "embedding"


def test_a_short_row_of_unit_length_may_be_an_angle() -> None:
    assert nv.Network(Ends(lambda z: F.normalize(z, dim=1), count=2).eval(), size=12).kind == "logits"


@pytest.mark.parametrize(
    ("end", "count", "told", "why"),
    [
        (nn.Softmax(1), 5, "logits", "sum to one"),
        (nn.Softmax(1), 5, "multilabel", "sum to one"),
        (torch.sigmoid, 5, "logits", "ends in a sigmoid"),
        (torch.sigmoid, 5, "probabilities", "sums to"),
        (nn.Identity(), 5, "probabilities", "sums to"),
        (nn.Identity(), 5, "binary", "returns 5 scores"),
        (nn.Softmax(1), 1, None, "always 1"),
        (nn.LogSoftmax(1), 1, None, "always 1"),
    ],
)
def test_what_is_told_and_cannot_be_is_refused(end, count: int, told: str | None, why: str) -> None:
    with pytest.raises(nv.NetworkError, match=why):
        nv.Network(Ends(end, count).eval(), size=12, scores=told)


@pytest.mark.parametrize("kind", ["logit", 3, ["logits"]])
def test_a_kind_that_there_is_not_is_refused(kind) -> None:
    with pytest.raises(nv.UnknownOptionError, match="logits, probabilities, binary, multilabel, regression, embedding"):
        nv.Network(toys.classic(), size=12, scores=kind)


def test_a_unit_belongs_to_values() -> None:
    with pytest.raises(nv.UnknownOptionError, match="scores='regression'"):
        nv.Network(toys.classic(), size=12, unit="years")


@pytest.mark.parametrize("classes", [{5: "x"}, {-1: "x"}, {"cat": 1}, {1.5: "x"}])
def test_names_by_an_index_that_there_is_not_are_refused(classes) -> None:
    with pytest.raises(nv.NetworkError, match="indices 0 to 4"):
        nv.Network(toys.classic(), size=12, classes=classes)


def test_names_by_index_may_come_from_json() -> None:
    assert nv.Network(toys.classic(), size=12, classes={"1": "bee"}).classes[1] == "bee"


@pytest.mark.parametrize("classes", ["abcde", 5, set("abcde"), 1.5])
def test_names_are_a_list(classes) -> None:
    with pytest.raises(nv.NetworkError, match="list, in order, or a dictionary"):
        nv.Network(toys.classic(), size=12, classes=classes)
    for right in ("abcde", np.array(list("abcde"))):
        assert nv.Network(toys.classic(), size=12, classes=(c for c in right)).classes == list("abcde")


def test_rows_of_scores_are_as_many_as_pictures(x: Tensor) -> None:
    network = nv.Network(nn.Sequential(toys.classic(), nn.Flatten(0), nn.Unflatten(0, (1, -1))), size=12)
    with pytest.raises(nv.NetworkError, match="1 row of scores for 3 pictures"):
        network.trace(x)
    with pytest.raises(nv.NetworkError, match="classifier of pictures returns scores"):
        nv.Network(Ends(lambda z: z.mean().view(1)), size=12)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_looking_at_the_scores_changes_no_random_state(scale: float) -> None:
    torch.manual_seed(3)
    module = Ends(nn.Softmax(1), scale=scale).eval()
    before = torch.get_rng_state()
    assert nv.Network(module, size=12).kind == "probabilities"
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_probabilities_are_found_in_other_precisions(dtype: torch.dtype, x: Tensor) -> None:
    network = nv.Network(Ends(nn.Softmax(1)).eval().to(dtype), size=12)
    assert (network.kind, network.head.behind) == ("probabilities", "softmax")
    assert nv.Network(toys.classic().to(dtype), size=12).kind == "logits"
