"""The family of Grad-CAM: equations written out in float64, identities, and the tools that are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import nbcnnviz as nv
from tests import toys

X = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def net() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(toys.classic(), size=24)


@pytest.fixture(scope="module")
def resnet() -> nv.Network:
    torch.manual_seed(0)
    return nv.Network(torchvision.models.resnet18(weights=None), size=64)


def maps_and_gradient(net: nv.Network, layer: str, x: torch.Tensor, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A layer's maps and the gradient there, float64, by hooks on the module itself."""
    kept = {}

    def keep(module, args, output):
        kept["maps"] = output.clone()
        kept["maps"].retain_grad()
        return kept["maps"].clone()

    handle = net.module.get_submodule(layer).register_forward_hook(keep)
    net.module(x.requires_grad_())[:, index].sum().backward()
    handle.remove()
    for p in net.module.parameters():
        p.grad = None
    return kept["maps"].detach().double().numpy(), kept["maps"].grad.double().numpy()


def close(values: torch.Tensor, expected: np.ndarray) -> None:
    assert np.abs(values.double().numpy() - expected).max() <= 1e-4 * np.abs(expected).max() + 1e-12


@pytest.mark.parametrize("layer", ["4", "5"])
def test_grad_cam_plus_plus_is_equation_19(net, layer) -> None:
    a, g = maps_and_gradient(net, layer, X.clone(), 3)
    expected = np.zeros((2, 1, *a.shape[2:]))
    for n in range(2):
        for k in range(a.shape[1]):
            weight = 0.0
            for value in np.ndindex(a.shape[2:]):
                gradient = g[n, k][value]
                denominator = 2 * gradient**2 + a[n, k].sum() * gradient**3
                alpha = gradient**2 / denominator if denominator else 0.0
                weight += alpha * max(gradient, 0)
            expected[n, 0] += weight * a[n, k]
    close(nv.attribute(net, X, method="grad_cam_plus_plus", target=3, layer=layer).values, np.maximum(expected, 0))


def test_its_alpha_makes_a_difference(resnet) -> None:
    """Without alpha it would be Grad-CAM of the rectified gradient: the fault of a released tool."""
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    a, g = maps_and_gradient(resnet, "layer3", x.clone(), 3)
    without = np.maximum((np.maximum(g, 0).sum((2, 3), keepdims=True) * a).sum(1, keepdims=True), 0)
    found = nv.attribute(resnet, x, method="grad_cam_plus_plus", target=3, layer="layer3").values.double().numpy()
    assert np.corrcoef(without.ravel(), found.ravel())[0, 1] < 0.9999


@pytest.mark.parametrize("layer", ["4", "5"])
def test_hires_layer_and_xgrad_are_their_equations(net, layer) -> None:
    a, g = maps_and_gradient(net, layer, X.clone(), 3)
    hires = np.maximum((g * a).sum(1, keepdims=True), 0)
    of_layer = np.maximum((np.maximum(g, 0) * a).sum(1, keepdims=True), 0)
    weights = (g * a).sum((2, 3), keepdims=True) / a.sum((2, 3), keepdims=True)
    xgrad = np.maximum((weights * a).sum(1, keepdims=True), 0)
    for method, expected in (("hires_cam", hires), ("layer_cam", of_layer), ("xgrad_cam", xgrad)):
        close(nv.attribute(net, X, method=method, target=3, layer=layer).values, expected)


def test_hires_cam_is_grad_cam_where_the_head_is_an_average_and_a_linear_layer(net) -> None:
    one, other = (nv.attribute(net, X, method=m, target=1, layer="5").values for m in ("hires_cam", "grad_cam"))
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(("method", "tool"), [("layer_cam", "LayerCAM"), ("xgrad_cam", "XGradCAM")])
def test_layer_and_xgrad_are_pytorch_grad_cams(resnet, method, tool) -> None:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    values = nv.attribute(resnet, x, method=method, target=3, layer="layer3").values[0, 0]
    with getattr(pytorch_grad_cam, tool)(model=resnet.module, target_layers=[resnet.module.layer3]) as cam:
        cam(input_tensor=x, targets=[ClassifierOutputTarget(3)])
        raw = cam.get_cam_image(
            x, resnet.module.layer3, [ClassifierOutputTarget(3)], *(
                part[-1] for part in (
                    [t.cpu().data.numpy() for t in cam.activations_and_grads.activations],
                    [t.cpu().data.numpy() for t in cam.activations_and_grads.gradients],
                )
            ), False,
        )  # fmt: skip
    expected = torch.from_numpy(np.maximum(raw[0], 0))
    assert torch.allclose(values / values.max(), expected / expected.max(), atol=1e-4)


def test_eigen_cam_is_the_first_principal_component(net) -> None:
    a, _ = maps_and_gradient(net, "4", X.clone(), 0)
    values = nv.attribute(net, X, method="eigen_cam", layer="4").values.double().numpy()
    for n in range(2):
        places = a[n].reshape(a.shape[1], -1).T
        centred = places - places.mean(0)
        _, _, right = np.linalg.svd(centred, full_matrices=False)
        projection = centred @ right[0]
        if projection @ centred.mean(1) < 0:
            projection = -projection
        expected = np.maximum(projection, 0).reshape(a.shape[2:])
        assert np.abs(values[n, 0] - expected).max() < 1e-4 * expected.max()


def test_eigen_cam_uses_either_gram_matrix_to_the_same_end() -> None:
    from nbcnnviz.attribution.gradient_cams import _principal

    wide = torch.randn(1, 40, 3, 3)
    tall = torch.randn(1, 4, 6, 6)
    for maps in (wide, tall):
        centred = maps[0].flatten(1).T - maps[0].flatten(1).T.mean(0)
        _, s, _ = torch.linalg.svd(centred)
        assert float(_principal(maps).norm()) == pytest.approx(float(s[0]), rel=1e-4)


def test_eigen_cam_is_never_inverted() -> None:
    """One bright blob in every channel, of positive maps: it must be bright, whatever the channels' order."""
    from nbcnnviz.attribution.gradient_cams import _principal

    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        maps = torch.rand(1, 12, 7, 7, generator=generator) * 0.2
        y, x = (int(torch.randint(0, 7, (1,), generator=generator)) for _ in range(2))
        maps[0, :, y, x] += 1 + torch.rand(12, generator=generator)
        maps = maps[:, torch.randperm(12, generator=generator)]
        found = _principal(maps)[0, 0]
        assert int(found.argmax()) == 7 * y + x
        assert found[y, x] > 0


def test_a_channel_that_is_zero_has_no_weight() -> None:
    torch.manual_seed(0)
    module = toys.classic()
    with torch.no_grad():
        module[4].weight[2] = 0
        module[4].bias[2] = -1
    net = nv.Network(module, size=24)
    for method in ("xgrad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam"):
        values = nv.attribute(net, X, method=method, target=1, layer="5").values
        assert values.isfinite().all()


def test_all_gradient_cams_of_a_layer_are_right_on_channels_last_layers() -> None:
    torch.manual_seed(0)
    net = nv.Network(torchvision.models.swin_v2_t(weights=None), size=64)
    name = next(
        n for n, layer in net.layers.items() if layer.channels_last and layer.kind.startswith("SwinTransformerBlock")
    )
    trace = net.trace(torch.randn(1, 3, 64, 64))
    maps, g = trace[name].detach(), trace.gradient(2, name)
    expected = (g * maps).sum(-1)[:, None].relu()
    assert torch.allclose(nv.attribute(trace, method="hires_cam", target=2, layer=name).values, expected, atol=1e-6)


def test_fusion_takes_the_largest_of_the_layers_maps(resnet) -> None:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    trace = resnet.trace(x)
    fused = nv.attribute(trace, method="layer_fusion", target=3, layer="layer4", stages=2).values
    below = [n for n in trace.layers if resnet.layers[n].shape[1:] == (4, 4) and resnet.layers[n].spatial][-1]
    maps = [nv.attribute(trace, method="layer_cam", target=3, layer=n).values for n in ("layer4", below)]
    maps = [m / m.amax((1, 2, 3), keepdim=True) for m in maps]
    up = nn.functional.interpolate(maps[0], size=maps[1].shape[2:], mode="bilinear", align_corners=False)
    assert torch.allclose(fused, torch.maximum(up, maps[1]), atol=1e-5)
    mean = nv.attribute(trace, method="layer_fusion", target=3, layer="layer4", stages=2, how="mean").values
    assert torch.allclose(mean, (up + maps[1]) / 2, atol=1e-5)


def test_fusion_of_one_stage_is_the_map_itself_over_its_largest_value(resnet) -> None:
    trace = resnet.trace(torch.randn(1, 3, 64, 64))
    one = nv.attribute(trace, method="layer_fusion", target=3, layer="layer3", stages=1, of="grad_cam").values
    plain = nv.attribute(trace, method="grad_cam", target=3, layer="layer3").values
    assert torch.allclose(one, plain / plain.max(), atol=1e-6)
    with pytest.raises(nv.NbcnnvizError, match="of is one of"):
        nv.attribute(trace, method="layer_fusion", target=3, of="cam")


def test_they_say_where_they_have_no_meaning(net) -> None:
    for method in ("hires_cam", "eigen_cam", "layer_fusion"):
        with pytest.raises(nv.MethodNotApplicableError):
            nv.attribute(net, X, method=method, layer="8")
