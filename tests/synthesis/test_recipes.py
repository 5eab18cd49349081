"""The named recipes, on the bundled network and on small ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nbcnnviz as nv
from nbcnnviz import synthesis as s
from nbcnnviz.core.errors import ExportError
from tests.benchmarks.synthesis import decoded, elsewhere
from tests.toys import classic


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(1)
    return nv.Network(classic(), size=(24, 32))


def probability(net: nv.Network, image: Image.Image, index: int) -> float:
    return net.trace(decoded(net, image), layers=[]).probabilities[0, index].item()


@pytest.mark.parametrize(("recipe", "steps"), [(s.class_model, 100), (s.feature_visualization, 100)])
def test_a_class_is_recognised_in_its_picture_also_from_elsewhere(bundled: nv.Network, recipe, steps: int) -> None:
    *_, frame = recipe(bundled, "daisy", steps=steps)
    daisy = bundled.class_index("daisy")
    assert frame.top(1)[0][1] == "daisy"
    assert probability(bundled, frame.image, daisy) >= 0.95
    assert np.mean([probability(bundled, elsewhere(frame.image, n), daisy) for n in range(10)]) >= 0.95
    pixels = np.asarray(frame.image, float)
    assert pixels.std() > 15
    # Shapes, not noise: neighbouring pixels are alike.
    assert np.abs(np.diff(pixels, axis=1)).mean() < pixels.std()


@pytest.mark.parametrize("name", ["coffee", "moon", "gravel"])
def test_a_few_small_steps_turn_a_picture_into_a_goldfish(bundled: nv.Network, name: str, tmp_path: Path) -> None:
    *_, frame = s.fool(bundled, name, to="goldfish")
    assert frame.done
    assert frame.step <= 40
    assert frame.change_l2 < 0.015
    # The figures are those of the files, and the file fools too.
    before, after = (np.asarray(f.image, float) for f in (frame.original, frame))
    assert frame.change_l2 == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before))
    assert frame.change_linf == np.abs(after - before).max()
    goldfish = bundled.class_index("goldfish")
    frame.save(tmp_path / "goldfish.png")
    assert bundled.trace(tmp_path / "goldfish.png", layers=[]).top(1)[0] == frame.top(1)[0]
    assert frame.top(1)[0][0] == frame.to == goldfish
    assert frame.original.top(1)[0][0] != goldfish
    assert np.asarray(frame.difference()).std() > 1


@pytest.mark.parametrize("how", ["fgsm", "pgd"])
def test_bounded_attacks_stay_within_their_bound(bundled: nv.Network, how: str) -> None:
    frames = list(s.fool(bundled, "coffee", to="goldfish", how=how, bound=2, steps=6))
    for frame in frames:
        change = frame.colours.to_pixels(frame.input) - frame.colours.to_pixels(frames[0].input)
        assert float(change.abs().max()) <= 2 / 255 + 1e-6
        pixels = frame.colours.to_pixels(frame.input)
        assert pixels.min() + 1e-6 >= 0
        assert pixels.max() <= 1 + 1e-6
    assert len(frames) == 2 or how == "pgd"
    goldfish = [f.probabilities[0, frames[0].to].item() for f in frames]
    assert goldfish[-1] > 5 * goldfish[0]


def test_fgsm_is_one_step_along_the_sign_of_the_log_probabilitys_gradient(net: nv.Network) -> None:
    first, second = s.fool(net, "coffee", how="fgsm", bound=4)
    x = first.input.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net.module(x).log_softmax(1)[0, first.to], x)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    level, low, high = 1 / 255 / std, (0 - mean) / std, (1 - mean) / std
    expected = torch.maximum(torch.minimum(first.input + 4 * level * gradient.sign(), high), low)
    assert torch.allclose(second.input, expected, atol=1e-5)


def test_fooling_ends_at_once_where_nothing_needs_to_be_done(net: nv.Network) -> None:
    already = net.trace("coffee").top(1)[0][0]
    frames = list(s.fool(net, "coffee", already))
    assert len(frames) == 1
    assert frames[0].change_linf == 0


def test_without_a_wish_the_least_likely_class_is_wanted(net: nv.Network) -> None:
    frame = next(s.fool(net, "coffee"))
    assert frame.to == int(net.trace("coffee").scores.argmin())


def test_a_dream_raises_the_energy_and_keeps_the_picture(bundled: nv.Network) -> None:
    frames = list(s.dream(bundled, "coffee", "blocks.2", octaves=2, steps=4, size=(120, 160)))
    assert [f.step for f in frames] == list(range(9))
    assert {f.image.size for f in frames} == {(160, 120)}
    assert frames[4].score > frames[0].score
    assert frames[8].score > frames[5].score
    original = np.asarray(nv.load_image("coffee").resize((160, 120)), float)
    dreamt = np.asarray(frames[-1].image, float)
    assert 10 < np.abs(dreamt - original).mean() < 80
    assert np.corrcoef(dreamt.ravel(), original.ravel())[0, 1] > 0.5


def test_a_dream_that_was_steered_can_be_dreamt_again(net: nv.Network) -> None:
    controls = s.recipes()["dream"].controls()
    run = s.dream(net, "coffee", "4", octaves=3, steps=2, size=(30, 40), seed=1, controls=controls)
    frames = []
    for frame in run:
        frames.append(frame)
        if frame.step in (1, 4):
            controls.learning_rate = 0.01 * frame.step
    assert frames[-1].provenance.changes == ((2, {"learning_rate": 0.01}), (5, {"learning_rate": 0.04}))
    names: dict = {"net": net, "image": "coffee"}
    exec(frames[-1].provenance.code, names)
    *_, again = names["frames"]
    assert torch.equal(again.input, frames[-1].input)


def test_inversion_finds_a_picture_that_the_layer_cannot_tell(bundled: nv.Network) -> None:
    *_, frame = s.invert(bundled, "coffee", "blocks.1", steps=60)
    wanted = bundled.trace("coffee")["blocks.1"]
    found = bundled.trace(frame.input)["blocks.1"]
    distance = float(((found - wanted) ** 2).sum().detach() / (wanted**2).sum().detach())
    assert frame.score == pytest.approx(-distance, rel=1e-3)
    assert distance < 0.15


def test_yosinskis_recipe_keeps_pixels_in_range_and_raises_the_score(net: nv.Network) -> None:
    frames = list(s.deep_visualization(net, nv.Channel("4", 3), steps=12))
    assert frames[-1].score > frames[0].score
    pixels = frames[-1].colours.to_pixels(frames[-1].input)
    assert pixels.min() + 1e-6 >= 0
    assert pixels.max() <= 1 + 1e-6


@pytest.mark.parametrize("name", list(s.recipes()))
def test_every_recipe_runs_with_nothing_but_a_network(net: nv.Network, name: str) -> None:
    recipe = s.recipes()[name]
    run = recipe.run(net, controls=recipe.controls(), seed=3)
    frames = [next(run), next(run)]
    run.close()
    assert recipe.doc
    assert recipe.title
    assert frames[1].provenance.recipe == name
    assert frames[1].provenance.seed == 3
    assert name in frames[1].provenance.code
    assert frames[0].image.mode == "RGB"
    assert not torch.equal(frames[0].input, frames[1].input)


def test_a_run_becomes_a_film_and_an_array(net: nv.Network, tmp_path: Path) -> None:
    frames = list(s.synthesize(net, 0, steps=6, learning_rate=0.5))
    array = s.to_array(frames, every=4)
    assert array.shape == (3, 24, 32, 3)
    assert [np.array_equal(a, f.array) for a, f in zip(array, (frames[0], frames[4], frames[6]), strict=True)] == [
        True
    ] * 3
    for ending in ("gif", "webp"):
        s.save_film(iter(frames), tmp_path / f"run.{ending}", fps=10)
        film = Image.open(tmp_path / f"run.{ending}")
        assert film.n_frames == 7
        assert film.info["loop"] == 0
        film.seek(6)
        assert np.abs(np.asarray(film.convert("RGB"), float) - frames[6].array).mean() < 12
    frames[2].save(tmp_path / "frame.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "frame.png")), frames[2].array)


def test_a_run_is_written_as_mp4(net: nv.Network, tmp_path: Path) -> None:
    imageio = pytest.importorskip("imageio.v3")
    pytest.importorskip("imageio_ffmpeg")
    frames = list(s.synthesize(net, 0, steps=4))
    s.save_film(frames, tmp_path / "run.mp4")
    film = imageio.imread(tmp_path / "run.mp4", plugin="FFMPEG")
    height, width, _ = frames[0].array.shape
    assert len(film) == len(frames)
    for picture, frame in zip(film, frames, strict=True):
        assert np.abs(picture[:height, :width].astype(float) - frame.array).mean() < 12


def test_mp4_without_its_encoder_is_a_sentence(net: nv.Network, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("nbcnnviz.synthesis.export.find_spec", lambda name: None)
    with pytest.raises(ExportError, match="pip install imageio-ffmpeg"):
        s.save_film(s.synthesize(net, 0, steps=2), tmp_path / "run.mp4")


@pytest.mark.parametrize("path", ["run.avi", "run"])
def test_a_film_in_another_format_is_refused(net: nv.Network, path: str) -> None:
    with pytest.raises(ExportError, match=r"gif, \.webp or \.mp4"):
        s.save_film([], path)


def test_a_run_that_is_over_makes_no_film(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no frame"):
        s.save_film([], tmp_path / "run.gif")
