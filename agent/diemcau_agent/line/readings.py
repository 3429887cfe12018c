"""A record as the flat readings that health, telemetry and the judge know. Pure."""

from __future__ import annotations

from typing import Any

from .record import Record


def of_record(record: Record, prefix: str = "") -> dict[str, Any]:
    """What is known, and nothing else: where nothing came back there is no loss to tell of, but a reflector
    that is silent (``reflector_answers``).

    ``rtt_ms_p50`` and so on over all packets of the record, ``jitter_ms`` the mean difference of neighbours.
    """
    if record.sent and not record.received:
        return {f"{prefix}reflector_answers": False}
    known: dict[str, Any] = {
        "reflector_answers": True,
        "loss_percent": record.loss_percent,
        "loss_burst_max": max(record.loss_bursts, default=0),
        "reordered": record.reordered,
        "duplicates": record.duplicates,
        "r_factor": record.r_factor,
        "mos": record.mos,
        "availability_percent": record.availability_percent,
        "reflector_dscp": record.reflector_dscp,
        "returned_dscp": record.returned_dscp,
        "jitter_rfc3550_ms": record.jitter_rfc3550_ms,
    }
    if record.rtt_ms is not None:
        known |= {
            "rtt_ms_p50": record.rtt_ms.p50,
            "rtt_ms_p95": record.rtt_ms.p95,
            "rtt_ms_p99": record.rtt_ms.p99,
        }
    if record.jitter_ms is not None:
        known["jitter_ms"] = record.jitter_ms.mean
    if record.pdv_ms is not None:
        known["pdv_ms_p95"] = record.pdv_ms.p95
    if record.forward_ms is not None and record.backward_ms is not None:
        known |= {"forward_ms_p50": record.forward_ms.p50, "backward_ms_p50": record.backward_ms.p50}
    return {f"{prefix}{name}": value for name, value in known.items() if value is not None}


def samples(record: Record) -> dict[str, Any]:
    """What a minute's telemetry aggregates of one train, beside its round trips: of a good mean over all
    packets, each train is as long as the next."""
    found = {"burst_loss_percent": record.loss_percent}
    if record.jitter_ms is not None:
        found["burst_jitter_ms"] = record.jitter_ms.mean
    return found
