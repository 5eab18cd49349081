from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from ipywidgets import Widget
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.explorer.front import MapFrame, StatusLine
from nbcnnviz.explorer.front.canvas import MANAGER
from nbcnnviz.explorer.panels.explain import ExplainPanel
from nbcnnviz.render import COLOURS, Scale, flat, lookup_table, to_bytes
from tests.explorer.test_canvas import names


@pytest.fixture(scope="module")
def trace(toy: nv.Network) -> nv.Trace:
    return toy.trace("chelsea")


@pytest.fixture
def drawn(monkeypatch) -> list:
    messages: list = []
    monkeypatch.setattr(MANAGER, "_send_custom", lambda commands, buffers=(): messages.append(commands))
    return messages


@pytest.fixture
def panel(trace: nv.Trace, drawn: list) -> ExplainPanel:
    panel = ExplainPanel(None, None, None)
    panel.show_trace(trace)
    return panel


@pytest.fixture
def sent(panel: ExplainPanel, monkeypatch) -> list[set[str]]:
    """The traits that the panel's frame sends, a set a message."""
    messages: list[set[str]] = []
    send = Widget._send

    def record(self: Widget, message: dict, buffers: object = None) -> None:
        if self is panel.widget:
            messages.append({*message["state"], *(path[0] for path in message["buffer_paths"])})
        send(self, message, buffers)

    monkeypatch.setattr(Widget, "_send", record)
    return messages


def result(trace: nv.Trace, values: torch.Tensor, **more: object) -> nv.Attribution:
    fixed = {"method": "grad_cam", "target": nv.ClassScore(1), "layer": "4", "trace": trace}
    return nv.Attribution(values[None, None], **{**fixed, **more})


def map_with(*places: float) -> torch.Tensor:
    values = torch.zeros(3, 4)
    values.view(-1)[: len(places)] = torch.tensor(places)
    return values


MAPS = {
    "unsigned": map_with(0, 1, 0.25, 3.5),
    "signed": map_with(0, -1, 0.25, 3.5),
    "negative": map_with(-1, -2),
    "zero": map_with(),
    "NaN": map_with(torch.nan, 1, -2),
    "all NaN": torch.full((3, 4), torch.nan),
    "infinite": map_with(torch.inf, 1, -torch.inf),
    "one place": torch.ones(1, 1),
    "fine": torch.randn(80, 70, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("name", MAPS)
def test_bytes_and_scale_are_those_of_render(panel: ExplainPanel, trace: nv.Trace, name: str) -> None:
    panel.show(result(trace, MAPS[name]))
    scale = Scale.to_show(flat(MAPS[name][None, None])[0])
    frame = panel.widget
    assert frame.values == to_bytes(MAPS[name], scale).tobytes()
    assert frame.shape == list(MAPS[name].shape)
    assert (frame.low, frame.high, frame.cut) == (scale.low, scale.high, scale.cut)
    assert np.isfinite([frame.low, frame.high]).all()


def test_in_a_signed_map_what_is_no_number_is_in_the_middle(panel: ExplainPanel, trace: nv.Trace) -> None:
    panel.show(result(trace, MAPS["NaN"]))
    assert list(panel.widget.values[:3]) == [128, 191, 0]


def ring_of(drawn: list) -> tuple[float, float]:
    """The place of the last ring drawn."""
    x, y, _ = next(command[1] for command in reversed(drawn[-1]) if names([command]) == ["strokeCircle"])
    return x, y


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 3), (1, 2)])
@pytest.mark.parametrize("value", [5.0, -5.0])
def test_the_ring_lies_on_the_strongest_place(panel, trace, drawn, row: int, column: int, value: float) -> None:
    values = map_with(1, 2, torch.nan, torch.inf)
    values[row, column] = value
    panel.show(result(trace, values))
    height, width = trace.size
    assert ring_of(drawn) == ((column + 0.5) * width / 4, (row + 0.5) * height / 3)


def test_a_map_without_a_strongest_place_has_no_ring(panel: ExplainPanel, trace: nv.Trace, drawn: list) -> None:
    panel.show(result(trace, MAPS["unsigned"]))
    panel.show(result(trace, MAPS["zero"]))
    assert names(drawn[-1]) == ["switchCanvas", "clear"]


def test_another_picture_takes_map_and_ring_away(panel: ExplainPanel, trace: nv.Trace, drawn: list) -> None:
    panel.show(result(trace, MAPS["unsigned"]))
    panel.show_trace(trace)
    assert names(drawn[-1]) == ["switchCanvas", "clear"]
    assert (panel.widget.values, panel.widget.shape) == (b"", [0, 0])
    assert panel.widget.low == panel.widget.high == 0


def test_a_map_is_one_message_and_its_ring_another(panel, trace, sent: list[set[str]], drawn: list) -> None:
    del drawn[:]
    panel.show(result(trace, MAPS["signed"]))
    assert len(sent) == len(drawn) == 1
    assert {"values", "shape", "low", "high", "colours", "caption"} <= sent[0]
    assert not {"picture", "colour_tables"} & sent[0]


def test_a_picture_is_one_message(panel: ExplainPanel, trace: nv.Trace, sent: list[set[str]]) -> None:
    panel.show_trace(nv.Network(trace.network.module, size=(30, 40)).trace("coffee"))
    assert len(sent) == 1
    assert {"picture", "size"} <= sent[0]


def test_the_picture_is_what_the_network_saw(panel: ExplainPanel, trace: nv.Trace) -> None:
    shown = Image.open(io.BytesIO(panel.widget.picture))
    assert shown.format == "WEBP"
    assert panel.widget.size == [shown.height, shown.width] == list(trace.size)
    difference = np.abs(np.asarray(shown, int) - np.asarray(trace.pictures[0], int))
    assert difference.mean() < 6


def test_colours_fit_the_sign_and_the_readers_choice_lasts_for_maps_of_that_sign(panel, trace) -> None:
    def colours_of(name: str) -> str:
        panel.show(result(trace, MAPS[name]))
        return panel.widget.colours

    assert [colours_of("unsigned"), colours_of("signed")] == ["inferno", "RdBu_r"]
    panel.widget.colours = "PuOr_r"
    assert [colours_of("signed"), colours_of("unsigned")] == ["PuOr_r", "inferno"]
    panel.widget.colours = "viridis"
    assert [colours_of("unsigned"), colours_of("signed"), colours_of("unsigned")] == ["viridis", "PuOr_r", "viridis"]


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("unsigned", "at 4 (Conv2d)"),
        ("zero", "at 4 (Conv2d): zero everywhere"),
        ("NaN", "at 4 (Conv2d): 1 of 12 values are NaN or infinite"),
        ("all NaN", "at 4 (Conv2d): 12 of 12 values are NaN or infinite"),
    ],
)
def test_the_caption_says_what_is_shown_and_what_is_odd_about_it(panel, trace, name: str, ending: str) -> None:
    panel.show(result(trace, MAPS[name]))
    assert panel.widget.caption == f"Grad-CAM of bee (1) {ending}"


def test_the_caption_tells_of_the_rectifiers_that_were_ruled(panel: ExplainPanel, trace: nv.Trace) -> None:
    panel.show(nv.attribute(trace, method="guided_backprop", target="cat"))
    assert panel.widget.caption == "Guided backprop of cat (2), applied at 2 rectifiers"


PIXELWISE = ["gradient", "guided_backprop", "deconvnet", "guided_grad_cam"]


@pytest.mark.parametrize("method", PIXELWISE)
def test_a_signed_map_of_every_pixel_is_a_picture_of_its_own(panel: ExplainPanel, trace: nv.Trace, method: str) -> None:
    shown = nv.attribute(trace, method=method, target="cat")
    panel.show(shown)
    picture = Image.open(io.BytesIO(panel.widget.colour))
    assert picture.format == "PNG"
    assert (np.asarray(picture) == np.asarray(shown.picture())).all()
    assert panel.widget.values  # the overlay is there too


@pytest.mark.parametrize("method", ["saliency", "grad_cam", "input_x_gradient"])
def test_a_map_of_another_method_is_none(panel: ExplainPanel, trace: nv.Trace, method: str) -> None:
    panel.show(nv.attribute(trace, method="gradient", target="cat"))
    panel.show(nv.attribute(trace, method=method, target="cat"))
    assert panel.widget.colour == b""


def test_another_picture_takes_the_picture_of_the_map_away(panel: ExplainPanel, trace: nv.Trace) -> None:
    panel.show(nv.attribute(trace, method="gradient", target="cat"))
    panel.show_trace(trace)
    assert panel.widget.colour == b""


def test_a_picture_of_a_map_with_values_that_are_no_numbers_warns_nobody(panel, trace, recwarn) -> None:
    values = torch.ones(1, 3, *trace.size)
    values[0, 1, 2, 3] = torch.nan
    panel.show(nv.Attribution(values, method="gradient", target=nv.ClassScore(1), layer="input", trace=trace))
    assert panel.widget.colour
    assert "1 of" in panel.widget.caption
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_an_event_is_heard_and_nothing_else_is() -> None:
    line, stops = StatusLine(), []
    line.on("stop", stops.append)
    for content in ({"type": "stop"}, {"type": "here"}, {}, "stop", None):
        line._handle_custom_msg(content, [])
    assert stops == [{"type": "stop"}]


def test_the_tables_of_all_colour_maps_are_there_from_the_start() -> None:
    frame = MapFrame()
    for at, name in enumerate(COLOURS):
        table = np.frombuffer(frame.colour_tables, np.uint8)[768 * at : 768 * (at + 1)].reshape(256, 3)
        assert (table == lookup_table(name)).all()
    assert frame.colour_names == list(COLOURS)
    assert frame.colours in COLOURS
