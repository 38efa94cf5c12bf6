# SPDX-License-Identifier: MIT
"""Reports on every engine; stored counts never change a figure."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
import sqlalchemy as sa

from fastagi.domain.hours import DayHours, OpeningHours, Range
from fastagi.domain.not_callable import NotCallable
from fastagi.domain.offers import Offer, OfferOutcome, Trigger
from fastagi.domain.reason import Code, because
from fastagi.domain.slots import Slot, SlotLimit
from fastagi.domain.tally import local_day
from fastagi.domain.task import IllegalMove, Kind
from fastagi.reports import ReportQuery, report, report_csv, report_json
from fastagi.store import erasure, schema, tallies
from fastagi.store.engine import Database
from fastagi.store.errors import AlreadyOpen, NoSuchTask
from fastagi.store.store import TaskStore
from tests.store.harness import RULES, done, new_task, verdict

BERLIN = ZoneInfo("Europe/Berlin")
#: The first day of the tests; clocks are changed on the third.
FIRST = date(2026, 3, 27)
TALKING = because(Code.TALK_BEGINS)


def noon(day: date, hour: float = 12.0) -> datetime:
    """Return a time of a day in Berlin."""
    midnight = datetime.combine(day, time(), BERLIN)
    return (midnight + timedelta(hours=hour)).astimezone(UTC)


@attrs.define
class House:
    """A store, and the clock of what happens in it."""

    store: TaskStore
    database: Database
    now: datetime = attrs.field(factory=lambda: noon(FIRST))
    attempts: int = 0
    asked: int = 0

    def ask(self, number: str, queue: str = "support", **more: object) -> int:
        """Store a request and return its task."""
        times = {"joined_at": self.now, "due_at": self.now}
        times["expires_at"] = self.now + timedelta(hours=4)
        new = new_task(number, queue=queue, **(times | more))
        self.asked += 1
        return done(self.store.add(new, self.now)).task.id

    def call(self, how: str = "ANSWERED", after_s: float = 60.0, **more: object) -> int:
        """Call the next task of all; return it."""
        self.now += timedelta(seconds=after_s)
        self.attempts += 1
        channel_id = f"callback-{self.attempts}"
        queues = ["support", "sales", "=cmd"]
        (begun,) = done(self.store.begin_attempts(queues, [channel_id], self.now)).begun
        rules = attrs.evolve(RULES, retry_delay=timedelta(0), **more)
        if how == "ANSWERED":
            done(self.store.progress(channel_id, TALKING, self.now))
        self.now += timedelta(seconds=30)
        ended = verdict(
            how, member="PJSIP/ada", talk_s=30.0 if how == "ANSWERED" else 0
        )
        done(self.store.close_attempt(channel_id, ended, rules, self.now))
        return begun.task.id

    def run(self, function: Callable[..., object], *args: object) -> object:
        """Run a function of the store in a transaction."""
        return done(self.database.run("test", function, *args))

    def change(self, statement: sa.Delete | sa.Update) -> None:
        """Change rows in a transaction."""
        self.run(lambda conn: conn.execute(statement).rowcount)

    def report(self, **more: object) -> object:
        """Return the report of the first ten days."""
        given = {"first": FIRST, "last": FIRST + timedelta(days=9), **more}
        zones = {"support": "Europe/Berlin", "sales": "Europe/Berlin"}
        return self.run(report, ReportQuery(zones=zones, **given))

    def keep_counts(self) -> int:
        """Store the counts of all past days and months; return how many days."""
        stored = 0
        days = self.run(tallies.not_stored, self.now.timestamp(), 1000)
        for day, queues in days.items():
            stored += self.run(tallies.store_day, queues, day)
        self.run(tallies.store_longer, 10_000)
        return stored


@pytest.fixture
def house(store: TaskStore, database: Database) -> House:
    """An empty house whose queues are in Berlin."""
    return in_berlin(House(store, database))


def in_berlin(made: House) -> House:
    """Store the time zone of its queues."""
    zones = {"support": "Europe/Berlin", "sales": "Europe/Berlin"}
    made.run(tallies.set_zones, zones)
    return made


def test_a_report_of_nothing_has_no_figures(house: House) -> None:
    empty = house.report()
    assert empty.totals.asked == 0
    assert empty.totals.reached_share is None
    assert empty.gross_wait.p50_s is None
    assert len(empty.by_day) == 10
    assert house.report(first=None).by_day[0].asked == 0


def test_clients_are_counted_with_what_became_of_them(house: House) -> None:
    house.ask("1")
    house.ask("1")
    house.call("BUSY")
    house.call()
    house.ask("2", kind=Kind.MISSED)
    house.call()
    cancelled = house.ask("3")
    done(house.store.cancel(cancelled, because(Code.CANCELLED_BY_HAND), house.now))
    taken_back = house.ask("4")
    done(house.store.take_back(taken_back, house.now))
    house.ask("5")
    done(house.store.serve("5", because(Code.CLIENT_RANG_AGAIN), house.now))
    house.ask("6")
    house.call("MACHINE")
    house.call("MACHINE")
    house.call("MACHINE")
    house.ask("7")
    done(house.store.expire(house.now + timedelta(hours=5)))
    house.ask("8", kind=Kind.MANUAL, queue="sales")

    found = house.report()
    totals = found.totals
    assert (totals.asked, totals.requested, totals.missed, totals.manual) == (
        7,
        5,
        1,
        1,
    )
    assert (totals.reached, totals.failed, totals.expired) == (2, 1, 1)
    assert (totals.cancelled, totals.served, totals.open) == (1, 1, 1)
    assert totals.repeats == 1
    assert totals.reached_share == 2 / 4
    assert totals.first_try_share == 1 / 2
    assert totals.tries_per_success == 3 / 2
    assert totals.tries == 6
    assert totals.goal_share == 2 / 4
    assert totals.asked == sum(day.asked for day in found.by_day)
    assert found.by_day[0].open == 1
    assert [(one.result, one.count) for one in found.results] == [
        ("MACHINE", 3),
        ("ANSWERED", 2),
        ("BUSY", 1),
    ]
    assert [(one.agent, one.reached, one.talk_s) for one in found.agents] == [
        ("PJSIP/ada", 2, 60.0)
    ]
    assert house.report(queues=("sales",)).totals.asked == 1
    assert house.report(kind=Kind.MISSED).totals.asked == 1
    assert house.report(kind=Kind.MISSED).totals.requested == 0


def test_gross_and_net_wait_differ_by_the_time_in_which_the_queue_is_closed(
    house: House,
) -> None:
    nine_to_five = (DayHours((Range(9 * 60, 17 * 60),)),) * 7
    hours = OpeningHours(week=nine_to_five, zone=BERLIN)
    house.now = noon(FIRST, 16.5)
    house.ask("1", expires_at=noon(FIRST + timedelta(days=2)))
    house.now = noon(FIRST + timedelta(days=1), 9.25)
    house.call(after_s=0, hours=hours)

    found = house.report()
    assert found.gross_wait.total_s == 16.75 * 3600
    # From 16:30 to 17:00, and from 09:00 to 09:15.
    assert found.net_wait.total_s == 45 * 60
    assert found.net_wait.count == found.gross_wait.count == 1
    assert found.totals.goal_share == 0
    assert house.report(goal_s=45 * 60).totals.goal_share == 1


def test_the_wait_for_a_chosen_time_is_not_net(house: House) -> None:
    chosen_at = house.now + timedelta(hours=2)
    more = {"due_at": chosen_at, "joined_at": chosen_at, "chosen_at": chosen_at}
    new = attrs.evolve(new_task("1", expires_at=house.now + timedelta(hours=9)), **more)
    done(house.store.add(new, house.now))
    house.call(after_s=2 * 3600 + 90)
    found = house.report()
    assert found.gross_wait.total_s == 2 * 3600 + 90
    assert found.net_wait.total_s == 90


def test_a_day_and_an_hour_are_those_of_the_zone_of_the_queue(house: House) -> None:
    house.run(tallies.set_zones, {"sales": "America/New_York"})
    house.now = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    house.ask("1")  # 01:30 in Berlin, half an hour before the skipped hour
    house.ask("2", queue="sales")  # 20:30 on the day before in New York
    house.now += timedelta(hours=1)
    house.ask("3")  # 03:30
    found = house.report()
    asked = {day.day: day.asked for day in found.by_day if day.asked}
    assert asked == {date(2026, 3, 28): 1, date(2026, 3, 29): 2}
    hours = {one.hour: one.asked for one in found.by_hour if one.asked}
    assert hours == {1: 1, 3: 1, 20: 1}
    slots = {(one.weekday, one.hour) for one in found.by_weekday_hour if one.asked}
    assert slots == {(6, 1), (6, 3), (5, 20)}


def test_offers_are_counted_with_their_acceptance(house: House) -> None:
    for number, outcome in enumerate(OfferOutcome):
        offer = Offer(
            at=house.now,
            queue="support",
            number=f"{number}",
            position=3,
            expected_wait_s=None,
            trigger=Trigger.WAITED,
            linkedid="",
        )
        key = done(
            house.store.add_offer(offer, f"{number}", house.now + timedelta(hours=4))
        )
        if outcome is not OfferOutcome.ASKED:
            done(house.store.end_offer(key, outcome, house.now))
    offers = house.report().offers
    assert (offers.made, offers.accepted) == (6, 1)
    assert offers.acceptance == 1 / 6
    house.now += timedelta(days=2)
    assert house.keep_counts() == 0  # no tasks: nothing to store


def test_the_days_before_are_compared(house: House) -> None:
    house.ask("1")
    house.now += timedelta(days=1)
    house.ask("2")
    house.ask("3")
    day = FIRST + timedelta(days=1)
    found = house.report(first=day, last=day)
    assert found.totals.asked == 2
    assert found.previous.asked == 1
    assert (found.previous_first, found.previous_last) == (FIRST, FIRST)
    assert house.report(compare=False).previous is None


def test_a_day_with_an_open_task_is_not_stored(house: House) -> None:
    house.ask("1")
    house.now += timedelta(days=3)
    # The two days after it are, of both queues, and that day of the other.
    assert house.keep_counts() == 3 + 2
    assert house.report().totals.open == 1


def test_a_day_is_stored_only_when_it_has_been_over_for_a_while(house: House) -> None:
    house.ask("1")
    house.call()
    house.now = noon(FIRST, 24 + 5.9)
    assert house.keep_counts() == 0
    house.now = noon(FIRST, 24 + 6.1)
    assert house.keep_counts() == 2


def test_a_task_put_back_in_line_changes_the_report_of_a_stored_day(
    house: House,
) -> None:
    task = house.ask("1")
    done(house.store.cancel(task, because(Code.CANCELLED_BY_HAND), house.now))
    house.now += timedelta(days=40)
    assert house.keep_counts()
    assert house.report().totals.cancelled == 1
    done(
        house.store.retry(
            task,
            because(Code.REOPENED_BY_HAND),
            house.now,
            house.now + timedelta(hours=4),
        )
    )
    assert house.report().totals.open == 1
    house.call()
    assert house.report().totals.reached == 1
    assert house.keep_counts()
    assert house.report().totals.reached == 1


def test_a_year_is_counted_from_its_months_and_read_in_place_of_them(
    house: House,
) -> None:
    house.ask("0")
    house.call()
    year = FIRST.year + 1
    for month in (1, 6, 12):
        house.now = noon(date(year, month, 28))
        house.ask(f"{month}", "sales" if month == 6 else "support")
        house.call()
    house.now = noon(date(year, 12, 31), 23.5)
    task = house.ask("1")
    done(house.store.cancel(task, because(Code.CANCELLED_BY_HAND), house.now))
    house.now = noon(date(year + 1, 3, 10))
    given = {"first": date(year, 1, 1), "last": date(year + 1, 3, 1), "compare": False}
    counted = house.report(**given)
    assert (counted.totals.reached, counted.totals.cancelled) == (3, 1)
    house.keep_counts()
    assert house.report(**given) == counted
    # The counts of a year are used, not those of its months and days.
    tally = schema.tally
    ends_at = noon(date(year + 1, 1, 1), 0).timestamp()
    parts = tally.c.ends_at <= ends_at, tally.c.span.in_(["month", "week"])
    house.change(sa.delete(tally).where(*parts))
    house.change(sa.update(tally).where(tally.c.span == "day").values(numbers="{}"))
    assert house.report(**given).totals == counted.totals
    why, until = because(Code.REOPENED_BY_HAND), house.now + timedelta(hours=4)
    done(house.store.retry(task, why, house.now, until))
    years = sa.select(tally.c.queue).where(tally.c.span == "year").distinct()
    assert house.run(lambda conn: conn.execute(years).scalars().all()) == ["sales"]


def test_another_zone_of_a_queue_counts_its_days_anew(house: House) -> None:
    house.now = noon(FIRST, 23.5)
    house.ask("1")
    house.call()
    house.now += timedelta(days=2)
    house.keep_counts()
    assert [day.asked for day in house.report().by_day][:2] == [1, 0]
    house.run(tallies.set_zones, {"support": "Europe/Moscow"})
    assert [day.asked for day in house.report().by_day][:2] == [0, 1]


def test_days_without_their_tasks_keep_their_dates_in_another_zone(
    house: House,
) -> None:
    house.ask("1")
    house.call()
    house.now += timedelta(days=1)
    house.ask("2")
    house.call()
    house.now += timedelta(days=2)
    house.keep_counts()
    while done(house.store.delete_old(house.now)):
        pass
    before = house.report()
    for zone in (
        "Europe/Moscow",
        "America/New_York",
        "Pacific/Kiritimati",
        "Etc/GMT+12",
    ):
        house.run(tallies.set_zones, {"support": zone})
        house.keep_counts()
        after = house.report()
        assert [day.asked for day in after.by_day][:3] == [1, 1, 0], zone
        assert after.totals == before.totals, zone


def test_a_task_that_another_queue_takes_counts_on_a_stored_day_of_it(
    house: House,
) -> None:
    house.ask("1")
    house.now += timedelta(days=2)
    assert house.keep_counts()
    # Its client chooses a time at which the other queue calls.
    chosen = house.now + timedelta(hours=2)
    slot = SlotLimit(Slot(chosen, chosen + timedelta(hours=1)), 5)
    former = done(house.store.find(1))
    house.ask("1", queue="sales", chosen_at=chosen, due_at=chosen, slot=slot)
    taken = done(house.store.find(1))
    assert taken.queue == "sales"
    assert house.report().totals.open == 1
    assert house.report(queues=("sales",)).totals.open == 1
    house.keep_counts()
    # Its caller was not told, so it is given back.
    done(house.store.move_back(taken, former, house.now))
    assert house.report(queues=("support",)).totals.open == 1


def test_a_task_whose_queue_is_spelled_anew_counts_on_a_stored_day(
    house: House,
) -> None:
    house.ask("1", queue="Support")
    house.now += timedelta(days=2)
    assert house.keep_counts()
    assert done(house.store.respell(["support"])) == 1
    assert house.report(queues=("support",)).totals.open == 1


def test_tasks_are_counted_that_were_stored_while_the_clock_was_set_back(
    house: House,
) -> None:
    house.ask("1")
    house.call()
    house.now += timedelta(days=1)
    house.keep_counts()
    right = house.now
    house.now = noon(FIRST)
    house.ask("2")
    house.call()
    house.now = right + timedelta(days=1)
    # The next day is stored without a restart of the service.
    for day, queues in done(house.store.days_not_counted(house.now, 100)).items():
        done(house.store.count_day(queues, day))
    assert house.report().totals.asked == 2


# -- random histories ------------------------------------------------------


def open_tasks(house: House) -> object:
    """Return all columns of all open tasks, and their events."""

    def read(conn: sa.Connection) -> list[tuple[Any, ...]]:
        task, event = schema.task, schema.task_event
        wanted = sa.select(task, event).join(event, event.c.task_id == task.c.id)
        is_open = wanted.where(task.c.ended_at.is_(None)).order_by(event.c.id)
        return [tuple(row) for row in conn.execute(is_open)]

    return house.run(read)


def something_happens(house: House, chance: random.Random) -> None:
    """Let a client ask, be called, or an operator put a task back in line."""
    act = chance.random()
    house.now += timedelta(hours=chance.expovariate(1 / 6))
    number = f"{chance.randrange(30)}"
    if act < 0.4:
        kind = chance.choice(list(Kind))
        house.ask(number, chance.choice(["support", "sales"]), kind=kind)
    elif act < 0.6:
        done(house.store.expire(house.now + timedelta(seconds=200)))
        if done(house.store.next_due(["support", "sales"], house.now)):
            house.call(chance.choice(["ANSWERED", "BUSY", "MACHINE", "NO ANSWER"]))
    else:
        until = house.now + timedelta(hours=4)
        why = because(Code.REOPENED_BY_HAND)
        # It may be open, reached, erased, deleted, or have another open task.
        with suppress(AlreadyOpen, IllegalMove, NoSuchTask, NotCallable):
            task = chance.randrange(max(0, house.asked - 30), house.asked + 1)
            done(house.store.retry(task, why, house.now, until))


def upkeep(house: House, chance: random.Random) -> None:
    """Store counts, erase numbers and delete tasks: all of it, or some."""
    house.keep_counts()
    for step in (house.store.erase_old, house.store.delete_old):
        before = house.now - timedelta(days=chance.choice([3, 6]))
        while done(step(before)) and chance.random() < 0.9:
            pass
    if chance.random() < 0.3:
        # As if the counts were lost, except for days without their tasks.
        house.change(sa.delete(schema.tally).where(~schema.tally.c.final))


def live(house: House, seed: int, steps: int = 144) -> None:
    """Check over a random history that upkeep changes no report and no open task."""
    chance = random.Random(seed)
    for step in range(steps):
        something_happens(house, chance)
        if step % 12 < 11:
            continue
        given = {"first": FIRST, "last": house.now.date()}
        kind = chance.choice([None, *Kind])
        reports = house.report(**given), house.report(**given, kind=kind)
        still_open = open_tasks(house)
        upkeep(house, chance)
        assert (house.report(**given), house.report(**given, kind=kind)) == reports
        assert open_tasks(house) == still_open


def test_upkeep_never_changes_a_figure_or_an_open_task(house: House) -> None:
    live(house, 4712)
    count = sa.select(sa.func.count()).select_from(schema.tally)
    for condition in (schema.tally.c.span == "week", schema.tally.c.final):
        stored = count.where(condition)
        assert house.run(lambda conn, one=stored: conn.execute(one).scalar())


def _erase_open_ones(conn: sa.Connection, before: float) -> int:
    rows = schema.task.c.created_at < before
    conn.execute(sa.update(schema.task).where(rows).values(name="erased"))
    return 0


#: Faults that the check of random histories must find.
FAULTS: dict[str, tuple[object, str, object]] = {
    "a task put back in line leaves the counts of its day": (
        tallies,
        "forget",
        lambda *_: True,
    ),
    "days with open tasks are stored": (tallies, "_has_open", lambda *_: False),
    "open tasks are erased": (erasure, "erase_old", _erase_open_ones),
    "the day of deleted tasks may be counted again": (
        erasure,
        "_MAKE_FINAL",
        sa.update(schema.tally).where(sa.false()).values(final=True),
    ),
    "tasks of days that are not stored are deleted": (
        erasure,
        "_TO_DELETE",
        sa.select(schema.task.c.id, schema.task.c.queue, schema.task.c.created_at)
        .where(schema.task.c.ended_at < sa.bindparam("before"))
        .limit(5),
    ),
    "the reason of a cancelled task is erased, too": (
        erasure,
        "_ERASE_TASK",
        sa.update(schema.task)
        .where(
            schema.task.c.id == sa.bindparam("old_id"),
            sa.bindparam("new_params", type_=sa.Text).is_not(None),
        )
        .values(number="erased", status="failed"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_of_random_histories_finds_faults(
    sqlite_url: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(sqlite_url, deliver=None)
    house = in_berlin(House(TaskStore(database), database))
    monkeypatch.setattr(*FAULTS[fault])
    if fault == "days with open tasks are stored":
        monkeypatch.setattr(tallies, "_open_moments", lambda _conn: {})
    with pytest.raises(AssertionError):
        for seed in range(5):
            live(house, seed)
    done(database.close())


def test_json_and_csv_have_every_day_and_the_definitions(house: House) -> None:
    house.ask("1", "=cmd")
    house.call()
    found = house.report(queues=("=cmd",))
    values = report_json(found)
    assert values["first"] == "2026-03-27"
    assert "once" in values["definitions"]["asked"]
    lines = report_csv(found).splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("from,to,queues,asked,requested,missed,manual,reached")
    # A spreadsheet would take the name for a formula.
    assert lines[1].startswith("2026-03-27,2026-03-27,'=cmd,")


def test_a_goal_that_is_no_limit_of_a_band_is_refused() -> None:
    with pytest.raises(ValueError, match="the goal can not be 1801 s; 1800 s can"):
        ReportQuery(first=FIRST, last=FIRST, goal_s=1801)
    with pytest.raises(ValueError, match="after the last"):
        ReportQuery(first=FIRST, last=FIRST - timedelta(days=1))


@pytest.mark.parametrize(
    ("first", "last"),
    [("0001-01-01", "2026-01-01"), ("2026-01-01", "9999-12-31")],
)
def test_a_report_of_many_centuries_is_refused(first: str, last: str) -> None:
    with pytest.raises(ValueError, match="2000-01-01 to 2199-12-31"):
        ReportQuery(first=date.fromisoformat(first), last=date.fromisoformat(last))


def test_a_report_of_no_queue_has_no_figures(house: House) -> None:
    house.ask("1")
    assert house.report(queues=()).totals.asked == 0
    assert house.report(queues=None).totals.asked == 1


def test_a_talk_of_an_older_version_has_no_net_wait(house: House) -> None:
    house.ask("1")
    house.call()
    house.ask("2")
    house.call()
    of_first = schema.reached.c.task_id == 1
    house.change(sa.update(schema.reached).where(of_first).values(net_wait_s=None))
    found = house.report()
    assert (found.gross_wait.count, found.net_wait.count) == (2, 1)
    assert found.totals.goal_share == 1


def test_local_days_of_the_test_are_as_meant() -> None:
    day = local_day(FIRST + timedelta(days=2), BERLIN)
    assert (day.ends_at - day.begins_at) / 3600 == 23
