"""Anything a user may call an image becomes upright 8-bit RGB, or a sentence."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.core.images import MAX_PIXELS


def encoded(picture: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def pixels(picture: Image.Image) -> np.ndarray:
    assert isinstance(picture, Image.Image)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


@pytest.fixture
def photograph() -> np.ndarray:
    return np.array(nv.load_image("chelsea").resize((40, 30)))


def test_there_are_at_least_eight_samples_and_all_load() -> None:
    names = nv.samples()
    assert len(names) >= 8
    assert {"chelsea", "coffee", "camera"} <= set(names)
    for name in names:
        picture = pixels(nv.load_image(name))
        assert min(picture.shape[:2]) >= 200
        assert picture.std() > 5, f"{name} shows something"


def test_samples_need_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args, **kwargs):
        raise OSError("no connection")

    monkeypatch.setattr("socket.socket.connect", unreachable)
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    for name in nv.samples():
        nv.load_image(name)


def test_every_way_to_hand_over_a_picture_gives_the_same(photograph: np.ndarray, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(photograph), "PNG")
    path = tmp_path / "a picture.png"
    path.write_bytes(data)
    tensor = torch.from_numpy(photograph).permute(2, 0, 1)
    with path.open("rb") as file:
        sources = {
            "array": photograph,
            "array of floats": photograph / 255,
            "array, not contiguous": photograph[::1, ::-1][:, ::-1],
            "bytes": data,
            "bytearray": bytearray(data),
            "memoryview": memoryview(data),
            "file": file,
            "file in memory": io.BytesIO(data),
            "path": path,
            "path as text": str(path),
            "PIL": Image.fromarray(photograph),
            "PIL, not yet read": Image.open(path),
            "tensor": tensor,
            "tensor of floats": tensor / 255,
            "tensor in double": tensor.double() / 255,
            "tensor, channels last": tensor.permute(1, 2, 0),
            "tensor with a gradient": (tensor / 255).requires_grad_(),
        }
        for name, source in sources.items():
            assert (pixels(nv.load_image(source)) == photograph).all(), name


def test_half_precision_is_good_enough_for_eight_bits(photograph: np.ndarray) -> None:
    tensor = torch.from_numpy(photograph).permute(2, 0, 1) / 255
    assert np.abs(pixels(nv.load_image(tensor.half())) - photograph).max() <= 1
    assert np.abs(pixels(nv.load_image(tensor.bfloat16())) - photograph).max() <= 1


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 1)])
def test_grey_arrays_are_grey_pictures(shape) -> None:
    grey = np.arange(1200, dtype=np.uint8).reshape(shape)
    found = pixels(nv.load_image(grey))
    for channel in range(3):
        assert (found[..., channel] == grey.reshape(30, 40)).all()
    tensor = torch.from_numpy(grey.reshape(1, 30, 40))
    assert (pixels(nv.load_image(tensor)) == found).all()
    assert (pixels(nv.load_image(tensor[0])) == found).all()


def test_masks_and_integers_are_pictures() -> None:
    mask = np.array([[True, False], [False, True]])
    assert pixels(nv.load_image(mask))[..., 0].tolist() == [[255, 0], [0, 255]]
    assert pixels(nv.load_image(np.array([[0, 128], [255, 7]])))[..., 0].tolist() == [[0, 128], [255, 7]]
    deep = np.array([[0, 257, 65535], [32768, 257 * 100, 1]], np.uint16)
    assert pixels(nv.load_image(deep))[..., 0].tolist() == [[0, 1, 255], [127, 100, 0]]


def test_sixteen_bit_pictures_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256).repeat(4, 0)
    for format in ("PNG", "TIFF"):
        found = pixels(nv.load_image(encoded(Image.fromarray(ramp), format)))
        assert np.abs(found[0, :, 0] - np.arange(256)).max() <= 1
    wide = Image.fromarray(ramp.astype(np.int32))
    assert wide.mode == "I"
    assert np.abs(pixels(nv.load_image(wide))[0, :, 0] - np.arange(256)).max() <= 1
    narrow = Image.fromarray(np.arange(256, dtype=np.int32).reshape(1, 256))
    with pytest.warns(UserWarning, match="taken for 8 bits"):
        assert (pixels(nv.load_image(narrow))[0, :, 0] == np.arange(256)).all()


@pytest.mark.parametrize(("bits", "taken"), [(8, 8), (9, 10), (10, 10), (12, 12), (14, 14)])
def test_twelve_bits_in_sixteen_are_found_and_said(bits: int, taken: int) -> None:
    ramp = np.linspace(0, 2**bits - 1, 64).round().astype(np.uint16).reshape(8, 8)
    told = (
        rf"up to {2**bits - 1} only: taken for {taken} bits, .* dark picture of 16 bits, say load_image\(..., bits=16\)"
    )
    sources = {"array": ramp, "tensor": torch.from_numpy(ramp.astype(np.int32)).to(torch.uint16)}
    sources |= {format: encoded(Image.fromarray(ramp), format) for format in ("PNG", "TIFF")}
    expected = ramp.astype(int) * 255 // (2**taken - 1)
    for name, source in sources.items():
        with pytest.warns(UserWarning, match=told):
            assert (pixels(nv.load_image(source))[..., 0] == expected).all(), name
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert (pixels(nv.load_image(source, bits=16))[..., 0] == ramp // 257).all(), name
            assert (pixels(nv.load_image(source, bits=taken))[..., 0] == expected).all(), name


def test_the_bits_said_are_held_to() -> None:
    wide = np.array([[0, 4096]], np.uint16)
    with pytest.raises(nv.ImageError, match="from 0 to 4096, which are more than 12 bits hold"):
        nv.load_image(wide, bits=12)
    assert pixels(nv.load_image(wide.astype(np.int64) // 2, bits=12))[0, 1, 0] == 2048 * 255 // 4095
    for wrong in (0, 17, 12.0, "12"):
        with pytest.raises(nv.ImageError, match="1 to 16 bits"):
            nv.load_image(wide, bits=wrong)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(nv.load_image(np.zeros((4, 4), np.uint16))).max() == 0
        assert pixels(nv.load_image("coffee", bits=12)).max() == pixels(nv.load_image("coffee")).max()


def test_floating_point_pictures_lie_between_zero_and_one() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 256)
    picture = Image.fromarray(ramp)
    assert picture.mode == "F"
    assert (pixels(nv.load_image(picture))[0, :, 0] == np.arange(256)).all()
    with pytest.raises(nv.ImageError, match=r"from 0 to 255: they must lie in"):
        nv.load_image(Image.fromarray(ramp * 255))


def test_palettes_are_looked_up_and_transparency_is_laid_on_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert pixels(nv.load_image(encoded(palette, "PNG"))).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert pixels(nv.load_image(encoded(palette, "GIF"))).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert pixels(nv.load_image(encoded(palette, "PNG", transparency=1))).tolist() == [[[255, 0, 0], [255, 255, 255]]]

    colour = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    colour.putpixel((1, 0), (0, 0, 0, 0))
    colour.putpixel((2, 0), (255, 0, 0, 51))
    assert pixels(nv.load_image(encoded(colour, "PNG"))).tolist() == [[[0, 0, 0], [255] * 3, [255, 204, 204]]]
    assert (pixels(nv.load_image(np.array(colour))) == pixels(nv.load_image(colour))).all()
    tensor = torch.from_numpy(np.array(colour)).permute(2, 0, 1)
    assert (pixels(nv.load_image(tensor)) == pixels(nv.load_image(colour))).all()

    grey = Image.new("LA", (2, 1), (0, 255))
    grey.putpixel((1, 0), (100, 0))
    assert pixels(nv.load_image(encoded(grey, "PNG"))).tolist() == [[[0] * 3, [255] * 3]]


def test_pictures_for_print_come_out_in_their_colours() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    found = pixels(nv.load_image(encoded(red, "JPEG")))
    assert found[..., 0].min() > 200
    assert found[..., 1:].max() < 60


@pytest.mark.parametrize("mode", ["1", "L", "YCbCr", "HSV", "LAB", "RGBX", "RGBa", "PA"])
def test_every_mode_of_pillow_becomes_rgb(mode: str) -> None:
    by_way_of = {"PA": "P", "RGBa": "RGBA"}.get(mode, "RGB")
    white = Image.new("RGB", (4, 4), "white").convert(by_way_of)
    source = Image.new("LAB", (4, 4), (255, 128, 128)) if mode == "LAB" else white.convert(mode)
    assert source.mode == mode
    assert pixels(nv.load_image(source)).min() >= 250


ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_photograph_is_turned_upright(orientation: int) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)
    upright[8:, 8:] = (0, 0, 255)
    stored = Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for found in (
        nv.load_image(encoded(stored, "JPEG", exif=exif, quality=100, subsampling=0)),
        nv.load_image(Image.open(io.BytesIO(encoded(stored, "PNG", exif=exif)))),
    ):
        assert found.size == (24, 16)
        assert np.abs(pixels(found) - upright).max() < 12


def png(width: int, height: int) -> bytes:
    """A black picture of one bit a pixel, however large, in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj()
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_too_large_to_hold_is_refused_before_it_is_decoded() -> None:
    assert pixels(nv.load_image(png(20, 10))).shape == (10, 20, 3), "the file is a picture but for its size"
    with pytest.raises(nv.ImageError, match=r"has more than 100 million pixels: make it smaller first"):
        nv.load_image(png(20_000, 20_000))
    with pytest.raises(nv.ImageError, match=r"\(12000 x 12000\) has more than 100 million pixels"):
        nv.load_image(png(12_000, 12_000))
    assert MAX_PIXELS == 100_000_000
    with pytest.raises(nv.ImageError, match="million pixels"):
        nv.load_image(np.broadcast_to(np.uint8(0), (20_000, 20_000)))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not a picture"),
        (b"this is no picture at all", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "not a picture|broken"),
        (encoded(Image.new("RGB", (64, 64), "red"), "JPEG")[:400], "broken or truncated"),
        (encoded(Image.effect_noise((64, 64), 80), "PNG")[:1000], "broken or truncated"),
        (encoded(Image.new("RGB", (64, 64), "red"), "GIF")[:40], "not a picture|broken"),
        (encoded(Image.new("RGB", (64, 64), "red"), "TIFF")[:-5000], "not a picture|broken"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%PDF-1.4", "not a picture"),
    ],
    ids=["empty", "text", "only a signature", "half a JPEG", "half a PNG", "half a GIF", "half a TIFF", "SVG", "PDF"],
)
def test_a_broken_file_is_a_sentence(data: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data)
    with pytest.raises(nv.ImageError, match=f"^The bytes .*({told})"):
        nv.load_image(data)
    with pytest.raises(nv.ImageError, match=f"'holiday.jpg' .*({told})"):
        nv.load_image(path)


def test_a_truncated_picture_that_pillow_has_opened_is_a_sentence_too() -> None:
    half = Image.open(io.BytesIO(encoded(Image.effect_noise((64, 64), 80), "JPEG")[:1500]))
    with pytest.raises(nv.ImageError, match="The picture is broken or truncated"):
        nv.load_image(half)


@pytest.mark.parametrize(
    ("pixel_array", "told"),
    [
        (np.full((4, 4), np.nan), "NaN or infinite"),
        (np.full((4, 4, 3), np.inf), "NaN or infinite"),
        (np.full((4, 4), 1.5), r"from 1\.5 to 1\.5: they must lie in \[0, 1\]"),
        (np.full((4, 4), -0.1), r"from -0\.1"),
        (np.full((4, 4), 256), r"integer pixels from 256 to 256: they must lie in 0 \.\. 255"),
        (np.full((4, 4), -1), "integer pixels"),
        (np.zeros((4, 4, 2)), r"shape \(4, 4, 2\) is no picture"),
        (np.zeros((4, 4, 5)), r"\(4, 4, 5\)"),
        (np.zeros(4), r"\(4,\)"),
        (np.zeros((2, 4, 4, 3)), r"\(2, 4, 4, 3\)"),
        (np.zeros(()), r"\(\)"),
        (np.zeros((0, 5, 3)), r"has no pixels \(5 x 0\)"),
        (np.zeros((4, 4), complex), "complex128"),
        (np.array([["a", "b"]]), "holds <U1 values"),
        (np.array([[None, None]]), "holds object values"),
        (torch.zeros(2, 5, 5), r"shape \(2, 5, 5\)"),
        (torch.zeros(1, 3, 4, 4), r"shape \(1, 3, 4, 4\)"),
        (torch.full((3, 4, 4), torch.nan), "NaN"),
        (torch.randn(3, 40, 40), "floating-point pixels from"),
    ],
)
def test_an_array_that_is_no_picture_is_a_sentence(pixel_array, told: str) -> None:
    with pytest.raises(nv.ImageError, match=told):
        nv.load_image(pixel_array)


@pytest.mark.parametrize("wrong", [None, 3, 2.5, ["chelsea"], {"a": 1}, object(), Image])
def test_what_is_no_picture_is_told_what_would_be(wrong) -> None:
    with pytest.raises(nv.ImageError, match=r"is no picture: give a path, bytes, .* sample \(chelsea"):
        nv.load_image(wrong)


@pytest.mark.parametrize(
    "path", ["chelsae", "no/such/file.png", "", "x" * 5000, "~nobody-of-this-name/x.png", "a\0b", ".", "coffee.jpg"]
)
def test_a_file_that_is_not_there_is_a_sentence(path: str) -> None:
    with pytest.raises(nv.ImageError, match="There is no file"):
        nv.load_image(path)


def test_a_misspelt_sample_is_told_the_nearest() -> None:
    with pytest.raises(nv.ImageError, match="nearest sample: chelsea"):
        nv.load_image("chelsae")


def test_a_network_stays_usable_after_a_bad_picture(bundled: nv.Network) -> None:
    before = bundled.trace("coffee").scores
    for bad in (b"", np.full((4, 4), np.nan), "nowhere.png", png(20_000, 20_000)):
        with pytest.raises(nv.ImageError):
            bundled.trace(bad)
    assert torch.equal(bundled.trace("coffee").scores, before)
