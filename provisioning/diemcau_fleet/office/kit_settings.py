"""The ``agent.toml`` of a new kit: what the office knows of it; the rest is the technician's."""

from __future__ import annotations

import json
from collections.abc import Sequence

CA_FILE = "/etc/diemcau/ca.pem"


def text(
    point: str,
    groups: Sequence[str],
    fleet_keys: Sequence[str],
    est_url: str | None,
    broker_urls: Sequence[str],
) -> str:
    """TOML. What was not given is a line that is commented out, for somebody to fill in."""
    est, broker = (_mark(given) for given in (est_url, broker_urls))
    urls = json.dumps(list(broker_urls) or ["mqtts://broker.example:8883"])
    lines = [
        f'point = "{point}"',
        *([f"groups = {json.dumps(list(groups))}"] if groups else []),
        'commands = "signed"',
        f"fleet_keys = {json.dumps(list(fleet_keys))}",
        "",
        "[broker]",
        f"{broker}urls = {urls}",
        "",
        f"{est}[enrolment]",
        f"{est}url = {json.dumps(est_url or 'https://est.example:8443')}",
        f'{est}ca_file = "{CA_FILE}"',
    ]
    return "\n".join(lines) + "\n"


def _mark(given: object) -> str:
    return "" if given else "# "
