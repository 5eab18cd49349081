"""Maps in bulk are those of `attribute`, one by one; a store that was interrupted is finished."""

from __future__ import annotations

import builtins
import resource

import numpy as np
import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.dataset import AttributionStore, attribute_many, measure_many
from tests import toys

pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=12)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.randn(40, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("target", [None, 2])
def test_the_maps_are_those_of_attribute(net, pictures, tmp_path, target) -> None:
    store = attribute_many(net, pictures, method="grad_cam", target=target, store=tmp_path / "maps")
    assert store.done.all()
    assert store.keys == [str(i) for i in range(40)]
    for i in range(40):
        expected = nv.attribute(net, pictures[i : i + 1], method="grad_cam", target=target)
        assert np.allclose(store.values[i], expected.values[0].numpy(), atol=1e-6)
        assert store.top[i] == int(net.module(pictures[i : i + 1]).argmax())
    result = store.attribution(net, pictures, 7)
    assert result.method == "grad_cam"
    assert result.layer == store.about["layer"]
    assert torch.allclose(result.values, nv.attribute(net, pictures[7:8], target=target).values, atol=1e-6)


def test_a_store_that_was_interrupted_is_finished_and_the_same(net, pictures, tmp_path) -> None:
    frames = attribute_many.stream(net, pictures, method="saliency", store=tmp_path / "maps")
    assert [next(frames) for _ in range(3)] == [(0, 40), (16, 40), (32, 40)]
    frames.close()
    assert AttributionStore.open(tmp_path / "maps").done.sum() == 32
    assert list(attribute_many.stream(net, pictures, method="saliency", store=tmp_path / "maps")) == [
        (32, 40),
        (40, 40),
    ]
    whole = attribute_many(net, pictures, method="saliency", store=tmp_path / "other")
    assert np.array_equal(AttributionStore.open(tmp_path / "maps").values[:], whole.values[:])


def test_a_store_of_another_question_is_refused(net, pictures, tmp_path) -> None:
    attribute_many(net, pictures[:3], method="grad_cam", store=tmp_path / "maps")
    with pytest.raises(nv.ScanError, match=r"another question \(method\)"):
        attribute_many(net, pictures[:3], method="guided_grad_cam", store=tmp_path / "maps")
    with pytest.raises(nv.ScanError, match="source"):
        attribute_many(net, pictures[1:4], method="grad_cam", store=tmp_path / "maps")
    with pytest.raises(nv.ScanError, match="no store"):
        AttributionStore.open(tmp_path / "nowhere")
    store = AttributionStore.open(tmp_path / "maps")
    with pytest.raises(nv.ScanError, match="other pictures"):
        store.attribution(net, pictures[1:4], 0)
    with pytest.raises(nv.FilterRangeError, match="no map"):
        store.attribution(net, pictures[:3], 3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("something")
    with pytest.raises(nv.UnknownOptionError, match="empty folder"):
        attribute_many(net, pictures[:3], store=tmp_path / "full")


def test_pictures_that_cannot_be_read_are_named(net, tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    store = attribute_many(net, [tmp_path / "broken.png", "chelsea"], store=tmp_path / "maps")
    assert store.done.tolist() == [False, True]
    assert list(store.skipped) == [str(tmp_path / "broken.png")]
    with pytest.raises(nv.ImageError, match="None of the 1"):
        attribute_many(net, [tmp_path / "broken.png"], store=tmp_path / "none")


def test_a_number_a_picture(net, pictures) -> None:
    found = measure_many(net, pictures[:4], lambda r, key: float(r.values.max()), method="grad_cam", target=1)
    assert list(found.values) == ["0", "1", "2", "3"]
    for i, value in enumerate(found.values.values()):
        assert value == pytest.approx(float(nv.attribute(net, pictures[i : i + 1], target=1).values.max()))
    assert found.mean == pytest.approx(np.mean(list(found.values.values())))


def test_metrics_over_a_data_set_are_the_means_of_those_of_its_pictures(net, pictures) -> None:
    boxes = {str(i): (2, 2, 2 + i, 8) for i in range(2, 5)}
    asked = {"target": 1, "method": "saliency"}
    areas = measure_many(net, pictures[2:5], lambda r, key: float(nv.metrics.insertion(r.trace, r, steps=5)), **asked)
    hits = measure_many(
        net, pictures[2:5], lambda r, key: float(nv.metrics.pointing(r, boxes[str(int(key) + 2)], tolerance=1)), **asked
    )
    maps = [nv.attribute(net.trace(pictures[i : i + 1]), **asked) for i in (2, 3, 4)]
    assert areas.mean == pytest.approx(np.mean([float(nv.metrics.insertion(r.trace, r, steps=5)) for r in maps]))
    alone = [float(nv.metrics.pointing(r, boxes[str(i)], tolerance=1)) for i, r in zip((2, 3, 4), maps, strict=True)]
    assert hits.mean == np.mean(alone)


def test_measures_are_resumed_from_their_file_and_of_the_same_question_alone(net, pictures, tmp_path) -> None:
    path = tmp_path / "m.json"

    def breaks(result: nv.Attribution, key: str) -> float:
        if int(key) >= 20:
            raise KeyboardInterrupt
        return float(result.values.max())

    with pytest.raises(KeyboardInterrupt):
        measure_many(net, pictures, breaks, store=path)
    seen = []

    def counts(result: nv.Attribution, key: str) -> float:
        seen.append(key)
        return float(result.values.max())

    found = measure_many(net, pictures, counts, store=path)
    assert seen == [str(i) for i in range(16, 40)]
    assert found.values == measure_many(net, pictures, counts).values
    with pytest.raises(nv.ScanError, match="another question"):
        measure_many(net, pictures, counts, store=path, method="saliency")
    (tmp_path / "text.json").write_text("no measures")
    with pytest.raises(nv.ScanError, match="no measures"):
        measure_many(net, pictures, counts, store=tmp_path / "text.json")


def test_a_picture_without_a_number_is_named(net, tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = measure_many(net, [tmp_path / "broken.png", "chelsea"], lambda r, key: 1.0)
    assert list(found.values) == ["chelsea"]
    assert list(found.skipped) == [str(tmp_path / "broken.png")]
    with pytest.raises(nv.ImageError, match="None of the 1 pictures gave a number"):
        measure_many(net, [tmp_path / "broken.png"], lambda r, key: 1.0)


def test_a_disk_that_is_full_is_told_and_what_was_written_is_kept(net, pictures, tmp_path) -> None:
    frames = attribute_many.stream(net, pictures, method="saliency", store=tmp_path / "maps")
    assert [next(frames) for _ in range(2)] == [(0, 40), (16, 40)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))  # no file may be larger: the system's own error
    try:
        with pytest.raises(nv.ExportError, match="cannot be written"):
            list(frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert AttributionStore.open(tmp_path / "maps").done.sum() == 16
    store = attribute_many(net, pictures, method="saliency", store=tmp_path / "maps")
    assert store.done.all()
    expected = nv.attribute(net, pictures[39:], method="saliency")
    assert np.allclose(store.values[39], expected.values[0].numpy(), atol=1e-6)


def test_without_zarr_the_extra_is_named(net, pictures, tmp_path, monkeypatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: object, **kwargs: object) -> object:
        if name == "zarr":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(nv.ExportError, match=r"nbcnnviz\[dataset\]"):
        attribute_many(net, pictures[:2], store=tmp_path / "maps")


def test_pictures_of_another_size_are_named_and_skipped(net, pictures, tmp_path) -> None:
    class Mixed(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.zeros(3, 12, 20) if index == 2 else pictures[index]

    result = nv.scan(net, Mixed(), layers="4")
    assert result.seen == 3
    assert "this scan is of (3, 12, 12)" in result.skipped["2"]
    store = attribute_many(net, Mixed(), method="saliency", store=tmp_path / "maps")
    assert store.done.tolist() == [True, True, False, True]
    assert list(store.skipped) == ["2"]
    assert store.skipped["2"].endswith(".")
