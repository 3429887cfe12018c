"""What a centre's server of updates has: packages signed by a release key, and one that is sick."""

from __future__ import annotations

import hashlib
import http.server
import ssl
import threading
import zipfile
from functools import partial
from pathlib import Path

from repacked import repacked

ILL = b'raise RuntimeError("a sick version")\n'


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Updates:
    """An HTTPS server on a port of its own, of the folder ``files``. ``papers``: certificate and key."""

    def __init__(self, folder: Path, papers: Path) -> None:
        self.files = folder
        folder.mkdir()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(papers / "cert.pem", papers / "key.pem")
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(_Quiet, directory=str(folder))
        )
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self._serving = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._serving.start()

    def close(self) -> None:
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()


def sick(deb: Path, folder: Path) -> Path:
    """The package ``deb``, whole to pip too, whose agent ends before it is READY."""
    with repacked(deb, folder, "-Zxz", "-z1") as tree:
        share = tree / "usr/share/diemcau"
        (wheel,) = (share / "wheelhouse").glob("diemcau-*.whl")
        healthy = wheel.with_suffix(".healthy")
        before = hashlib.sha256(wheel.read_bytes()).hexdigest()
        wheel.rename(healthy)
        with zipfile.ZipFile(healthy) as source, zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as target:
            for entry in source.infolist():
                is_app = entry.filename == "diemcau_agent/app.py"
                target.writestr(entry, ILL if is_app else source.read(entry))
        healthy.unlink()
        wanted = share / "requirements.txt"
        text = wanted.read_text()
        assert before in text
        wanted.write_text(text.replace(before, hashlib.sha256(wheel.read_bytes()).hexdigest()))
        sums = tree / "DEBIAN/md5sums"
        kept = [
            line for line in sums.read_text().splitlines() if not line.endswith((wheel.name, wanted.name))
        ]
        sums.write_text("\n".join(kept) + "\n")
    return folder / deb.name
