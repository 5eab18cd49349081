from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from PIL import Image
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution.method import _METHODS, Method
from nbcnnviz.explorer import Selection
from nbcnnviz.explorer.controls import Controls
from nbcnnviz.explorer.labels import class_label, class_labels
from tests import toys
from tests.explorer.conftest import PATIENCE
from tests.session.test_selection import as_file, other_network


class Desk:
    """Controls with their selection, and what they asked for."""

    def __init__(self, network: nv.Network, image: object = "chelsea", **traits: object) -> None:
        self.selection = Selection(network, image, **traits)
        self.loads: list[str] = []
        self.errors: list[Exception] = []
        self.changes: list[str] = []
        self.session = SimpleNamespace(selection=self.selection, load=self.loads.append, loading=None)
        self.controls = Controls(self.session, self.attempt)
        self.selection.observe(lambda change: self.changes.append(change.name))

    def attempt(self, act) -> None:
        try:
            act()
        except Exception as error:
            self.errors.append(error)
            self.controls.follow()

    def upload(self, name: str, content: bytes) -> None:
        file = {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)}
        self.controls.upload.value = ({**file, "last_modified": datetime.now(UTC)},)


@pytest.fixture
def desk(toy: nv.Network) -> Desk:
    return Desk(toy)


# Each control, what is done to it, and what the selection then has.
USES = [
    ("picture", "coffee", "source", "coffee"),
    ("method", "saliency", "method", "saliency"),
    ("explain", "Filter", "filter", 0),
    ("class_", "bee (1)", "target", 1),
    ("class_", "BEE", "target", 1),
    ("layer", "0", "layer", "0"),
    ("depth", "3", "layer", "3"),
]


@pytest.mark.parametrize(("control", "value", "trait", "expected"), USES)
def test_a_control_changes_the_selection_once(desk: Desk, control, value, trait, expected) -> None:
    getattr(desk.controls, control).value = value
    assert getattr(desk.selection, trait) == expected
    assert desk.changes.count(trait) == 1
    assert set(desk.changes) <= {trait, "image"}
    assert desk.errors == []


@pytest.mark.parametrize(
    ("trait", "value", "shown"),
    [
        ("image", "coffee", {"picture": "coffee"}),
        ("method", "saliency", {"method": "saliency"}),
        ("filter", 3, {"explain": "Filter", "filter": 3}),
        ("target", 1, {"class_": "bee (1)", "explain": "Class"}),
        ("layer", "0", {"layer": "0", "depth": "0"}),
    ],
)
def test_a_control_follows_the_selection_without_an_echo(desk: Desk, trait, value, shown) -> None:
    setattr(desk.selection, trait, value)
    assert {name: getattr(desk.controls, name).value for name in shown} == shown
    assert desk.changes.count(trait) == 1
    assert set(desk.changes) <= {trait, "source"}
    assert desk.loads == []


def test_the_filter_slider_spans_the_layers_filters(desk: Desk) -> None:
    desk.selection.layer = "4"
    desk.controls.explain.value = "Filter"
    assert (desk.controls.filter.min, desk.controls.filter.max) == (0, 7)
    desk.controls.filter.value = 7
    assert desk.selection.filter == 7
    desk.controls.layer.value = "0"
    assert desk.selection.filter is None
    assert desk.controls.explain.value == "Class"
    desk.controls.explain.value = "Filter"
    assert (desk.controls.filter.value, desk.controls.filter.max) == (0, 5)


def test_class_field_and_filter_slider_take_turns(desk: Desk) -> None:
    assert (desk.controls.class_.layout.display, desk.controls.filter.layout.display) == (None, "none")
    desk.controls.explain.value = "Filter"
    assert (desk.controls.class_.layout.display, desk.controls.filter.layout.display) == ("none", None)
    desk.controls.explain.value = "Class"
    assert desk.selection.filter is None


def test_layer_controls_rest_where_the_input_is_looked_at_unless_a_filter_is_explained(desk: Desk) -> None:
    def disabled() -> tuple[bool, bool]:
        return desk.controls.layer.disabled, desk.controls.depth.disabled

    assert disabled() == (False, False)
    for method in nv.methods().values():
        desk.selection.filter = None
        desk.selection.method = method.name
        assert disabled() == (not method.needs_layer,) * 2
        desk.selection.filter = 1
        assert disabled() == (False, False)


def test_a_class_is_found_among_a_thousand_also_where_two_share_a_name(bundled: nv.Network) -> None:
    names = [*bundled.classes[:-1], "crane"]
    network = nv.Network(toys.classic(classes=1000), size=12, classes=names)
    labels = class_labels(network)
    assert sorted(labels.values()) == list(range(1000))
    assert list(labels) == sorted(labels, key=str.lower)
    assert all(class_label(network, index) == label for label, index in labels.items())
    desk = Desk(network)
    assert set(desk.controls.class_.options) == set(labels)
    for index in (517, 999):
        desk.controls.class_.value = f"crane ({index})"
        assert desk.selection.target == index
    desk.controls.class_.value = "crane"
    assert "give an index" in str(desk.errors[0])
    assert desk.controls.class_.value == "crane (999)"
    for name, index in (("cardigan", 474), ("Cardigan", 264)):
        desk.controls.class_.value = name
        assert desk.selection.target == index


def test_an_unknown_class_is_refused_and_the_field_shows_the_one_in_force(desk: Desk) -> None:
    desk.controls.class_.value = "cat (2)"
    desk.controls.class_.value = "wolf"
    assert isinstance(desk.errors[0], nv.UnknownClassError)
    assert desk.selection.target == 2
    assert desk.controls.class_.value == "cat (2)"


def test_an_emptied_class_field_explains_the_top_class(desk: Desk) -> None:
    desk.controls.class_.value = "cat (2)"
    desk.controls.class_.value = " "
    assert desk.selection.target is None
    assert desk.controls.class_.value == ""
    assert desk.controls.class_.placeholder.startswith("top class")


def test_a_target_set_in_python_is_no_class_in_the_field(desk: Desk) -> None:
    desk.controls.class_.value = "cat (2)"
    desk.selection.target = nv.LayerEnergy("0")
    assert desk.controls.class_.value == ""
    assert "set in Python" in desk.controls.class_.placeholder


def test_own_networks_stay_in_the_menu_and_others_are_loaded(desk: Desk, toy: nv.Network) -> None:
    other = other_network()
    desk.selection.network = other
    assert desk.controls.network.value == other.name == "Tiny"
    assert {"toy", "Tiny", *nv.networks()} == set(desk.controls.network.options)
    desk.controls.network.value = "toy"
    assert desk.selection.network is toy
    assert desk.controls.class_.options[0] == "ant (0)"
    assert desk.loads == []
    desk.controls.network.value = "resnet18"
    assert desk.loads == ["resnet18"]
    assert desk.selection.network is toy


def test_an_own_network_by_a_known_name_is_come_back_to_as_it_is(toy: nv.Network) -> None:
    mine = nv.Network(toys.classic(), size=12, name="resnet18")
    desk = Desk(mine)
    desk.selection.network = toy
    desk.controls.network.value = "resnet18"
    assert desk.selection.network is mine
    assert desk.loads == []
    assert list(desk.controls.network.options).count("resnet18") == 1


def test_the_menu_shows_what_is_being_loaded_and_the_way_back_cancels_it(desk: Desk) -> None:
    desk.controls.network.value = "resnet18"
    desk.session.loading = "resnet18"
    desk.selection.method = "saliency"
    assert desk.controls.network.value == "resnet18"
    desk.controls.network.value = "toy"
    assert desk.loads == ["resnet18", "toy"], "who loads is told, and gives up"


def test_an_upload_is_looked_at_under_its_name(desk: Desk) -> None:
    desk.upload("holiday.png", as_file().getvalue())
    assert desk.errors == []
    assert desk.selection.image.size == (30, 20)
    assert desk.selection.source == desk.controls.picture.value == "holiday.png"
    assert desk.changes.count("image") == 1


def test_an_own_picture_stays_in_the_menu(desk: Desk) -> None:
    desk.upload("holiday.png", as_file().getvalue())
    desk.controls.picture.value = "coffee"
    assert desk.selection.source == "coffee"
    assert "holiday.png" in desk.controls.picture.options
    desk.controls.picture.value = "holiday.png"
    assert desk.selection.image.size == (30, 20)
    assert desk.selection.source == "holiday.png"
    desk.selection.image = Image.new("RGB", (8, 8))
    assert desk.controls.picture.value == "your picture"
    desk.controls.picture.value = "moon"
    desk.controls.picture.value = "your picture"
    assert desk.selection.image.size == (8, 8)


def test_the_same_file_can_be_uploaded_again(desk: Desk) -> None:
    content = as_file().getvalue()
    for _ in range(2):
        desk.controls.picture.value = "coffee"
        desk.upload("holiday.png", content)
        assert desk.selection.source == "holiday.png"
    assert desk.controls.upload.value == (), "the bytes are not kept"


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 no picture", as_file().getvalue()[:200]])
def test_a_broken_upload_is_refused_and_the_picture_stays(desk: Desk, content: bytes) -> None:
    desk.upload("broken.png", content)
    assert isinstance(desk.errors[0], nv.ImageError)
    assert desk.selection.source == desk.controls.picture.value == "chelsea"


def test_a_network_without_maps_has_layer_controls_that_say_so(mlp: nv.Network) -> None:
    desk = Desk(mlp)
    assert desk.controls.layer.disabled
    assert desk.controls.depth.disabled
    assert desk.controls.layer.value == "(no layer has maps)"
    desk.controls.explain.value = "Filter"
    assert "no layer with maps" in str(desk.errors[0])
    assert desk.controls.explain.value == "Class"
    desk.selection.network = other_network()
    assert not desk.controls.layer.disabled
    assert desk.controls.layer.value == "conv2"


def test_a_network_of_one_class_or_of_one_channel(toy: nv.Network) -> None:
    for network in (nv.Network(toys.classic(classes=1), size=12), nv.Network(toys.classic(channels=1), size=12)):
        desk = Desk(network)
        desk.controls.class_.value = class_label(network, 0)
        assert desk.selection.target == 0
    one = nv.Network(nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=12)
    desk = Desk(one)
    desk.controls.explain.value = "Filter"
    assert (desk.selection.filter, desk.controls.filter.min, desk.controls.filter.max) == (0, 0, 0)


def test_ten_thousand_channels(toy: nv.Network) -> None:
    desk = Desk(toy)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10_000, 2)]
    desk.selection.network = nv.Network(nn.Sequential(nn.Conv2d(3, 10_000, 1), *head), size=4)
    desk.controls.explain.value = "Filter"
    desk.controls.filter.value = 9_999
    assert desk.selection.explains() == nv.Channel("0", 9_999)
    desk.selection.network = toy
    desk.controls.explain.value = "Filter"
    assert desk.controls.filter.max == 7


def test_a_method_added_later_is_in_the_menu(desk: Desk, monkeypatch) -> None:
    known = nv.methods()["saliency"]
    later = Method(**{**vars(known), "name": "later", "title": "Added later"})
    monkeypatch.setitem(_METHODS, "later", later)
    desk.selection.method = "later"
    assert desk.controls.method.value == "later"
    assert desk.controls.method.label == "Added later"


def test_a_change_by_the_reader_is_not_lost_while_another_thread_sets_the_controls(desk: Desk) -> None:
    """What one thread shows in the controls is no reason to pass over what the reader does on another."""
    showing = threading.Event()

    def hold(_: object) -> None:
        showing.set()
        time.sleep(0.2)  # the change is made meanwhile, and waits for this one to be over

    desk.controls.layer.observe(hold, "value")
    worker = threading.Thread(target=setattr, args=(desk.selection, "layer", "0"))
    worker.start()
    assert showing.wait(PATIENCE)
    desk.controls.method.value = "saliency"
    worker.join(PATIENCE)
    assert (desk.selection.layer, desk.selection.method) == ("0", "saliency")
    assert (desk.controls.layer.value, desk.controls.method.value) == ("0", "saliency")


def test_closed_controls_follow_no_longer(desk: Desk) -> None:
    desk.controls.close()
    desk.selection.method = "saliency"
    assert desk.controls.method.value == "grad_cam"


def test_layers_with_maps_are_offered_and_the_one_selected(desk: Desk, toy: nv.Network) -> None:
    assert list(desk.controls.layer.options) == [name for name, layer in toy.layers.items() if layer.spatial]
    desk.selection.layer = "8"  # the linear layer: chosen in Python, it is offered
    assert desk.controls.layer.value == "8"


def test_the_depth_slider_keeps_its_options_for_a_layer_without_maps(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    depth, layer = ex._controls.depth, ex._controls.layer
    options, last = depth.options, next(reversed(toy.layers))
    assert not toy.layers[last].spatial
    ex.selection.layer = last
    assert depth.options == options
    assert (layer.value, ex.selection.layer) == (last, last)
    assert depth.value == options[-1], "the last maps before it"
    ex.selection.layer = options[0]
    assert (depth.options, depth.value, layer.value) == (options, options[0], options[0])
    assert last not in layer.options
