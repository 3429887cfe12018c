"""The world on its socket: what callers may say, and that nothing they say ends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diemcau_drivers.contract import Absent, BadRequest, Broken
from diemcau_sim.client import WorldClient
from diemcau_sim.faults import FAULTS
from diemcau_sim.server import MAX_LINE_BYTES, MAX_PAYLOAD_BYTES, WorldServer, serving
from diemcau_sim.world import World

HANG_S = 0.3
"""Long enough to tell that no answer comes; a healthy one takes less than a millisecond."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WorldServer]:
    with serving(World(), tmp_path / "world.sock") as running:
        yield running


@pytest.fixture
def client(server: WorldServer) -> Iterator[WorldClient]:
    connected = WorldClient(server.path)
    yield connected
    connected.close()


def connect(server: WorldServer) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(5.0)
    connection.connect(str(server.path))
    return connection


def test_the_socket_is_for_its_user_alone(server: WorldServer) -> None:
    assert server.path.stat().st_mode & 0o777 == 0o600


def test_a_socket_left_behind_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "world.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with serving(World(), path), pytest.raises(OSError, match="in use"):
        WorldServer(World(), path).start()
    assert not path.exists()


def test_people_break_and_mend_things(server: WorldServer, client: WorldClient) -> None:
    assert client.ask("fault", code="cable", on=True) == {"faults": ["cable"]}
    assert server.world.faults == {"cable"}
    assert client.ask("fault", code="cable", on=False) == {"faults": []}
    client.ask("hold", device="camera", by="codec")
    assert client.ask("state")["holders"] == {"camera": "codec"}
    client.ask("hold", device="camera", by=None)
    client.ask("reboot")
    assert client.ask("state")["boots"] == 2


@pytest.mark.parametrize(
    ("do", "args", "names"),
    [
        ("camera.explode", {}, "do: got 'camera.explode'"),
        ("fault", {"code": "camera_sad", "on": True}, "code"),
        ("fault", {"code": "cable", "on": "yes"}, "on"),
        ("fault", {"code": "cable", "of": True}, "of"),
        ("camera.grab", {}, "count"),
        ("camera.grab", {"count": 10_000}, "count"),
        ("camera.set", {"zoom": 0.5}, "zoom"),
        ("audio.record", {"seconds": float("inf")}, "seconds"),
        ("audio.set", {"device": "camera", "muted": True}, "device"),
        ("display.set", {"card": "cat"}, "card"),
        ("panel.light", {"red": 2.0, "green": 0.0, "blue": 0.0}, "red"),
        ("press", {"hold_s": -1}, "hold_s"),
        ("hold", {"device": "panel", "by": "codec"}, "device"),
        ("identity", {"device": "sofa"}, "device"),
    ],
)
def test_a_bad_request_names_what_is_wrong(
    client: WorldClient, do: str, args: dict[str, Any], names: str
) -> None:
    with pytest.raises(BadRequest, match=names):
        client.ask(do, **args)
    assert client.ask("state")["faults"] == []


def test_sound_that_is_no_whole_samples_is_refused(client: WorldClient) -> None:
    with pytest.raises(BadRequest, match="float32"):
        client.ask("audio.play", b"123")


_JUNK = st.one_of(
    st.binary(max_size=200).map(lambda data: data.replace(b"\n", b"?")),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {
            "do": st.sampled_from(
                ["camera.grab", "camera.set", "fault", "audio.set", "display.set", "interface"]
            )
            | st.text(max_size=8),
            "args": st.dictionaries(
                st.sampled_from(["count", "zoom", "code", "on", "device", "message", "name"]),
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats()
                | st.text(max_size=8)
                | st.lists(st.none()),
                max_size=3,
            )
            | st.text(max_size=4),
        },
        optional={"bytes": st.sampled_from([0, 0.5, "1", None, [], False])},
    ).map(lambda value: json.dumps(value).encode()),
)


@pytest.fixture(scope="module")
def junkyard() -> Iterator[WorldServer]:
    directory = Path(tempfile.mkdtemp(prefix="diemcau-"))
    with serving(World(), directory / "world.sock") as running:
        yield running
    shutil.rmtree(directory)


@settings(deadline=None, max_examples=200)
@given(lines=st.lists(_JUNK, min_size=1, max_size=5))
def test_no_line_ever_ends_the_world(junkyard: WorldServer, lines: list[bytes]) -> None:
    """Each line is answered, or its connection ended; the next caller is served as if nothing had been."""
    junkyard.world.clear_faults()
    with connect(junkyard) as connection, connection.makefile("rb") as stream:
        for line in lines:
            try:
                connection.sendall(line + b"\n")
                header = stream.readline()
            except ConnectionError:
                break  # the line before could not be framed, and this one was left unread
            if not header:
                break
            answer = json.loads(header)
            assert ("ok" in answer) != ("error" in answer)
            stream.read(answer.get("bytes", 0))
            junkyard.world.clear_faults()
    client = WorldClient(junkyard.path)
    assert client.ask("state")["faults"] == []
    client.close()


@pytest.mark.parametrize(
    "line",
    [
        b"x" * (MAX_LINE_BYTES + 1),
        json.dumps({"do": "audio.play", "bytes": MAX_PAYLOAD_BYTES + 1}).encode() + b"\n",
        json.dumps({"do": "audio.play", "bytes": -1}).encode() + b"\n",
        json.dumps({"do": "audio.play", "bytes": "many"}).encode() + b"\n",
    ],
)
def test_what_cannot_be_framed_is_told_and_the_connection_ends(server: WorldServer, line: bytes) -> None:
    with connect(server) as connection, connection.makefile("rb") as stream:
        connection.sendall(line)
        assert json.loads(stream.readline())["error"]["kind"] == "bad_request"
        try:
            assert stream.read(1) == b""
        except ConnectionResetError:
            pass  # it had not read all that we sent
    client = WorldClient(server.path)
    assert client.ask("state")["faults"] == []
    client.close()


def test_a_caller_that_leaves_in_the_middle_does_no_harm(server: WorldServer, client: WorldClient) -> None:
    with connect(server) as connection:
        connection.sendall(json.dumps({"do": "audio.play", "bytes": 400}).encode() + b"\n" + b"half")
    assert client.ask("state")["faults"] == []


HUNG: dict[str, tuple[str, dict[str, Any]]] = {
    "camera_hung": ("camera.open", {}),
    "audio_hung": ("audio.record", {"seconds": 0.1}),
    "display_hung": ("display.set", {"power": True}),
    "panel_hung": ("panel.light", {"red": 1.0, "green": 0.0, "blue": 0.0}),
}


@pytest.mark.parametrize("code", sorted(HUNG))
def test_a_hung_device_never_answers_even_when_mended_and_others_do(server: WorldServer, code: str) -> None:
    do, args = HUNG[code]
    server.world.set_fault(code, True)
    with connect(server) as connection:
        connection.sendall(json.dumps({"do": do, "args": args}).encode() + b"\n")
        connection.settimeout(HANG_S)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        server.world.set_fault(code, False)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        again = WorldClient(server.path)
        assert isinstance(again.ask(do, **args), dict)
        assert again.ask("presence") == dict.fromkeys(
            ("camera", "microphone", "speaker", "display", "panel"), True
        )
        again.close()


def test_stopping_frees_a_caller_that_hangs(tmp_path: Path) -> None:
    world = World()
    world.set_fault("camera_hung", True)
    failed = threading.Event()

    def hang(client: WorldClient) -> None:
        with pytest.raises(Broken):
            client.ask("camera.open")
        failed.set()

    with serving(world, tmp_path / "world.sock") as server:
        client = WorldClient(server.path)
        caller = threading.Thread(target=hang, args=(client,))
        caller.start()
        assert not failed.wait(0.1)
    assert failed.wait(5.0)
    caller.join()
    client.close()


@pytest.mark.parametrize("code", ["camera_crashed", "audio_crashed", "display_crashed", "panel_crashed"])
def test_a_crash_takes_the_process_that_asked(server: WorldServer, code: str) -> None:
    server.world.set_fault(code, True)
    process = code.removesuffix("_crashed")
    ask = {
        "camera": "backend.open()",
        "audio": "backend.record(0.1)",
        "display": "backend.power()",
        "panel": "backend.start(print)",
    }[process]
    program = (
        f"from diemcau_sim.backends import BACKENDS\n"
        f"backend = BACKENDS[{process!r}]({{'socket': {str(server.path)!r}}})\n{ask}\nprint('alive')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=15.0, env=os.environ, check=False
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGSEGV, b"")


@pytest.mark.parametrize("device", ["camera", "microphone", "speaker", "panel"])
def test_an_absent_device_is_missed_and_cannot_be_used(
    server: WorldServer, client: WorldClient, device: str
) -> None:
    server.world.set_fault(f"{device}_absent", True)
    assert client.ask("presence")[device] is False
    with pytest.raises(Absent):
        client.ask("identity", device=device)
    uses: dict[str, tuple[str, dict[str, Any]]] = {
        "camera": ("camera.open", {}),
        "microphone": ("audio.record", {"seconds": 0.1}),
        "speaker": ("audio.mixer", {"device": "speaker"}),
        "panel": ("panel.listen", {}),
    }
    do, args = uses[device]
    with pytest.raises(Absent):
        client.ask(do, **args)


def test_no_room_at_all_is_broken(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="does not answer"):
        WorldClient(tmp_path / "world.sock").ask("state")


def test_a_client_finds_a_room_that_came_back(tmp_path: Path) -> None:
    path = tmp_path / "world.sock"
    client = WorldClient(path)
    with serving(World(), path):
        client.ask("state")
    with pytest.raises(Broken):
        client.ask("state")
    world = World()
    world.set_fault("cable", True)
    with serving(world, path):
        assert client.ask("state")["faults"] == ["cable"]
    client.close()


def test_the_world_itself_lists_what_it_can_be_asked_in_its_refusal(client: WorldClient) -> None:
    with pytest.raises(BadRequest) as refused:
        client.ask("nothing")
    for do in ("camera.grab", "audio.loop", "panel.light", "reboot"):
        assert do in refused.value.detail
    assert len(FAULTS) > 30
