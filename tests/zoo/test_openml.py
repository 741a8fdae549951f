"""MNIST by scikit-learn's own client, from a server on loopback that answers as OpenML does."""

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo import mnist
from lightning_invariant.zoo.mnist import load_mnist

NEEDS_SKLEARN = "scikit-learn downloads from OpenML; install lightning-invariant[recipes]"
IMAGES = torch.randint(256, (50, 784), generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(50) % 10


def arff() -> bytes:
    """The images as OpenML's file has them: pixels, then the class as text."""
    names = [f"@ATTRIBUTE pixel{number} real" for number in range(1, 785)]
    rows = [",".join(map(str, [*row, label])) for row, label in zip(IMAGES.tolist(), LABELS.tolist(), strict=True)]
    head = ["@RELATION mnist_784", *names, "@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "@DATA"]
    return "\n".join([*head, *rows, ""]).encode()


def answers(root: str, file: bytes) -> dict[str, bytes]:
    """What the server says, by the start of the path that is asked for."""
    plain = {"is_target": "false", "is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
    features = [
        {"index": str(i), "name": f"pixel{i + 1}", "data_type": "numeric"} | plain for i in range(IMAGES.shape[1])
    ]
    features.append(
        {"index": "784", "name": "class", "data_type": "nominal", "nominal_value": list("0123456789")}
        | plain
        | {"is_target": "true"}
    )
    described = {
        "id": "554",
        "name": "mnist_784",
        "version": "1",
        "format": "ARFF",
        "status": "active",
        "file_id": "52667",
        "url": f"{root}/data/v1/download/52667",
        "default_target_attribute": "class",
        "md5_checksum": hashlib.md5(arff(), usedforsecurity=False).hexdigest(),
    }
    listed = {"did": 554, "name": "mnist_784", "version": 1, "status": "active", "format": "ARFF", "file_id": 52667}
    found = {
        "/api/v1/json/data/list/": {"data": {"dataset": [listed]}},
        "/api/v1/json/data/features/": {"data_features": {"feature": features}},
        "/api/v1/json/data/qualities/": {
            "data_qualities": {"quality": [{"name": "NumberOfInstances", "value": str(len(IMAGES))}]}
        },
        "/api/v1/json/data/554": {"data_set_description": described},
    }
    return {path: json.dumps(content).encode() for path, content in found.items()} | {"/data/v1/download/": file}


@pytest.fixture
def openml(monkeypatch, tmp_path):
    """A function that serves a file as OpenML's, and the paths that were asked for."""
    client = pytest.importorskip("sklearn.datasets._openml", reason=NEEDS_SKLEARN)
    asked, said = [], {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = next((body for path, body in said.items() if self.path.startswith(path)), None)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    root = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    opened = client.urlopen

    def here(request, *args, **kwargs):
        request.full_url = request.full_url.replace("https://www.openml.org", root)
        assert request.full_url.startswith(root)
        return opened(request, *args, **kwargs)

    monkeypatch.setattr(client, "urlopen", here)
    monkeypatch.setattr(client, "_retry_on_network_error", lambda *_: lambda function: function)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr(mnist, "TESTED", 20)
    yield lambda file: said.update(answers(root, file)), asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("pandas", [True, False])
def test_the_images_come_once_and_as_they_are(openml, monkeypatch, pandas):
    serve, asked = openml
    serve(arff())
    if pandas:
        pytest.importorskip("pandas", reason="scikit-learn reads with pandas where it is installed")
    else:
        monkeypatch.setitem(sys.modules, "pandas", None)
        monkeypatch.setattr(mnist.importlib.util, "find_spec", lambda name: None)
    (x, y), (x_test, y_test) = load_mnist(None)
    assert (len(x), len(x_test)) == (30, 20)
    assert torch.equal((torch.cat([x, x_test]) * 255).round().flatten(1), IMAGES.float())
    assert torch.equal(torch.cat([y, y_test]), LABELS)
    count = len(asked)
    assert torch.equal(load_mnist(None)[0][0], x)
    assert len(asked) == count


@pytest.mark.parametrize("file", [arff()[:-3000], b""])
def test_a_file_that_came_in_part_is_refused(openml, file):
    serve, _ = openml
    serve(file)
    with pytest.raises(InvariantError, match=r"download MNIST from OpenML but got: .*checksum"):
        load_mnist(None)


def test_a_server_that_knows_no_mnist_is_named(openml):
    with pytest.raises(InvariantError, match=r"download MNIST from OpenML but got: .*404"):
        load_mnist(None)
