"""A scan against a brute-force reference that keeps every activation; merged, interrupted and resumed."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nbcnnviz as nv
from nbcnnviz.dataset import TopPatches, scan
from nbcnnviz.dataset.patches import bin_values, bins_of, sortable, unsortable
from nbcnnviz.dataset.scanning import chosen_layers, chunk_size, scan_chunk
from nbcnnviz.dataset.sources import source_of
from tests import toys


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch) -> None:
    for name in ("CHUNK", "LEAST"):
        monkeypatch.setattr(f"nbcnnviz.dataset.scanning.{name}", 40)
    monkeypatch.setattr("nbcnnviz.dataset.scanning.SHOW_EVERY", math.inf)


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=12)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """Five hundred inputs, the last hundred the same as the first: ties of every kind."""
    x = torch.randn(400, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    return torch.cat([x, x[:100]])


def reference(net: nv.Network, x: torch.Tensor, layer: str, k: int) -> list[list[tuple[float, int, int]]]:
    """Every activation kept, then sorted: (value, picture, place) for each channel, with the module alone."""
    kept = {}
    hook = net.module.get_submodule(layer).register_forward_hook(lambda m, a, o: kept.update(out=o.detach().clone()))
    with torch.no_grad():
        outputs = torch.cat([(net.module(part), kept["out"])[1] for part in x.split(16)])
    hook.remove()
    maps = outputs.flatten(2) if outputs.ndim == 4 else outputs[:, :, None]
    found = []
    for channel in range(maps.shape[1]):
        rows = [(float(m.max()), i, int(m.argmax())) for i, m in enumerate(maps[:, channel])]
        found.append(sorted(rows, key=lambda row: (-row[0], row[1]))[:k])
    return found


LAYERS = ["0", "2", "3", "4", "5"]


def test_it_finds_what_keeping_everything_finds(net, pictures) -> None:
    result = scan(net, pictures, layers=[*LAYERS, "8"])
    assert result.seen == 500
    for layer in [*LAYERS, "8"]:
        expected = reference(net, pictures, layer, 9)
        for channel, rows in enumerate(expected):
            found = result.patches(layer, channel)
            assert [p.picture for p in found] == [i for _, i, _ in rows]
            assert np.allclose([p.value for p in found], [v for v, _, _ in rows], atol=1e-6)
            width = result.layers[layer].size[1]
            assert [p.row * width + p.column for p in found] == [place for _, _, place in rows]


def test_every_layer_with_maps_is_scanned_unless_told(net, pictures) -> None:
    assert list(scan(net, pictures[:20]).layers) == [n for n, layer in net.layers.items() if layer.spatial]


def test_counts_are_those_of_all_pictures(net, pictures) -> None:
    labels = [i % 3 for i in range(500)]
    result = scan(net, pictures, layers="4", labels=labels)
    kept = {}
    hook = net.module[4].register_forward_hook(lambda m, a, o: kept.update(out=o.detach().clone()))
    with torch.no_grad():
        net.module(pictures)
    hook.remove()
    strongest = kept["out"].amax((2, 3)).numpy()
    for channel in range(8):
        values = strongest[:, channel]
        assert result.fires("4", channel) == pytest.approx((values > 0).mean())
        for q in (0.05, 0.5, 0.95):
            exact = np.quantile(values, q, method="inverted_cdf")
            assert result.quantile("4", channel, q) == pytest.approx(exact, rel=0.13, abs=2**-12)
        means = {str(c): values[np.array(labels) == c].mean() for c in range(3)}
        expected = sorted(means.items(), key=lambda pair: -pair[1])
        assert [label for label, _ in result.classes("4", channel)] == [label for label, _ in expected]
        assert np.allclose([m for _, m in result.classes("4", channel)], [m for _, m in expected], atol=1e-4)


def test_parts_merge_in_any_order_to_the_same(net, pictures) -> None:
    source = source_of(pictures)
    names = chosen_layers(net, LAYERS)
    empty = next(iter(scan.stream(net, pictures, layers=LAYERS)))
    parts = [scan_chunk(net, source, names, empty, c, 16) for c in range(5)]
    results = []
    for order in itertools.islice(itertools.permutations(range(5)), 0, 120, 17):
        whole = empty
        for at in order:
            whole = whole.merge(parts[at])
        results.append(whole)
    nested = parts[4].merge(parts[1]).merge(parts[3].merge(parts[0].merge(parts[2]))).merge(empty)
    for other in [*results[1:], nested]:
        same(results[0], other)


def same(one: TopPatches, other: TopPatches) -> None:
    assert one.layers.keys() == other.layers.keys()
    for name, layer in one.layers.items():
        for part in ("order", "places", "fired", "histogram"):
            assert np.array_equal(getattr(layer, part), getattr(other.layers[name], part)), (name, part)
        assert layer.by_class.keys() == other.layers[name].by_class.keys()
        for label, (count, sums) in layer.by_class.items():
            assert count == other.layers[name].by_class[label][0]
            assert np.array_equal(sums, other.layers[name].by_class[label][1])
    assert one.keys == other.keys
    assert (one.seen, one.skipped, one.chunks) == (other.seen, other.skipped, other.chunks)


def test_what_does_not_go_together_is_refused(net, pictures) -> None:
    one, other = scan(net, pictures[:10], layers="4"), scan(net, pictures[10:20], layers="4")
    with pytest.raises(nv.ScanError, match="different scans"):
        one.merge(other)
    with pytest.raises(nv.ScanError, match="twice"):
        one.merge(one)


def test_a_stopped_scan_goes_on_from_its_checkpoint(net, pictures, tmp_path) -> None:
    path = tmp_path / "scan.npz"
    frames = scan.stream(net, pictures, layers=LAYERS, checkpoint=path)
    for _ in range(5):
        half = next(frames)
    frames.close()
    assert half.seen == 160
    assert TopPatches.load(path).seen == 160
    resumed = [frame.seen for frame in scan.stream(net, pictures, layers=LAYERS, checkpoint=path)]
    assert resumed == [160, *range(200, 501, 40), 500]
    same(TopPatches.load(path), scan(net, pictures, layers=LAYERS))


def test_a_checkpoint_of_another_scan_is_refused(net, pictures, tmp_path) -> None:
    path = tmp_path / "scan.npz"
    scan(net, pictures[:20], layers="4", checkpoint=path)
    torch.manual_seed(9)
    for change in (
        {"pictures": pictures[:21]},
        {"k": 3},
        {"layers": "5"},
        {"net": nv.Network(toys.classic(), size=12)},
    ):
        options = {"net": net, "pictures": pictures[:20], "layers": "4", "k": 9} | change
        with pytest.raises(nv.ScanError, match="another file"):
            scan(options.pop("net"), options.pop("pictures"), checkpoint=path, **options)
    path.write_bytes(b"nothing")
    with pytest.raises(nv.ScanError, match="no result of a scan"):
        scan(net, pictures[:20], layers="4", checkpoint=path)


def test_what_is_known_within_a_chunk_is_shown_and_not_kept(net, pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("nbcnnviz.dataset.scanning.SHOW_EVERY", 0)
    path = tmp_path / "scan.npz"
    frames = list(scan.stream(net, pictures[:100], layers="4", batch=16))
    within = [frame for frame in frames if frame.seen not in (0, 40, 80, 100)]
    assert len(within) >= 2  # which follow as quickly as making them allows
    for frame in within:
        assert [p[:3] for p in frame.patches("4", 1)] == [
            p[:3] for p in scan(net, pictures[: frame.seen], layers="4").patches("4", 1)
        ]
    same(frames[-1], scan(net, pictures[:100], layers="4"))
    frames = scan.stream(net, pictures[:100], layers="4", checkpoint=path)
    frame = next(f for f in frames if f.seen > 40)
    frames.close()
    assert TopPatches.load(path).seen == 40 * len(frame.chunks) == frame.whole.seen
    frame.save(path)
    assert TopPatches.load(path).seen == frame.whole.seen
    with pytest.raises(nv.ScanError, match=r"\.whole"):
        frame.merge(next(iter(scan.stream(net, pictures[:100], layers="4"))))
    same(list(scan.stream(net, pictures[:100], layers="4", start=frame))[-1], scan(net, pictures[:100], layers="4"))
    with pytest.raises(nv.ScanError, match="other pictures: leave it out"):
        scan(net, pictures[:99], layers="4", start=frame)


def test_closing_it_within_a_chunk_opens_no_more_pictures(net) -> None:
    opened = []

    class Watched(Pairs):
        def __len__(self) -> int:
            return 4000

        def __getitem__(self, index: int) -> torch.Tensor:
            opened.append(index)
            return torch.zeros(3, 12, 12)

    frames = scan.stream(net, Watched(), layers="4")
    next(frames), next(frames)
    frames.close()
    assert len(opened) <= 40 + 40  # the chunk that was shown, and no more than is loaded ahead


def test_few_pictures_are_scanned_in_small_parts_and_many_in_large_ones(monkeypatch) -> None:
    monkeypatch.undo()
    assert [chunk_size(n) for n in (1, 650, 4000, 10**6)] == [64, 64, 125, 256]


KILLED = """
import sys, time, torch
import nbcnnviz as nv
import nbcnnviz.dataset.scanning as s
from tests import toys
s.CHUNK, s.LEAST, s._SAVE_EVERY = 40, 40, 0
torch.manual_seed(0)
net = nv.Network(toys.classic(), size=12)
x = torch.randn(400, 3, 12, 12, generator=torch.Generator().manual_seed(1))
x = torch.cat([x, x[:100]])
for frame in s.scan.stream(net, x, layers=["0", "2", "3", "4", "5"], checkpoint=sys.argv[1]):
    print(frame.seen, flush=True)
    time.sleep(0.05)
"""


def test_a_process_that_is_killed_loses_nothing_it_wrote(net, pictures, tmp_path) -> None:
    path = tmp_path / "scan.npz"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 160:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert 0 < TopPatches.load(path).seen < 500
    same(scan(net, pictures, layers=LAYERS, checkpoint=path), scan(net, pictures, layers=LAYERS))


def test_the_file_opens_without_network_or_pictures(net, pictures, tmp_path) -> None:
    result = scan(net, pictures[:50], layers=LAYERS, labels=["a", "b"] * 25)
    result.save(tmp_path / "r.npz")
    loaded = TopPatches.load(tmp_path / "r.npz")
    same(result, loaded)
    assert loaded.about == result.about
    assert loaded.patches("4", 2) == result.patches("4", 2)
    frame = loaded.table()
    assert len(frame) == sum(9 * len(layer.order) for layer in loaded.layers.values())
    assert frame[(frame.layer == "4") & (frame.channel == 2)]["value"].is_monotonic_decreasing


def test_a_patch_is_what_the_unit_sees(net, pictures) -> None:
    from nbcnnviz.inside import receptive_field

    result = scan(net, pictures[:50], layers=["4"])
    trace = net.trace(pictures[:1])
    for patch in result.patches("4", 1):
        assert patch.box == tuple(receptive_field(trace, "4", patch.row, patch.column))


def test_there_may_be_fewer_pictures_than_patches(net, pictures) -> None:
    result = scan(net, pictures[:3], layers="4")
    assert len(result.patches("4", 0)) == 3
    assert np.isnan(result.layers["4"].values[:, 3:]).all()


def test_the_network_is_left_as_it_was(net, pictures) -> None:
    before = {n: t.clone() for n, t in net.module.state_dict().items()}
    net.module.train()
    scan(net, pictures[:20])
    assert all(m.training for m in net.module.modules())
    net.module.eval()
    assert not any(m._forward_hooks for m in net.module.modules())
    assert all(torch.equal(t, before[n]) for n, t in net.module.state_dict().items())


def test_a_layer_that_is_overwritten_in_place_is_seen_as_it_was() -> None:
    torch.manual_seed(0)
    net = nv.Network(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=8
    )
    x = torch.randn(30, 3, 8, 8)
    with torch.no_grad():
        maps = net.module[0](x)
    result = scan(net, x, layers="0")
    assert np.allclose(result.layers["0"].values[:, 0], maps.amax((0, 2, 3)).numpy(), atol=1e-6)
    assert result.quantile("0", 0, 0) == pytest.approx(float(maps[:, 0].amax((1, 2)).min()), rel=0.13, abs=2**-12)


# Where pictures come from.


def folder_of(path: Path, count: int = 6) -> Path:
    for i in range(count):
        (path / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.effect_noise((20 + i, 20), 80).convert("RGB").save(path / "ab"[i % 2] / f"{i}.png")
    return path


def test_a_folder_a_zip_and_a_list_of_its_files_give_the_same(net, tmp_path) -> None:
    folder = folder_of(tmp_path / "pictures")
    files = sorted(folder.rglob("*.png"))
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as file:
        for path in files:
            file.write(path, path.relative_to(folder))
    results = [
        scan(net, folder, layers="4"),
        scan(net, tmp_path / "p.zip", layers="4"),
        scan(net, files, layers="4", labels=[f.parent.name for f in files]),
    ]
    for other in results[1:]:
        assert np.array_equal(results[0].layers["4"].order, other.layers["4"].order)
    assert results[0].classes("4", 0) == results[1].classes("4", 0) == results[2].classes("4", 0)
    assert {label for label, _ in results[0].classes("4", 0)} == {"a", "b"}
    assert results[0].patches("4", 0)[0].key in {f.relative_to(folder).as_posix() for f in files}


class Pairs(torch.utils.data.Dataset):
    classes = ("first", "second")

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (16, 16), (30 * index, 0, 255 - 30 * index)), index % 2


def test_a_torch_dataset_and_one_of_dictionaries_serve_as_well(net) -> None:
    result = scan(net, Pairs(), layers="4")
    assert result.seen == 8
    assert {label for label, _ in result.classes("4", 0)} == {"first", "second"}

    class Dictionaries(Pairs):
        def __getitem__(self, index: int) -> dict:
            picture, label = super().__getitem__(index)
            return {"image": picture, "label": label}

    assert np.array_equal(scan(net, Dictionaries(), layers="4").layers["4"].order, result.layers["4"].order)
    array = np.stack([np.asarray(Pairs()[i][0]) for i in range(8)])
    assert np.array_equal(scan(net, array, layers="4").layers["4"].order, result.layers["4"].order)


def test_pictures_that_cannot_be_read_are_named_and_skipped(net, tmp_path) -> None:
    folder = folder_of(tmp_path / "pictures")
    (folder / "a" / "broken.png").write_bytes(b"not a picture")
    (folder / "a" / "cut.png").write_bytes((folder / "a" / "0.png").read_bytes()[:60])
    (folder / "a" / "notes.txt").write_text("no picture")
    result = scan(net, folder, layers="4")
    assert result.seen == 6
    assert set(result.skipped) == {"a/broken.png", "a/cut.png"}
    assert all(reason.endswith(".") for reason in result.skipped.values())
    assert (result.step, result.steps) == (8, 8)


def test_what_is_no_source_is_refused_with_a_sentence(net, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    for pictures, said in (
        (tmp_path / "empty", "no picture in empty"),
        (tmp_path / "nowhere", "no folder or zip"),
        (tmp_path / "text.zip", "no zip file"),
        ([], "no picture"),
        (7, "holds no pictures"),
        (torch.zeros(3, 12, 12), "preprocessed"),
    ):
        with pytest.raises(nv.ImageError, match=said):
            scan(net, pictures)
    with pytest.raises(nv.ImageError, match="None of the 1 pictures"):
        scan(net, [tmp_path / "text.zip"])
    with pytest.raises(nv.UnknownLayerError):
        scan(net, torch.zeros(2, 3, 12, 12), layers="nothing")
    with pytest.raises(nv.UnknownOptionError, match="whole number"):
        scan(net, torch.zeros(2, 3, 12, 12), k=0)


def test_a_full_disk_loses_neither_the_result_nor_the_last_file(net, pictures, tmp_path, monkeypatch) -> None:
    path = tmp_path / "scan.npz"
    result = scan(net, pictures[:20], layers="4")
    result.save(path)
    before = path.read_bytes()

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(nv.ExportError, match="No space left"):
        result.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scan.npz"]


# Numbers as whole numbers.


def test_floats_sort_as_the_whole_numbers_they_become() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(0, 100, 500), [0, -np.inf, np.inf, 1e-40, -1e-40]])
    values = values.astype(np.float32)
    assert np.array_equal(np.argsort(values, kind="stable"), np.argsort(sortable(values), kind="stable"))
    assert np.array_equal(unsortable(sortable(values).astype(np.int64)), values)


def test_the_value_of_a_bin_is_close_to_what_falls_into_it() -> None:
    values = np.concatenate([np.geomspace(2**-11.9, 2**11.9, 999), -np.geomspace(2**-11.9, 2**11.9, 999)]).astype(
        np.float32
    )
    assert np.allclose(bin_values()[bins_of(values)], values, rtol=0.13)
    assert bin_values()[bins_of(np.array([0, 1e-9, -1e-9], np.float32))].tolist() == [0, 0, 0]
    assert (np.diff(bin_values()) > 0).all()
