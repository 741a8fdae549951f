"""Downloads of molecules from a server on loopback, by the client that users have."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo import downloads
from lightning_invariant.zoo.molecule_graphs import molecule_file, read_molecules
from lightning_invariant.zoo.qm7 import load_qm7

pooch = pytest.importorskip("pooch", reason="pooch is not installed; it is in the extra molecules")

TABLE = b"mol_id,smiles,gap\n1,C,0.5\n2,CO,0.25\n"
FILES = {
    "lib/tests/assets/hof_qm7.txt": b"0001.xyz -417.5 -400.0\n",
    "lib/tests/assets/qm7/0001.xyz": b"1\n\n O 0.0 0.0 2.0\n",
    "lib/README.md": b"more",
}


def archive():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def served(monkeypatch, tmp_path):
    """What is asked for; both sets are published on loopback, and the user's cache is empty."""
    asked, content = [], {"/qm9.csv": TABLE, "/qm7.tar.gz": archive()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = content.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    used = b"".join(body for name, body in FILES.items() if "qm7" in name)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    monkeypatch.setattr(downloads, "QM9", downloads.Published(f"{root}/qm9.csv", hashlib.sha256(TABLE).hexdigest()))
    monkeypatch.setattr(downloads, "QM7", downloads.Published(f"{root}/qm7.tar.gz", hashlib.sha256(used).hexdigest()))
    yield asked
    server.shutdown()
    server.server_close()


def test_molecules_are_downloaded_once(served):
    for _ in range(2):
        smiles, values = read_molecules(molecule_file(None))
        assert (smiles, values) == (["C", "CO"], {"gap": [0.5, 0.25], "logp": None, "mol_weight": None})
        atoms, energy = load_qm7(None)
        assert atoms[0, 0].tolist() == [8, 0, 0, 2]
        assert energy.tolist() == [-417.5]
    assert served == ["/qm9.csv", "/qm7.tar.gz"]


@pytest.mark.parametrize("name", ["QM9", "QM7"])
def test_other_molecules_are_refused(served, monkeypatch, name):
    monkeypatch.setattr(downloads, name, getattr(downloads, name)._replace(sha256="0" * 64))
    with pytest.raises(InvariantError, match="give"):
        molecule_file(None) if name == "QM9" else load_qm7(None)


@pytest.mark.parametrize("name", ["QM9", "QM7"])
def test_a_server_that_has_nothing_is_named(served, monkeypatch, name):
    gone = getattr(downloads, name).url.replace("/qm", "/none")
    monkeypatch.setattr(downloads, name, getattr(downloads, name)._replace(url=gone))
    with pytest.raises(InvariantError, match=r"Expected to download http.*/none.*404.*--data-dir"):
        molecule_file(None) if name == "QM9" else load_qm7(None)
