"""A watch tells the truth, costs nothing between records, and leaves nothing behind."""

from __future__ import annotations

import copy
import gc
import io
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import nbcnnviz as nv
from nbcnnviz.training import Watch, watch
from tests.training.loops import batches, copies, learn, norm_over, registries, small
from tests.untouched import photograph


@pytest.fixture(autouse=True)
def _nothing_stays_in_torch():
    yield
    nothing_stays()


def nothing_stays() -> None:
    """What is dropped within an optimiser's step goes a moment later."""
    deadline = time.monotonic() + 10
    gc.collect()
    while registries() != [0, 0, 0] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert registries() == [0, 0, 0]


def by_layer(module: nn.Module, tensors: dict[str, torch.Tensor]) -> list[float]:
    """Norms by hand: of a layer's own parameters together."""
    found = {}
    for name, tensor in tensors.items():
        found.setdefault(name.rpartition(".")[0], []).append(tensor)
    return [norm_over(own) for own in found.values()]


# The numbers.


@pytest.mark.parametrize("kind", ["sgd", "momentum and decay", "adam", "adamw, one by one", "rmsprop"])
def test_gradient_norms_and_update_ratios_are_those_worked_out_by_hand(kind: str) -> None:
    module = small()
    optimiser = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1),
        "momentum and decay": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
        "adam": lambda p: torch.optim.Adam(p, 0.01),
        "adamw, one by one": lambda p: torch.optim.AdamW(p, 0.01, foreach=False),
        "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01),
    }[kind](module.parameters())
    expected = []
    with watch(module, every=3) as w:
        for x, y in batches(10):
            optimiser.zero_grad()
            loss = F.cross_entropy(module(x), y)
            loss.backward()
            before = copies(module)
            grads = {name: p.grad.clone() for name, p in module.named_parameters()}
            optimiser.step()
            change = {name: p.detach() - before[name] for name, p in module.named_parameters()}
            expected.append((loss.item(), *(by_layer(module, t) for t in (grads, before, change))))
    h = w.history
    assert h["step"].tolist() == [0, 3, 6, 9]
    assert h["layers"].tolist() == ["0", "1", "3", "8"]
    rows = [expected[i] for i in h["step"]]
    for name, column in (("loss", 0), ("gradient_norm", 1), ("weight_norm", 2), ("update_norm", 3)):
        np.testing.assert_allclose(h[name], [row[column] for row in rows], rtol=2e-6)
    np.testing.assert_allclose(h["update_ratio"], [np.array(r[3]) / np.array(r[2]) for r in rows], rtol=3e-6)
    assert h["learning_rate"].tolist() == [optimiser.param_groups[0]["lr"]] * 4
    assert (np.diff(h["time"]) > 0).all()


def test_double_half_and_complex_weights_are_measured_in_their_own_way() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.precise = nn.Linear(3, 4, dtype=torch.float64)
            self.low = nn.Linear(4, 4, dtype=torch.bfloat16)
            self.spin = nn.Parameter(torch.randn(4, dtype=torch.complex64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.precise(x)
            return y.sum() + self.low(y.bfloat16()).sum() + (self.spin * y.float()).abs().sum()

    module = Odd()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    with watch(module, every=1) as w:
        module(torch.randn(5, 3, dtype=torch.float64)).backward()
        expected = [
            norm_over([torch.view_as_real(module.spin.grad)]),
            norm_over([p.grad for p in module.precise.parameters()]),
            norm_over([p.grad for p in module.low.parameters()]),
        ]
        optimiser.step()
    assert w.error is None
    assert w.layers == ["Odd", "precise", "low"]
    np.testing.assert_allclose(w.history["gradient_norm"][0], expected, rtol=1e-6)


def test_dead_filters_are_those_whose_output_is_never_more_than_zero() -> None:
    module = small()
    with torch.no_grad():
        module[1].bias[2] = module[1].bias[5] = -100.0  # never above zero, whatever comes in
        module[3].weight[1] = -module[3].weight[1].abs()  # of what is never negative: never above zero
    optimiser = torch.optim.SGD(module.parameters(), 0.0)
    with watch(module, every=1) as w:
        learn(module, optimiser, 3)
    active = []
    for x, _ in batches(3):
        first = module[:2](x).relu()
        second = module[3](first).relu()
        active.append([1 - (maps.amax((0, 2, 3)) > 0).float().mean().item() for maps in (first, second)])
    np.testing.assert_allclose(w.history["dead_share"][:, [0, 2]], active, atol=1e-6)
    assert np.isnan(w.history["dead_share"][:, 1]).all(), "a batch-norm has no filters"
    assert (w.history["dead_share"][:, 0] >= 2 / 6 - 1e-6).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_the_filters_of_a_transposed_convolution_are_in_its_second_axis(groups: int) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 6, 2, groups=groups), nn.ReLU())
    with torch.no_grad():
        module[1].bias[4] = -1000.0
    optimiser = torch.optim.SGD(module.parameters(), 0.0)
    with watch(module, every=1) as w:
        (module(torch.randn(2, 3, 8, 8)) + 0.1).square().sum().backward()
        optimiser.step()
    np.testing.assert_allclose(w.history["dead_share"][0], [0, 1 / 6], atol=1e-6)


def test_shared_and_parametrised_weights_count_once_and_to_their_layer() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 16), nn.Linear(16, 16))
    module[3].weight = module[2].weight
    nn.utils.parametrizations.weight_norm(module[0])
    with watch(module) as w:
        module(torch.randn(2, 3, 4, 4)).sum().backward()
        torch.optim.SGD(module.parameters(), 0.1).step()
    assert w.layers == ["0", "2", "3"]
    np.testing.assert_allclose(
        w.history["gradient_norm"][0],
        [norm_over([p.grad for p in module[0].parameters()]), norm_over([module[2].weight.grad, module[2].bias.grad]),
         norm_over([module[3].bias.grad])],
        rtol=1e-6,
    )  # fmt: skip


def test_frozen_layers_have_no_gradient_and_others_are_as_ever() -> None:
    module = small()
    module[0].requires_grad_(False)
    optimiser = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], 0.1)
    with watch(module, every=1) as w:
        learn(module, optimiser, 2)
        module[0].requires_grad_(True)
        optimiser.add_param_group({"params": list(module[0].parameters())})
        learn(module, optimiser, 1)
    h = w.history
    assert h["has_gradient"].tolist() == [[False, True, True, True]] * 2 + [[True] * 4]
    assert np.isnan(h["gradient_norm"][:2, 0]).all()
    assert np.isfinite(h["gradient_norm"][2]).all()
    assert np.isfinite(h["loss"]).all()


def test_a_network_that_is_frozen_whole_is_watched_without_complaint() -> None:
    module = small().requires_grad_(False)
    with watch(module, every=1) as w:
        torch.optim.SGD(module.parameters(), 0.1).step()
    assert w.error is None
    assert not w.history["has_gradient"].any()


def test_nan_and_infinity_are_kept_as_they_are() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    with watch(module, every=1) as w:
        learn(module, optimiser, 2)
        with torch.no_grad():
            module[8].weight[0, 0] = torch.nan
        learn(module, optimiser, 1)
    h = w.history
    assert np.isfinite(h["loss"][:2]).all()
    assert np.isnan(h["loss"][2])
    assert h["has_gradient"].all(), "NaN is a gradient; a missing one is none"
    assert np.isnan(h["gradient_norm"][2]).all()
    assert np.isfinite(h["gradient_norm"][:2]).all()


# The loss that is found, and the one that is given.


def test_the_loss_found_is_what_backward_was_called_on_summed_over_an_accumulation() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    for to_none in (True, False):
        expected = []
        with watch(module, every=2) as w:
            for step in range(4):
                optimiser.zero_grad(set_to_none=to_none)
                total = 0.0
                for x, y in batches(3, seed=step):
                    loss = F.cross_entropy(module(x), y) / 3
                    loss.backward()
                    total += loss.item()
                optimiser.step()
                expected.append(total)
        np.testing.assert_allclose(w.history["loss"], expected[::2], rtol=1e-6)


def test_gradients_that_are_thrown_away_take_their_loss_with_them() -> None:
    """As the discriminator's, when the generator has learned through it."""
    critic, maker = small(), nn.Linear(7, 3 * 12 * 10)
    for_critic = torch.optim.Adam(critic.parameters(), 1e-3)
    for_maker = torch.optim.Adam(maker.parameters(), 1e-3)
    expected = []
    with watch(critic, every=1) as w:
        for x, _ in batches(3):
            made = maker(torch.randn(5, 7)).view(5, 3, 12, 10)
            for_critic.zero_grad()
            real, fake = (1 - critic(x)).relu().mean(), (1 + critic(made.detach())).relu().mean()
            real.backward()
            fake.backward()
            for_critic.step()
            expected.append(real.item() + fake.item())
            for_maker.zero_grad()
            (-critic(made).mean()).backward()
            for_maker.step()
    assert w.steps == 3
    np.testing.assert_allclose(w.history["loss"], expected, rtol=1e-6)


def test_a_scaled_loss_is_told_unscaled_and_a_skipped_step_is_none() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    expected = []
    with watch(module, every=1) as w:
        for step, (x, y) in enumerate(batches(5)):
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(module(x), y)
            scaler.scale(loss * (torch.inf if step == 2 else 1)).backward()
            scaler.step(optimiser)
            scaler.update()
            if step != 2:
                expected.append((loss.item(), norm_over([p.grad for p in module[8].parameters()])))
    assert w.steps == 4
    np.testing.assert_allclose(w.history["loss"], [e[0] for e in expected], rtol=1e-5)
    np.testing.assert_allclose(w.history["gradient_norm"][:, 3], [e[1] for e in expected], rtol=1e-5)


def test_the_loss_of_a_checkpointed_network_is_the_outer_one() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    with watch(module, every=1) as w:
        x, y = next(batches(1))
        inner = checkpoint(module[:5], x.requires_grad_(), use_reentrant=True)
        loss = F.cross_entropy(module[5:](inner), y)
        loss.backward()
        optimiser.step()
    assert w.history["loss"][0] == pytest.approx(loss.item(), rel=1e-6)


def test_the_loss_is_found_where_gradients_arrive_in_another_thread() -> None:
    """As they do on an accelerator: the thread that called ``backward()`` waits meanwhile."""
    from nbcnnviz.training import listening

    found = []

    class InAnotherThread(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            thread = threading.Thread(target=lambda: found.append(listening._total(listening._roots())))
            thread.start()
            thread.join()
            return grad

    weight = torch.ones(3, requires_grad=True)
    loss = InAnotherThread.apply(weight).sum() * 2
    loss.backward()
    assert found == [loss.detach()]


def test_backward_on_no_number_is_no_loss() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    with watch(module, every=1) as w:
        scores = module(next(batches(1))[0])
        scores.backward(torch.ones_like(scores))
        optimiser.step()
    assert np.isnan(w.history["loss"]).all()
    assert np.isfinite(w.history["gradient_norm"]).all()


@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after it"])
@pytest.mark.parametrize("as_", [float, torch.tensor, np.float32, lambda v: torch.tensor([v])])
def test_a_loss_that_is_given_takes_the_place_of_the_one_found(after: bool, as_) -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    with watch(module, every=2) as w:
        for step, (x, y) in enumerate(batches(5)):
            optimiser.zero_grad()
            F.cross_entropy(module(x), y).backward()
            if not after:
                w.loss(as_(100.0 + step))
            optimiser.step()
            if after:
                w.loss(as_(100.0 + step))
    assert w.history["loss"].tolist() == [100, 102, 104]


def test_a_loss_given_now_and_then_is_not_taken_for_a_later_steps() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    with watch(module, every=2) as w:
        losses = []
        for step in range(4):
            if step < 2:
                w.loss(50.0 + step)
            losses += learn(module, optimiser, 1, seed=step)
    np.testing.assert_allclose(w.history["loss"], [50, losses[2]], rtol=1e-6)


@pytest.mark.parametrize("loss", [torch.zeros(2), "low", None, torch.zeros(0)])
def test_what_is_no_loss_gets_a_sentence(loss) -> None:
    w = watch(small())
    with pytest.raises(nv.GradientError, match="A loss is one number, or a tensor of one"):
        w.loss(loss)
    w.close()


# Loops of all kinds.


def test_a_loop_without_an_optimiser_says_when_a_step_was_made() -> None:
    module = small()
    expected = []
    with watch(module, every=2) as w:
        for x, y in batches(5):
            module.zero_grad()
            loss = F.cross_entropy(module(x), y)
            loss.backward()
            before = copies(module)
            with torch.no_grad():
                for p in module.parameters():
                    p -= 0.1 * p.grad
            change = {name: p.detach() - before[name] for name, p in module.named_parameters()}
            expected.append((loss.item(), np.array(by_layer(module, change)) / np.array(by_layer(module, before))))
            w.step()
    h = w.history
    assert h["step"].tolist() == [0, 2, 4]
    np.testing.assert_allclose(h["loss"], [e[0] for e in expected[::2]], rtol=1e-6)
    assert np.isnan(h["update_ratio"][0]).all(), "what was before the first step is not known"
    np.testing.assert_allclose(h["update_ratio"][1:], [e[1] for e in expected[2::2]], rtol=1e-4)


def test_step_beside_an_optimiser_only_gives_the_loss() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    with watch(module, every=1) as w:
        for step in range(3):
            learn(module, optimiser, 1)
            w.step(loss=step)
    assert w.steps == 3
    assert w.history["loss"].tolist() == [0, 1, 2]


def test_two_optimisers_of_one_network_share_a_step() -> None:
    module = small()
    body = torch.optim.SGD(module[:4].parameters(), 0.1)
    head = torch.optim.Adam(module[8].parameters(), 0.01)
    with watch(module, every=2) as w:
        for x, y in batches(5):
            module.zero_grad()
            F.cross_entropy(module(x), y).backward()
            body.step()
            head.step()
    assert w.steps == 5
    assert w.history["step"].tolist() == [0, 2, 4]
    assert w.history["has_gradient"].all()
    assert np.isfinite(w.history["update_ratio"]).all()


def test_an_optimiser_that_steps_more_seldom_is_in_every_record() -> None:
    module = small()
    often = torch.optim.SGD(module[:4].parameters(), 0.1)
    seldom = torch.optim.SGD(module[8].parameters(), 0.1)
    with watch(module, every=4) as w:
        for i, (x, y) in enumerate(batches(20)):
            module.zero_grad()
            F.cross_entropy(module(x), y).backward()
            often.step()
            if i % 4 == 3:
                seldom.step()
    assert w.steps == 20
    assert w.history["has_gradient"].all()


def test_an_optimiser_for_each_parameter_stepping_within_backward() -> None:
    module, plain = small(), small()
    plain.load_state_dict(module.state_dict())
    own = {p: torch.optim.SGD([p], 0.1) for p in module.parameters()}

    def learn_at_once(p: torch.Tensor) -> None:
        own[p].step()
        own[p].zero_grad()

    hooks = [p.register_post_accumulate_grad_hook(learn_at_once) for p in own]
    for m in (module, plain):
        m[7].p = 0.0
    with watch(module, every=2) as w:
        for x, y in batches(5):
            F.cross_entropy(module(x), y).backward()
    expected = learn(plain, torch.optim.SGD(plain.parameters(), 0.1), 5)
    assert w.steps == 5
    assert w.history["has_gradient"].all()
    np.testing.assert_allclose(w.history["loss"], expected[::2], rtol=1e-5)
    for hook in hooks:
        hook.remove()


def test_another_optimiser_may_take_over() -> None:
    module = small()
    with watch(module, every=3) as w:
        learn(module, torch.optim.Adam(module.parameters(), 0.01), 4)
        learn(module, torch.optim.SGD(module.parameters(), 0.01), 6)
    assert w.steps in (9, 10)
    assert w.history["step"].tolist() in ([0, 3, 6], [0, 3, 6, 9])
    assert w.history["learning_rate"].tolist()[1:3] == [0.01, 0.01]


def test_a_closure_is_measured_as_it_was_last_called() -> None:
    module = small()
    module[7].p = 0.0
    optimiser = torch.optim.LBFGS(module.parameters(), 0.1, max_iter=3)
    x, y = next(batches(1))
    losses = []

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(module(x), y)
        loss.backward()
        losses.append(loss.item())
        return loss

    with watch(module, every=1) as w:
        before = copies(module)
        optimiser.step(closure)
        change = {name: p.detach() - before[name] for name, p in module.named_parameters()}
    assert len(losses) > 1
    assert w.history["loss"].tolist() == pytest.approx([losses[-1]], rel=1e-6)
    np.testing.assert_allclose(w.history["update_norm"][0], by_layer(module, change), rtol=1e-5)
    np.testing.assert_allclose(
        w.history["gradient_norm"][0], by_layer(module, {n: p.grad for n, p in module.named_parameters()}), rtol=1e-5
    )


def test_wrapped_networks_go_by_their_own_names() -> None:
    for wrap in (nn.DataParallel, torch.compile, lambda m: nv.Network(m, size=(12, 10))):
        module = small()
        optimiser = torch.optim.SGD(module.parameters(), 0.1)
        with watch(wrap(module), every=1) as w:
            learn(module, optimiser, 1)
        assert w.layers == ["0", "1", "3", "8"]
        assert np.isfinite(w.history["loss"]).all()


def test_a_compiled_network_is_watched_and_its_map_needs_a_picture() -> None:
    module = small()
    compiled = torch.compile(module, backend="eager")
    optimiser = torch.optim.SGD(compiled.parameters(), 0.1)
    with watch(compiled, every=1) as w:
        losses = learn(compiled, optimiser, 2)
    np.testing.assert_allclose(w.history["loss"], losses, rtol=1e-6)
    assert w.feature_map is None
    assert "compiled network" in w.trouble
    assert "picture=" in w.trouble
    with watch(compiled, every=1, picture=torch.randn(3, 12, 10), channel=2) as w:
        learn(compiled, optimiser, 1)
    assert w.feature_map.shape == (10, 8)


def test_several_watches_at_once_do_not_disturb_each_other() -> None:
    module, other = small(), small()
    optimisers = [torch.optim.SGD(m.parameters(), 0.1) for m in (module, other)]
    a, b, c = watch(module, every=1), watch(module, every=3), watch(other, every=2)
    learn(module, optimisers[0], 4)
    b.stop()
    learn(other, optimisers[1], 5)
    a.stop()
    learn(other, optimisers[1], 1)
    c.stop()
    assert [(w.steps, w.records) for w in (a, b, c)] == [(4, 4), (4, 2), (6, 3)]
    np.testing.assert_array_equal(a.history["gradient_norm"][[0, 3]], b.history["gradient_norm"])


def test_a_watch_stops_and_goes_on() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    w = watch(module, every=2)
    learn(module, optimiser, 5)
    w.stop()
    w.stop()
    learn(module, optimiser, 7)
    assert (w.steps, w.records, w.watching) == (5, 3, False)
    assert w.start() is w
    learn(module, optimiser, 5)
    assert (w.steps, w.records, w.watching) == (10, 5, True)
    learn(module, torch.optim.SGD(module.parameters(), 0.1), 1)
    w.stop()
    h = w.history
    assert h["step"].tolist()[:5] == [0, 2, 4, 6, 8]
    assert (np.diff(h["time"]) > 0).all()
    with w:
        learn(module, optimiser, 2)
    assert w.steps >= 12


def test_stopping_from_another_thread_never_disturbs_the_loop() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.01)
    w = watch(module, every=1)
    over = threading.Event()
    switched = []

    def switch() -> None:
        while not over.is_set():
            w.stop()
            w.start()
            switched.append(1)

    thread = threading.Thread(target=switch)
    thread.start()
    try:
        learn(module, optimiser, 150)
    finally:
        over.set()
        thread.join()
        w.stop()
    assert len(switched) > 10
    assert w.error is None


def test_a_loop_that_begins_to_listen_as_the_watch_is_stopped_leaves_nothing_behind() -> None:
    w = watch(small(), every=1)
    w.stop()
    w._listen()  # the loop's thread had seen that it was on
    assert not w._hooks.listening
    assert registries() == [0, 0, 0]


# What is kept.


def test_history_is_saved_and_read_again(tmp_path) -> None:
    module = small()
    with watch(module, every=2) as w:
        learn(module, torch.optim.SGD(module.parameters(), 0.1), 5)
    w.save(tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz", allow_pickle=False) as saved:
        assert saved.files == list(w.history)
        for name, array in w.history.items():
            np.testing.assert_array_equal(saved[name], array)
    for path in (tmp_path / "run.csv", tmp_path / "no" / "run.npz"):
        with pytest.raises(nv.NbcnnvizError, match=r"run\.(csv|npz)"):
            w.save(path)


def test_history_of_nothing_is_arrays_of_nothing(tmp_path) -> None:
    w = watch(small())
    w.stop()
    h = w.history
    assert h["gradient_norm"].shape == h["update_ratio"].shape == (0, 4)
    assert h["loss"].shape == (0,)
    w.save(tmp_path / "run.npz")


def test_history_grows_beyond_any_size_it_begins_with() -> None:
    module = nn.Conv2d(1, 2, 1)
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    with watch(module, every=1) as w:
        for _ in range(300):
            optimiser.zero_grad()
            module(torch.ones(1, 1, 1, 1)).sum().backward()
            optimiser.step()
    h = w.history
    assert h["step"].tolist() == list(range(300))
    assert np.isfinite(h["gradient_norm"]).all()
    np.testing.assert_allclose(h["gradient_norm"], 2, rtol=1e-6)
    assert 32 <= len(h["filters"]) <= 64
    assert set(np.diff(h["filters_step"])) == {8}


def test_filters_are_the_first_convolutions_after_the_step() -> None:
    module = small()
    with watch(module, every=1) as w:
        learn(module, torch.optim.SGD(module.parameters(), 0.1), 3)
    np.testing.assert_array_equal(w.filters, module[0].weight.detach().numpy())
    assert w.history["filters"].shape == (3, 6, 3, 3, 3)


def test_the_map_is_the_layers_own_of_the_batchs_first_picture_before_what_is_done_in_place() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    with watch(module, every=2, layer="1", channel=4) as w:
        for x, y in batches(3):
            with torch.no_grad():
                plain = copy.deepcopy(module)
                expected = plain[:2](x)[0, 4]
            optimiser.zero_grad()
            F.cross_entropy(module(x), y).backward()
            optimiser.step()
    assert expected.min() < 0, "the ReLU after it works in place"
    np.testing.assert_array_equal(w.feature_map, expected.numpy())
    w.channel = 0
    assert not np.array_equal(w.feature_map, expected.numpy())


def test_after_training_another_layers_map_of_the_picture_is_that_of_the_network_as_it_is() -> None:
    module, picture = small(), torch.randn(3, 12, 10)
    with watch(module, every=1, picture=picture) as w:
        learn(module, torch.optim.SGD(module.parameters(), 0.1), 3)
    w.layer, w.channel = "3", 5
    with torch.no_grad():
        maps = copy.deepcopy(module).eval()[:4](picture[None])
    np.testing.assert_allclose(w.feature_map, maps[0, 5].numpy(), rtol=1e-5, atol=1e-6)
    w.close()


def test_the_map_of_a_picture_given_is_the_networks_in_evaluation_mode_after_the_step() -> None:
    module = small()
    picture = torch.randn(3, 12, 10)
    with watch(module, every=1, layer="3", picture=picture) as w:
        learn(module, torch.optim.SGD(module.parameters(), 0.1), 2)
    expected = copy.deepcopy(module).eval()[:4](picture[None])[0, 0]
    np.testing.assert_allclose(w.feature_map, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    net = nv.Network(module, size=(12, 10))
    with watch(net, every=1, picture="coffee") as w:
        learn(module, torch.optim.SGD(module.parameters(), 0.1), 1)
    assert w.feature_map.shape == (10, 8)


def test_the_layer_may_change_at_any_time() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    w = watch(module, every=1, channel=5)
    w.layer = "3"
    assert (w.channel, w.channels) == (0, 8)
    learn(module, optimiser, 1)
    assert w.feature_map.shape == (8, 6)
    w.layer = "6"
    assert w.feature_map is None
    learn(module, optimiser, 1)
    assert "shape (5, 8), not maps" in w.trouble
    assert w.records == 2, "everything else is recorded"
    w.layer = "4"
    learn(module, optimiser, 1)
    assert w.channels == 8
    assert w.trouble == ""
    w.stop()


# What is left behind: nothing.


def test_the_network_is_never_touched_not_even_meanwhile() -> None:
    module = small()
    before = photograph(module)
    w = watch(module, every=1)
    assert photograph(module) == before
    learn(module, torch.optim.SGD(module.parameters(), 0.0), 1)
    meanwhile = photograph(module)
    w.stop()
    assert photograph(module) == meanwhile
    for name in module.state_dict():
        assert meanwhile[name.rpartition(".")[0]]["hooks"] == before[name.rpartition(".")[0]]["hooks"]


def test_a_copy_or_a_pickle_made_meanwhile_has_nothing_of_it() -> None:
    module = small()
    w = watch(module, every=1)
    learn(module, torch.optim.SGD(module.parameters(), 0.1), 1)
    torch.save(module, file := io.BytesIO())
    twin = copy.deepcopy(module)
    assert not any(m._forward_hooks for m in twin.modules())
    assert len(file.getvalue()) > 100
    w.stop()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["forward", "backward", "step", "loop"])
def test_nothing_is_left_after_an_error_in_the_loop(error: type[BaseException], where: str) -> None:
    class Failing(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            if where == "step":
                raise error("the user's")

    module = small()
    optimiser = Failing(module.parameters(), 0.0)
    module.zero_grad()
    before = photograph(module[0])
    x, y = next(batches(1))

    def loop() -> None:
        if where == "forward":
            handle = module[3].register_forward_hook(lambda *_: (_ for _ in ()).throw(error("the user's")))
        try:
            scores = module(x)
        finally:
            if where == "forward":
                handle.remove()
        if where == "backward":
            scores.register_hook(lambda _: (_ for _ in ()).throw(error("the user's")))
        F.cross_entropy(scores, y).backward()
        optimiser.step()
        raise error("the user's")

    with pytest.raises(error, match="the user's"), watch(module, every=1) as w:
        loop()
    assert not w.watching
    nothing_stays()
    module.zero_grad()
    after = photograph(module[0])
    del before["random state"], after["random state"]  # the dropout's
    assert after == before


def test_a_watch_that_is_dropped_ends() -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    w = watch(module, every=1)
    learn(module, optimiser, 2)
    gone = weakref.ref(w)
    del w
    gc.collect()
    assert gone() is None
    nothing_stays()


def test_a_watch_stopped_or_dropped_within_a_step_leaves_it_a_moment_later() -> None:
    module = small()
    watches = [watch(module, every=1), watch(module, every=1)]

    class Ending(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            if watches:
                watches[0].stop()
                watches.clear()
                gc.collect()

    learn(module, Ending(module.parameters(), 0.1), 3)
    nothing_stays()
    w = watch(module, every=1)
    inside = torch.optim.SGD(module.parameters(), 0.1)
    hook = inside.register_step_post_hook(lambda *_: (w.stop(), w.start(), None)[2])
    learn(module, inside, 4)
    hook.remove()
    time.sleep(0.2)
    assert w.watching
    learn(module, inside, 2)
    w.stop()
    assert w.steps >= 4


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("every", [1, 3])
def test_training_is_the_same_to_the_last_bit(clip: bool, every: int) -> None:
    def train(watched: bool) -> tuple[list[float], dict]:
        torch.manual_seed(3)
        module = small()
        optimiser = torch.optim.Adam(module.parameters(), 0.01)
        w = watch(module, every=every, layer="3", picture=torch.ones(3, 12, 10)) if watched else None
        losses = []
        for x, y in batches(12):
            optimiser.zero_grad()
            loss = F.cross_entropy(module(x + 0.1 * torch.randn_like(x)), y)
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(module.parameters(), 0.1)
            optimiser.step()
            losses.append(loss.item())
        if w is not None:
            w.stop()
            assert w.records == -(-12 // every)
        return losses, {name: value.clone() for name, value in module.state_dict().items()}

    losses, weights = train(False)
    watched_losses, watched_weights = train(True)
    assert losses == watched_losses
    assert all(torch.equal(weights[name], watched_weights[name]) for name in weights)


def test_steps_between_records_run_nothing_of_ours_but_a_count(monkeypatch) -> None:
    module = small()
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    w = watch(module, every=10)
    learn(module, optimiser, 1)
    assert not w._hooks.listening
    for name in ("_copy", "_record_step", "_listen", "_guarded"):
        monkeypatch.setattr(Watch, name, lambda *_: pytest.fail("between records"))
    learn(module, optimiser, 8)
    monkeypatch.undo()
    assert w.steps == 9
    w.stop()


def test_what_fails_in_the_watch_stops_the_watch_and_not_the_training(monkeypatch) -> None:
    module = small()
    w = watch(module, every=2)
    monkeypatch.setattr("nbcnnviz.training.observing.Measurement", lambda *_: 1 / 0)
    with pytest.warns(UserWarning, match="the training goes on. ZeroDivisionError"):
        losses = learn(module, torch.optim.SGD(module.parameters(), 0.1), 5)
    assert len(losses) == 5
    assert isinstance(w.error, ZeroDivisionError)
    assert not w.watching
    w.stop()


# Bad input.


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: watch("resnet18"), nv.NetworkError, "torch.nn.Module, not a str"),
        (lambda: watch(nn.ReLU()), nv.NetworkError, "ReLU has no parameters: there is nothing in it that could learn"),
        (lambda: watch(nn.Sequential()), nv.NetworkError, "no parameters"),
        (lambda: watch(nn.LazyConv2d(3, 3)), nv.NetworkError, "run it once, then watch it"),
        (lambda: watch(small(), every=0), nv.UnknownOptionError, "every is a whole number of steps"),
        (lambda: watch(small(), every=2.5), nv.UnknownOptionError, "every is a whole number of steps"),
        (lambda: watch(small(), layer="conv"), nv.UnknownLayerError, "There is no layer 'conv'"),
        (lambda: watch(small(), channel=6), nv.FilterRangeError, "channels, 0 to 5: there is no 6"),
        (lambda: watch(small(), channel=-1), nv.FilterRangeError, "there is no -1"),
        (lambda: watch(small(), picture="coffee"), nv.ImageError, "preprocessed tensor"),
    ],
)
def test_bad_input_gets_a_sentence_that_says_what_is_right(make, error, says: str) -> None:
    with pytest.raises(error, match=says):
        make()
    gc.collect()


def test_a_loop_that_trains_another_network_is_told_so() -> None:
    module, other = small(), small()
    with pytest.warns(UserWarning, match="is it another network that learns"), watch(module):
        learn(other, torch.optim.SGD(other.parameters(), 0.1), 2)


def test_a_picture_that_cannot_be_run_is_told_at_once_and_later_without_a_fuss() -> None:
    module = small()
    with pytest.raises(nv.ImageError, match=r"\(1, 1, 12, 10\) could not be run"):
        watch(module, picture=torch.zeros(1, 12, 10))
    with pytest.raises(nv.MethodNotApplicableError, match="choose another"):
        watch(module, picture=torch.zeros(3, 12, 10), layer="8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with watch(module, every=1, picture=torch.zeros(3, 12, 10)) as w:
            w.layer = "8"
            learn(module, torch.optim.SGD(module.parameters(), 0.1), 2)
    assert w.records == 2
    assert "choose another" in w.trouble


def test_a_script_needs_no_notebook_to_show_it() -> None:
    w = watch(small())
    assert w._repr_mimebundle_() == {"text/plain": repr(w)}
    assert repr(w) == "<Watch of Sequential: 0 steps, 0 recorded, watching>"
    w.stop()
