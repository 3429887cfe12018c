"""The private broker promises: its own port, accepting when it says so, there again after an outage, and gone
with everything it made when it is closed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diemcau_sim import mosquitto
from diemcau_sim.centre import Centre, CentreError
from diemcau_sim.mosquitto import BrokerFailed, BrokerMissing, PrivateMosquitto

pytestmark = pytest.mark.mosquitto


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_two_run_side_by_side_and_leave_no_process_and_no_file() -> None:
    with PrivateMosquitto() as one, PrivateMosquitto() as other:
        assert one.url != other.url
        pids = [broker.pid for broker in (one, other)]
        directory = Path(one._directory.name)  # pyright: ignore[reportOptionalMemberAccess]
        assert directory.exists()
        for broker in (one, other):
            with Centre(broker.url):
                pass
    assert not any(alive(pid) for pid in pids if pid is not None)
    assert not directory.exists()


@pytest.mark.parametrize("kill", [False, True])
def test_after_an_outage_it_is_on_the_same_port(kill: bool) -> None:
    with PrivateMosquitto() as broker:
        before = broker.url
        broker.stop(kill=kill)
        with pytest.raises(CentreError, match="no broker"), Centre(before):
            pass
        broker.start()
        assert broker.url == before
        with Centre(before):
            pass


def test_it_speaks_mqtt_5_and_keeps_a_retained_document() -> None:
    with PrivateMosquitto() as broker, Centre(broker.url) as centre:
        centre._client.publish("diemcau/v1/point/xp-0001/health", b'{"readiness": "ready"}', 1, True)
        assert centre.retained("xp-0001", "health") == {"readiness": "ready"}
        with pytest.raises(CentreError, match="nothing on"):
            centre.retained("xp-0002", "health", timeout_s=0.2)


def test_a_missing_program_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    monkeypatch.setattr(mosquitto.shutil, "which", lambda *_, **__: None)  # pyright: ignore
    with pytest.raises(BrokerMissing, match="apt-get install mosquitto"):
        PrivateMosquitto().start()


def test_a_broker_that_ends_at_once_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "mosquitto"
    broken.write_text("#!/bin/sh\necho 'Error: no memory' >&2; exit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BrokerFailed, match=r"ended with 3: Error: no memory"):
        PrivateMosquitto().start()
