"""The kernel's widgets and the front end's interfaces have the same traits, and the same messages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import anywidget
import pytest
import traitlets as t

from nbcnnviz.explorer import front
from nbcnnviz.explorer.front.base import Front

HOUSE = Path(front.__file__).parents[2]
JS = HOUSE.parent / "js" / "src"

pytestmark = pytest.mark.skipif(not JS.exists(), reason="an installed package has no js/")

# What a trait is in TypeScript.
TYPES: dict[str, tuple[type[t.TraitType], ...]] = {
    "string": (t.Unicode, t.Enum),
    "number": (t.Int, t.Float),
    "boolean": (t.Bool,),
    "DataView": (t.Bytes,),
    "list": (t.List, t.Tuple),
    "object": (t.Dict,),
    "reference": (t.Instance,),
}


def kind_of(written: str) -> str:
    """Which of `TYPES` a TypeScript type is."""
    if written.endswith("[]") or written.startswith("["):
        return "list"
    if written.endswith("| null"):
        return "reference"
    if written.startswith('"') or written == "Kind":
        return "string"
    return written if written in TYPES else "object"


def interfaces() -> dict[str, tuple[str, list[str], dict[str, str]]]:
    """Of each interface in model.ts: the Python file that its comment names, what it extends, its fields and types."""
    text = (JS / "model.ts").read_text(encoding="utf-8")
    pattern = r"(?:/\*\* (front/\w+\.py) \*/\n)?export interface (\w+)(?: extends ([\w, ]+))? \{\n(.*?)\n\}"
    found = {}
    for file, name, bases, body in re.findall(pattern, text, re.DOTALL):
        fields = dict(re.findall(r"^  (\w+)\??: (.+);$", body, re.MULTILINE))
        lines = [line for line in body.splitlines() if not re.match(r"\s*(/\*\*|\*)", line)]
        assert len(fields) == len(lines), f"a line of {name} is no field: the parser has missed one"
        found[name] = file, [base.strip() for base in bases.split(",") if base], fields
    return found


def fields_of(name: str) -> dict[str, str]:
    _, bases, own = interfaces()[name]
    return {field: type_ for base in bases for field, type_ in fields_of(base).items()} | own


def widgets(base: type[Front] = Front) -> Iterator[type[Front]]:
    for widget in base.__subclasses__():
        if widget.__module__.startswith("nbcnnviz."):  # other tests make some of their own
            yield widget
        yield from widgets(widget)


def synced(widget: type[t.HasTraits]) -> dict[str, t.TraitType]:
    """The traits of a widget that travel, without those that every anywidget has."""
    return {
        name: trait
        for name, trait in widget.class_traits(sync=True).items()
        if name not in anywidget.AnyWidget.class_traits() and not name.startswith("_")
    }


WIDGETS = {Path(widget.__module__.replace(".", "/")).name: widget for widget in widgets()}
FILES = {file.removeprefix("front/").removesuffix(".py"): name for name, (file, *_) in interfaces().items() if file}


def test_every_widget_has_an_interface() -> None:
    assert WIDGETS.keys() == FILES.keys()
    assert len(WIDGETS) == 10


@pytest.mark.parametrize("file", sorted(FILES))
def test_the_names_of_the_traits_are_the_same(file: str) -> None:
    assert synced(WIDGETS[file]).keys() == fields_of(FILES[file]).keys()


@pytest.mark.parametrize("file", sorted(FILES))
def test_the_types_of_the_traits_are_alike(file: str) -> None:
    traits = synced(WIDGETS[file])
    for name, written in fields_of(FILES[file]).items():
        assert isinstance(traits[name], TYPES[kind_of(written)]), f"{name}: {written}"


def test_a_pinned_map_has_the_fields_that_the_browser_reads() -> None:
    frame = front.MapFrame()
    frame.pin()
    assert frame.pinned.keys() == fields_of("Pinned").keys()


def test_the_kinds_are_the_same() -> None:
    assert fields_of("Front")["kind"] == "Kind"
    [union] = re.findall(r"export type Kind =(.*?);", (JS / "model.ts").read_text(encoding="utf-8"), re.DOTALL)
    written = set(re.findall(r'"(\w+)"', union))
    assert {widget.kind.default_value for widget in WIDGETS.values()} == written


def test_what_python_listens_for_is_sent() -> None:
    """``here`` is sent for the sake of being sent, and has no listener."""
    sent = {
        type_
        for path in JS.glob("*.ts")
        for type_ in re.findall(r'(?:type: |request\()"(\w+)"', path.read_text(encoding="utf-8"))
    }
    listened = {
        event
        for path in HOUSE.rglob("*.py")
        for event in re.findall(r'\.on\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert len(listened) > 8
    assert listened - sent == set()
