"""The run itself: its steps, regularisers, controls, ends and errors."""

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import psutil
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz import synthesis as s
from nbcnnviz.core.errors import SynthesisError
from nbcnnviz.synthesis.optimisers import Adam
from nbcnnviz.synthesis.regularizers import blurred, edited, total_variation
from tests.toys import Stateful, classic
from tests.untouched import photograph

STILL = {"jitter": 0, "scale": 0, "rotate": 0, "jitter_after": 0, "redirected_relu": 0}


class Linear(nn.Module):
    """Scores that are linear in the picture, so that every step is known beforehand."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, None] * self.weight).flatten(2).sum(2)


@pytest.fixture
def linear() -> nv.Network:
    torch.manual_seed(3)
    return nv.Network(Linear(torch.randn(2, 3, 8, 8)), size=8)


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(1)
    return nv.Network(classic(), size=(16, 20))


def test_plain_ascent_adds_the_gradient_times_the_rate(linear: nv.Network) -> None:
    frames = list(
        s.synthesize(linear, 1, steps=3, parameterization="pixels", optimiser="ascent", learning_rate=0.5, **STILL)
    )
    w = linear.module.weight[1].detach()
    assert [f.step for f in frames] == [0, 1, 2, 3]
    for k, frame in enumerate(frames):
        assert torch.allclose(frame.input[0], 0.5 * k * w, atol=1e-5)
        assert frame.score == pytest.approx(0.5 * k * float((w * w).sum()), rel=1e-4)
        assert frame.gradient_norm == pytest.approx(float(w.norm()), rel=1e-5)
        assert torch.equal(frame.logits[0], linear.module(frame.input).detach()[0])


def test_simonyans_objective_settles_where_its_gradient_is_zero(linear: nv.Network) -> None:
    options = {"parameterization": "pixels", "optimiser": "ascent", "learning_rate": 1, "l2": 0.1, **STILL}
    *_, frame = s.class_model(linear, 0, steps=60, **options)
    # d/dI (w I - l2 |I|^2) = 0 at I = w / (2 l2)
    assert torch.allclose(frame.input[0], linear.module.weight[0].detach() / 0.2, atol=1e-3)
    assert frame.penalties["l2"] == pytest.approx(0.1 * float(frame.input.square().sum()), rel=1e-5)


def test_normalised_ascent_takes_steps_of_one_length(linear: nv.Network) -> None:
    frames = list(
        s.synthesize(
            linear, [0, 1], steps=2, parameterization="pixels", optimiser="normalised", learning_rate=3, **STILL
        )
    )
    for a, b in pairwise(frames):
        assert (b.input - a.input).flatten(1).norm(dim=1).tolist() == pytest.approx([3, 3], rel=1e-5)


def test_adam_is_the_published_algorithm() -> None:
    mine, theirs = [torch.zeros(7)], torch.zeros(7, requires_grad=True)
    step, reference = Adam(), torch.optim.Adam([theirs], lr=0.05, maximize=True)
    for _ in range(20):
        gradient = torch.randn(7)
        mine, theirs.grad = step(mine, [gradient], 0.05), gradient
        reference.step()
    assert torch.allclose(mine[0], theirs, atol=1e-6)


def test_total_variation_is_the_sum_of_slopes() -> None:
    picture = np.random.default_rng(0).normal(size=(2, 3, 6, 7))
    down = np.pad(np.diff(picture, axis=2), ((0, 0), (0, 0), (0, 1), (0, 0)))
    right = np.pad(np.diff(picture, axis=3), ((0, 0), (0, 0), (0, 0), (0, 1)))
    expected = np.sqrt((down**2 + right**2).sum(1)).sum()
    assert float(total_variation(torch.from_numpy(picture))) == pytest.approx(expected, rel=1e-3)
    assert float(total_variation(torch.ones(1, 3, 5, 5))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.3])
def test_blur_is_a_gaussian(radius: float) -> None:
    picture = torch.rand(2, 3, 21, 30, dtype=torch.float64)
    expected = ndimage.gaussian_filter(
        picture.numpy(), (0, 0, radius, radius), mode="mirror", radius=int(np.ceil(4 * radius))
    )
    np.testing.assert_allclose(blurred(picture, radius).numpy(), expected, atol=1e-9)


def test_edits_are_made_when_they_are_due() -> None:
    picture, gradient = torch.randn(2, 3, 10, 10), torch.randn(2, 3, 10, 10)
    assert torch.allclose(edited(picture, None, s.Controls(decay=0.25), 1), 0.75 * picture)
    due = s.Controls(blur_every=4, blur_radius=1)
    assert torch.equal(edited(picture, None, due, 3), picture)
    assert torch.equal(edited(picture, None, due, 4), blurred(picture, 1))
    for controls, merit in (
        (s.Controls(clip_norm=30), picture.norm(dim=1)),
        (s.Controls(clip_contribution=30), (picture * gradient).sum(1).abs()),
    ):
        found = edited(picture, picture * gradient, controls, 1)
        for n in range(2):
            least = merit[n].flatten().argsort()[:30]
            assert (found[n].flatten(1)[:, least] == 0).all()
            assert int((found[n] != 0).all(0).sum()) == 70


def test_contribution_is_that_of_the_pixels_of_the_picture(linear: nv.Network) -> None:
    options = {**STILL, "clip_contribution": 50, "parameterization": "pixels", "optimiser": "ascent", "start": "noise"}
    first, second = s.synthesize(linear, 0, steps=1, learning_rate=0.1, **options)
    w = linear.module.weight[0].detach()
    least = (first.input[0] * w).sum(0).abs().flatten().argsort()[:32]
    assert (second.input[0].flatten(1)[:, least] == 0).all()
    assert int((second.input[0] != 0).all(0).sum()) == 32


def test_pixels_stay_between_black_and_white_when_clipped(linear: nv.Network) -> None:
    *_, frame = s.synthesize(
        linear, 0, steps=5, parameterization="pixels", optimiser="ascent", clip=True, learning_rate=9, **STILL
    )
    pixels = frame.colours.to_pixels(frame.input)
    assert float(pixels.min()) == pytest.approx(0, abs=1e-6)
    assert float(pixels.max()) == pytest.approx(1, abs=1e-6)


def test_the_same_seed_makes_the_same_run_and_another_another(net: nv.Network) -> None:
    def last(seed: int) -> Tensor:
        *_, frame = s.feature_visualization(net, nv.Channel("4", 2), steps=6, seed=seed)
        return frame.input

    torch.manual_seed(5)
    first = last(0)
    torch.manual_seed(6)
    assert torch.equal(first, last(0))
    assert not torch.allclose(first, last(1))


def test_a_gallery_makes_each_picture_as_it_would_be_alone(net: nv.Network) -> None:
    targets = [nv.Channel("4", 1), nv.Channel("4", 6), 2]
    *_, together = s.synthesize(net, targets, steps=8)
    for i, target in enumerate(targets):
        *_, alone = s.synthesize(net, target, steps=8)
        assert torch.allclose(together.input[i], alone.input[0], atol=1e-3)
        assert together.scores[i] == pytest.approx(alone.score, rel=1e-3)
    assert len(together.images) == 3
    assert together.array.shape == (16, 60, 3)


def test_pictures_of_one_objective_start_from_different_noise(net: nv.Network) -> None:
    frame = next(s.synthesize(net, nv.Channel("4", 1) + nv.Diversity("4"), pictures=3))
    assert frame.input.shape[0] == 3
    assert not torch.allclose(frame.input[0], frame.input[1])
    assert torch.equal(frame.input[:1], next(s.synthesize(net, 0)).input)


def test_controls_moved_while_it_runs_act_at_the_next_step_and_can_be_replayed(linear: nv.Network) -> None:
    controls = s.Controls(learning_rate=1, **STILL)
    run = s.synthesize(linear, 0, steps=6, parameterization="pixels", optimiser="ascent", controls=controls)
    frames = [next(run), next(run)]
    controls.learning_rate = 0.25
    frames += [next(run), next(run)]
    controls.l2 = 0.01
    frames += list(run)
    w = linear.module.weight[0].detach()
    assert torch.allclose((frames[2].input - frames[1].input)[0], 0.25 * w, atol=1e-5)
    assert frames[-1].provenance.changes == ((2, {"learning_rate": 0.25}), (4, {"l2": 0.01}))
    assert "l2" in frames[4].penalties
    again = {"parameterization": "pixels", "optimiser": "ascent", "learning_rate": 1, **STILL}
    *_, replayed = s.synthesize(linear, 0, steps=6, schedule=dict(frames[-1].provenance.changes), **again)
    assert torch.equal(replayed.input, frames[-1].input)


def test_a_frame_carries_the_code_that_makes_it_again(net: nv.Network) -> None:
    *_, frame = s.class_model(net, nv.Channel("4", 2) - 0.5 * nv.ClassScore(1), steps=3, seed=7, l2=0.25)
    names: dict = {"net": net}
    exec(frame.provenance.code, names)
    *_, again = names["frames"]
    assert torch.equal(again.input, frame.input)
    assert again.provenance == frame.provenance


def test_frames_do_not_change_once_they_are_out(net: nv.Network) -> None:
    run = s.synthesize(net, 0, steps=4, parameterization="pixels", blur_every=1, decay=0.1)
    next(run)
    frame = next(run)
    before, image = frame.input.clone(), frame.image.tobytes()
    list(run)
    assert torch.equal(frame.input, before)
    assert frame.image.tobytes() == image
    with pytest.raises(AttributeError):
        frame.step = 3  # type: ignore[misc]


def test_a_run_starts_from_a_picture_or_a_frame(net: nv.Network) -> None:
    photograph_ = nv.load_image("chelsea")
    first = next(s.synthesize(net, 0, start=photograph_, parameterization="pixels"))
    assert torch.equal(first.input, net.batch(photograph_))
    waves = next(s.synthesize(net, 0, start=first, parameterization="fourier"))
    assert torch.allclose(waves.input, first.input, atol=0.02)
    large = next(s.synthesize(net, 0, start=photograph_, size=(24, 32), parameterization="pixels"))
    assert large.input.shape == (1, 3, 24, 32)


def test_a_run_starts_from_as_many_pictures_as_it_is_given(net: nv.Network) -> None:
    batch = torch.randn(4, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    for options in ({}, {"pictures": 4}):
        frame = next(s.synthesize(net, 0, start=batch, parameterization="pixels", **options))
        assert torch.equal(frame.input, batch)
        assert len(frame.scores) == 4
        assert frame.provenance.arguments["pictures"] == 4
    gallery = next(s.synthesize(net, [0, 1, 2, 1], start=batch, parameterization="pixels"))
    assert torch.equal(gallery.input, batch)
    waves = next(s.synthesize(net, 0, start=batch.clamp(-1, 1)))
    assert torch.allclose(waves.input, batch.clamp(-1, 1), atol=0.02)
    assert len(next(s.dream(net, batch, "4", octaves=1, steps=1)).input) == 4


@pytest.mark.parametrize(("objective", "options"), [(0, {"pictures": 2}), ([0, 1], {}), ([0, 1, 2, 3, 4], {})])
def test_another_number_of_pictures_than_are_to_be_made_is_refused(net, objective: object, options: dict) -> None:
    with pytest.raises(nv.ImageError, match=r"There are 4 pictures to start from, and [25] to be made"):
        s.synthesize(net, objective, start=torch.zeros(4, 3, 16, 20), **options)


@pytest.mark.parametrize("recipe", [s.fool, s.invert])
def test_a_recipe_for_one_picture_refuses_several(net: nv.Network, recipe: Callable) -> None:
    with pytest.raises(nv.ImageError, match="takes one picture, and 2 were given"):
        next(recipe(net, torch.zeros(2, 3, 16, 20)))


def test_nothing_of_the_users_is_touched_and_no_parameter_has_a_gradient() -> None:
    module = Stateful().train()
    for n, p in enumerate(module.parameters()):
        p.requires_grad_(n % 2 == 0)
    net = nv.Network(module, size=10)
    before = photograph(module)
    seen = []

    def spy(trace: nv.Trace) -> Tensor:
        seen.extend(p.requires_grad for p in trace.parameters.values())
        return trace.scores[:, 0].sum()

    run = s.synthesize(net, spy, steps=5)
    next(run)
    next(run)
    assert photograph(module) == before
    run.close()
    list(s.fool(net, "coffee", 1, steps=3))
    assert seen
    assert not any(seen)
    assert photograph(module) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    "run",
    [
        lambda net: s.synthesize(net, 0, steps=2),
        lambda net: s.deep_visualization(net, 0, steps=2),
        lambda net: s.fool(net, steps=2),
        lambda net: s.dream(net, layer="4", octaves=2, steps=2, size=30),
        lambda net: s.invert(net, layer="4", steps=2),
    ],
)
def test_it_runs_where_gradients_are_off(net: nv.Network, mode: type, run: Callable) -> None:
    with mode():
        *_, found = run(net)
    *_, expected = run(net)
    assert torch.equal(found.input, expected.input)


class Viewing(nn.Module):
    """As many tutorials have it: only contiguous tensors have such a view."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().view(len(x), -1))


def test_a_network_that_views_its_maps_as_vectors_runs_too() -> None:
    net = nv.Network(Viewing(), size=8)
    frame = next(s.synthesize(net, 2, **STILL))
    assert frame.score == pytest.approx(net.module(frame.input)[0, 2].item(), rel=1e-5)


class Asleep(nn.Module):
    """One wholly dead ReLU between the picture and the score."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        nn.init.constant_(self.conv.bias, -0.5)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x)).mean((2, 3))


@pytest.mark.parametrize("target", [nv.Unit("relu", 1), nv.Channel("relu", 1), 1])
def test_a_dead_unit_is_woken_and_its_picture_does_not_stay_grey(target: object) -> None:
    net = nv.Network(Asleep(), size=32)
    *_, grey = s.feature_visualization(net, target, steps=40, redirected_relu=0)
    *_, awake = s.feature_visualization(net, target, steps=40)
    assert grey.score == 0
    assert np.asarray(grey.image).std() < 5
    assert awake.score > 0
    assert np.asarray(awake.image).std() > 20


def test_the_waking_gradient_is_the_one_that_raises_what_is_dead_and_leaves_the_living_alone() -> None:
    from nbcnnviz.core.rules import dead_relu_gradient

    x = torch.tensor([[-1.0, -2.0, -3.0], [1.0, -1.0, 2.0]], requires_grad=True)
    weight = torch.tensor([[1.0, -1.0, 2.0], [3.0, 4.0, -5.0]])
    y = (x.relu() * weight).sum()
    with dead_relu_gradient([y]):
        (found,) = torch.autograd.grad(y, x, retain_graph=True)
    assert found.tolist() == [[1.0, 0.0, 2.0], [3.0, 0.0, -5.0]]
    assert torch.autograd.grad(y, x)[0].tolist() == [[0.0, 0.0, 0.0], [3.0, 0.0, -5.0]]


@pytest.mark.parametrize(
    "rectifier",
    [nn.ReLU6(), nn.ReLU6(inplace=True), nn.Hardtanh(0, 6), lambda x: x.clamp(0, 6), lambda x: (1 * x).clamp_(0, 6)],
)
def test_what_is_saturated_above_wakes_towards_where_it_is_alive(rectifier: Callable[[Tensor], Tensor]) -> None:
    from nbcnnviz.core.rules import dead_relu_gradient

    x = torch.tensor([[9.0, 8.0, -1.0, -2.0], [9.0, 8.0, -1.0, 3.0]], requires_grad=True)
    weight = torch.tensor([[2.0, -3.0, 4.0, -5.0], [2.0, -3.0, 4.0, -5.0]])
    y = (rectifier(1 * x) * weight).sum()
    with dead_relu_gradient([y]):
        (found,) = torch.autograd.grad(y, x)
    # The first picture is dead: above, only what lowers; below, only what raises. The second is alive: the plain gradient.
    assert found.tolist() == [[0.0, -3.0, 4.0, 0.0], [0.0, 0.0, 0.0, -5.0]]


def test_a_channel_beyond_its_saturation_is_not_raised_for_nothing() -> None:
    module = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.ones_(module[0].weight)
    net = nv.Network(module, size=8)
    options = {
        "parameterization": "pixels",
        "optimiser": "ascent",
        "learning_rate": 100,
        **STILL,
        "redirected_relu": 16,
    }
    start = torch.full((1, 3, 8, 8), 3.0)
    *_, up = s.synthesize(net, 0, start=start, steps=16, **options)
    assert torch.equal(up.input, start)
    *_, down = s.synthesize(net, -1 * nv.ClassScore(0), start=start, steps=1, **options)
    assert float(down.input.max()) < 3


def test_an_explosion_ends_the_run_with_the_last_good_frame(linear: nv.Network) -> None:
    run = s.synthesize(
        linear, 0, steps=50, parameterization="pixels", optimiser="ascent", learning_rate=1, l2=3, **STILL
    )
    good = []
    with pytest.raises(SynthesisError, match=r"at step \d+: lower learning_rate \(now 1\) or l2 \(now 3\)") as caught:
        good.extend(run)
    assert caught.value.frame.step == caught.value.step - 1
    assert bool(caught.value.frame.input.isfinite().all())


def test_a_score_that_is_not_a_number_ends_the_run(linear: nv.Network) -> None:
    def worse_and_worse(trace: nv.Trace) -> Tensor:
        return (1.5 - trace.input.abs().amax()).log() + trace.scores.sum() * 10

    with pytest.raises(SynthesisError, match="The score became nan at step 1: lower learning_rate") as caught:
        list(
            s.synthesize(
                linear, worse_and_worse, parameterization="pixels", optimiser="ascent", learning_rate=1, **STILL
            )
        )
    assert caught.value.frame.step == 0
    with pytest.raises(SynthesisError, match="on the very first picture: the network or the objective is at fault"):
        next(s.synthesize(linear, lambda t: t.scores.sum() * torch.nan))


def test_a_picture_too_small_for_the_layer_is_said_in_a_sentence() -> None:
    net = nv.Network(nn.Sequential(nn.Conv2d(3, 4, 5), nn.MaxPool2d(4), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=32)  # fmt: skip
    assert next(s.synthesize(net, nv.Channel("0", 0), size=8)).input.shape[2:] == (8, 8)
    with pytest.raises(nv.ImageError, match=r"A picture of 8 x 8 is too small .* made for 32 x 32"):
        next(s.synthesize(net, nv.Channel("2", 0), size=8))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learning_rat": 1}, "learning_rate"),
        ({"learning_rate": -1}, "zero or more"),
        ({"l2": float("nan")}, "finite"),
        ({"scale": 1.0}, "less than 1"),
        ({"parameterization": "oil"}, "one of pixels, fourier"),
        ({"optimiser": "sgd"}, "one of ascent, normalised, adam"),
        ({"steps": -1}, "steps is a whole number, 0 or more"),
        ({"size": 0}, "size is a whole number, 1 or more"),
        ({"pictures": 0}, "pictures is a whole number"),
    ],
)
def test_an_option_that_makes_no_sense_is_said_at_once(net: nv.Network, options: dict, words: str) -> None:
    with pytest.raises(nv.UnknownOptionError, match=words):
        s.synthesize(net, 0, **options)


def test_a_hundred_runs_leave_nothing_behind(net: nv.Network) -> None:
    process = psutil.Process()

    def run() -> weakref.ref:
        frames = s.feature_visualization(net, nv.Channel("4", 1), size=64)
        next(frames)
        kept = weakref.ref(next(frames))
        frames.close()
        return kept

    before, threads, tensors = photograph(net.module), threading.active_count(), 0
    gc.disable()  # a frame goes with its last user, not when the collector comes by
    try:
        for n in range(101):
            assert run()() is None
            if n == 0:
                memory, tensors = process.memory_info().rss, live_tensors()
        gc.collect()
        assert live_tensors() <= tensors
        assert threading.active_count() == threads
        assert process.memory_info().rss < memory + 20e6
        assert photograph(net.module) == before
    finally:
        gc.enable()


def live_tensors() -> int:
    return sum(issubclass(type(o), Tensor) for o in gc.get_objects()) if sys.implementation.name == "cpython" else 0


def test_mixed_precision_finds_the_same_thing(net: nv.Network) -> None:
    *_, full = s.synthesize(net, nv.Channel("4", 1), steps=20)
    *_, mixed = s.synthesize(net, nv.Channel("4", 1), steps=20, mixed=True)
    assert mixed.input.dtype == torch.float32
    assert mixed.score == pytest.approx(full.score, rel=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_it_runs_on_a_gpu() -> None:
    net = nv.load_network(device="cuda")
    *_, frame = s.class_model(net, "daisy", steps=32)
    assert frame.input.is_cuda
    assert frame.image.size == (224, 224)


def test_the_precision_is_chosen_by_measurement_and_told(net: nv.Network, monkeypatch) -> None:
    from nbcnnviz.synthesis import precision

    *_, plain = s.synthesize(net, 0, steps=18)
    assert plain.provenance.precision == "float32"
    *_, half = s.synthesize(net, 0, steps=18, precision="bfloat16")
    assert half.provenance.precision == "bfloat16"
    assert "precision='bfloat16'" in half.provenance.code
    assert half.score != plain.score
    # With auto the run is that of what was chosen, whatever that is, and says so.
    *_, frame = s.synthesize(net, 0, steps=18, precision="auto")
    told = frame.provenance.precision
    assert frame.score == (half if told.startswith("bfloat16") else plain).score
    assert "(auto: " in told
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: False)
    frame = next(s.synthesize(net, 0, precision="auto"))
    assert frame.provenance.precision == "float32 (auto: this processor does not compute in bfloat16)"
    with pytest.raises(nv.UnknownOptionError, match="precision is one of float32, bfloat16, auto"):
        s.synthesize(net, 0, precision="float16")


@pytest.mark.parametrize(("faster", "noise", "chosen"), [(True, 0.01, True), (True, 1.0, False), (False, 0.01, False)])
def test_bfloat16_is_chosen_where_it_is_faster_and_the_gradient_the_same(
    faster: bool, noise: float, chosen: bool, monkeypatch
) -> None:
    from nbcnnviz.synthesis import precision

    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: True)
    gradient, clock = torch.randn(500, generator=torch.Generator().manual_seed(0)), [0.0]
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])

    def run(bfloat16: bool) -> Tensor:
        clock[0] += 0.02 if bfloat16 == faster else 0.04
        return gradient + bfloat16 * noise * torch.randn(500, generator=torch.Generator().manual_seed(1))

    found = precision.choose("auto", torch.device("cpu"), run)
    assert found.bfloat16 == chosen
    assert (
        "20 ms a step in bfloat16, 40 ms in float32" if faster else "40 ms a step in bfloat16, 20 ms"
    ) in found.words


def test_in_bfloat16_the_picture_is_the_same_to_a_person(net: nv.Network) -> None:
    options = {"steps": 40, "seed": 2}
    *_, full = s.feature_visualization(net, nv.Channel("4", 1), **options)
    *_, half = s.feature_visualization(net, nv.Channel("4", 1), precision="bfloat16", **options)
    assert half.score != full.score
    one, two = (f.pixels.flatten().numpy() for f in (full, half))
    assert np.corrcoef(one, two)[0, 1] > 0.97


class OneLogit(nn.Module):
    """A logit that speaks for two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


@pytest.mark.parametrize("how", ["ascent", "pgd"])
def test_one_logit_is_fooled_across_zero(how: str) -> None:
    torch.manual_seed(0)
    net = nv.Network(OneLogit(), size=16, classes=["sound", "broken"])
    before = net.trace("coffee")
    wanted = 1 - before.best[0]
    frames = list(s.fool(net, "coffee", how=how, bound=60, steps=200, learning_rate=2))
    assert frames[0].to == wanted
    assert frames[-1].done
    assert float(frames[-1].logits) * float(before.scores.detach()) < 0
    assert frames[-1].best()[:2] == (wanted, net.classes[wanted])
    assert frames[-1].best()[2] == pytest.approx(float(torch.sigmoid(frames[-1].logits.abs())))
    assert frames[-1].probabilities.shape == (1, 2)


def test_values_have_no_probabilities_and_are_not_fooled() -> None:
    net = nv.Network(classic(classes=3), size=16, scores="regression")
    *_, frame = s.synthesize(net, 1, steps=2)
    assert frame.probabilities is None
    assert frame.best() is None
    assert "as a file" in repr(frame)
    with pytest.raises(nv.MethodNotApplicableError, match="no classes to be fooled about"):
        s.fool(net, "coffee")
