"""Weights from files and from a server: what is read, and what is said of what cannot be."""

from __future__ import annotations

import hashlib
import http.server
import pickle
import threading
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import save_file

import nbcnnviz as nv
from nbcnnviz.zoo import from_torchvision
from nbcnnviz.zoo.weights import download
from tests.conftest import relative_error

NAME = "squeezenet1_1"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return torchvision.models.get_model(NAME, weights=None, num_classes=4).state_dict()


def same(network: nv.Network, state: dict[str, torch.Tensor]) -> bool:
    own = network.module.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    "nested",
    [
        lambda state: state,
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}, "args": {"lr": 0.1}},
        lambda state: {"model_state_dict": state, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {"model": {"state_dict": state, "epoch": 3}},
    ],
    ids=["plain", "DataParallel", "nested", "nested DataParallel", "checkpoint", "nested twice"],
)
def test_a_file_of_weights_is_read_however_it_was_saved(nested, state, tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save(nested(state), path)
    for given in (path, str(path)):
        network = nv.load_network(NAME, given)
        assert same(network, state)
    assert network.classes == ["class 0", "class 1", "class 2", "class 3"]
    assert nv.load_network(NAME, path, classes=["a", "b", "c", "d"]).classes == ["a", "b", "c", "d"]
    with pytest.raises(nv.NetworkError, match="3 class names for a network of 4 scores"):
        nv.load_network(NAME, path, classes=["a", "b", "c"])


def test_safetensors_are_read(state, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    assert same(nv.load_network(NAME, path), state)


def test_a_file_serves_timm_and_the_bundled_network_too(tmp_path: Path, bundled: nv.Network) -> None:
    path = tmp_path / "lite.pth"
    state = bundled.module.state_dict()
    state["classifier.weight"], state["classifier.bias"] = state["classifier.weight"][:7], state["classifier.bias"][:7]
    torch.save(state, path)
    for name in ("timm:tf_efficientnet_lite0", "efficientnet_lite0"):
        network = nv.load_network(name, path)
        assert same(network, state)
        assert len(network.classes) == 7
    x = bundled.batch("coffee")
    assert relative_error(network.trace(x).scores, bundled.trace(x).scores[:, :7]) < 1e-5


def test_a_file_with_imagenets_classes_keeps_their_names(tmp_path: Path) -> None:
    torch.manual_seed(7)
    state = torchvision.models.get_model(NAME, weights=None).state_dict()
    torch.save(state, tmp_path / "own.pth")
    assert nv.load_network(NAME, tmp_path / "own.pth").classes[281] == "tabby"


def changed(state: dict, **changes) -> dict:
    return {name: value for name, value in {**state, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no file of weights"),
        (b"neither weights nor anything else", "no file of weights"),
        (lambda state: torch.nn.Linear(2, 2), "no file of weights that can be read safely"),
        (lambda state: [1, 2, 3], "holds no state dict"),
        (lambda state: {}, "holds no state dict"),
        (lambda state: {"epoch": 3}, "holds no state dict"),
        (lambda state: {"state_dict": {"epoch": 3}}, "holds no state dict"),
        (lambda state: {"scale": torch.ones(3)}, r"it lacks 'features\.0\.weight' and 51 more"),
        (lambda state: torch.nn.Sequential(torch.nn.Linear(3, 2)).state_dict(), "does not fit this network: it lacks"),
        (lambda state: changed(state, **{"features.0.weight": torch.zeros(64, 3, 5, 5)}), "size mismatch"),
        (lambda state: changed(state, **{"features.0.weight": None}), r"it lacks 'features\.0\.weight' and 0 more"),
        (lambda state: changed(state, extra=torch.zeros(2)), r"the network has no 'extra' \(1 such\)"),
    ],
    ids=[
        "empty",
        "text",
        "module",
        "list",
        "{}",
        "number",
        "nested-number",
        "no-matrix",
        "other",
        "shape",
        "missing",
        "extra",
    ],
)
def test_a_file_that_does_not_fit_is_a_sentence(content, told: str, state, tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content(state), path)
    with pytest.raises(nv.WeightsUnavailableError, match=told) as caught:
        nv.load_network(NAME, path)
    assert "\n" not in str(caught.value)
    assert "mine.pth" in str(caught.value)


def test_a_file_of_weights_runs_nothing(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "run",))

    path = tmp_path / "mine.pth"
    torch.save({"weight": Harmful()}, path)
    with pytest.raises(nv.WeightsUnavailableError, match="read safely"):
        nv.load_network(NAME, path)
    path.write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(nv.WeightsUnavailableError, match="read safely"):
        nv.load_network(NAME, path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", ["nowhere/mine.pth", "pretrained", "", "IMAGENET1K_V1"])
def test_a_file_that_is_not_there_is_a_sentence(path: str) -> None:
    with pytest.raises(nv.WeightsUnavailableError, match=f"There is no file '{path}'"):
        nv.load_network(NAME, path)


class Server:
    """A web server on this machine, for weights that are whole, damaged or cut short."""

    def __init__(self, body: bytes) -> None:
        self.body, self.sent, self.status, self.asked = body, len(body), 200, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                self.send_response(outer.status)
                if outer.sent is not None:
                    self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body[: outer.sent])

            def log_message(self, *args) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/models/{name}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    torch.save(state, tmp_path / "served.pth")
    server = Server((tmp_path / "served.pth").read_bytes())
    yield server
    server.close()


def publish(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    real = torchvision.models.get_model_weights(NAME).DEFAULT
    published = SimpleNamespace(url=url, meta={"categories": ["a", "b", "c", "d"]}, transforms=real.transforms)
    monkeypatch.setattr(from_torchvision, "_published", lambda name: published)


def hashed(body: bytes) -> str:
    return f"{NAME}-{hashlib.sha256(body).hexdigest()[:8]}.pth"


def left_over(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "hub" / "checkpoints").iterdir())


def test_weights_are_downloaded_once_with_progress(server: Server, monkeypatch, tmp_path: Path, state) -> None:
    name = hashed(server.body)
    publish(monkeypatch, server.url(name))
    assert not from_torchvision.is_cached(NAME)
    told: list[tuple[int, int]] = []
    network = nv.load_network(NAME, progress=lambda done, total: told.append((done, total)))
    assert same(network, state)
    assert network.classes == ["a", "b", "c", "d"]
    assert len(told) > 3
    assert told == sorted(told)
    assert told[-1] == (len(server.body), len(server.body))
    assert {total for _, total in told} == {len(server.body)}
    assert from_torchvision.is_cached(NAME)
    assert left_over(tmp_path) == [name]
    told.clear()
    assert same(nv.load_network(NAME, progress=lambda done, total: told.append((done, total))), state)
    assert told == []
    assert server.asked == 1


def test_a_bar_is_printed_where_no_progress_is_asked_for(server: Server, monkeypatch, capsys) -> None:
    publish(monkeypatch, server.url(hashed(server.body)))
    nv.load_network(NAME)
    assert "100%" in capsys.readouterr().err


def test_a_damaged_download_is_not_kept(server: Server, monkeypatch, tmp_path: Path) -> None:
    publish(monkeypatch, server.url(f"{NAME}-0123abcd.pth"))
    with pytest.raises(nv.WeightsUnavailableError, match=r"0123abcd\.pth came out damaged: try again"):
        nv.load_network(NAME, progress=lambda *_: None)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("name", ["with a hash", "weights.pth"])
def test_a_download_cut_short_is_not_kept(server: Server, monkeypatch, tmp_path: Path, name: str) -> None:
    publish(monkeypatch, server.url(hashed(server.body) if name == "with a hash" else name))
    server.sent = 500_000
    with pytest.raises(nv.WeightsUnavailableError, match=f"broke off at 500000 of {len(server.body)} bytes: try again"):
        nv.load_network(NAME, progress=lambda *_: None)
    assert left_over(tmp_path) == []
    server.sent = len(server.body)
    nv.load_network(NAME, progress=lambda *_: None)


def test_a_server_that_does_not_tell_the_length_is_served_too(server: Server, tmp_path: Path) -> None:
    server.sent = None
    told = []
    path = download(server.url("weights.pth"), lambda done, total: told.append((done, total)))
    assert path.read_bytes() == server.body
    assert told[-1] == (len(server.body), 0)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_is_a_sentence(server: Server, monkeypatch, tmp_path: Path, status: int) -> None:
    publish(monkeypatch, server.url(hashed(server.body)))
    server.status = status
    with pytest.raises(nv.WeightsUnavailableError, match=r"could not be downloaded .* weights=None"):
        nv.load_network(NAME)
    assert left_over(tmp_path) == []


def test_no_connection_is_a_sentence(monkeypatch, tmp_path: Path) -> None:
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(nv.WeightsUnavailableError, match=r"Name or service not known.*efficientnet_lite0\) works"):
        nv.load_network("resnet18")
    assert left_over(tmp_path) == []


def test_a_download_that_is_stopped_leaves_nothing(server: Server, monkeypatch, tmp_path: Path) -> None:
    publish(monkeypatch, server.url(hashed(server.body)))

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nv.load_network(NAME, progress=stop)
    assert left_over(tmp_path) == []
    assert not from_torchvision.is_cached(NAME)
