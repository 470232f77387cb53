"""How well the alarm list serves people: the figures of ISA-18.2 and EEMUA 191 from the journal."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, Final

from controller.core.annunciate.figures import CHATTER_MS, FLOOD_BEGINS, FLOOD_ENDS, HOUR_MS, STALE_MS
from controller.core.annunciate.states import ACTIVE, SOUNDING, UNACKED
from controller.core.image import AlarmState
from controller.core.program import Program
from controller.core.protect import Priority

WINDOW_MS: Final = 600_000
TOP: Final = 10
TARGETS: Final = {
    "per_hour": ("alarms per hour", 6.0, "12 is the most that one operator can handle"),
    "peak_ten_minutes": ("most alarms in 10 min", 10.0, "more is a flood"),
    "flood_share": ("time in flood, %", 1.0, ""),
    "top_ten_share": ("load of the ten most frequent, %", 5.0, "means little below a few hundred alarms"),
    "chattering": ("chattering alarms", 0.0, "three times within a minute"),
    "stale": ("alarms active for more than 24 h", 4.0, ""),
}
"""Figure: what it is, the largest good value, and a note (ISA-18.2 and EEMUA 191, as commonly cited)."""
WANTED: Final = {Priority.LOW: 80, Priority.MEDIUM: 15, Priority.HIGH: 5}
"""Share of each priority that the guides advise, in percent."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sounded:
    """One alarm that asked for a person."""

    utc_ms: int
    row: str
    place: str


@dataclasses.dataclass(frozen=True)
class Kpis:
    """The figures of one stretch of time."""

    hours: float
    sounded: int
    figures: dict[str, float]
    top: list[dict[str, Any]]
    priorities: dict[str, dict[str, float]]
    ack_median_s: float | None
    shelved: int
    suppressed: int
    chattering: list[str]
    stale: list[str]


def kpis(events: Iterable[dict[str, Any]], start_ms: int, end_ms: int, program: Program) -> Kpis:
    """The figures from journal rows of kind ALARM, oldest first."""
    sounded, waits = [], []
    now: dict[tuple[str, str], tuple[int, int]] = {}
    shelved = suppressed = 0
    since: dict[tuple[str, str], int] = {}
    for e in events:
        row, old, new = row_of(e["text"]), int(e["old"]), int(e["new"])
        key = (row, ELEMENT.sub("", e["place"]))
        now[key] = (new, int(e["utc_ms"]) if now.get(key, (0, 0))[0] not in ACTIVE else now[key][1])
        if new in SOUNDING and old not in SOUNDING:
            sounded.append(Sounded(int(e["utc_ms"]), *key))
            since[key] = int(e["utc_ms"])
        if old in UNACKED and new not in UNACKED and e["user"] and key in since:
            waits.append((int(e["utc_ms"]) - since.pop(key)) / 1000)
        shelved += int(new == AlarmState.SHELVED and new != old)
        suppressed += int(new == AlarmState.SUPPRESSED and new != old)
    times = sorted(s.utc_ms for s in sounded)
    hours = max((end_ms - start_ms) / HOUR_MS, 1e-9)
    heard: dict[tuple[str, str], list[int]] = {}
    for one in sounded:
        heard.setdefault((one.row, one.place), []).append(one.utc_ms)
    load = Counter({key: len(at) for key, at in heard.items()})
    stale = [f"{r} {p}" for (r, p), (state, at) in now.items() if state in ACTIVE and end_ms - at > STALE_MS]
    chattering = [f"{row} {place}" for (row, place), at in heard.items() if _chatters(at)]
    top: list[dict[str, Any]] = [
        {"row": row, "place": place, "count": count, "share": 100 * count / len(sounded)}
        for (row, place), count in load.most_common(TOP)
    ]
    return Kpis(
        hours,
        len(sounded),
        {
            "per_hour": len(sounded) / hours,
            "peak_ten_minutes": peak(times),
            "flood_share": 100 * flood_ms(times, end_ms) / max(end_ms - start_ms, 1),
            "top_ten_share": sum(t["share"] for t in top),
            "chattering": len(chattering),
            "stale": len(stale),
        },
        top,
        _priorities(sounded, program),
        median(waits) if waits else None,
        shelved,
        suppressed,
        chattering,
        stale,
    )


ELEMENT: Final = re.compile(r"/[CTE]\d+$")
"""The cell or sensor at the end of a place: an alarm is its module's, whichever cell leads."""


def row_of(text: str) -> str:
    """The row an alarm's text begins with."""
    return text.partition(";")[0].partition(":")[0].strip()


def peak(times: Sequence[int]) -> int:
    """Most alarms within any ten minutes."""
    window: deque[int] = deque()
    most = 0
    for at in times:
        window.append(at)
        while at - window[0] >= WINDOW_MS:
            window.popleft()
        most = max(most, len(window))
    return most


def flood_ms(times: Sequence[int], end_ms: int) -> int:
    """Time in flood: from the alarm that makes it more than ten in ten minutes until there are fewer than five."""
    window: deque[int] = deque()
    total, begun = 0, -1
    # An alarm also leaves the window, ten minutes after it sounded.
    for at, comes in sorted([(t, 1) for t in times] + [(t + WINDOW_MS, 0) for t in times]):
        if comes:
            window.append(at)
        else:
            window.popleft()
        if begun < 0 and len(window) > FLOOD_BEGINS:
            begun = at
        elif begun >= 0 and len(window) < FLOOD_ENDS:
            total, begun = total + min(at, end_ms) - min(begun, end_ms), -1
    return total + (end_ms - begun if 0 <= begun < end_ms else 0)


def _chatters(times: Sequence[int]) -> bool:
    return any(times[i + 2] - times[i] <= CHATTER_MS for i in range(len(times) - 2))


def _priorities(sounded: Sequence[Sounded], program: Program) -> dict[str, dict[str, float]]:
    """Percent of rows, of configured alarms and of what sounded, per priority."""
    of_row = {r.id: r.priority for r in program.matrix.rows}
    counts = {
        "rows": Counter(of_row.values()),
        "alarms": Counter(Priority(int(p)) for p in program.matrix.priority),
        "sounded": Counter(of_row[s.row] for s in sounded if s.row in of_row),
    }
    return {
        p.name.lower(): {"wanted": float(WANTED[p]), **{k: _percent(c[p], sum(c.values())) for k, c in counts.items()}}
        for p in Priority
    }


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def as_text(k: Kpis, site: str) -> str:
    """The figures for people, each with its target."""
    lines = [f"{site}: {k.sounded} alarms in {k.hours:.1f} h", ""]
    for name, (what, good, note) in TARGETS.items():
        value = k.figures[name]
        verdict = "too short to judge" if k.hours < 1 else "ok" if value <= good else "beyond"
        lines.append(f"  {what:<36} {value:>8.1f}   target {good:>4g}   {verdict}{f'; {note}' if note else ''}")
    wait = "nobody acknowledged" if k.ack_median_s is None else f"{k.ack_median_s:.0f} s"
    lines.append(f"  {'median time to acknowledge':<36} {wait:>8}")
    lines.append(f"  {'shelved / told as consequences':<36} {f'{k.shelved} / {k.suppressed}':>8}")
    lines += ["", f"  {'priority':<10} {'wanted %':>9} {'rows %':>8} {'alarms %':>9} {'sounded %':>10}"]
    for name, p in k.priorities.items():
        lines.append(f"  {name:<10} {p['wanted']:>9.0f} {p['rows']:>8.0f} {p['alarms']:>9.0f} {p['sounded']:>10.0f}")
    if k.top:
        lines += ["", "  most frequent"]
        lines += [f"  {t['count']:>5} {t['share']:>5.1f} %  {t['row']} {t['place']}" for t in k.top]
    for title, names in (("chattering", k.chattering), ("stale", k.stale)):
        lines += [f"  {title}: {', '.join(names[:TOP])}"] if names else []
    return "\n".join(lines)
