"""What is cut out of a scaled picture is the same as if the whole had been scaled, and costs no more than it shows."""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.functional import InterpolationMode

import nbcnnviz as nv
from nbcnnviz.core.cropping import Strip, covering, part_of_resized
from nbcnnviz.core.preprocess import applied
from tests import toys


def photograph(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    smooth = np.asarray(nv.load_image("coffee").resize((width, height)))
    return Image.fromarray(((noise.astype(int) + smooth) // 2).astype(np.uint8))


def apart(one: Image.Image, other: Image.Image) -> int:
    assert one.size == other.size
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


@pytest.mark.parametrize("resample", [r for r in Image.Resampling if r is not Image.Resampling.BOX], ids=str)
@pytest.mark.parametrize(
    ("source", "size", "box"),
    [
        ((40, 30), (400, 300), (130, 90, 190, 155)),
        ((400, 300), (40, 30), (3, 0, 40, 21)),
        ((37, 211), (97, 50), (0, 11, 97, 29)),
        ((1, 90), (16, 1440), (0, 712, 16, 728)),
        ((90, 1), (1440, 16), (712, 0, 728, 16)),
        ((64, 64), (64, 64), (10, 10, 20, 20)),
    ],
)
def test_a_part_is_that_of_the_whole(source, size, box, resample) -> None:
    picture = photograph(*source)
    expected = picture.resize(size, resample).crop(box)
    found = part_of_resized(picture, size, box, resample)
    assert apart(found, expected) <= 1


@pytest.mark.parametrize("source", [(1, 400), (400, 1), (3, 700), (50, 33), (300, 20), (2, 2)])
@pytest.mark.parametrize("size", [(32, 32), (20, 48), (48, 20)])
def test_the_default_preprocess_crops_first_and_gives_the_same(source, size) -> None:
    picture = photograph(*source)
    scale = max(size[0] / picture.height, size[1] / picture.width)
    full = [max(size[0], round(picture.height * scale)), max(size[1], round(picture.width * scale))]
    expected = v2.functional.center_crop(v2.functional.resize(picture, full, antialias=True), list(size))
    assert apart(covering(picture, size), expected) <= 1


COMPOSED = {
    "torchvision's": v2.Compose(
        [v2.Resize(36), v2.CenterCrop(32), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    ),
    "bicubic": v2.Compose(
        [
            v2.Resize(36, interpolation=InterpolationMode.BICUBIC),
            v2.CenterCrop((32, 20)),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    ),
    "padded": v2.Compose([v2.Resize(20), v2.CenterCrop(32), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]),
    "squashed": v2.Compose([v2.Resize((32, 20)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]),
    "by Pillow": lambda p: torch.from_numpy(np.array(p.resize((99, 88)).crop((7, 8, 50, 60)))).permute(2, 0, 1) / 255,
    "grey": v2.Compose([v2.Resize(36), v2.Grayscale(), v2.CenterCrop(32), v2.ToImage()]),
    "as it is": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]),
}


@pytest.mark.parametrize("name", COMPOSED)
@pytest.mark.parametrize("source", [(2, 90), (90, 2), (33, 300)])
def test_a_preprocess_of_the_users_gives_the_same_for_a_strip(name: str, source) -> None:
    picture = photograph(*source)
    found, expected = applied(COMPOSED[name], picture), COMPOSED[name](picture)
    step = 1 if name == "grey" else 1 / 255
    assert (found.float() - expected.float()).abs().max() <= 1.01 * step


def test_a_strip_is_a_picture_like_others() -> None:
    picture = photograph(5, 60)
    strip = Strip.of(picture)
    assert strip.tobytes() == picture.tobytes()
    scaled, expected = strip.resize((50, 600)), picture.resize((50, 600))
    assert scaled.size == (50, 600)
    assert scaled.convert("L").tobytes() == expected.convert("L").tobytes()
    assert strip.resize((50, 600)).crop((-5, 0, 20, 20)).tobytes() == expected.crop((-5, 0, 20, 20)).tobytes()
    assert np.array_equal(np.asarray(strip.resize((50, 600)).rotate(90)), np.asarray(expected.rotate(90)))
    assert (
        strip.resize((7, 90), Image.Resampling.BOX).tobytes() == picture.resize((7, 90), Image.Resampling.BOX).tobytes()
    )
    assert strip.resize((5, 60), box=(0, 0, 5, 30)).tobytes() == picture.resize((5, 60), box=(0, 0, 5, 30)).tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_a_long_strip_takes_no_memory_to_speak_of() -> None:
    script = """
import resource, numpy as np, torch, nbcnnviz as nv
from PIL import Image
from torchvision.transforms import v2
net = nv.Network(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
    torch.nn.Flatten(), torch.nn.Linear(2, 2)).eval(), size=224)
presets = [net.preprocess, v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])]
from nbcnnviz.core.preprocess import applied
for preset in presets: applied(preset, Image.new("RGB", (64, 64)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for size in ((1, 4000), (20000, 1)):
    for preset in presets: assert applied(preset, Image.new("RGB", size, "red")).shape == (3, 224, 224)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 100, "megabytes; the whole strip at that size would take 600 and more"


def test_a_strip_is_traced_by_the_bundled_network_too(bundled: nv.Network) -> None:
    assert bundled.trace(Image.new("RGB", (1, 4000), "red")).size == (224, 224)
    assert nv.Network(toys.classic(), size=32).trace(Image.new("RGB", (4000, 1))).size == (32, 32)
