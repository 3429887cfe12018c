"""Through TLS, and through a WebSocket in it where only 443 is let out, to a real mosquitto."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diemcau_agent import broker, mqtt
from diemcau_agent.address import Address, Tls
from diemcau_agent.clock import SystemClock
from diemcau_agent.mqtt import Connection
from diemcau_sim.mosquitto import free_port, program
from lone_session import point
from test_session import EXECUTOR

pytestmark = pytest.mark.mosquitto


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server for localhost, and a kit, made with openssl."""
    place = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(("openssl", *arguments), cwd=place, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=centre", "-days", "2")
    for name, more in (
        ("localhost", "subjectAltName=DNS:localhost"),
        ("xp-wss", "extendedKeyUsage=clientAuth"),
    ):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (place / "extensions").write_text(f"{more}\n")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "2", "-extfile", "extensions",
        )  # fmt: skip
    return place


@pytest.fixture
def secured(certificates: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A mosquitto that speaks mqtts and wss and takes nobody without a certificate of ours; scheme -> URL."""
    ports = {scheme: free_port() for scheme in ("mqtts", "wss")}
    tls = f"""
        cafile {certificates}/ca.pem
        certfile {certificates}/localhost.pem
        keyfile {certificates}/localhost.key
        require_certificate true
        use_identity_as_username true
    """
    configuration = f"""
        user root
        per_listener_settings false
        set_tcp_nodelay true
        listener {ports["mqtts"]} 127.0.0.1
        {tls}
        listener {ports["wss"]}
        bind_interface lo
        protocol websockets
        {tls}
    """
    lines = [line.strip() for line in configuration.splitlines()]
    (tmp_path / "mosquitto.conf").write_text("\n".join(lines))
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen([program(), "-c", tmp_path / "mosquitto.conf"], stdout=log, stderr=log)
    try:
        ends_s = time.monotonic() + 5
        while not all(broker.reachable("localhost", port) for port in ports.values()):
            assert time.monotonic() < ends_s, (tmp_path / "log").read_text()
            assert child.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.02)
        yield {scheme: f"{scheme}://localhost:{port}" for scheme, port in ports.items()}
    finally:
        child.terminate()
        child.wait(5)


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
async def test_a_room_is_online_through_tls_and_through_a_websocket_where_only_443_is_let_out(
    secured: dict[str, str], certificates: Path, scheme: str
) -> None:
    files = {
        "ca_file": str(certificates / "ca.pem"),
        "cert_file": str(certificates / "xp-wss.pem"),
        "key_file": str(certificates / "xp-wss.key"),
    }
    async with point(SystemClock(), secured[scheme], **files) as room:
        await room.online()
        topic = f"diemcau/v1/point/{room.name}/command/ping"
        assert room.broker.connection is not None
        # Larger than one record of TLS, and both ways: what a WebSocket and TLS buffer must not lie there.
        body = json.dumps({"padding": "x" * 18_000}).encode()
        for _ in range(2):
            await room.broker.connection.publish(topic, body)
        async with asyncio.timeout(5):
            while len(room.received) < 2:
                await asyncio.sleep(0.01)
        assert {message.payload for _, message in room.received} == {body}
        for connection, message in room.received:
            connection.acknowledge(message)
        await asyncio.sleep(3)  # longer than its keep-alive of a second: pings pass as well
        assert room.broker.trouble is None
        assert room.changes == 1


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
async def test_a_kit_without_a_certificate_of_ours_is_not_let_in(
    secured: dict[str, str], certificates: Path, scheme: str
) -> None:
    with pytest.raises(mqtt.ConnectFailed):
        await Connection.open(
            Address.parse(secured[scheme]), client_id="xp-nobody", keepalive_s=20,
            will=mqtt.Will("diemcau/v1/point/xp-nobody/status", b"{}"),
            tls=Tls(str(certificates / "ca.pem"), None, None), clock=SystemClock(), executor=EXECUTOR,
            on_message=lambda _, message: None,
        )  # fmt: skip


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
async def test_a_server_that_is_not_the_centres_is_not_spoken_to(
    secured: dict[str, str], scheme: str
) -> None:
    with pytest.raises(mqtt.LineDown, match=r"(?i)certificate"):
        await Connection.open(
            Address.parse(secured[scheme]), client_id="xp-nobody", keepalive_s=20,
            will=mqtt.Will("diemcau/v1/point/xp-nobody/status", b"{}"),
            tls=Tls(None, None, None), clock=SystemClock(), executor=EXECUTOR,
            on_message=lambda _, message: None,
        )  # fmt: skip
