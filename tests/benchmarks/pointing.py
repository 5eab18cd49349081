"""The pointing game: whether the strongest place of a map lies on the object whose class is asked, beside TorchRay's table.

As TorchRay plays it: 15 pixels of the picture around the object's boxes count; gradients are their largest magnitude over
the channels, blurred; a figure is the mean over classes of the share of objects hit. A "difficult" object covers less than
a quarter of the picture and has another class beside it (Zhang et al. 2018, section 4.1). The published numbers are of
another network (ResNet-50) and other pictures (VOC07): they stand beside ours for their order alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import nbcnnviz as nv
from nbcnnviz.metrics import object_mask, pointing
from tests.benchmarks.table import Row

PUBLISHED = {
    "centre": (69.6, 42.4),
    "gradient": (72.3, 56.8),
    "deconvnet": (68.6, 44.7),
    "guided_backprop": (77.2, 59.4),
    "excitation_backprop": (84.5, 70.8),
    "contrastive_excitation_backprop": (90.7, 82.1),
    "rise": (86.4, 78.8),
    "grad_cam": (90.4, 82.3),
    "extremal_perturbation": (88.9, 78.7),
}
"""VOC07, ResNet-50, all objects and the difficult ones, in per cent (Fong et al. 2019, table 1)."""

ORDER = (
    ("centre", "gradient"),
    ("gradient", "guided_backprop"),
    ("guided_backprop", "excitation_backprop"),
    ("excitation_backprop", "grad_cam"),
    ("excitation_backprop", "rise"),
    ("gradient", "grad_cam"),
    ("gradient", "rise"),
)
"""Which is asked to point no better than which, over all objects."""

SMOOTHED = {"gradient": 0.02, "deconvnet": 0.02, "guided_backprop": 0.02, "extremal_perturbation": 0.09}
"""What is blurred before it points, by which share of the picture, there as here."""

AT_THE_MIDDLE = ("excitation_backprop", "contrastive_excitation_backprop")
"""What looks at a layer in the middle, there as here."""

TOLERANCE = 15
"""How many pixels of the picture around an object count."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a picture: where the objects of one kind are.

    Attributes
    ----------
    kind : str
        What they are.
    classes : tuple[str, ...]
        Which classes they may be taken for.
    mask : Tensor
        Where the maximum counts as a hit, in the network's input, (H, W).
    difficult : bool
        Whether they cover less than a quarter of the picture, with another kind beside them.
    """

    kind: str
    classes: tuple[str, ...]
    mask: Tensor
    difficult: bool


@dataclass(frozen=True)
class Hits:
    """Which objects a method hit: (kind, difficult, 1 or 0, or the chance of a hit)."""

    found: tuple[tuple[str, bool, float], ...]

    def share(self, difficult: bool = False) -> float:
        """The share of the objects, in per cent."""
        return 100 * mean(hit for _, hard, hit in self.found if hard or not difficult)

    def by_class(self, difficult: bool = False) -> float:
        """The mean over the kinds of the share of their objects, in per cent: what is published."""
        kinds: dict[str, list[float]] = defaultdict(list)
        for kind, hard, hit in self.found:
            if hard or not difficult:
                kinds[kind].append(hit)
        return 100 * mean(map(mean, kinds.values()))

    def count(self, difficult: bool = False) -> int:
        """How many objects there were."""
        return sum(hard or not difficult for _, hard, _ in self.found)


def table(
    net: nv.Network, count: int, few: int, names: Iterable[str] = tuple(PUBLISHED), **options: dict[str, Any]
) -> list[Row]:
    """How often each method's maximum lies on the object, all and difficult, and whether the order is that asked.

    Of the photographs, the composed samples, ``count`` pictures of two objects on grey and as many of one on a texture.
    ``few`` passes for methods of many, unless ``options`` names others by method.
    """
    chosen = [name for name in names if name == "centre" or name in nv.methods()]
    return rows(
        hits(net, chain(known("photographs", "composed"), two_objects(count), one_object(count)), chosen, few, options)
    )


def known(*kinds: str) -> Iterator[nv.Composed]:
    """The samples of some kinds, with their objects."""
    for name in chain.from_iterable(map(nv.samples, kinds)):
        yield nv.Composed(nv.load_image(name), nv.sample_boxes(name))


def two_objects(count: int) -> Iterator[nv.Composed]:
    """Pictures of two objects of different classes on grey."""
    return nv.composed(count, seed=0)


def one_object(count: int) -> Iterator[nv.Composed]:
    """Pictures of one object on a texture, of any photograph: else half of the classes would be of one picture each."""
    return nv.composed(count, objects=1, ground="texture", photographs=nv.samples("photographs"), seed=1)


def rows(counted: Mapping[str, Hits]) -> list[Row]:
    """The table of what `hits` found."""
    found = []
    for name, hits_ in counted.items():
        told = PUBLISHED.get(name)
        note = f"of the objects {hits_.share():.1f} / {hits_.share(True):.1f}"
        note += f"; TorchRay {told[0]} / {told[1]}" if told else f"; {hits_.count()} / {hits_.count(True)} objects"
        found.append(Row(name, f"{hits_.by_class():.1f} / {hits_.by_class(True):.1f}", note=note))
    for low, high in ORDER:
        if low in counted and high in counted:
            ours, other = counted[high], counted[low]
            ahead, hard = (ours.by_class(difficult) - other.by_class(difficult) for difficult in (False, True))
            objects = (ours.share(difficult) - other.share(difficult) for difficult in (False, True))
            note = "of the objects {:+.1f} / {:+.1f}".format(*objects)
            if (low, high) == ("gradient", "guided_backprop"):
                note += "; -0.4 / -3.9 for VGG-16 there"
            found.append(Row(f"{high} - {low}", f"{ahead:+.1f} / {hard:+.1f}", ">= 0 of all", ahead >= 0, note))
    return found


def hits(
    net: nv.Network,
    pictures: Iterable[nv.Composed],
    names: Iterable[str],
    few: int,
    options: Mapping[str, dict[str, Any]] | None = None,
) -> dict[str, Hits]:
    """By method, and for chance: what it hit of the objects in pictures."""
    names = list(names)
    found: dict[str, list[tuple[str, bool, float]]] = {name: [] for name in ("chance", *names)}
    for one in pictures:
        trace = net.trace(one.picture)
        for asked in questions(net, one):
            target = likeliest(trace, asked.classes)
            for name in names:
                result = map_to_point(trace, name, target, few, (options or {}).get(name))
                score = pointing(result, asked.mask, tolerance=0, smooth=SMOOTHED.get(name, 0))
                found[name].append((asked.kind, asked.difficult, score.value))
            found["chance"].append((asked.kind, asked.difficult, float(score.chance or 0)))
    return {name: Hits(tuple(each)) for name, each in found.items()}


def questions(net: nv.Network, one: nv.Composed) -> Iterator[Asked]:
    """One for each kind of object in a picture."""
    kinds = dict.fromkeys(thing.name for thing in one.objects)
    for kind in kinds:
        things = [thing for thing in one.objects if thing.name == kind]
        boxes = [thing.box for thing in things]
        mask = object_mask(net, one.picture, boxes, tolerance=TOLERANCE)
        yield Asked(kind, things[0].classes, mask, len(kinds) > 1 and covered(boxes, one.picture) < 1 / 4)


def covered(boxes: Iterable[nv.Box], picture: Image.Image) -> float:
    """The share of a picture that boxes have, all together."""
    areas = ((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    return sum(areas) / (picture.width * picture.height)


def likeliest(trace: nv.Trace, classes: Iterable[str]) -> nv.ClassScore:
    """Of the classes that an object may be taken for, the one with the highest score."""
    return max(map(nv.ClassScore, classes), key=lambda target: float(target(trace).detach()[0]))


def map_to_point(
    trace: nv.Trace, name: str, target: nv.ClassScore, few: int, options: dict[str, Any] | None = None
) -> nv.Attribution:
    """The map of a method, at the layer that TorchRay takes; `pointing` reduces gradients as it does."""
    if name == "centre":
        values = torch.zeros(1, 1, *trace.size)
        values[..., trace.size[0] // 2, trace.size[1] // 2] = 1
        return nv.Attribution(values, target, "input", trace, method=name)
    layer = {"layer": middle(trace.network)} if name in AT_THE_MIDDLE else {}
    return nv.attribute(
        trace, method=name, target=target, **layer, **(cheap(name, few) if options is None else options)
    )


def middle(net: nv.Network) -> str:
    """The last layer whose maps have twice the side of the last maps: layer3 of a ResNet."""
    last = net.layers[net.last_maps or ""].places or (1, 1)
    twice = (2 * last[0], 2 * last[1])
    return [name for name, known in net.layers.items() if known.spatial and known.places == twice][-1]


def cheap(name: str, few: int) -> dict[str, Any]:
    """Options that keep the methods of many passes to some dozens of passes, or some hundreds for RISE."""
    options: dict[str, dict[str, Any]] = {
        "rise": {"masks": 16 * few},
        "score_cam": {"channels": 2 * few},
        "occlusion": {"window": 64, "stride": 32},
        "integrated_gradients": {"steps": few},
        **{noisy: {"samples": few} for noisy in ("smooth_grad", "smooth_grad_squared", "var_grad")},
    }
    found = options.get(name, {})
    known = nv.methods()[name].options
    for option, value in (("samples", 4 * few), ("steps", 4 * few)):
        if not found and option in known:
            found = {option: value}
    return found


def mean(values: Iterable[float]) -> float:
    """Of numbers; NaN of none."""
    found = list(values)
    return sum(found) / len(found) if found else float("nan")
