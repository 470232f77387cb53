"""The report of a run: one JSON document whose keys are a contract."""

from __future__ import annotations

from typing import Any, Final

from controller.app.child import TICKS_PER_S
from controller.app.supervisor import Supervisor
from controller.core.event import What, text_of
from controller.core.image import SiteMode
from controller.image.files import PROCESSES
from controller.image.histogram import coarse_percentile, percentile

MOST_TRIPS: Final = 1000
TROUBLE: Final = ("timeouts", "bad", "late", "exceptions", "last_exception", "unconfirmed")


def build(s: Supervisor) -> dict[str, Any]:
    """The report of everything since the start."""
    files = s.files
    scan, io = files.reader("status.scan").read(), files.reader("status.io").read()
    opcua = files.reader("status.opcua").read()
    image = files.reader("process").read()
    report: dict[str, Any] = {"site": s.site.config.site.id, "duration_s": round(s.measured_s, 3)}
    report["scans"] = int(scan.scans) if scan else 0
    report["overruns"] = int(scan.overruns) if scan else 0
    report["realtime"] = bool(scan and scan.realtime)
    for key, counts, most in (
        ("lateness_ms", "lateness_histogram", "lateness_max_ms"),
        ("scan_ms", "duration_histogram", "duration_max_ms"),
        ("busy_ms", "busy_histogram", "busy_max_ms"),
        ("image_age_ms", "age_histogram", "age_max_ms"),
    ):
        report[key] = _spread(getattr(scan, counts), float(getattr(scan, most))) if scan else {}
    report["processes"] = _processes(s)
    report["buses"] = _buses(s, io) if io else {}
    report["opcua"] = {
        "sessions": int(opcua.sessions) if opcua else 0,
        "monitored_items": int(opcua.monitored_items) if opcua else 0,
        "items_per_s": round(float(opcua.items_per_s), 1) if opcua else 0.0,
    }
    report["state"] = SiteMode(image.modes.site_mode).name if image else "UNKNOWN"
    report["trips"] = _trips(s)
    m = image.measured if image else None
    report["values"] = {
        "good": int(m.good_values) if m else 0,
        "stale": int(m.stale_values) if m else 0,
        "bad": int(m.bad_values) if m else 0,
    }
    return report


def _spread(counts: Any, most: float) -> dict[str, float]:
    """Percentiles to the bucket's upper edge, never above the largest value met."""
    return {
        "p50": round(min(percentile(counts, 0.5), most), 3),
        "p99": round(min(percentile(counts, 0.99), most), 3),
        "max": round(most, 3),
    }


def _processes(s: Supervisor) -> dict[str, Any]:
    result = {}
    for i, name in enumerate(PROCESSES):
        child = s.children.get(name)
        if child is None:
            continue
        percent = 100.0 * s.measured_ticks[name] / TICKS_PER_S / max(s.measured_s, 1e-9)
        result[name] = {
            "cpu_pct": round(percent, 2),
            "rss_mb": round(float(s.rss_mb[i]), 1),
            "restarts": child.restarts,
        }
    return result


def _buses(s: Supervisor, io: Any) -> dict[str, Any]:
    return {
        bus.name: {
            "requests": int(io.requests[bus.index]),
            "ok": int(io.ok[bus.index]),
            "timeouts": int(io.timeouts[bus.index]),
            "bad": int(io.bad[bus.index]),
            "late": int(io.late[bus.index]),
            "exceptions": int(io.exceptions[bus.index]),
            "exception_codes": _codes(io.exception_codes[bus.index]),
            "reconnects": int(io.reconnects[bus.index]),
            "latency_ms": _spread(io.latency_histogram[bus.index], float(io.latency_max_ms[bus.index])),
            "reply_age_ms": int(io.alive_ms - io.last_good_ms[bus.index]) if io.last_good_ms[bus.index] else -1,
            "troubled_units": _troubled_units(s, io, bus.index),
        }
        for bus in s.site.plan.buses
    }


def _codes(counts: Any) -> dict[str, int]:
    return {str(code): int(n) for code, n in enumerate(counts) if n}


def _troubled_units(s: Supervisor, io: Any, bus: int) -> dict[str, Any]:
    """Units of a bus of which not every request was answered as asked, by name."""
    troubled = {}
    for device in s.site.plan.devices:
        counts = {name: int(getattr(io, f"unit_{name}")[device.index]) for name in TROUBLE}
        if device.bus == bus and any(counts.values()):
            asked = {"requests": int(io.unit_requests[device.index]), "ok": int(io.unit_ok[device.index])}
            age_ms = int(io.alive_ms - io.unit_last_good_ms[device.index]) if io.unit_last_good_ms[device.index] else -1
            troubled[device.name] = {
                "unit": device.unit,
                **asked,
                **counts,
                "exception_codes": _codes(io.unit_exception_codes[device.index]),
                "latency_p99_ms": coarse_percentile(io.unit_latency_histogram[device.index], 0.99),
                "reply_age_ms": age_ms,
            }
    return troubled


def _trips(s: Supervisor) -> list[dict[str, Any]]:
    """Every time that a row came which opens contactors, in order, as far back as the ring of events reaches."""
    slots = s.site.program.matrix.slots
    trips: list[dict[str, Any]] = []
    reader = s.files.event_reader("scan", from_start=True)
    for record in reader.take(reader.capacity):
        slot = int(record["slot"])
        if int(record["what"]) != What.ALARM or not record["came"]:
            continue
        row = slots[slot].row
        if row.opens and len(trips) < MOST_TRIPS:
            trips.append(
                {
                    "row": row.id,
                    "place": text_of(record, "place"),
                    "t_ms": int(record["time_ms"]) - s.started_ms,
                    "value": float(record["value"]),
                    "limit": float(record["limit"]),
                }
            )
    return trips
