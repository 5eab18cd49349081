from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from PIL import Image
from torch import nn

import nbcnnviz as nv
from nbcnnviz.attribution.method import _METHODS, Method
from nbcnnviz.explorer import Selection
from nbcnnviz.explorer.controls import MORE, Controls
from nbcnnviz.explorer.front.base import Front
from nbcnnviz.explorer.pictures import Pictures
from nbcnnviz.explorer.sides import Sides
from tests import toys
from tests.explorer.conftest import PATIENCE
from tests.session.test_selection import as_file, other_network


class Desk:
    """All that sets the selection, with the selection, and what was asked for."""

    def __init__(self, network: nv.Network, image: object = "chelsea", **traits: object) -> None:
        self.selection = Selection(network, image, **traits)
        self.loads: list[str] = []
        self.errors: list[Exception] = []
        self.changes: list[str] = []
        self.session = SimpleNamespace(selection=self.selection, load=self.loads.append, loading=None)
        self.controls = Controls(self.session, self.attempt)
        self.sides = Sides(self.selection, self.attempt)
        self.sides.predictions.show(network.trace(self.selection.image))
        self.pictures = Pictures(self.selection, self.attempt)
        self.selection.call_first(self.follow)
        self.selection.observe(lambda change: self.changes.append(change.name))

    def follow(self, _: str) -> None:
        for view in (self.controls, self.sides, self.pictures):
            view.follow()

    def attempt(self, act) -> None:
        try:
            act()
        except Exception as error:
            self.errors.append(error)
            self.controls.follow()

    def say(self, part: str, event: str, *buffers: bytes, **more: object) -> None:
        """What the reader does with a part that js/ draws."""
        self.front(part)._handle_custom_msg({"type": event, **more}, [memoryview(b) for b in buffers])

    def front(self, part: str) -> Front:
        return {
            "layers": self.sides.map,
            "classes": self.sides.predictions.widget,
            "pictures": self.pictures.widget,
        }[part]

    def upload(self, name: str, content: bytes) -> None:
        self.say("pictures", "picture", content, name=name)

    @property
    def networks(self) -> list[str]:
        return [key for _, key in self.controls.network.options]


@pytest.fixture
def desk(toy: nv.Network) -> Desk:
    return Desk(toy)


# Each event, and what the selection then has.
USES = [
    ("pictures", {"type": "sample", "name": "coffee"}, "source", "coffee"),
    ("layers", {"type": "filter", "filter": 0}, "filter", 0),
    ("layers", {"type": "choose", "layer": "0"}, "layer", "0"),
    ("layers", {"type": "choose", "layer": "3"}, "layer", "3"),
    ("classes", {"type": "choose", "index": 1}, "target", 1),
]


@pytest.mark.parametrize(("part", "message", "trait", "expected"), USES)
def test_what_the_reader_does_changes_the_selection_once(desk: Desk, part, message, trait, expected) -> None:
    desk.front(part)._handle_custom_msg(message, [])
    assert getattr(desk.selection, trait) == expected
    assert desk.changes.count(trait) == 1
    assert set(desk.changes) <= {trait, "image"}
    assert desk.errors == []


def test_the_method_menu_changes_the_selection_once(desk: Desk) -> None:
    desk.controls.method.value = "saliency"
    assert desk.selection.method == "saliency"
    assert desk.changes == ["method"]
    assert desk.errors == []


@pytest.mark.parametrize(
    ("trait", "value", "part", "shown"),
    [
        ("image", "coffee", "pictures", {"current": "coffee"}),
        ("filter", 3, "layers", {"filter": 3}),
        ("layer", "0", "layers", {"current": "0", "filters": 6}),
    ],
)
def test_what_is_shown_follows_the_selection_without_an_echo(desk: Desk, trait, value, part, shown) -> None:
    setattr(desk.selection, trait, value)
    assert {name: getattr(desk.front(part), name) for name in shown} == shown
    assert desk.changes.count(trait) == 1
    assert set(desk.changes) <= {trait, "source"}
    assert desk.loads == []


def test_the_method_menu_follows_the_selection_and_says_what_the_method_does(desk: Desk) -> None:
    for name in ("saliency", "grad_cam"):
        desk.selection.method = name
        assert desk.controls.method.value == name
        said = nv.methods()[name].doc.partition("\n")[0].replace("`", "")
        assert desk.controls.options.about.value == said
        assert said in desk.controls.method.tooltip
    assert desk.changes.count("method") == 2


def test_the_filter_field_spans_the_layers_filters(desk: Desk) -> None:
    desk.selection.layer = "4"
    desk.say("layers", "filter", filter=0)
    assert desk.front("layers").filters == 8
    desk.say("layers", "filter", filter=7)
    assert desk.selection.filter == 7
    desk.say("layers", "choose", layer="0")
    assert desk.selection.filter is None
    assert (desk.front("layers").filter, desk.front("layers").filters) == (-1, 6)
    desk.say("layers", "filter", filter=6)
    assert isinstance(desk.errors[0], nv.FilterRangeError)
    assert desk.front("layers").filter == -1


def test_a_class_and_a_filter_take_turns(desk: Desk) -> None:
    desk.say("layers", "filter", filter=2)
    assert desk.selection.explains() == nv.Channel(desk.selection.layer, 2)
    desk.say("classes", "choose", index=1)
    assert desk.selection.explains() == 1
    assert desk.front("layers").filter == -1
    desk.say("layers", "filter", filter=2)
    desk.say("layers", "filter", filter=None)
    assert desk.selection.explains() == 1, "an emptied field leads back to the class"


def test_it_is_said_where_the_layer_does_not_matter_unless_a_filter_is_explained(desk: Desk) -> None:
    assert desk.front("layers").note == ""
    for method in nv.methods().values():
        desk.selection.filter = None
        desk.selection.method = method.name
        assert bool(desk.front("layers").note) == (not method.needs_layer)
        desk.selection.filter = 1
        assert desk.front("layers").note == ""


def test_a_class_is_found_among_a_thousand_also_where_two_share_a_name(bundled: nv.Network) -> None:
    names = [*bundled.classes[:-1], "crane"]
    network = nv.Network(toys.classic(classes=1000), size=12, classes=names)
    desk = Desk(network)
    desk.say("classes", "search", text="crane")
    assert {row["index"] for row in desk.front("classes").found[:2]} == {517, 999}
    for index in (517, 999):
        desk.say("classes", "choose", index=index)
        assert desk.selection.target == index
    desk.say("classes", "search", text="474")
    assert desk.front("classes").found[0]["index"] == 474
    desk.say("classes", "search", text="cardigan")
    assert {row["index"] for row in desk.front("classes").found} == {264, 474}


def test_a_text_that_no_class_has_is_kept_and_nothing_changes(desk: Desk) -> None:
    desk.say("classes", "choose", index=2)
    desk.say("classes", "search", text="wolf")
    assert desk.errors == []
    assert desk.selection.target == 2
    assert (desk.front("classes").wanted, desk.front("classes").found) == ("wolf", [])


def test_the_top_class_is_explained_again(desk: Desk) -> None:
    desk.say("classes", "choose", index=2)
    desk.say("classes", "choose", index=None)
    assert desk.selection.target is None


def test_two_classes_are_held_against_each_other(explore, toy: nv.Network) -> None:
    ex = explore(toy, target=1)
    classes = ex._sides.predictions.widget
    classes._handle_custom_msg({"type": "contrast", "index": 2}, [])
    ex.wait(PATIENCE)
    assert ex.selection.target == nv.ClassScore(1) - nv.ClassScore(2)
    assert (classes.chosen, classes.against) == (1, 2)
    expected = nv.attribute(toy, "chelsea", target=nv.ClassScore(1) - nv.ClassScore(2))
    assert ex.result.values.equal(expected.values)
    classes._handle_custom_msg({"type": "choose", "index": 2}, [])
    ex.wait(PATIENCE)
    assert (classes.chosen, classes.against) == (2, -1)


def test_a_target_set_in_python_is_no_class_in_the_list(explore, toy: nv.Network) -> None:
    ex = explore(toy, target=2)
    assert ex._sides.predictions.widget.chosen == 2
    ex.selection.target = nv.LayerEnergy("0")
    ex.wait(PATIENCE)
    assert ex._sides.predictions.widget.chosen == -1
    assert not ex._sides.predictions.widget.top


def test_own_networks_stay_in_the_menu_and_others_are_loaded(desk: Desk, toy: nv.Network) -> None:
    other = other_network()
    desk.selection.network = other
    assert desk.controls.network.value == other.name == "Tiny"
    desk.controls.network.value = MORE
    assert {"toy", "Tiny", *nv.networks()} == set(desk.networks)
    desk.controls.network.value = "toy"
    assert desk.selection.network is toy
    assert desk.loads == []
    desk.controls.network.value = "resnet18"
    assert desk.loads == ["resnet18"]
    assert desk.selection.network is toy


def test_the_menu_says_which_networks_are_here_and_keeps_the_others_behind_more(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr("nbcnnviz.zoo.from_torchvision.is_cached", lambda name: name == "resnet34")
    desk = Desk(desk.selection.network)
    labels = {key: label for label, key in desk.controls.network.options}
    assert labels == {
        "toy": "toy (yours)",
        "efficientnet_lite0": "efficientnet_lite0 (bundled)",
        "resnet34": "resnet34 (downloaded)",
        MORE: MORE,
    }
    before = desk.controls.network.value
    desk.controls.network.value = MORE
    assert (desk.loads, desk.controls.network.value) == ([], before), "it opens the rest, and loads nothing"
    labels = {key: label for label, key in desk.controls.network.options}
    assert labels["resnet18"] == "resnet18 (to download)"
    assert MORE not in labels


def test_own_networks_are_come_back_to_as_they_are_whatever_they_are_called(toy: nv.Network) -> None:
    """A network of random weights beside the trained one of its name."""
    mine, another = (nv.Network(toys.classic(), size=12, name="resnet18") for _ in range(2))
    desk = Desk(mine)
    desk.selection.network = another
    keys = [key for key in desk.networks if key.startswith("resnet18")]
    assert keys == ["resnet18 (yours)", "resnet18 (2)"]
    for key, network in zip(keys, (mine, another), strict=True):
        desk.selection.network = toy
        desk.controls.network.value = key
        assert desk.selection.network is network
    assert desk.loads == []
    desk.controls.network.value = MORE
    desk.controls.network.value = "resnet18"
    assert desk.loads == ["resnet18"]


def test_the_menu_shows_what_is_being_loaded_and_the_way_back_cancels_it(desk: Desk) -> None:
    desk.controls.network.value = MORE
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
    assert desk.selection.source == desk.front("pictures").current == "holiday.png"
    assert desk.changes.count("image") == 1


def test_an_own_picture_stays_to_be_chosen(desk: Desk) -> None:
    desk.upload("holiday.png", as_file().getvalue())
    desk.say("pictures", "sample", name="coffee")
    assert desk.selection.source == "coffee"
    assert (desk.front("pictures").own, desk.front("pictures").current) == ("holiday.png", "coffee")
    desk.say("pictures", "own")
    assert desk.selection.image.size == (30, 20)
    assert desk.selection.source == desk.front("pictures").current == "holiday.png"
    desk.selection.image = Image.new("RGB", (8, 8))
    assert desk.front("pictures").current == "your picture"
    desk.say("pictures", "sample", name="moon")
    desk.say("pictures", "own")
    assert desk.selection.image.size == (8, 8)


def test_an_upload_that_is_called_like_a_sample_is_not_taken_for_it(desk: Desk) -> None:
    for name in nv.samples()[:3]:
        desk.upload(name, as_file().getvalue())
        assert desk.front("pictures").current == desk.front("pictures").own == f"{name} (yours)"
    desk.say("pictures", "frame", as_file().getvalue())
    assert desk.front("pictures").current not in nv.samples(), "nor is what a camera sees"


def test_the_same_file_can_be_uploaded_again(desk: Desk) -> None:
    content = as_file().getvalue()
    for _ in range(2):
        desk.say("pictures", "sample", name="coffee")
        desk.upload("holiday.png", content)
        assert desk.selection.source == "holiday.png"


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 no picture", as_file().getvalue()[:200]])
def test_a_broken_upload_is_refused_and_the_picture_stays(desk: Desk, content: bytes) -> None:
    desk.upload("broken.png", content)
    assert isinstance(desk.errors[0], nv.ImageError)
    assert desk.selection.source == desk.front("pictures").current == "chelsea"


def test_a_network_without_maps_says_so_and_is_explained_by_a_method_that_needs_none(desk: Desk, mlp) -> None:
    desk.selection.network = mlp
    assert desk.front("layers").note == "no layer of this network has maps"
    assert desk.front("layers").current == ""
    assert not nv.methods()[desk.selection.method].needs_layer
    desk.say("layers", "filter", filter=0)
    assert "no layer with maps" in str(desk.errors[0])
    assert desk.front("layers").filter == -1
    desk.selection.network = other_network()
    assert desk.front("layers").current == "conv2"


def test_a_network_of_one_class_or_of_one_channel(toy: nv.Network) -> None:
    for network in (nv.Network(toys.classic(classes=1), size=12), nv.Network(toys.classic(channels=1), size=12)):
        desk = Desk(network)
        desk.say("classes", "choose", index=0)
        assert desk.selection.target == 0
    one = nv.Network(nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=12)
    desk = Desk(one)
    desk.say("layers", "filter", filter=0)
    assert (desk.selection.filter, desk.front("layers").filters) == (0, 1)


def test_ten_thousand_channels(toy: nv.Network) -> None:
    desk = Desk(toy)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10_000, 2)]
    desk.selection.network = nv.Network(nn.Sequential(nn.Conv2d(3, 10_000, 1), *head), size=4)
    desk.say("layers", "filter", filter=9_999)
    assert desk.selection.explains() == nv.Channel("0", 9_999)
    desk.selection.network = toy
    assert (desk.front("layers").filter, desk.front("layers").filters) == (-1, 8)


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

    desk.controls.method.observe(hold, "value")
    worker = threading.Thread(target=setattr, args=(desk.selection, "method", "gradient"))
    worker.start()
    assert showing.wait(PATIENCE)
    desk.say("layers", "choose", layer="0")
    desk.controls.method.unobserve(hold, "value")
    desk.controls.method.value = "saliency"
    worker.join(PATIENCE)
    assert (desk.selection.layer, desk.selection.method) == ("0", "saliency")
    assert (desk.front("layers").current, desk.controls.method.value) == ("0", "saliency")


def test_what_is_closed_follows_no_longer(explore, toy: nv.Network) -> None:
    ex = explore(toy, "chelsea")
    layer, selection = ex._sides.map.current, ex.selection
    ex.close()
    selection.method, selection.layer, selection.image = "saliency", "0", "coffee"
    assert ex._controls.method.value == "grad_cam"
    assert ex._sides.map.current == layer != "0"
    assert ex._pictures.widget.current == "chelsea"


def test_every_layer_has_a_bar_in_the_order_of_the_forward_pass(desk: Desk, toy: nv.Network) -> None:
    layers = desk.front("layers")
    assert [layers.names[row] for row in layers.order] == list(toy.layers)
    sides = {layers.names[row]: layers.sides[row] for row in layers.order}
    assert {name for name, side in sides.items() if side} == {n for n, layer in toy.layers.items() if layer.spatial}
    assert all(side == max(toy.layers[name].places) for name, side in sides.items() if side)
    desk.selection.layer = "8"  # the linear layer: chosen in Python, it is shown
    assert layers.current == "8"


def test_the_bars_stay_for_a_layer_without_maps(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    layers, last = ex._sides.map, next(reversed(toy.layers))
    before = layers.order, layers.sides
    assert not toy.layers[last].spatial
    ex.selection.layer = last
    assert (layers.order, layers.sides) == before
    assert (layers.current, ex.selection.layer) == (last, last)
