"""Real parts for the integration tests: a mosquitto of the run's own, and someone who listens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from diemcau_sim.mosquitto import PrivateMosquitto
from observer import Observer


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[PrivateMosquitto]:
    with PrivateMosquitto() as broker:
        yield broker


@pytest.fixture
def observer(mosquitto: PrivateMosquitto) -> Iterator[Observer]:
    with Observer(mosquitto.url) as listening:
        yield listening
