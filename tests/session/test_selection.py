from __future__ import annotations

import dataclasses
import io
import sys
import threading

import numpy as np
import pytest
import torch
import traitlets as t
from PIL import Image
from torch import nn

import nbcnnviz as nv
from nbcnnviz.metrics import randomised
from nbcnnviz.session import Selection
from tests import toys


@pytest.fixture
def selection(toy: nv.Network) -> Selection:
    return Selection(toy, "chelsea")


def other_network() -> nv.Network:
    return nv.Network(toys.Tiny(), size=24)


def state(selection: Selection) -> dict:
    return {name: selection.trait_values()[name] for name in selection.trait_names()}


def told(selection: Selection) -> list[tuple[str, dict]]:
    """What an observer that waits for whole changes comes to know: the trait named, and all of them."""
    heard: list = []
    selection.observe(lambda c: heard.append((c.name, state(selection))) if not selection.changing else None, t.All)
    return heard


def test_a_selection_opens_on_the_last_maps_and_the_top_class(selection: Selection, toy: nv.Network) -> None:
    assert (selection.layer, selection.filter, selection.target) == (toy.last_maps, None, None)
    assert (selection.method, selection.options, selection.source) == ("grad_cam", {}, "chelsea")
    assert selection.explains() is None


def test_what_is_given_at_first_holds_together(toy: nv.Network) -> None:
    selection = Selection(toy, "coffee", method="saliency", layer="0", target="bee", filter=0)
    assert (selection.method, selection.layer, selection.target, selection.filter) == ("saliency", "0", 1, 0)
    assert selection.explains() == nv.Channel("0", 0)
    assert Selection(toy, "coffee", target=0).target == 0


@pytest.mark.parametrize(
    ("name", "value", "error", "says"),
    [
        ("layer", "4x", nv.UnknownLayerError, "no layer '4x'"),
        ("layer", "", nv.UnknownLayerError, "no layer ''"),
        ("target", "wolf", nv.UnknownClassError, "no class 'wolf'"),
        ("target", "crane", nv.UnknownClassError, r"names 2 classes: give an index, \[3, 4\]"),
        ("target", 5, nv.UnknownClassError, "There are 5 classes, 0 to 4"),
        ("target", -6, nv.UnknownClassError, "There are 5 classes"),
        ("target", 2.5, nv.UnknownClassError, "A target is a class index or name"),
        ("target", torch.zeros(3), nv.UnknownClassError, "A target is a class index or name"),
        ("target", nv.ClassScore("wolf"), nv.UnknownClassError, "no class 'wolf'"),
        ("filter", 8, nv.FilterRangeError, "filters 0 to 7: there is no 8"),
        ("filter", -1, nv.FilterRangeError, "there is no -1"),
        ("method", "gradcam", nv.UnknownMethodError, "Nearest: grad_cam"),
        ("image", "no such file", nv.ImageError, "no file"),
        ("image", b"junk", nv.ImageError, "not a picture"),
        ("image", 7, nv.ImageError, "A int is no picture"),
        ("image", np.full((4, 4), np.nan), nv.ImageError, "NaN"),
        ("network", "resnet18", t.TraitError, "expected a Network"),
        ("options", 3, t.TraitError, "expected a dict"),
        ("options", {"foo": 1}, nv.UnknownOptionError, "foo"),
    ],
)
def test_what_is_not_valid_raises_why_and_changes_nothing(selection: Selection, name, value, error, says) -> None:
    selection.target = 1
    selection.filter = 2
    before, heard = state(selection), told(selection)
    with pytest.raises(error, match=says):
        setattr(selection, name, value)
    assert state(selection) == before
    assert heard == []
    assert not selection.changing


@pytest.mark.parametrize(
    ("target", "index"),
    [
        (2, 2),
        (-1, 4),
        ("bee", 1),
        ("BEE", 1),
        (np.int64(3), 3),
        (torch.tensor(3), 3),
        (nv.ClassScore("ant"), 0),
        (nv.ClassScore(4), 4),
    ],
)
def test_a_class_by_any_name_becomes_its_index(selection: Selection, target, index: int) -> None:
    selection.target = target
    assert selection.target == index
    assert type(selection.target) is int


def test_any_target_may_be_set(selection: Selection) -> None:
    for target in (nv.Unit("0", 1, 2, 3), nv.LayerEnergy("0"), nv.ClassScore((1,)), lambda trace: trace.scores.sum()):
        selection.target = target
        assert selection.target is selection.explains() is target


def as_file(name: str | None = None) -> io.BytesIO:
    file = io.BytesIO()
    nv.load_image("coffee").resize((30, 20)).save(file, "PNG")
    file.seek(0)
    if name:
        file.name = name
    return file


@pytest.mark.parametrize(
    ("make", "source"),
    [
        (lambda folder: "coffee", "coffee"),
        (lambda folder: str(folder / "a.png"), "{folder}/a.png"),
        (lambda folder: folder / "a.png", "{folder}/a.png"),
        (lambda folder: Image.open(folder / "a.png"), "{folder}/a.png"),
        (lambda folder: (folder / "a.png").open("rb"), "{folder}/a.png"),
        (lambda folder: as_file("holiday.png"), "holiday.png"),
        (lambda folder: as_file(), ""),
        (lambda folder: as_file().getvalue(), ""),
        (lambda folder: nv.load_image("coffee"), ""),
        (lambda folder: np.zeros((5, 6, 3)), ""),
        (lambda folder: torch.rand(3, 5, 6), ""),
    ],
)
def test_a_picture_may_be_all_that_load_image_takes_and_keeps_its_name(selection, tmp_path, make, source) -> None:
    (tmp_path / "a.png").write_bytes(as_file().getvalue())
    selection.image = make(tmp_path)
    assert isinstance(selection.image, Image.Image)
    assert selection.image.mode == "RGB"
    assert selection.source == source.format(folder=tmp_path)


def test_a_picture_assigned_again_keeps_its_name(selection: Selection) -> None:
    selection.image = as_file("holiday.png")
    holiday = selection.image
    selection.image = "coffee"
    selection.image = holiday
    assert selection.source == "holiday.png"


def test_a_picture_of_the_users_is_not_written_to(selection: Selection) -> None:
    picture = Image.new("RGB", (9, 9))
    selection.image = picture
    assert selection.image is not picture
    assert not hasattr(picture, "filename")


def test_a_new_network_sets_layer_filter_and_target_back(selection: Selection) -> None:
    selection.layer, selection.target, selection.filter = "0", 3, 1
    selection.network = network = other_network()
    assert (selection.layer, selection.filter, selection.target) == (network.last_maps, None, None)
    assert selection.source == "chelsea"


OF_CLASSES = nv.ClassScore(1) - nv.ClassScore(2)
OF_A_LAYER = [nv.LayerEnergy("4"), nv.ClassScore(1) + nv.Channel("4", 7), lambda trace: trace["4"].mean((1, 2, 3))]


@pytest.mark.parametrize("target", [OF_CLASSES, *OF_A_LAYER])
def test_a_network_of_the_same_layers_and_classes_is_asked_the_same(selection: Selection, target) -> None:
    selection.target = target
    selection.filter = 1
    selection.network = randomised(selection.network)
    assert selection.target is target
    assert selection.filter == 1


def test_a_network_of_other_layers_is_asked_of_the_same_classes_but_not_of_layers(selection: Selection) -> None:
    toy, target = selection.network, OF_CLASSES
    module = nn.Sequential(nn.Conv2d(3, 7, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 5))
    other = nv.Network(module, size=24, classes=toy.classes)
    assert "4" in other.layers, "another layer of the same name"
    selection.target = target
    selection.network = other
    assert selection.target is target
    for target in OF_A_LAYER:
        selection.network = toy
        selection.target = target
        selection.network = other
        assert selection.target is None
    selection.network, selection.target = toy, OF_CLASSES
    selection.network = nv.Network(module, size=24, classes=[f"other {i}" for i in range(5)])
    assert selection.target is None, "the same numbers are other classes there"


def test_no_layer_is_the_last_with_maps(selection: Selection, toy: nv.Network) -> None:
    selection.layer = "0"
    selection.layer = None
    assert selection.layer == toy.last_maps


def test_a_network_without_maps_has_no_layer_and_no_filter(mlp: nv.Network) -> None:
    selection = Selection(mlp, "chelsea")
    assert selection.layer is None
    with pytest.raises(nv.MethodNotApplicableError, match="no layer with maps"):
        selection.filter = 0
    selection.layer = "1"
    selection.filter = 6
    assert selection.explains() == nv.Channel("1", 6)


def test_a_target_chosen_turns_the_filter_off(selection: Selection) -> None:
    selection.filter = 3
    assert selection.explains() == nv.Channel(selection.layer, 3)
    selection.target = 2
    assert selection.filter is None
    assert selection.explains() == 2
    selection.filter = 0
    assert selection.target == 2, "the class comes back when the filter is off"


@pytest.mark.parametrize("number", [5, 6])
def test_another_layer_has_other_filters_of_the_same_numbers(selection: Selection, number: int) -> None:
    assert [selection.network.layers[name].filters for name in ("4", "0")] == [8, 6]
    selection.layer, selection.filter = "4", number
    selection.layer = "0"
    assert selection.filter is None
    selection.layer = "4"
    selection.filter = 6
    selection.layer = "4"
    assert selection.filter == 6, "the same layer is no other"


def test_another_method_forgets_options(selection: Selection, sampled: str) -> None:
    selection.method = sampled
    selection.options = {"samples": 3}
    selection.method = "saliency"
    assert selection.options == {}


@pytest.mark.parametrize(
    ("name", "value", "after"),
    [
        ("network", other_network, {"layer": "conv2", "filter": None, "target": None}),
        ("target", lambda: 2, {"filter": None}),
        ("layer", lambda: "0", {"filter": None}),
        ("method", lambda: "saliency", {"options": {}}),
        ("image", lambda: "coffee", {"source": "coffee"}),
    ],
)
def test_who_observes_whole_changes_is_told_once_and_sees_all_of_a_change(
    selection, sampled, name, value, after
) -> None:
    selection.layer, selection.target, selection.filter = "4", 1, 7
    selection.method = sampled
    selection.options = {"samples": 3}
    heard = told(selection)
    setattr(selection, name, value())
    assert [which for which, _ in heard] == [name]
    assert heard[0][1].items() >= after.items()
    assert not selection.changing


def test_an_observer_that_fails_leaves_no_change_half_made(selection: Selection) -> None:
    def fail(_: object) -> None:
        raise RuntimeError

    selection.filter = 1
    selection.observe(fail, "filter")
    with pytest.raises(RuntimeError):
        selection.target = 1
    assert not selection.changing


def test_the_same_picture_under_another_name_has_that_name(selection: Selection) -> None:
    selection.image = as_file("holiday.png")
    selection.image = as_file("copy.png")
    assert selection.source == "copy.png"


# Units.


class ChannelsLast(nn.Module):
    """Maps with their channels last, as within ConvNeXt's blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix, self.head = nn.Conv2d(3, 4, 3, 2), nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.mix(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))


def test_a_unit_is_a_place_of_the_filter(toy: nv.Network) -> None:
    selection = Selection(toy, "chelsea", layer="0", filter=1)
    height, width = toy.layers["0"].shape[1:]
    selection.unit = (height - 1, width - 1)
    assert selection.explains() == nv.Unit("0", 1, height - 1, width - 1)
    for outside in ((height, 0), (0, width), (-1, 0)):
        with pytest.raises(nv.FilterRangeError, match=f"{height} rows and {width} columns"):
            selection.unit = outside
    assert selection.unit == (height - 1, width - 1)


@pytest.mark.parametrize("change", [{"filter": 0}, {"filter": None}, {"layer": "3"}, {"target": 1}])
def test_a_unit_goes_with_its_filter(toy: nv.Network, change: dict) -> None:
    selection = Selection(toy, "chelsea", layer="0", filter=1)
    selection.unit = (0, 0)
    for name, value in change.items():
        setattr(selection, name, value)
    assert selection.unit is None


def test_a_unit_needs_a_filter_and_maps(toy: nv.Network, mlp: nv.Network) -> None:
    with pytest.raises(nv.MethodNotApplicableError, match="choose a layer and a filter first"):
        Selection(toy, "chelsea").unit = (0, 0)
    vectors = Selection(mlp, "chelsea", layer="1", filter=0)
    with pytest.raises(nv.MethodNotApplicableError, match="returns no maps"):
        vectors.unit = (0, 0)


def test_a_unit_of_maps_with_channels_last_is_a_place_too() -> None:
    network = nv.Network(ChannelsLast(), size=(24, 20))
    height, width, _ = network.layers["mix"].shape
    selection = Selection(network, "chelsea", layer="mix", filter=5)
    selection.unit = (height - 1, width - 1)
    with pytest.raises(nv.FilterRangeError):
        selection.unit = (0, width)


# The snapshot.


def test_options_are_checked_when_they_are_set(selection: Selection, sampled: str) -> None:
    selection.method = sampled
    with pytest.raises(nv.UnknownOptionError, match="samples"):
        selection.options = {"sample": 3}
    assert selection.options == {}
    selection.options = {"samples": 3}
    assert selection.snapshot.options == {"samples": 3}


def test_a_snapshot_is_what_is_selected_and_stays_so(selection: Selection, toy: nv.Network) -> None:
    selection.layer, selection.target, selection.crop = "0", 2, (0, 0, 0.5, 0.5)
    selection.filter = 1
    taken = selection.snapshot
    selection.network, selection.image = other_network(), "coffee"
    assert (taken.network, taken.layer, taken.filter, taken.class_) == (toy, "0", 1, 2)
    assert (taken.target, taken.source, taken.crop) == (nv.Channel("0", 1), "chelsea", (0, 0, 0.5, 0.5))
    assert taken.picture.size == (taken.box[2] - taken.box[0], taken.box[3] - taken.box[1])
    assert selection.snapshot.target is None


def test_no_snapshot_mixes_two_states(toy: nv.Network) -> None:
    """Read on another thread, at every moment of changes between networks that have no layer in common."""
    other = other_network()
    selection = Selection(toy, "chelsea", layer="0", filter=1)
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            taken = selection.snapshot
            seen.add((taken.network.name, taken.layer in taken.network.layers, taken.filter is None))

    reader = threading.Thread(target=read)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    reader.start()
    try:
        for _ in range(300):
            selection.network = other
            selection.network = toy
            selection.filter = 1
    finally:
        sys.setswitchinterval(usual)
        done.set()
        reader.join()
    assert all(known for _, known, _ in seen)
    assert (other.name, True, False) not in seen


def test_observers_find_the_snapshot_of_the_whole_change_they_are_told_of(selection: Selection) -> None:
    selection.layer, selection.filter = "4", 7
    found = []
    selection.observe(lambda c: found.append((c.name, selection.snapshot.filter)), "layer")
    selection.layer = "0"
    assert found == [("layer", None)]


def test_what_cannot_be_restored_leaves_the_selection_as_it_was(selection: Selection, toy: nv.Network) -> None:
    broken = dataclasses.replace(selection.snapshot, image=selection.image, layer="gone", class_=3)
    selection.layer, selection.target = "0", 1
    with pytest.raises(nv.UnknownLayerError):
        selection.restore(broken)
    assert (selection.snapshot.layer, selection.snapshot.class_) == (selection.layer, selection.target) == ("0", 1)


def test_a_picture_selected_again_is_not_copied(selection: Selection) -> None:
    first = selection.image
    selection.image = "coffee"
    selection.image = first
    assert selection.image is first
