"""The daemon's side on real HTTPS, and with the real process: what is downloaded, what is handed over."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

import signing
from diemcau_agent import config
from diemcau_agent.commands.outcome import CommandError, Failed
from diemcau_agent.config import Settings
from diemcau_agent.update import download
from diemcau_agent.update.client import UpdateClient, update_client
from est_authority import Authority
from update_rig import POINT, SOON_S, Kit, sha256

VERSION = "1.1.0"


class _Httpd(ThreadingHTTPServer):
    files: dict[str, bytes]
    statuses: dict[str, int]
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake in the connection's own thread, which closes what it has wrapped."""
        try:
            with self.context.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(cast("Any", wrapped), client_address)
        except OSError:
            pass  # a client that does not believe us, or has gone

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may go at any time."""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        server = cast("_Httpd", self.server)
        body = server.files.get(self.path)
        self.send_response(server.statuses.get(self.path, 404 if body is None else 200))
        self.send_header("Location", "/d.deb")
        self.end_headers()
        self.wfile.write(body or b"")


class Server:
    """Packages and their releases, over TLS."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self._httpd = _Httpd(("127.0.0.1", 0), _Handler)
        self._httpd.files = self.files = dict[str, bytes]()
        self._httpd.statuses = self.statuses = dict[str, int]()
        self._httpd.context = authority.server_context(folder)
        self.url = f"https://localhost:{self._httpd.server_address[1]}/d.deb"
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def server(tmp_path: Path, authority: Authority) -> Iterator[Server]:
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    made = Server(tmp_path, authority)
    yield made
    made.close()


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    made = Kit(tmp_path / "kit")
    try:
        made.install(made.package("1.0.0"))
        yield made
    finally:
        made.close()


def settings(folder: Path, **changes: Any) -> Settings:
    return config.check(
        {
            "point": POINT,
            "broker": {"urls": ["mqtts://broker.example"]},
            "fleet_keys": [signing.public("fleet-1")],
            "release_keys": [signing.public("release-1")],
            "state_dir": str(folder),
            "update": {"ca_file": str(folder / "ca.pem")},
            **changes,
        }
    )


def client(kit: Kit, folder: Path, **changes: Any) -> UpdateClient:
    chosen = settings(folder, **changes)
    return UpdateClient(kit.socket, lambda: chosen, lambda: signing.key_list(signing.key("op-1")))


@pytest.mark.mounts  # dpkg installs as root
async def test_it_downloads_hands_over_and_learns_how_it_ended(
    kit: Kit, server: Server, tmp_path: Path
) -> None:
    new = kit.package(VERSION)
    server.files |= {"/d.deb": new.read_bytes(), "/d.deb.jws": kit.release(new, VERSION) + b"\n"}
    daemon = client(kit, tmp_path)
    release = await daemon.fetch(server.url, VERSION, sha256(new))
    assert (tmp_path / "package.deb").read_bytes() == new.read_bytes()
    kit.start()
    await daemon.install(kit.command(new, VERSION), release)
    daemon.discard()
    assert not (tmp_path / "package.deb").exists()
    assert kit.processes[-1].wait(SOON_S) == 0
    assert kit.installed == VERSION
    kit.start()
    ending = await daemon.outcome("command-1")
    assert ending is not None
    assert (ending.state, ending.before, ending.to) == ("installed", "1.0.0", VERSION)
    unknown = await daemon.outcome("command-2")
    assert unknown is not None
    assert unknown.state == "unknown"


@pytest.mark.mounts  # dpkg installs as root
async def test_what_the_process_of_roots_refuses_is_the_commands_end(
    kit: Kit, server: Server, tmp_path: Path
) -> None:
    new = kit.package(VERSION)
    server.files |= {"/d.deb": new.read_bytes(), "/d.deb.jws": kit.release(new, VERSION)}
    daemon = client(kit, tmp_path)
    release = await daemon.fetch(server.url, VERSION, sha256(new))
    kit.start()
    with pytest.raises(CommandError) as caught:
        await daemon.install(kit.command(new, VERSION, by="mallory"), release)
    assert caught.value.code == "not_permitted"
    (tmp_path / "package.deb").write_bytes(new.read_bytes()[:-1] + b"x")  # changed after it was looked at
    with pytest.raises(CommandError) as caught:
        await daemon.install(kit.command(new, VERSION), release)
    assert caught.value.code == "bad_args"
    assert kit.installed == "1.0.0"


async def test_where_nothing_may_install_it_says_so_and_knows_no_ending(kit: Kit, tmp_path: Path) -> None:
    daemon = UpdateClient(tmp_path / "nobody.sock", lambda: settings(tmp_path), lambda: b"")
    (tmp_path / "package.deb").write_bytes(b"x")
    with pytest.raises(Failed, match="unsupported"):
        await daemon.install(b"command", b"release")
    assert await daemon.outcome("command-1") is None


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("missing", "got status 404"),
        ("no release", "got status 404"),
        ("moved", "got status 302"),
        ("longer", "got more than"),
        ("shorter", "bytes of"),
        ("another", "expected"),
        ("a release as long as a novel", "got more than 4096 bytes"),
        ("of no release key", "none of this kit's release_keys"),
        ("another release", "args.version"),
    ],
)
async def test_what_does_not_come_as_signed_leaves_nothing_on_the_card(
    kit: Kit, server: Server, tmp_path: Path, what: str, why: str
) -> None:
    new = kit.package(VERSION)
    data, release = new.read_bytes(), kit.release(new, VERSION)
    files: dict[str, bytes] = {"/d.deb": data, "/d.deb.jws": release}
    match what:
        case "missing":
            del files["/d.deb"]
        case "no release":
            del files["/d.deb.jws"]
        case "moved":
            server.statuses["/d.deb"] = 302
        case "longer":
            files["/d.deb"] = data + b"x"
        case "shorter":
            files["/d.deb"] = data[:-1]
        case "another":
            files["/d.deb"] = data[:-1] + b"x"
        case "a release as long as a novel":
            files["/d.deb.jws"] = b"x" * 5000
        case "of no release key":
            files["/d.deb.jws"] = kit.release(new, VERSION, by="fleet-1")
        case _:
            files["/d.deb.jws"] = kit.release(new, "1.2.0")
    server.files |= files
    with pytest.raises(CommandError) as caught:
        await client(kit, tmp_path).fetch(server.url, VERSION, sha256(new))
    assert why in caught.value.detail
    assert not (tmp_path / "package.deb").exists()


async def test_a_server_whose_certificate_is_anothers_is_not_believed(
    kit: Kit, server: Server, tmp_path: Path
) -> None:
    new = kit.package(VERSION)
    (tmp_path / "ca.pem").write_bytes(Authority().pem)
    with pytest.raises(Failed, match="certificate verify failed"):
        await client(kit, tmp_path).fetch(server.url, VERSION, sha256(new))
    absent = {"ca_file": str(tmp_path / "absent.pem")}
    with pytest.raises(Failed, match=r"update\.ca_file"):
        await client(kit, tmp_path, update=absent).fetch(server.url, VERSION, sha256(new))


def test_a_download_that_nobody_waits_for_any_more_stops(
    kit: Kit, server: Server, tmp_path: Path, authority: Authority
) -> None:
    server.files["/d.deb"] = b"x" * 300_000
    trust = ssl.create_default_context(cadata=authority.pem.decode())
    into = tmp_path / "part.deb"
    with pytest.raises(Failed, match="download"):
        download.download(server.url, trust, into, 300_000, "0" * 64, given_up=lambda: True)
    assert not into.exists()


def test_a_room_without_a_release_key_or_without_commands_has_no_updater(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there(**changes: Any) -> bool:
        chosen = settings(tmp_path, **changes)
        return update_client(lambda: chosen, lambda: b"") is not None

    assert there()
    assert not there(release_keys=[])
    assert not there(commands="off")
    assert not there(backends="sim")  # nobody can update a simulated room
    monkeypatch.setenv("DIEMCAU_UPDATE", str(tmp_path / "update.sock"))
    assert there(backends="sim")
