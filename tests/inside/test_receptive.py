"""Receptive fields against the support of the gradient on a network in which nothing cancels, and against formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.inside import Grid, receptive, receptive_field, receptive_fields
from tests import toys
from tests.inside.positive import Oracle, places


def network(*layers: nn.Module, channels: int = 3) -> nn.Module:
    """A classifier that ends in the layers given."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))


def agree(module: nn.Module, size: tuple[int, int], channels: int = 3, exact: bool = True) -> None:
    """Every unit of every layer sees what the oracle says."""
    x = torch.randn(1, channels, *size)
    with torch.no_grad():
        module.eval()(x)  # lazy modules take shape
    trace, oracle = nv.Network(module, size=size).trace(x), Oracle(module, (1, channels, *size))
    for layer in trace.layers:
        if trace[layer].ndim not in (2, 4):
            continue
        fields = receptive_fields(trace, layer)
        for row in range(fields.shape[0]):
            for column in range(fields.shape[1]):
                box, expected = fields.box(row, column), oracle.box(layer, row, column)
                if exact:
                    assert box == expected, (layer, row, column)
                else:
                    assert contains(box, expected), (layer, row, column)


def contains(box, within) -> bool:
    return within == (0, 0, 0, 0) or (
        box[0] <= within[0] and box[1] <= within[1] and box[2] >= within[2] and box[3] >= within[3]
    )


CHAINS = {
    "plain": [nn.Conv2d(3, 4, 3)],
    "stride leaves rows out": [nn.Conv2d(3, 4, 2, stride=3), nn.Conv2d(4, 4, 2, stride=2)],
    "kernel smaller than stride": [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1, stride=2)],
    "unequal": [nn.Conv2d(3, 4, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2)), nn.Conv2d(4, 4, (1, 3))],
    "dilation with padding": [nn.Conv2d(3, 4, 3, dilation=4, padding=4), nn.Conv2d(4, 4, 3, dilation=2, padding=2)],
    "windows of nothing but padding": [nn.Conv2d(3, 4, 2, padding=3), nn.Conv2d(4, 4, 1)],
    "padding same": [nn.Conv2d(3, 4, 4, padding="same"), nn.Conv2d(4, 4, 3, padding="same", dilation=3)],
    "padded by hand": [nn.ZeroPad2d((2, 1, 0, 3)), nn.Conv2d(3, 4, 3, stride=2), nn.ConstantPad2d(-1, 0.0)],
    "reflected": [nn.Conv2d(3, 4, 3, padding=2, padding_mode="reflect"), nn.ReplicationPad2d((1, 2, 0, 1)), nn.Conv2d(4, 4, 3)],
    "pooling": [nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, padding=1), nn.AvgPool2d(2), nn.Conv2d(4, 4, 2)],
    "ceil mode": [nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, 2, padding=1, ceil_mode=True), nn.Conv2d(3, 4, 1)],
    "dilated pooling": [nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2, 2, dilation=3)],
    "adaptive": [nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d((5, 3)), nn.AdaptiveMaxPool2d((3, 2))],
    "transposed": [nn.Conv2d(3, 4, 3, stride=2), nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1)],
    "transposed, dilated": [nn.Conv2d(3, 4, 3, stride=2), nn.ConvTranspose2d(4, 4, 2, stride=3, dilation=2)],
    "upsampled": [nn.Conv2d(3, 4, 3, stride=2), nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3, padding=1)],
    "normalised": [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.PReLU(4), nn.SiLU(), nn.Dropout2d(), nn.Hardswish()],
    "groups": [nn.Conv2d(3, 6, 3, groups=3), nn.ChannelShuffle(2), nn.Conv2d(6, 6, 3, groups=6), nn.LocalResponseNorm(3)],
}  # fmt: skip


@pytest.mark.parametrize("layers", CHAINS.values(), ids=CHAINS.keys())
def test_every_unit_of_a_chain_sees_what_its_gradient_reaches(layers: list[nn.Module]) -> None:
    agree(network(*layers), (13, 16))


class Branches(nn.Module):
    """Adds, concatenates and slices, permutes, splits and rolls, all outside of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.narrow = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 5, padding=2), nn.Conv2d(4, 4, 1)
        self.after, self.last = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 2)
        self.mix, self.norm, self.fc = nn.Linear(8, 8), nn.Identity(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = torch.cat([self.wide(x), F.max_pool2d(self.narrow(x), 3, 1, 1)], 1)
        a, b = self.after(y[:, :, 1:, ::2]).chunk(2, 1)
        y = torch.cat([a + b.mul(2), torch.stack(b.unbind(1)[:4], 1).roll((1, -2), (2, 3))], 1)
        y = self.mix(y.permute(0, 2, 3, 1)).transpose(1, 3).transpose(2, 3)
        y = self.norm(y.flatten(2).unflatten(2, y.shape[2:])).flip(3)
        y = y + self.narrow(x).mean(1, keepdim=True)[:, :, -y.shape[2] :, : y.shape[3]]
        return self.fc(self.last(y).mean((2, 3)))


def test_branches_see_what_any_of_them_sees() -> None:
    agree(Branches(), (13, 16))


class Gated(nn.Module):
    """Squeeze and excite."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.next, self.fc = (
            nn.Conv2d(3, 4, 3),
            nn.Conv2d(4, 4, 1),
            nn.Conv2d(4, 4, 3),
            nn.Linear(4, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.next(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid())
        return self.fc(x.mean((2, 3)))


def test_behind_a_gate_by_the_global_average_every_unit_sees_the_picture() -> None:
    agree(Gated(), (9, 12))
    trace = nv.Network(Gated(), size=(9, 12)).trace(torch.randn(1, 3, 9, 12))
    assert receptive_field(trace, "conv", 0, 0) == (0, 0, 3, 3)
    assert receptive_field(trace, "next", 0, 0) == (0, 0, 9, 12)
    assert receptive_fields(trace, "next").grid is None


class Odd(nn.Module):
    """Places mixed in ways that nobody looks into: sorting, in-place writes to a view, a function of one's own."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv, self.next, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.how == "sorted":
            x = x.sort(2).values
        elif self.how == "written":
            x = x * 1
            x[:, 1:3] = x[:, 1:3].flip(2)
        elif self.how == "own":
            x = _Mirror.apply(x)
        elif self.how == "reshaped":
            x = x.reshape(x.shape[0], 4, x.shape[3], x.shape[2])
        elif self.how == "bilinear":
            x = F.interpolate(x, scale_factor=1.5, mode="bilinear")
        elif self.how == "attention":
            tokens = x.flatten(2).transpose(1, 2)
            x = F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).unflatten(2, x.shape[2:])
        elif self.how == "group norm":
            x = F.group_norm(x, 2)
        elif self.how == "circular":
            x = F.pad(x, (1, 1, 1, 1), mode="circular")
        elif self.how == "batch statistics":
            x = F.batch_norm(x, None, None, training=True)
        return self.fc(self.next(x).mean((2, 3)))


class _Mirror(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.flip(2)

    @staticmethod
    def backward(ctx, g):
        return g.flip(2)


@pytest.mark.parametrize(
    "how",
    ["sorted", "written", "own", "reshaped", "bilinear", "attention", "group norm", "circular", "batch statistics"],
)
def test_a_field_is_never_too_small(how: str) -> None:
    agree(Odd(how), (10, 12), exact=False)


FAMILIES = [
    *(
        "alexnet",
        "vgg11_bn",
        "squeezenet1_1",
        "resnet18",
        "resnext50_32x4d",
        "densenet121",
        "googlenet",
        "inception_v3",
    ),
    *("mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5", "efficientnet_b0", "regnet_x_400mf"),
    "convnext_tiny",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_networks_see_what_their_gradient_reaches(name: str) -> None:
    random = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = torchvision.models.get_model(name, weights=None, **random)
    if name in ("alexnet", "vgg11_bn"):  # their linear layers have a hundred million weights, and places no more
        module = nn.Sequential(module.features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))
        module(torch.zeros(2, 3, 96, 130))
    module.eval()
    for norm in [m for m in module.modules() if isinstance(m, nn.LayerNorm)]:  # over channels: they mix no places
        norm.forward = lambda x: x * 1
    size = (96, 130)
    trace = nv.Network(module, size=size).trace(torch.randn(1, 3, *size))
    oracle = Oracle(module, (1, 3, *size))
    layers = [layer for layer in trace.layers if trace[layer].ndim == 4]
    for layer in [layers[0], *layers[5 :: max(1, len(layers) // 6)]]:
        fields = receptive_fields(trace, layer)
        for row, column in [
            (0, 0),
            (fields.shape[0] // 2, fields.shape[1] // 2),
            (fields.shape[0] - 1, fields.shape[1] - 1),
        ]:
            assert fields.box(row, column) == oracle.box(layer, row, column), (layer, row, column)


def test_the_bundled_network_with_its_padding_sees_what_its_gradient_reaches(bundled: nv.Network) -> None:
    trace, oracle = bundled.trace(nv.samples()[0]), Oracle(bundled.module, (1, *bundled.input_shape))
    for layer in ("conv_stem", "blocks.1.0", "blocks.2", "blocks.3.1.conv_dw", "blocks.6"):
        fields = receptive_fields(trace, layer)
        for row, column in places(fields.shape)[::3]:
            assert fields.box(row, column) == oracle.box(layer, row, column), (layer, row, column)


@pytest.mark.parametrize(
    "name", ["timm:mobilenetv3_small_050", "timm:resnet10t", "timm:convnext_atto", "timm:repvgg_a0"]
)
def test_timm_networks_see_no_less_than_their_gradient_reaches(name: str) -> None:
    net = nv.load_network(name, weights=None)
    x = torch.randn(1, *net.input_shape)
    trace = net.trace(x)
    for layer in [n for n in trace.layers if trace[n].ndim == 4 and not net.is_channels_last(n)][::7]:
        fields = receptive_fields(trace, layer)
        row, column = fields.shape[0] // 2, fields.shape[1] // 3
        seen = trace.gradient(lambda t: t[layer][:, :, row, column].square().sum()).abs().sum((0, 1)) > 0  # noqa: B023
        rows, columns = (seen.any(axis).nonzero().flatten() for axis in (1, 0))
        if len(rows):
            box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
            assert contains(fields.box(row, column), box), layer


def _vgg16() -> nn.Module:
    """Its convolutions, without the hundred million weights behind them."""
    vgg = torchvision.models.vgg
    return nn.Sequential(vgg.make_layers(vgg.cfgs["D"]), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 3))


def test_known_sizes_strides_and_offsets() -> None:
    # By the recurrence of Araujo, Norris & Sim 2019, equations 1 to 4, done by hand for AlexNet and VGG-16.
    alexnet = nv.Network(torchvision.models.alexnet(weights=None), size=224).trace(torch.randn(1, 3, 224, 224))
    vgg = nv.Network(_vgg16(), size=224).trace(torch.randn(1, 3, 224, 224))
    for trace, layer, expected in [
        (alexnet, "features.0", (11, 4, -2)),
        (alexnet, "features.5", (67, 16, -18)),
        (alexnet, "features.12", (195, 32, -66)),
        (vgg, "0.4", (6, 2, -2)),
        (vgg, "0.28", (196, 16, -90)),
        (vgg, "0.30", (212, 32, -90)),
    ]:
        assert receptive_fields(trace, layer).grid == (Grid(*expected), Grid(*expected)), layer


def test_unclipped_fields_run_on_over_the_padding() -> None:
    module = network(nn.Conv2d(3, 4, 5, padding=2, stride=2), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
    trace = nv.Network(_shaped(module), size=16).trace(torch.randn(1, 3, 16, 16))
    fields = receptive_fields(trace, "2")
    (rows, columns) = fields.grid
    assert rows == columns == Grid(size=15, stride=4, offset=-6)
    for row in range(4):
        top, left, bottom, right = fields.box(row, 1, clip=False)
        assert (top, bottom) == (4 * row - 6, 4 * row + 9)
        assert (left, right) == (-2, 13)
        assert fields.box(row, 1) == (max(top, 0), 0, min(bottom, 16), 13)
    assert receptive_field(trace, "2", -1, -1) == fields.box(3, 3) == (6, 6, 16, 16)
    assert receptive_field(trace, "2", 3, 3, clip=False) == (6, 6, 21, 21)
    assert fields.box(1, 2).height == 13
    assert fields.box(1, 2).width == 14
    assert trace.input[..., *fields.box(1, 2).slices].shape == (1, 3, 13, 14)


def _shaped(module: nn.Module) -> nn.Module:
    module(torch.zeros(2, 3, 16, 16))
    return module.eval()


def test_a_map_of_one_unit_still_has_a_stride() -> None:
    module = network(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 4)
    )
    trace = nv.Network(_shaped(module), size=16).trace(torch.randn(1, 3, 16, 16))
    assert receptive_fields(trace, "2").shape == (1, 1)
    assert receptive_fields(trace, "2").grid == (Grid(19, 4, -3), Grid(19, 4, -3))


def test_a_vector_sees_all_that_its_units_see() -> None:
    trace = nv.Network(toys.classic(), size=(12, 18)).trace(torch.randn(1, 3, 12, 18))
    assert receptive_field(trace, "8", 0, 0) == (0, 0, 12, 18)
    assert receptive_field(trace, "6", 0, 0) == (0, 0, 12, 18)


def test_windows_of_attention_are_told_from_the_whole() -> None:
    net = nv.Network(torchvision.models.swin_t(weights=None).eval(), size=224)
    fields = receptive_fields(net.trace(torch.randn(1, 3, 224, 224)), "features.1.0")
    assert fields.box(0, 20) == (0, 56, 28, 84)  # a window is 7 x 7 patches of 4 x 4 pixels
    assert fields.box(55, 6) == (196, 0, 224, 28)


def test_traces_with_frozen_parameters_and_those_that_stop_have_fields_too() -> None:
    network = nv.Network(toys.classic(), size=12)
    x = torch.randn(1, 3, 12, 12)
    expected = receptive_field(network.trace(x), "4", 2, 3)
    assert receptive_field(network.tracer(["4"], stop=True)(x), "4", 2, 3) == expected == (1, 3, 9, 11)


def test_fields_can_be_had_after_the_weights_changed() -> None:
    module = toys.classic()
    trace = nv.Network(module, size=12).trace(torch.randn(1, 3, 12, 12))
    with torch.no_grad():
        module[4].weight.mul_(2)
    assert receptive_field(trace, "4", 2, 3) == (1, 3, 9, 11)


def test_what_has_no_field_is_a_clear_sentence() -> None:
    network = nv.Network(toys.classic(), size=12)
    x = torch.randn(1, 3, 12, 12)
    trace = network.trace(x)
    with pytest.raises(nv.FilterRangeError, match=r"maps are 6 x 6: there is no unit at \(6, 0\)"):
        receptive_field(trace, "4", 6, 0)
    with pytest.raises(nv.UnknownLayerError, match="'44'"):
        receptive_field(trace, "44", 0, 0)
    with pytest.raises(nv.GradientError, match="made for gradients from a layer on"):
        receptive_field(network.trace(x, layers=["4"], from_layers=True), "4", 0, 0)
    vit = nv.Network(torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=4).eval(), size=32)
    with pytest.raises(nv.FilterRangeError, match=r"maps are 4 x 4: there is no unit at \(4, 0\)"):
        receptive_field(vit.trace(torch.randn(1, 3, 32, 32)), "encoder", 4, 0)
    assert receptive_field(vit.trace(torch.randn(1, 3, 32, 32)), "encoder", 3, 0) == (0, 0, 32, 32)

    class Constant(toys.Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.conv2(self.conv1.weight[:3, :, :, :].new_ones(1, 6, 3, 3)).mean()

    trace = nv.Network(Constant().eval(), size=9).trace(torch.randn(1, 3, 9, 9))
    with pytest.raises(nv.GradientError, match="does not depend on the input"):
        receptive_field(trace, "conv2:1", 0, 0)


def test_all_units_of_a_layer_take_one_walk_through_the_graph(monkeypatch) -> None:
    net = nv.Network(torchvision.models.resnet18(weights=None).eval(), size=224)
    trace = net.trace(torch.randn(1, 3, 224, 224))
    walks = []
    walk = receptive.footprints
    monkeypatch.setattr(receptive, "footprints", lambda *args: [walks.append(args), walk(*args)][1])
    fields = receptive_fields(trace, "layer3")
    assert len(walks) == 1
    assert fields.box(13, 13) != fields.box(0, 0)
    assert len(walks) == 1
