"""What a frame says is what the network says of the file that is saved of it: by way of real files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz import synthesis as s
from nbcnnviz.core.preprocess import Preprocess
from tests.core.test_geometry import blue_first, random_crop
from tests.toys import classic

PREPROCESSES = {
    "scaled and cropped": Preprocess((24, 32)),
    "enlarged, then cropped": create_transform(48, crop_pct=0.8, interpolation="bicubic"),
    "squashed": create_transform(40, crop_pct=1.0, crop_mode="squash", interpolation="bilinear"),
    "blue first": blue_first,
    "grey": Preprocess((28, 28), (0.5,), (0.5,)),
}


@pytest.fixture(scope="module", params=PREPROCESSES)
def net(request: pytest.FixtureRequest) -> nv.Network:
    torch.manual_seed(4)
    module = classic(1 if request.param == "grey" else 3)
    with torch.no_grad():
        module[-1].weight.mul_(8)  # scores far enough apart to be told from one another
    return nv.Network(module, PREPROCESSES[request.param], name=request.param)


def scores_of_file(net: nv.Network, frame: s.Frame, path: Path) -> Tensor:
    frame.save(path)
    return net.trace(path).scores.detach()


@pytest.mark.parametrize("how", ["ascent", "pgd"])
@pytest.mark.parametrize("at", ["network", "photograph"])
def test_each_frame_on_the_way_to_another_class_says_what_its_file_scores(
    net: nv.Network, at: str, how: str, tmp_path: Path
) -> None:
    frames = list(s.fool(net, "coffee", at=at, how=how, steps=4))
    for frame in (frames[0], frames[1], frames[-1]):
        found = scores_of_file(net, frame, tmp_path / "picture.png")
        assert torch.allclose(found, frame.logits, atol=1e-5)
        assert torch.equal(net.batch(tmp_path / "picture.png"), frame.input)
    if at == "photograph":
        assert frames[0].image.size == nv.load_image("coffee").size
    # The picture it starts from is the photograph, as the network sees it.
    if (net.name, at) == ("grey", "photograph"):  # it is made grey before it is scaled, which rounds otherwise
        assert torch.allclose(frames[0].input, net.batch("coffee"), atol=2 / 127)
    else:
        assert torch.equal(frames[0].input, net.batch("coffee"))
    wanted = frames[0].to
    assert frames[-1].logits.log_softmax(1)[0, wanted] > frames[0].logits.log_softmax(1)[0, wanted]


@pytest.mark.parametrize("at", ["network", "photograph"])
def test_the_file_fools_the_bundled_network(bundled: nv.Network, at: str, tmp_path: Path) -> None:
    *_, frame = s.fool(bundled, "chelsea", to="goldfish", at=at)
    assert frame.done
    assert frame.step <= 40
    assert frame.change_l2 < 0.015
    frame.save(tmp_path / "goldfish.png")
    (index, name, probability), *_ = bundled.trace(tmp_path / "goldfish.png").top(1)
    assert (index, name) == (frame.to, "goldfish")
    assert f"goldfish ({probability:.0%})" in repr(frame)
    assert frame.top(1)[0][2] == pytest.approx(probability, abs=1e-6)


@pytest.mark.parametrize("at", ["network", "photograph"])
def test_a_bound_holds_in_the_levels_of_the_file(net: nv.Network, at: str) -> None:
    *_, frame = s.fool(net, "coffee", at=at, how="pgd", bound=2.5, learning_rate=1, steps=5)
    changed = np.abs(np.asarray(frame.image, int) - np.asarray(frame.original.image, int))
    assert changed.max() == frame.change_linf == 2


def test_a_bound_of_less_than_a_level_is_refused(net: nv.Network) -> None:
    with pytest.raises(nv.UnknownOptionError, match="levels of 255, 1 or more"):
        s.fool(net, "coffee", how="pgd", bound=0.5)
    with pytest.raises(nv.UnknownOptionError, match="at is one of network, photograph"):
        s.fool(net, "coffee", at="screen")


def test_a_preprocessed_picture_gets_the_margin_that_its_file_loses(net: nv.Network, tmp_path: Path) -> None:
    x = net.batch("coffee")
    *_, frame = s.fool(net, x, steps=3)
    assert frame.file is not None
    off = frame.colours.to_pixels(frame.original.input) - frame.colours.to_pixels(x)
    assert float(off.abs().max()) < 0.6 / 255
    assert torch.allclose(scores_of_file(net, frame, tmp_path / "picture.png"), frame.logits, atol=1e-5)


def test_where_no_file_gives_the_input_the_input_is_changed_and_the_frame_tells_of_its_file(tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = nv.Network(classic(), size=(24, 32))
    large = torch.rand(1, 3, 60, 50)
    *_, frame = s.fool(net, large, steps=3)
    assert frame.file is None
    assert frame.input.shape == large.shape
    assert torch.allclose(scores_of_file(net, frame, tmp_path / "picture.png"), frame.saved.logits, atol=1e-5)
    assert "as a file" in repr(frame)
    bands = nv.Network(nn.Sequential(nn.Conv2d(5, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=12)
    *_, frame = s.fool(bands, torch.rand(1, 5, 12, 12), steps=3)
    assert frame.file is frame.saved is None


@pytest.mark.parametrize("preprocess", [random_crop, Preprocess.standardized(24)])
def test_a_preprocess_without_a_way_back_is_refused(preprocess: Callable) -> None:
    net = nv.Network(classic(), preprocess)
    with pytest.raises(nv.MethodNotApplicableError, match="give a preprocessed"):
        s.fool(net, "coffee")


@pytest.mark.parametrize("at", ["network", "photograph"])
def test_fooling_goes_on_from_a_frame(net: nv.Network, at: str, tmp_path: Path) -> None:
    frames = list(s.fool(net, "coffee", at=at, steps=2, learning_rate=1))
    again = next(s.fool(net, "coffee", at=at, to=frames[0].to, start=frames[-1]))
    assert torch.equal(again.input, frames[-1].input)
    assert again.change_l2 == frames[-1].change_l2
    assert torch.equal(frames[-1].rounded.input, frames[-1].input)
    if frames[0].image.size != (50, 40):
        with pytest.raises(nv.ImageError, match="pictures of one size"):
            next(s.fool(net, "coffee", at="photograph", start=Image.new("RGB", (50, 40))))


@pytest.mark.parametrize(
    "run",
    [
        lambda net: s.class_model(net, 1, steps=3),
        lambda net: s.feature_visualization(net, nv.Channel("4", 2), steps=3),
        lambda net: s.deep_visualization(net, [0, nv.Channel("4", 3)], steps=3),
        lambda net: s.synthesize(net, 0, steps=3, size=50),
        lambda net: s.dream(net, "coffee", "4", octaves=2, steps=2, size=(60, 80)),
        lambda net: s.invert(net, "coffee", "4", steps=3),
    ],
    ids=["class_model", "feature_visualization", "deep_visualization", "synthesize", "dream", "invert"],
)
def test_the_last_frame_of_every_recipe_says_what_its_file_scores(
    net: nv.Network, run: Callable, tmp_path: Path
) -> None:
    *_, frame = run(net)
    assert "; as a file " in repr(frame)
    for n, picture in enumerate(frame.images):
        picture.save(tmp_path / f"{n}.png")
    trace = net.trace([tmp_path / f"{n}.png" for n in range(len(frame.images))])
    assert torch.allclose(trace.scores, frame.saved.logits, atol=1e-5)
    assert frame.saved.top(1)[0][:2] == trace.top(1)[0][:2]
    assert frame.saved.score == pytest.approx(float(frame.objective(trace).detach().mean()), rel=1e-4, abs=1e-6)


def test_the_bundled_networks_preprocess_is_what_a_class_models_file_goes_through(
    bundled: nv.Network, tmp_path: Path
) -> None:
    *_, frame = s.class_model(bundled, "daisy", steps=8)
    frame.save(tmp_path / "daisy.png")
    trace = bundled.trace(tmp_path / "daisy.png")
    daisy = bundled.class_index("daisy")
    assert frame.saved.score == pytest.approx(float(trace.scores[0, daisy].detach()), rel=1e-4)
    # It is enlarged and cropped there, so that this is another number than the run's own.
    assert frame.saved.score != pytest.approx(frame.score, rel=0.01)
    assert f"as a file {frame.saved.score:.4g}, {trace.top(1)[0][1]}" in repr(frame)


def test_an_objective_without_meaning_at_the_size_of_a_file_has_no_score_there(net: nv.Network) -> None:
    *_, frame = s.invert(net, "coffee", "4", steps=1, size=(70, 90))
    assert frame.saved.score is None
    assert frame.saved.top(1)


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "webp"])
def test_formats_without_loss_keep_every_pixel(net: nv.Network, ending: str, tmp_path: Path, recwarn) -> None:
    *_, frame = s.fool(net, "coffee", steps=1)
    found = scores_of_file(net, frame, tmp_path / f"picture.{ending}")
    assert torch.allclose(found, frame.logits, atol=1e-5)
    assert not [w for w in recwarn if "does not keep" in str(w.message)]


@pytest.mark.parametrize("ending", ["jpg", "gif"])
def test_a_format_that_changes_pixels_is_named_with_what_it_scores(net, ending: str, tmp_path: Path) -> None:
    if (net.name, ending) == ("grey", "gif"):
        pytest.skip("a GIF has room for every grey")
    *_, frame = s.fool(net, "coffee", steps=1)
    path = tmp_path / f"picture.{ending}"
    with pytest.warns(UserWarning, match=f"picture.{ending} does not keep the frame's pixels") as caught:
        frame.save(path)
    _, name, probability = net.trace(path).top(1)[0]
    assert f"{name} {probability:.0%}, a PNG" in str(caught[0].message)
