"""Which layers have maps: by numbers, and not by the shape alone."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

import nbcnnviz as nv
from nbcnnviz.core.likeness import on_maps, on_tokens, pictures
from tests.untouched import photograph


class Tokens(nn.Module):
    """Patches of 4 x 4 pixels as tokens behind some of no place, one layer of attention, and a linear head."""

    def __init__(self, apart: int = 1, size: tuple[int, int] = (16, 24), after: bool = False) -> None:
        super().__init__()
        rows, columns = size[0] // 4, size[1] // 4
        self.patches = nn.Conv2d(3, 10, 4, stride=4)
        self.apart = nn.Parameter(torch.randn(1, apart, 10))
        self.position = nn.Parameter(0.02 * torch.randn(1, apart + rows * columns, 10))
        self.embedding, self.before, self.after = nn.Identity(), nn.LayerNorm(10), after
        self.qkv, self.queries, self.softmax = nn.Linear(10, 30), nn.Identity(), nn.Softmax(-1)
        self.block, self.head = nn.Identity(), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        both = [tokens, self.apart.expand(len(x), -1, -1)]
        x = self.embedding(torch.cat(both if self.after else both[::-1], 1) + self.position)
        q, k, v = self.qkv(self.before(x)).unflatten(2, (3, 2, 5)).permute(2, 0, 3, 1, 4)
        weights = self.softmax(self.queries(q) @ k.transpose(2, 3) / 5**0.5)
        x = self.block(x + (weights @ v).transpose(1, 2).flatten(2))
        return self.head(x[:, -1 if self.after else 0])


def shape_of_maps(network: nv.Network, layer: str) -> tuple[int, ...]:
    trace = network.trace(torch.randn(2, *network.input_shape))
    return tuple(trace.maps(layer).shape)


@pytest.mark.parametrize("size", [(16, 24), (24, 16), (20, 20)])
@pytest.mark.parametrize("apart", [1, 2, 5])
@pytest.mark.parametrize("after", [False, True])
def test_tokens_are_laid_on_their_grid_and_those_of_no_place_left_out(
    size: tuple[int, int], apart: int, after: bool
) -> None:
    module = Tokens(apart, size, after).eval()
    network = nv.Network(module, size=size)
    rows, columns = size[0] // 4, size[1] // 4
    assert shape_of_maps(network, "embedding") == (2, 10, rows, columns)
    trace = network.trace(torch.randn(2, 3, *size))
    grid = trace["embedding"][:, : rows * columns] if after else trace["embedding"][:, apart:]
    assert torch.equal(trace.maps("embedding"), grid.transpose(1, 2).unflatten(2, (rows, columns)))
    # The tokens are the patches with their position, whose maps a convolution returns.
    position = module.position[:, : rows * columns] if after else module.position[:, apart:]
    position = position.transpose(1, 2).unflatten(2, (rows, columns))
    torch.testing.assert_close(trace.maps("embedding") - position, trace.maps("patches"))


class Attention(nn.Module):
    """Attention between places, in a class and a layer that may be called anything."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(10, 30)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return (q @ k.transpose(1, 2) / 10**0.5).softmax(-1) @ v


class Gated(Attention):
    """Attention by another name."""


@pytest.mark.parametrize(("kind", "name"), [(Gated, "attn"), (Attention, "mixer"), (Gated, "self_attention")])
def test_the_default_layer_lies_outside_attention_whatever_its_class_is_called(
    kind: type[nn.Module], name: str
) -> None:
    class Transformer(Tokens):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(name, kind())

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            x = self.embedding(torch.cat([self.apart.expand(len(x), -1, -1), tokens], 1) + self.position)
            return self.head((x + self.get_submodule(name)(self.before(x)))[:, 0])

    torch.manual_seed(0)
    network = nv.Network(Transformer().eval(), size=(16, 24))
    assert network.layers[f"{name}.qkv"].spatial  # it would be the last with a gradient
    assert network.last_maps == "before"


def test_what_has_no_more_than_the_shape_of_maps_is_refused_with_the_nearest_that_has_some() -> None:
    network = nv.Network(Tokens().eval(), size=(16, 24))
    layers = network.layers
    assert {name for name, layer in layers.items() if layer.spatial} == {
        "patches",
        "embedding",
        "before",
        "qkv",
        "block",
    }
    trace = network.trace(torch.randn(1, 3, 16, 24))
    for layer in ("queries", "softmax"):  # heads x tokens x numbers of a head, heads x tokens x tokens
        assert len(layers[layer].shape) == 3
        with pytest.raises(nv.MethodNotApplicableError, match=r"not maps .* choose a layer such as '(qkv|block)'"):
            nv.attribute(trace, target=0, layer=layer)
        with pytest.raises(nv.MethodNotApplicableError, match="not maps"):
            trace.gradient(nv.Channel(layer, 0))


def test_the_default_is_the_last_layer_whose_places_have_a_gradient() -> None:
    # Of the block's output the head sees the class token alone.
    network = nv.Network(Tokens().eval(), size=(16, 24))
    trace = network.trace(torch.randn(1, 3, 16, 24))
    assert trace.map_gradient(0, "block").abs().max() == 0
    assert network.last_maps == "qkv"
    assert trace.map_gradient(0, network.last_maps).abs().max() > 0


class PositionEncoding(nn.Module):
    """Maps that are the same for every picture, in the place of the last convolution's."""

    def __init__(self, each: bool) -> None:
        super().__init__()
        self.conv, self.encoding, self.fc = nn.Conv2d(3, 4, 3), Same(each), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.fc((y * self.encoding(y)).mean((2, 3)))


class Same(nn.Module):
    def __init__(self, each: bool) -> None:
        super().__init__()
        self.table, self.each = nn.Parameter(torch.randn(1, 4, 14, 14)), each

    def forward(self, y: Tensor) -> Tensor:
        return self.table.expand(len(y), -1, -1, -1) if self.each else self.table + 0


@pytest.mark.parametrize("each", [False, True])
def test_what_is_the_same_for_every_picture_is_no_map_of_one(each: bool) -> None:
    network = nv.Network(PositionEncoding(each).eval(), size=16)
    assert network.last_maps == "conv"
    assert not network.layers["encoding"].spatial
    assert network.layers["encoding"].reason.startswith("it returns the same" if each else "its first axis is not")


class Clip(nn.Module):
    """Frames stacked in the channels, folded into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        frames = self.conv(x.reshape(-1, 3, *x.shape[2:])).relu().mean((2, 3))
        return self.fc(frames.reshape(len(x), -1, 8).mean(1))


def test_frames_in_the_place_of_pictures_are_refused() -> None:
    network = nv.Network(Clip().eval(), lambda picture: torch.zeros(12, 32, 32))
    assert network.last_maps is None
    with pytest.raises(nv.MethodNotApplicableError, match="16 for 4 pictures"):
        nv.attribute(network, torch.rand(2, 12, 32, 32), target=1)


def test_regions_in_the_place_of_pictures_are_refused() -> None:
    class Regions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.regions, self.fc = nn.Conv2d(3, 4, 3), Cut(), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            found = self.regions(self.conv(x))
            return self.fc(found.mean((2, 3))).unflatten(0, (len(x), 5)).sum(1)

    class Cut(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return torch.stack([maps[:, :, i : i + 4, i : i + 4] for i in range(5)], 1).flatten(0, 1)

    network = nv.Network(Regions().eval(), size=18)
    assert network.last_maps == "conv"
    assert not network.layers["regions"].spatial


def test_channels_are_not_taken_for_rows_where_places_are_few() -> None:
    # (4, 3, 22): of an input of 6 x 44 pixels; by shape alone (4, 3) would do for rows and columns.
    module = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nv.Network(module.eval(), size=(6, 44))
    assert network.layers["1"].shape == (4, 3, 22)
    assert not network.layers["1"].channels_last
    assert network.layers["1"].filters == 4


def test_flipped_maps_are_refused() -> None:
    class Flipped(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return maps.flip(3)

    module = nn.Sequential(nn.Conv2d(3, 4, 3), Flipped(), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))
    network = nv.Network(module.eval(), size=16)
    # As many places as what it was given has, and none where it was.
    assert network.last_maps == "0"


def test_a_network_for_one_picture_at_a_time_is_understood_too() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = Tokens()

        def forward(self, x: Tensor) -> Tensor:
            if len(x) != 1:
                raise ValueError("one picture at a time")
            return self.tokens(x)

    network = nv.Network(Single().eval(), size=(16, 24))
    batched = nv.Network(Tokens().eval(), size=(16, 24))
    assert network.last_maps == "tokens.qkv"
    spatial = [name for name, layer in batched.layers.items() if layer.spatial]
    assert [n for n, layer in network.layers.items() if layer.spatial] == [f"tokens.{n}" for n in spatial]


def test_a_reused_module_is_known_at_each_call() -> None:
    class Reused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.fc(self.relu(self.conv(x)).mean((2, 3))))

    layers = nv.Network(Reused().eval(), size=12).layers
    assert layers["relu:0"].spatial
    assert not layers["relu:1"].spatial


def test_looking_for_maps_leaves_the_network_and_the_random_state_as_they_were() -> None:
    module = torchvision.models.resnet18(weights=None).train()
    before = photograph(module)
    nv.Network(module, size=32)
    assert photograph(module) == before


def test_a_reshape_of_the_users_lays_out_what_numbers_cannot() -> None:
    class Shuffled(Tokens):
        """The tokens in another order."""

        order = torch.randperm(24, generator=torch.Generator().manual_seed(0))

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patches(x).flatten(2).transpose(1, 2)[:, self.order]
            return self.head(self.block(self.before(tokens)).mean(1))

    def reshape(tokens: Tensor) -> Tensor:
        back = torch.argsort(Shuffled.order)
        return tokens[:, back].transpose(1, 2).unflatten(2, (4, 6))

    module = Shuffled().eval()
    assert not nv.Network(module, size=(16, 24)).layers["before"].spatial
    x = torch.randn(1, 3, 16, 24)
    for given in (reshape, {"before": reshape}):
        network = nv.Network(module, size=(16, 24), reshape=given)
        assert network.layers["before"].spatial
        assert network.layers["before"].filters == 10
        assert network.layers["before"].places == (4, 6)
        trace = network.trace(x)
        assert torch.equal(trace.maps("before"), reshape(trace["before"].detach()))
        assert torch.equal(trace.map_gradient(0, "before"), reshape(trace.gradient(0, "before")))
        normed = torch.nn.functional.layer_norm(module.patches(x).movedim(1, 3), (10,)).movedim(3, 1)
        torch.testing.assert_close(trace.maps("before"), normed.detach())
        assert nv.attribute(trace, target=1, layer="before").values.shape == (1, 1, 4, 6)


@pytest.mark.parametrize(
    ("reshape", "message"),
    [
        ({"before": lambda t: t}, "must return maps"),
        ({"before": lambda t: t[:, 1:].transpose(1, 2).unflatten(2, (5, 5))}, "reshape failed on layer 'before'"),
        ({"before": lambda t: 2 * t[:, 1:].transpose(1, 2).unflatten(2, (4, 6))}, "changes the values"),
        ({"before": lambda t: t[:1, 1:].transpose(1, 2).unflatten(2, (4, 6))}, "1 maps of layer 'before' for 4"),
    ],
)
def test_a_reshape_that_makes_no_maps_is_an_error(reshape, message: str) -> None:
    with pytest.raises(nv.NetworkError, match=message):
        nv.Network(Tokens().eval(), size=(16, 24), reshape=reshape)


def test_a_reshape_of_a_layer_that_there_is_not_is_an_error() -> None:
    with pytest.raises(nv.UnknownLayerError, match="Nearest: before"):
        nv.Network(Tokens().eval(), size=(16, 24), reshape={"befor": lambda t: t})


def test_agreement_is_perfect_for_a_grid_in_place_and_none_for_its_transpose() -> None:
    x = pictures((3, 24, 24), torch.zeros(3), torch.ones(3))
    assert on_maps(x, 1, 2, 3, (24, 24)) == pytest.approx(1)
    assert on_maps(x.transpose(2, 3), 1, 2, 3, (24, 24)) == pytest.approx(0, abs=0.05)
    assert on_maps(x.flip(2), 1, 2, 3, (24, 24)) == pytest.approx(-1)
    score, (grid, apart) = on_tokens(x.flatten(2), 1, 2, (24, 24))
    assert (score, grid, apart) == (pytest.approx(1), (24, 24), (0, 0))


def test_tokens_of_another_input_size_are_laid_out_for_that_size() -> None:
    class Any(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.norm, self.head = nn.Conv2d(3, 6, 4, stride=4), nn.LayerNorm(6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.patches(x).flatten(2).transpose(1, 2)).mean(1))

    trace = nv.Network(Any().eval(), size=16).trace(torch.randn(1, 3, 12, 32))
    assert trace.maps("norm").shape == (1, 6, 3, 8)
    assert torch.equal(trace.maps("norm"), trace["norm"].transpose(1, 2).unflatten(2, (3, 8)))
