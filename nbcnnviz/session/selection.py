"""What is looked at: the one state that the views of a session share."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakValueDictionary

import traitlets as t
from PIL import Image

from nbcnnviz.attribution import checked_options, methods
from nbcnnviz.core.errors import (
    FilterRangeError,
    ImageError,
    MethodNotApplicableError,
    NbcnnvizError,
    UnknownClassError,
    UnknownMethodError,
)
from nbcnnviz.core.grids import no_maps
from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Channel, ClassScore, Target, Unit, as_target
from nbcnnviz.session.snapshot import Snapshot, crop_box

_WITHOUT_MAPS = "saliency"


class Selection(t.HasTraits):
    """What is looked at: network, picture, layer, filter, target, method, options.

    Every trait may be set from Python, on any thread, one change after the other; what is not valid raises the error that
    says why, and changes nothing. A new network sets layer, filter and target back; but it keeps a class, or a target made of
    classes, where it has the same classes, and layer, filter and any target where it has the same layers too, so that a
    trained network can be compared with itself untrained. Where it has no maps, a method that needs them becomes saliency.

    Attributes
    ----------
    network : Network
        The network explained.
    image : PIL.Image.Image
        The picture; whatever `nbcnnviz.load_image` takes may be assigned, or a preprocessed (1, C, H, W) tensor.
    source : str
        Where the picture came from: a sample's name, a path, the name of an upload, or "".
    crop : tuple[float, float, float, float] or None
        The part of the picture that the network gets: left, top, right and bottom, as shares of its width and height.
    layer : str or None
        The layer looked at, for methods that look at one; and the filter's layer. None becomes the network's last maps,
        and stays None where it has none.
    filter : int or None
        The channel of ``layer`` to explain; None explains ``target``. Another layer sets it back to None.
    unit : tuple[int, int] or None
        The row and column of the one unit of that channel to explain; None explains all of it.
    target : int, str, target or None
        The class to explain, as an index or a name, which becomes its index; or any target; None is the top class of
        the picture.
    method : str
        A name from `nbcnnviz.methods`.
    options : dict
        The method's own options, by name; those left out have their defaults.
    changing : bool
        Whether one change is bringing others with it; the first is told of once more when all have been made.
    """

    network = t.Instance(Network)
    image = t.Any()
    source = t.Unicode("")
    crop = t.Tuple(t.Float(), t.Float(), t.Float(), t.Float(), allow_none=True, default_value=None)
    layer = t.Unicode(None, allow_none=True)
    filter = t.Int(None, allow_none=True)
    unit = t.Tuple(t.Int(), t.Int(), allow_none=True, default_value=None)
    target = t.Any(None)
    method = t.Unicode("grad_cam")
    options = t.Dict()

    changing = False
    _holder: int | None = None
    _snapshot: Snapshot | None = None
    _cropped: tuple[int, tuple[float, ...], Image.Image] | None = None

    def __init__(self, network: Network, image: Any, **traits: Any) -> None:
        self._lock = threading.RLock()
        self._untold: list[t.Bunch] = []
        self._first: list[Callable[[str], None]] = []
        self._loaded: WeakValueDictionary[int, Image.Image] = WeakValueDictionary()
        super().__init__(network=network, layer=network.last_maps)
        self.image = image
        for name, value in traits.items():
            if value is not None:
                setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), t.TraitType):
            # Until everyone was told: a change is validated against others, and brings others with it.
            with self._held():
                super().__setattr__(name, value)
        else:
            super().__setattr__(name, value)

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._lock:
            before, self._holder = self._holder, threading.get_ident()
            try:
                yield
            finally:
                self._holder = before

    def notify_change(self, change: t.Bunch) -> None:
        """Make the changes that a change brings with it, and tell the observers when all have been made."""
        bring = getattr(self, f"_after_{change.name}", None)
        if bring is not None:
            bring(change)
        if self.changing:
            self._untold.append(change)
        elif self.image is not None:
            self._publish(str(change.name))
            error = self._tell_of_the_others(str(change.name))
            super().notify_change(change)
            if error is not None:
                raise error

    def _publish(self, name: str) -> None:
        self._snapshot = Snapshot(
            self.network, self.image, self.picture, self.source, self.crop, self.explains(), self.target,
            self.layer, self.filter, self.unit, self.method, dict(self.options),
        )  # fmt: skip
        for act in self._first:
            act(name)

    def _tell_of_the_others(self, name: str) -> Exception | None:
        """Tell observers of what was changed along; the first error of theirs keeps nothing from the others."""
        error = None
        self.changing = True
        try:
            told = len(self._untold)
            while self._untold:
                try:
                    super().notify_change(self._untold.pop(0))
                except Exception as raised:
                    error = error or raised
                told -= 1
        finally:
            self.changing = False
        if told < 0:  # an observer made changes of its own
            self._publish(name)
        return error

    def call_first(self, act: Callable[[str], None]) -> Callable[[], None]:
        """Call ``act`` with the name of a trait after each whole change, ahead of observers; returns what ends that."""
        self._first = [*self._first, act]

        def end() -> None:
            self._first = [known for known in self._first if known is not act]

        return end

    @property
    def snapshot(self) -> Snapshot:
        """The state after the last whole change; may be read on any thread, and waits for none."""
        assert self._snapshot is not None
        return self._snapshot

    @property
    def held(self) -> bool:
        """Whether this thread is within a change, as an observer is: other threads' changes wait for it."""
        return self._holder == threading.get_ident()

    def explains(self) -> Target | int | str | None:
        """The target in force: the unit or filter if one is chosen, else the class."""
        if self.filter is not None and self.layer is not None:
            if self.unit is not None:
                return Unit(self.layer, self.filter, *self.unit)
            return Channel(self.layer, self.filter)
        target: Target | int | str | None = self.target
        return target

    @property
    def picture(self) -> Image.Image:
        """The picture, cropped: the same object while neither image nor crop changes."""
        if self.crop is None:
            return self.image
        if self._cropped is None or self._cropped[:2] != (id(self.image), self.crop):
            self._cropped = id(self.image), self.crop, self.image.crop(self.box)
        return self._cropped[2]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """What is cropped, in pixels: (left, top, right, bottom), as Pillow has it."""
        return crop_box(self.image, self.crop)

    def restore(self, state: Snapshot) -> None:
        """Set everything as it was together before; observers are told of it when all is set, or if it fails, set back."""
        with self._held():
            before = self.snapshot
            try:
                self._along(**_traits(state))
            except BaseException:
                self._along(**_traits(before))
                raise
            finally:
                # Of the traits that bring no others with them: it stands for all.
                self.notify_change(t.Bunch(name="options", old={}, new=self.options, owner=self, type="change"))

    @t.validate("image")
    def _load(self, proposal: t.Bunch) -> Image.Image:
        value = proposal.value
        known = self._loaded.get(id(value))
        if known is not None and known is value:  # one that was selected before: no copy of it
            return known
        picture = self.network.picture(value)
        name = value if isinstance(value, (str, os.PathLike)) else None
        name = name or getattr(value, "filename", None) or getattr(value, "name", None)
        # Where Pillow keeps it: the name goes with the picture, also when that is assigned again.
        picture.filename = str(name) if isinstance(name, (str, os.PathLike)) else ""  # type: ignore[attr-defined]
        if picture == self.image:  # which is no change that anybody is told of
            self.source = picture.filename  # type: ignore[attr-defined]
        self._loaded[id(picture)] = picture
        return picture

    @t.validate("crop")
    def _within_picture(self, proposal: t.Bunch) -> tuple[float, ...] | None:
        if proposal.value is None:
            return None
        left, top, right, bottom = box = tuple(proposal.value)
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ImageError(
                "A crop is (left, top, right, bottom), as shares of the picture from 0 to 1, left of right and top above "
                f"bottom: not {box}."
            )
        return None if box == (0, 0, 1, 1) else box

    @t.validate("layer")
    def _known_layer(self, proposal: t.Bunch) -> Any:
        if proposal.value is not None and proposal.value not in self.network.layers:
            raise self.network.unknown_layer(proposal.value)
        return proposal.value

    @t.validate("filter")
    def _within_layer(self, proposal: t.Bunch) -> Any:
        if proposal.value is None:
            return None
        if self.layer is None:
            raise MethodNotApplicableError("This network has no layer with maps: name a layer before a filter of it.")
        filters = self.network.layers[self.layer].filters
        if not filters:
            raise no_maps(self.network, self.layer)
        if not 0 <= proposal.value < filters:
            raise FilterRangeError(
                f"Layer {self.layer!r} has filters 0 to {filters - 1}: there is no {proposal.value}."
            )
        return proposal.value

    @t.validate("unit")
    def _within_filter(self, proposal: t.Bunch) -> tuple[int, int] | None:
        if proposal.value is None:
            return None
        if self.filter is None or self.layer is None:
            raise MethodNotApplicableError(
                "A unit is a place on the map of a filter: choose a layer and a filter first."
            )
        places = self.network.layers[self.layer].places
        if places is None:
            raise MethodNotApplicableError(
                f"Layer {self.layer!r} returns no maps: there is no place on them to choose."
            )
        height, width = places
        row, column = proposal.value
        if not (0 <= row < height and 0 <= column < width):
            raise FilterRangeError(
                f"The maps of layer {self.layer!r} have {height} rows and {width} columns: there is no unit {row}, {column}."
            )
        return row, column

    @t.validate("target")
    def _known_class(self, proposal: t.Bunch) -> Any:
        target = proposal.value
        if isinstance(target, ClassScore) and not isinstance(target.index, tuple):
            target = target.index
        if target is None or callable(target):
            return target
        with suppress(TypeError):  # numpy's integers and tensors of one are indices too
            target = target if isinstance(target, str) else operator.index(target)
        if isinstance(target, (int, str)):
            return self.network.class_index(target)
        raise UnknownClassError(
            target,
            (),
            "A target is a class index or name, a Channel, a Unit, a LayerEnergy or a function of the trace.",
        )

    @t.validate("method")
    def _known_method(self, proposal: t.Bunch) -> Any:
        if proposal.value not in methods():
            raise UnknownMethodError(proposal.value, methods())
        return proposal.value

    @t.validate("options")
    def _known_options(self, proposal: t.Bunch) -> dict[str, Any]:
        return checked_options(self.method, proposal.value)

    # What a change brings with it.

    def _after_network(self, change: t.Bunch) -> None:
        old, new = change.old, change.new
        if not isinstance(old, Network):
            return
        if _architecture(old) != _architecture(new):
            self._along(unit=None, filter=None, layer=new.last_maps)
        if self.target is not None and not _means_the_same(self.target, old, new):
            chosen = self.filter, self.unit
            self._along(target=None)  # which would lead back from a filter to the class
            self._along(filter=chosen[0])
            self._along(unit=chosen[1])
        if new.last_maps is None and methods()[self.method].needs_layer:
            self._along(method=_WITHOUT_MAPS)

    def _after_image(self, change: t.Bunch) -> None:
        self._along(source=change.new.filename, crop=None)

    def _after_layer(self, change: t.Bunch) -> None:
        if change.new is None and self.network.last_maps is not None:
            self._along(layer=self.network.last_maps)
        elif self.filter is not None:  # the same number is another filter there
            self._along(filter=None)

    def _after_filter(self, change: t.Bunch) -> None:
        if self.unit is not None:
            self._along(unit=None)

    def _after_target(self, change: t.Bunch) -> None:
        if self.filter is not None:
            self._along(filter=None)

    def _after_method(self, change: t.Bunch) -> None:
        if self.options:
            self._along(options={})

    def _along(self, **traits: Any) -> None:
        """Make changes that belong to another."""
        changing, self.changing = self.changing, True
        try:
            for name, value in traits.items():
                setattr(self, name, value)
        finally:
            self.changing = changing


def _architecture(network: Network) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The layers of a network, their kinds and shapes: where they are the same, a layer and its filters are too."""
    return {name: (layer.kind, layer.shape) for name, layer in network.layers.items()}


def _means_the_same(target: Any, old: Network, new: Network) -> bool:
    """Whether another network of the same classes can be asked the same; of a layer, if it has the same layers.

    Not of a box by its number in what a network found, nor of likeness to what a network makes of a reference.
    """
    if list(old.classes) != list(new.classes) or new.kind != old.kind or new.kind in ("detection", "embedding"):
        return False
    if isinstance(target, int):
        return True
    asked = as_target(target)
    with suppress(NbcnnvizError):
        asked.check(new)
        return asked.layers == frozenset() or _architecture(old) == _architecture(new)
    return False


def _traits(state: Snapshot) -> dict[str, Any]:
    """A state's traits, in an order in which each is valid."""
    names = ("network", "image", "crop", "method", "layer", "target", "filter", "unit", "options")
    return {name: state.class_ if name == "target" else getattr(state, name) for name in names}
