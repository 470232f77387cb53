"""History keeps what changed, forgets the oldest, and outlives its disk."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlite_utils import Database

from controller.core.image import ProcessImage
from controller.core.layout import Layout
from controller.core.signal import Quality
from controller.core.topology import Topology
from controller.historian.database import ASIDE_KEPT, set_aside
from controller.historian.reader import HistoryStore
from controller.historian.samples import MAX_PENDING, TRIM_EVERY_MS, History
from controller.historian.variables import CLOCKS, Sampler, kept_tags

DIMS = {**Topology.regular(2, 3, 4, 2, pcs=1).dims, "bus": 2, "slot": 5}
UTC = 1_700_000_000_000
GIGABYTE = 10**9


class Plant:
    """An image that a test changes by hand, one second per sample."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.image: ProcessImage = Layout(ProcessImage, DIMS).blank()
        self.now_ms = 5_000

    def second(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.now_ms += 1000
            system = dataclasses.replace(self.image.system, now_ms=self.now_ms, utc_ms=UTC + self.now_ms)
            self.image = dataclasses.replace(self.image, system=system)
            self.history.sample(self.image)
            self.history.flush(self.now_ms, UTC + self.now_ms)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "history.db", Sampler(DIMS), 0.01, GIGABYTE)
    yield made
    made.close()


@pytest.fixture
def plant(history: History) -> Plant:
    return Plant(history)


def rows(history: History, variable: str) -> list[tuple[Any, ...]]:
    """Read with plain SQL, not through the code under test."""
    with closing(sqlite3.connect(history.path)) as db:
        return db.execute(
            "SELECT s.utc_ms - ?, s.value, s.quality FROM samples s JOIN variables v ON v.id = s.variable"
            " WHERE v.name = ? ORDER BY s.utc_ms",
            [UTC, variable],
        ).fetchall()


def test_variables_are_named_by_tag_and_place_and_hold_no_cells() -> None:
    names = [v.name for v in Sampler(DIMS).variables]
    assert len(set(names)) == len(names)
    wanted = {
        "soc_ratio", "site_mode", "rack_current_a[R01]", "rack_current_a[R02]", "module_cell_voltage_max_v[R02/M03]",
        "pcs_active_power_w[P01]", "bank_charge_limit_w[B01]", "aux_supply_v", "active_power_target_w", "trip_count",
    }  # fmt: skip
    assert wanted <= set(names)
    assert not [n for n in names if n.startswith(("cell_voltage_v", "cell_soc", "slot_", "alarm_state", "now_ms"))]
    paths = {t.path for t in kept_tags()}
    assert {"measured.points.rack_current_a", "estimates.rack_soc_ratio", "limits.charge_limit_w"} <= paths
    from controller.core.layout import tags_of

    assert {t.path for t in tags_of(ProcessImage)} >= CLOCKS


def test_only_what_left_its_deadband_is_written(plant: Plant, history: History) -> None:
    current = plant.image.measured.points.rack_current_a
    current.quality[...] = Quality.GOOD
    plant.second()
    current.value[0] = 59.0
    plant.second()
    current.value[0] = 61.0
    plant.second()
    plant.second()
    # The instrument reads -3000..3000 A, so one percent is 60 A.
    assert rows(history, "rack_current_a[R01]") == [(6000, 0.0, 0), (8000, 61.0, 0)]


def test_a_mode_is_written_at_every_change_however_small(plant: Plant, history: History) -> None:
    for place in (4000, 4001, 4001, 4002):
        extremes = dataclasses.replace(plant.image.measured.extremes, cell_voltage_min_place=place)
        measured = dataclasses.replace(plant.image.measured, extremes=extremes)
        plant.image = dataclasses.replace(plant.image, measured=measured)
        plant.second()
    assert [v for _, v, _ in rows(history, "cell_voltage_min_place")] == [4000, 4001, 4002]


def test_quality_is_written_when_it_changes_and_a_steady_value_once_a_minute(plant: Plant, history: History) -> None:
    supply = plant.image.measured.points.aux_supply_v
    supply.value[...], supply.quality[...] = 24.0, Quality.GOOD
    plant.second(30)
    supply.quality[...] = Quality.BAD_COMM
    plant.second(100)
    assert [(t, q) for t, _, q in rows(history, "aux_supply_v")] == [(6000, 0), (36_000, 5), (96_000, 5)]


def test_a_value_that_is_no_number_is_bad_and_reads_as_nan(plant: Plant, tmp_path: Path) -> None:
    plant.image.estimates.rack_soc_ratio[1] = np.nan
    plant.second(3)
    points = HistoryStore(tmp_path).read("rack_soc_ratio[R02]", 0, 2**60, 10)
    assert len(points) == 1
    assert np.isnan(points[0].value)
    assert points[0].quality == Quality.BAD_SENSOR


def test_what_is_not_fitted_is_not_kept(plant: Plant, history: History) -> None:
    plant.image.measured.extremes.module_temperature_max_degc.quality[1, 2] = Quality.NOT_FITTED
    plant.second(2)
    assert rows(history, "module_temperature_max_degc[R02/M03]") == []
    assert len(rows(history, "module_temperature_max_degc[R02/M02]")) == 1


def test_a_full_disk_is_told_once_survived_and_loses_nothing_within_the_bound(plant: Plant, history: History) -> None:
    plant.second()
    db, prepare = history.db, history.prepare
    assert db is not None
    pages = db.execute("PRAGMA page_count").fetchone()[0]

    def small(db: Database) -> None:
        prepare(db)
        db.execute(f"PRAGMA max_page_count={pages}")

    history.prepare = small  # type: ignore[method-assign]
    db.execute(f"PRAGMA max_page_count={pages}")
    for second in range(120):
        plant.image.measured.points.rack_current_a.value[...] = 1000.0 * (second % 2)
        plant.image.measured.extremes.module_cell_voltage_max_v.value[...] = 3.0 + second % 2
        plant.second()
    assert history.trouble
    assert [n for n in history.news if "full" in n] == history.news
    assert len(history.news) == 1
    history.prepare = prepare  # type: ignore[method-assign]
    plant.now_ms += 60_000
    plant.second()
    assert not history.trouble
    assert history.lost == 0
    assert len(rows(history, "module_cell_voltage_max_v[R01/M01]")) == 122
    assert "written again" in history.news[-1]


def test_the_queue_is_bounded_and_counts_what_it_drops(plant: Plant, history: History) -> None:
    plant.second()
    known, history.flush = history.written, lambda *_: None  # type: ignore[method-assign]
    count = len(history.sampler.variables)
    for _ in range(MAX_PENDING // count + 20):
        history._fresh = True
        plant.second()
    assert history._pending_count <= MAX_PENDING
    assert history.lost >= 19 * count
    assert history.written == known


def test_a_corrupt_file_is_kept_aside_and_history_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"this is no database, whatever its name says" * 200)
    history = History(tmp_path / "history.db", Sampler(DIMS), 0.01, GIGABYTE)
    plant = Plant(history)
    plant.second()
    history.close()
    aside = [p.name for p in tmp_path.glob("history.db.corrupt-*")]
    assert len(aside) == 1
    assert (tmp_path / aside[0]).read_bytes().startswith(b"this is no database")
    assert aside[0] in history.news[0]
    assert not history.trouble
    assert len(rows(history, "soc_ratio")) == 1


def test_of_many_corrupt_files_the_newest_stay_whatever_the_clock_says(tmp_path: Path) -> None:
    """A disk that damages again and again must not fill; the evidence that stays is that of the last days."""
    db, kept = tmp_path / "history.db", []
    (tmp_path / "history.db.corrupt-by-hand").touch()
    for day in (1000, 2000, 9_000_000, 3000, 3000, 4000):
        for suffix in ("", "-wal"):
            (tmp_path / f"history.db{suffix}").write_text(str(day))
        kept.append(set_aside(db, day).name)
    assert kept == [f"history.db.corrupt-{n}" for n in (1000, 2000, 9_000_000, 9_000_001, 9_000_002, 9_000_003)]
    left = {p.name for p in tmp_path.glob("history.db*")} - {"history.db.corrupt-by-hand"}
    assert left == {name + suffix for name in kept[-ASIDE_KEPT:] for suffix in ("", "-wal")}
    assert (tmp_path / kept[-1]).read_text() == "4000"
    assert (tmp_path / "history.db.corrupt-by-hand").exists(), "what others put there is theirs"


def test_the_oldest_samples_go_when_the_file_is_too_large(tmp_path: Path) -> None:
    most = 150_000
    history = History(tmp_path / "history.db", Sampler(DIMS), 0.0, most)
    plant = Plant(history)
    rng = np.random.default_rng(2)
    for _ in range(600):
        for s in (plant.image.measured.points.rack_current_a, plant.image.measured.extremes.module_cell_voltage_max_v):
            s.value[...] = rng.normal(0, 1, s.value.shape)
        for values in (plant.image.limits.rack_charge_limit_a, plant.image.estimates.rack_soc_ratio):
            values[...] = rng.random(values.shape)
        plant.second()
    grown = history.bytes_used()
    for _ in range(3000):
        history.trim(plant.now_ms)
        if history.db is not None and not (history._trim or history._shrinking):
            plant.now_ms += TRIM_EVERY_MS
    first = rows(history, "rack_current_a[R01]")[0][0]
    with closing(sqlite3.connect(history.path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = db.execute("PRAGMA page_count").fetchone()[0] * db.execute("PRAGMA page_size").fetchone()[0]
        assert db.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    kept = rows(history, "rack_current_a[R01]")
    history.close()
    assert grown > most
    assert size <= most
    assert first > 6000
    assert kept[-1][0] == 605_000


def test_reading_limits_filters_and_finds_the_value_in_force(plant: Plant, tmp_path: Path) -> None:
    current = plant.image.measured.points.rack_current_a
    for value in (100.0, 200.0, 300.0, 400.0):
        current.value[...] = value
        plant.second()
    store = HistoryStore(tmp_path)
    values = [p.value for p in store.read("rack_current_a[R01]", UTC + 7000, UTC + 8000, 10)]
    assert values == [200.0, 300.0]
    assert [p.value for p in store.read("rack_current_a[R01]", 0, 2**60, 2)] == [100.0, 200.0]
    assert [p.value for p in store.newest("rack_current_a[R01]", 0, 2**60, 2)] == [300.0, 400.0]
    before = store.before("rack_current_a[R01]", UTC + 7000)
    assert before is not None and before.value == 100.0
    assert [k.name for k in store.variables(["rack_current_a[*"])] == ["rack_current_a[R01]", "rack_current_a[R02]"]
    assert [k.name for k in store.variables(["rack_current_a"])] == ["rack_current_a[R01]", "rack_current_a[R02]"]
    assert store.read("nothing", 0, 2**60, 10) == []
    assert HistoryStore(tmp_path / "elsewhere").variables() == []


class TestAClockThatWasAhead:
    """Half an hour of samples stamped a year ahead, then the clock is set right."""

    AHEAD_MS = 365 * 86_400_000

    def told(self, plant: Plant, values: list[float], ahead_ms: int = 0) -> None:
        for value in values:
            plant.image.measured.points.rack_current_a.value[...] = value
            plant.now_ms += ahead_ms
            plant.second()
            plant.now_ms -= ahead_ms

    @pytest.fixture
    def store(self, plant: Plant, tmp_path: Path) -> HistoryStore:
        self.told(plant, [100.0, 200.0])
        self.told(plant, [300.0, 400.0], self.AHEAD_MS)
        self.told(plant, [500.0, 600.0])
        return HistoryStore(tmp_path)

    def seen(self, store: HistoryStore, start: int = 0, end: int = 2**60, most: int = 10) -> list[float]:
        return [p.value for p in store.newest("rack_current_a[R01]", start, end, most)]

    def test_the_newest_are_those_that_came_last(self, store: HistoryStore) -> None:
        assert self.seen(store, most=1) == [600.0]
        assert self.seen(store, most=3) == [400.0, 500.0, 600.0]

    def test_all_are_read_as_they_came_in_pages_of_any_size(self, store: HistoryStore) -> None:
        came = [100.0, 200.0, 300.0, 400.0, 500.0, 600.0]
        assert self.seen(store) == came
        for size in (1, 2, 3, 100):
            pages = list(store.pages("rack_current_a[R01]", 0, 2**60, size))
            assert [p.value for page in pages for p in page] == came
            assert all(len(page) <= size for page in pages)
        assert [p.value for p in store.read("rack_current_a[R01]", 0, 2**60, 4)] == came[:4]

    def test_a_time_selects_by_the_stamps(self, store: HistoryStore) -> None:
        assert self.seen(store, end=UTC + 86_400_000) == [100.0, 200.0, 500.0, 600.0]
        assert self.seen(store, start=UTC + 86_400_000) == [300.0, 400.0]
        assert self.seen(store, UTC + 7000, UTC + 10_000) == [200.0, 500.0]

    def test_a_variable_ends_where_its_last_sample_came(self, store: HistoryStore) -> None:
        (known,) = store.variables(["rack_current_a[R01]"])
        assert (known.first_utc_ms, known.last_utc_ms) == (UTC + 6000, UTC + 11_000)

    def test_a_store_that_is_started_again_goes_on_after_it(self, plant: Plant, tmp_path: Path) -> None:
        self.told(plant, [100.0], self.AHEAD_MS)
        plant.history.close()
        again = History(tmp_path / "history.db", Sampler(DIMS), 0.01, GIGABYTE)
        plant.history = again
        self.told(plant, [200.0])
        plant.history.close()
        assert self.seen(HistoryStore(tmp_path)) == [100.0, 200.0]

    def test_the_oldest_go_first_whatever_their_stamps_say(self, plant: Plant, store: HistoryStore) -> None:
        history = plant.history
        history.size_bytes = 0
        gone = []
        while not gone or gone[-1]:
            for _ in range(10):
                history.trim(plant.now_ms)
                plant.now_ms += TRIM_EVERY_MS
            gone.append(self.seen(store))
            assert len(gone) < 1000, "nothing may stay in a file of no size"
        came = [100.0, 200.0, 300.0, 400.0, 500.0, 600.0]
        assert all(left == came[len(came) - len(left) :] for left in gone), gone
        assert len({len(left) for left in gone}) > 3, "not all at once"

    def test_a_file_that_was_written_without_eras_is_read_and_goes_on(self, tmp_path: Path) -> None:
        path = tmp_path / "history.db"
        with closing(sqlite3.connect(path)) as db:
            db.executescript(
                "CREATE TABLE variables (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, unit TEXT NOT NULL,"
                " doc TEXT NOT NULL);"
                "CREATE TABLE samples (variable INTEGER NOT NULL, utc_ms INTEGER NOT NULL, value REAL,"
                " quality INTEGER NOT NULL, PRIMARY KEY (variable, utc_ms)) WITHOUT ROWID;"
                "INSERT INTO variables VALUES (7, 'rack_current_a[R01]', 'A', 'Current');"
            )
            db.executemany("INSERT INTO samples VALUES (7, ?, ?, 0)", [(UTC, 100.0), (UTC + self.AHEAD_MS, 200.0)])
            db.commit()
        store = HistoryStore(tmp_path)
        assert self.seen(store, most=1) == [200.0] and self.seen(store) == [100.0, 200.0]
        plant = Plant(History(path, Sampler(DIMS), 0.01, GIGABYTE))
        self.told(plant, [300.0])
        plant.history.close()
        assert self.seen(store) == [100.0, 200.0, 300.0]


def test_a_controller_that_was_away_begins_an_era(plant: Plant, history: History) -> None:
    """So that an era is as long as the samples in it, and a share of it is a share of them."""
    plant.second()
    plant.now_ms += 86_400_000
    plant.second()
    with closing(sqlite3.connect(history.path)) as db:
        eras = db.execute("SELECT number, first_utc_ms - ?, last_utc_ms - ? FROM eras", [UTC, UTC]).fetchall()
    assert eras == [(1, 6000, 6000), (2, 86_407_000, 86_407_000)]
