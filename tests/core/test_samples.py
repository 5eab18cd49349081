"""The sample pictures: photographs first, two known objects at known places, textures last."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.metadata import distribution
from itertools import combinations, pairwise

import numpy as np
import pytest

import nbcnnviz as nv
from nbcnnviz.core import samples as module

# The samples of 0.1, which scripts name.
TODAY = [
    "chelsea",
    "coffee",
    "camera",
    "astronaut",
    "rocket",
    "motorcycle",
    "coins",
    "moon",
    "galaxies",
    "brick",
    "grass",
    "gravel",
]


def best(net: nv.Network, picture, count: int = 5) -> list[str]:
    return [name for _, name, _ in net.trace(picture).top(count)]


def test_photographs_come_first_and_textures_last() -> None:
    names = nv.samples()
    assert names[0] == "chelsea"
    assert names == [n for kind in ("photographs", "composed", "textures") for n in nv.samples(kind)]
    assert names[-3:] == ["brick", "grass", "gravel"]
    assert len(set(names)) == len(names)
    assert set(TODAY) <= set(names)
    with pytest.raises(nv.ImageError, match="kinds photographs, composed, textures, not 'films'"):
        nv.samples("films")


class Asked:
    """A finder that finds nothing, and notes what is looked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        self.names.append(name)


def test_each_package_is_looked_for_once_a_call_and_a_new_one_is_seen(monkeypatch, tmp_path) -> None:
    before, asked = nv.samples(), Asked()
    for package in ("skimage", "sklearn", "matplotlib"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "meta_path", [asked, *sys.meta_path])
        assert nv.samples() == before
        assert sorted(asked.names) == ["matplotlib", "skimage", "sklearn"]
        patched.setattr(sys, "meta_path", [asked])  # as if nothing were installed
        assert nv.samples() == nv.samples("composed")
        (tmp_path / "skimage" / "data").mkdir(parents=True)
        (tmp_path / "skimage" / "data" / "grass.png").write_bytes(b"")
        patched.setattr(sys, "meta_path", [PathFinder])
        patched.setattr(sys, "path", [str(tmp_path)])
        assert nv.samples() == [*nv.samples("composed"), "grass"]
    assert nv.samples() == before


def test_every_object_lies_within_its_picture() -> None:
    for name in nv.samples():
        width, height = nv.load_image(name).size
        for thing in nv.sample_boxes(name):
            left, top, right, bottom = thing.box
            assert 0 <= left < right <= width, name
            assert 0 <= top < bottom <= height, name
    assert all(nv.sample_boxes(name) for name in nv.samples("photographs") + nv.samples("composed"))
    assert not any(nv.sample_boxes(name) for name in nv.samples("textures"))
    with pytest.raises(nv.ImageError, match="There is no sample 'cofee'; nearest: coffee"):
        nv.sample_boxes("cofee")


def test_the_classes_of_objects_are_names_that_the_network_knows(bundled: nv.Network) -> None:
    for name in nv.samples():
        for thing in nv.sample_boxes(name):
            for label in thing.classes:
                assert nv.ClassScore(label).indices(bundled.trace(name)) is not None


@pytest.mark.parametrize("name", ["chelsea", "coffee", "motorcycle", "rocket", "camera"])
def test_the_network_names_the_object_of_a_photograph(bundled: nv.Network, name: str) -> None:
    (thing,) = nv.sample_boxes(name)
    assert best(bundled, name)[0] in thing.classes


def test_the_cat_above_the_cup_is_both_to_the_network(bundled: nv.Network) -> None:
    found = best(bundled, "cat_above_cup")
    assert "espresso" in found
    assert {"Egyptian cat", "tiger cat"} & set(found)
    cat, cup = nv.sample_boxes("cat_above_cup")
    assert (cat.name, cup.name) == ("cat", "cup")
    assert cat.box[3] <= cup.box[1], "above"


@pytest.mark.parametrize("name", nv.samples("composed"))
def test_both_objects_of_a_composed_picture_are_seen(bundled: nv.Network, name: str) -> None:
    found, things = set(best(bundled, name)), nv.sample_boxes(name)
    assert len(things) == 2
    assert all(found & set(thing.classes) for thing in things)


def test_a_composed_picture_is_grey_but_for_its_objects() -> None:
    for name in nv.samples("composed"):
        pixels = np.asarray(nv.load_image(name)).copy()
        for thing in nv.sample_boxes(name):
            left, top, right, bottom = thing.box
            assert pixels[top:bottom, left:right].std() > 20
            pixels[top:bottom, left:right] = module.GREY
        assert (pixels == module.GREY).all()


def test_random_pictures_hold_their_objects_where_they_say() -> None:
    found = list(nv.composed(12, size=(200, 320), seed=3))
    assert len(found) == 12
    for one in found:
        assert one.picture.size == (320, 200)
        pixels = np.asarray(one.picture).copy()
        assert len({thing.name for thing in one.objects}) == 2
        for thing in one.objects:
            left, top, right, bottom = thing.box
            assert 320 // 16 <= left < right <= 320 - 320 // 16
            assert 200 // 16 <= top < bottom <= 200 - 200 // 16
            assert 0.29 * 200 < max(right - left, bottom - top) < 0.51 * 200
            pixels[top:bottom, left:right] = module.GREY
        assert (pixels == module.GREY).all()
        for a, b in combinations([thing.box for thing in one.objects], 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_objects_on_a_texture_lie_where_they_do_on_grey() -> None:
    asked = {"objects": 1, "size": (200, 320), "seed": 3}
    found = list(nv.composed(12, ground="texture", **asked))
    for one, on_grey in zip(found, nv.composed(12, **asked), strict=True):
        assert one.picture.size == (320, 200)
        assert one.objects == on_grey.objects
        (left, top, right, bottom) = one.objects[0].box
        pixels, plain = np.asarray(one.picture).copy(), np.asarray(on_grey.picture)
        assert (pixels[top:bottom, left:right] == plain[top:bottom, left:right]).all()
        assert pixels[:top].std() > 5
        assert (np.ptp(pixels[:top], 2) == 0).all(), "the textures are black and white photographs"
    grounds = [np.asarray(one.picture)[:12, :20] for one in found]
    assert all((a != b).any() for a, b in combinations(grounds, 2)), "each is another part"


def test_objects_of_any_photograph_can_be_pasted() -> None:
    of = ("rocket", "astronaut", "chelsea")
    pairs = [{thing.name for thing in one.objects} for one in nv.composed(12, size=96, photographs=of, seed=1)]
    assert set().union(*pairs) == {"rocket", "space shuttle", "cat"}
    assert all(len(pair) == 2 for pair in pairs)


@pytest.mark.parametrize("ground", ["grey", "texture"])
def test_the_seed_makes_the_picture(ground: str) -> None:
    first, again, other = (list(nv.composed(4, size=96, ground=ground, seed=seed)) for seed in (1, 1, 2))
    assert [a.objects for a in first] == [b.objects for b in again]
    assert all((np.asarray(a.picture) == np.asarray(b.picture)).all() for a, b in zip(first, again, strict=True))
    assert [a.objects for a in first] != [b.objects for b in other]
    assert all(a.objects != b.objects for a, b in pairwise(first))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"objects": 9}, "1 to 4 objects, not 9"),
        ({"size": 8}, "32 pixels"),
        ({"ground": "sky"}, "grey or texture, not on 'sky'"),
        ({"photographs": ["coffee", "coffee"]}, "1 to 1 objects, not 2"),
        ({"photographs": ["brick", "coffee"]}, "no sample photograph 'brick'"),
    ],
)
def test_what_cannot_be_composed_is_a_sentence(asked, told) -> None:
    with pytest.raises(nv.ImageError, match=told):
        next(nv.composed(1, **asked))


def test_a_sample_whose_package_is_missing_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert nv.samples() == nv.samples("composed")
    with pytest.raises(nv.ImageError, match="'china' comes with scikit-learn, which is not installed"):
        nv.load_image("china")


def test_every_photograph_comes_with_its_package_and_is_not_fetched() -> None:
    shipped = {str(path) for path in distribution("scikit-image").files}
    of_skimage = [file for file in module._FILES.values() if file.package == "skimage"]
    assert len(of_skimage) == len(TODAY)
    assert {f"skimage/{file.path}" for file in of_skimage} <= shipped
