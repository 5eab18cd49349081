"""Score-CAM, Ablation-CAM and Recipro-CAM: passes written out on the module itself, and pytorch-grad-cam."""

from __future__ import annotations

import pytest
import torch
import torchvision

import nbcnnviz as nv
from nbcnnviz.core.scoring import Scorer
from tests import toys

X = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=24)


@pytest.fixture(scope="module")
def deep() -> nv.Network:
    """With shortcuts, and a head that is not linear in the average."""
    torch.manual_seed(0)
    return nv.Network(toys.Branching(), size=24)


def maps_of(net: nv.Network, layer: str) -> torch.Tensor:
    kept = {}
    handle = net.module.get_submodule(layer).register_forward_hook(lambda m, a, o: kept.update(out=o.detach().clone()))
    with torch.no_grad():
        net.module(X)
    handle.remove()
    return kept["out"]


def with_output(net: nv.Network, layer: str, output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The module's scores with a layer's output replaced, by a hook on the module."""
    handle = net.module.get_submodule(layer).register_forward_hook(lambda m, a, o: output)
    with torch.no_grad():
        scores = net.module(x)
    handle.remove()
    return scores


def weighted(maps: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (maps * weights[:, :, None, None]).sum(1, keepdim=True).relu()


def test_score_cam_masks_the_picture_by_each_map(net) -> None:
    maps = maps_of(net, "4")
    up = torch.nn.functional.interpolate(maps, size=(24, 24), mode="bilinear", align_corners=False)
    scores = torch.zeros(2, 8)
    for n in range(2):
        for k in range(8):
            mask = (up[n, k] - up[n, k].min()) / (up[n, k].max() - up[n, k].min())
            with torch.no_grad():
                scores[n, k] = net.module((X[n] * mask)[None])[0, 3]
    expected = weighted(maps, scores.softmax(1))
    found = nv.attribute(net, X, method="score_cam", target=3, layer="4", batch=3)
    assert torch.allclose(found.values, expected, rtol=1e-4, atol=1e-7)
    assert found.steps == 8


def test_score_cam_with_fewer_channels_takes_those_that_vary_most(net) -> None:
    maps = maps_of(net, "4")
    kept = maps.flatten(2).var(2).argsort(1, descending=True)[:, :3]
    full = nv.attribute(net, X, method="score_cam", target=3, layer="4", channels=3)
    assert full.steps == 3
    up = torch.nn.functional.interpolate(maps, size=(24, 24), mode="bilinear", align_corners=False)
    scores = torch.full((2, 8), -torch.inf)
    for n in range(2):
        for k in kept[n]:
            mask = (up[n, k] - up[n, k].min()) / (up[n, k].max() - up[n, k].min())
            with torch.no_grad():
                scores[n, k] = net.module((X[n] * mask)[None])[0, 3]
    assert torch.allclose(full.values, weighted(maps, scores.softmax(1)), rtol=1e-4, atol=1e-7)


def test_channels_that_are_the_same_everywhere_share_the_pass_of_a_picture_masked_wholly() -> None:
    torch.manual_seed(0)
    module = toys.classic()
    with torch.no_grad():  # these maps are 0.3 throughout, which scaling up rounds
        module[4].weight[:3] = 0
        module[4].bias[:3] = 0.3
    net = nv.Network(module, size=24)
    maps = maps_of(net, "4")
    flat = maps.amax((2, 3)) == maps.amin((2, 3))
    assert flat[:, :3].all()
    up = torch.nn.functional.interpolate(maps, size=(24, 24), mode="bilinear", align_corners=False)
    scores = torch.zeros(2, 8)
    for n in range(2):
        for k in range(8):
            span = up[n, k].max() - up[n, k].min()
            mask = torch.zeros(24, 24) if flat[n, k] else (up[n, k] - up[n, k].min()) / span
            with torch.no_grad():
                scores[n, k] = net.module((X[n] * mask)[None])[0, 3]
    found = nv.attribute(net, X, method="score_cam", target=3, layer="4")
    assert torch.allclose(found.values, weighted(maps, scores.softmax(1)), rtol=1e-4, atol=1e-7)
    assert found.steps == 8 - int(flat.sum(1).min())


def test_score_cam_streams_and_ends_where_it_ends(net) -> None:
    frames = list(nv.attribute.stream(net, X, method="score_cam", target=3, layer="4", batch=3))
    assert [f.step for f in frames] == [3, 6, 8]
    assert torch.equal(frames[-1].values, nv.attribute(net, X, method="score_cam", target=3, layer="4", batch=3).values)


@pytest.mark.parametrize("layer", ["4", "5"])
def test_ablation_cam_takes_each_channel_away(net, layer) -> None:
    maps = maps_of(net, layer)
    with torch.no_grad():
        y = net.module(X)[:, 3]
    drops = torch.zeros(2, 8)
    for k in range(8):
        without = maps.clone()
        without[:, k] = 0
        drops[:, k] = y - with_output(net, layer, without, X)[:, 3]
    expected = weighted(maps, drops / y[:, None])
    found = nv.attribute(net, X, method="ablation_cam", target=3, layer=layer).values
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_the_closed_form_is_what_the_passes_give(net) -> None:
    """Layer 5 has a linear head over its average; through a target of another kind the passes are taken."""
    closed = list(nv.attribute.stream(net, X, method="ablation_cam", target=3, layer="5"))
    passes = list(nv.attribute.stream(net, X, method="ablation_cam", target=1 * nv.ClassScore(3), layer="5", batch=4))
    assert (len(closed), len(passes)) == (1, 2)
    assert torch.allclose(closed[-1].values, passes[-1].values, rtol=1e-3, atol=1e-6)


def test_a_score_of_zero_is_no_measure(net) -> None:
    with pytest.raises(nv.MethodNotApplicableError, match="nearly zero"):
        nv.attribute(net, X, method="ablation_cam", target=nv.ClassScore(1) - nv.ClassScore(1), layer="4")


@pytest.mark.parametrize("layer", ["conv1", "relu", "conv2"])
def test_recipro_cam_keeps_one_place_at_a_time(deep, layer) -> None:
    maps = maps_of(deep, layer)
    height, width = maps.shape[2:]
    kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    expected = torch.zeros(2, 1, height, width)
    for y in range(0, height, 5):
        for x in range(0, width, 5):
            window = torch.zeros(height + 2, width + 2)
            window[y : y + 3, x : x + 3] = kernel
            scores = with_output(deep, layer, maps * window[1:-1, 1:-1], X)
            expected[:, 0, y, x] = scores.softmax(1)[:, 2]
    found = nv.attribute(deep, X, method="recipro_cam", target=2, layer=layer).values
    assert found.shape == expected.shape
    assert torch.allclose(found[..., ::5, ::5], expected[..., ::5, ::5], rtol=1e-3, atol=1e-6)


def test_of_another_target_recipro_cam_gives_its_score(net) -> None:
    target = nv.ClassScore(1) - nv.ClassScore(2)
    maps = maps_of(net, "4")
    window = torch.zeros(26, 26)
    height, width = maps.shape[2:]
    window = torch.zeros(height + 2, width + 2)
    window[4:7, 3:6] = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    scores = with_output(net, "4", maps * window[1:-1, 1:-1], X)
    found = nv.attribute(net, X, method="recipro_cam", target=target, layer="4").values
    assert torch.allclose(found[:, 0, 4, 3], scores[:, 1] - scores[:, 2], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("tool", ["ScoreCAM", "AblationCAM"])
def test_they_are_pytorch_grad_cams(tool) -> None:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.manual_seed(0)
    net = nv.Network(torchvision.models.resnet18(weights=None, num_classes=10), size=64)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    method = {"ScoreCAM": "score_cam", "AblationCAM": "ablation_cam"}[tool]
    values = nv.attribute(net, x, method=method, target=3, layer="layer3").values[0, 0]
    with getattr(pytorch_grad_cam, tool)(model=net.module, target_layers=[net.module.layer3]) as cam:
        cam.batch_size = 32
        theirs = torch.from_numpy(cam(input_tensor=x, targets=[ClassifierOutputTarget(3)])[0])
    ours = torch.nn.functional.interpolate(values[None, None], size=(64, 64), mode="bilinear", align_corners=False)[
        0, 0
    ]
    low, high = ours.min(), ours.max()
    # They scale the map from 0 to 1 before they scale it up, by another library's bilinear.
    assert torch.corrcoef(torch.stack([((ours - low) / (high - low)).flatten(), theirs.flatten()]))[0, 1] > 0.999


def test_the_network_is_left_as_it_was(net) -> None:
    before = {n: t.clone() for n, t in net.module.state_dict().items()}
    for method in ("score_cam", "ablation_cam", "recipro_cam"):
        nv.attribute(net, X, method=method, target=1, layer="4")
    assert all(torch.equal(t, before[n]) for n, t in net.module.state_dict().items())
    assert not any(m._forward_hooks for m in net.module.modules())
    assert all("forward" not in vars(m) for m in net.module.modules())


def test_recipro_cam_of_many_places_holds_the_windows_of_one_batch_alone() -> None:
    """Those of all 16,384 places at once would be 1 GB."""
    network = nv.Network(toys.classic(), size=128)
    frames = nv.attribute.stream(network, torch.randn(1, 3, 128, 128), method="recipro_cam", layer="0", batch=4)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        assert next(frames).step == 4
    frames.close()
    assert max(event.cpu_memory_usage for event in profile.events()) < 64e6


def test_what_a_run_will_take_is_told_of_the_layer_it_looks_at(net, monkeypatch) -> None:
    """Of all channels or places, and by how much of the network lies after them; it was one pass whatever the layer."""
    trace, pictures = net.trace(X[:1]), []
    known = nv.methods()
    real = Scorer.__call__
    monkeypatch.setattr(Scorer, "__call__", lambda self, x: pictures.append(len(x)) or real(self, x))
    for layer in ("0", "4"):
        pictures.clear()
        nv.attribute(trace, method="score_cam", layer=layer)
        assert known["score_cam"].forward_passes({}, trace, layer) == sum(pictures) == maps_of(net, layer).shape[1]
    assert known["score_cam"].forward_passes({"channels": 5}, trace, "4") == 5
    for method in ("ablation_cam", "recipro_cam"):
        early, late = (known[method].forward_passes({}, trace, layer) for layer in ("0", "3"))
        count = (24 * 24, 12 * 12) if method == "recipro_cam" else (6, 6)
        assert count[0] / 4 < early < count[0]
        assert 0 < late < min(early, count[1] / 2)
    assert known["ablation_cam"].forward_passes({}, trace) == 0, "in closed form"
