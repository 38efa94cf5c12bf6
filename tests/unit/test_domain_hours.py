# SPDX-License-Identifier: MIT
"""When a queue is open, on usual days and in the nights in which clocks are set."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.config.fields import parse_day_hours
from fastagi.domain.hours import (
    ALL_DAY,
    ALWAYS,
    CLOSED,
    DAY,
    DayHours,
    OpeningHours,
    OpenState,
    Range,
    SpecialDay,
)

BERLIN: Final = ZoneInfo("Europe/Berlin")
#: Half an hour of daylight saving, at two.
LORD_HOWE: Final = ZoneInfo("Australia/Lord_Howe")
#: Clocks are set at midnight: forward to one, back to eleven.
AZORES: Final = ZoneInfo("Atlantic/Azores")
HAVANA: Final = ZoneInfo("America/Havana")
KATHMANDU: Final = ZoneInfo("Asia/Kathmandu")


def hours(text: str) -> DayHours:
    return parse_day_hours(text)


def weekly(*days: str, zone: ZoneInfo = BERLIN, **special: str) -> OpeningHours:
    """Return a table; the last of the days stands for all that follow."""
    week = [hours(day) for day in days]
    week += [week[-1]] * (7 - len(week))
    return OpeningHours(
        week=tuple(week),
        days={_day(name): hours(text) for name, text in special.items()},
        zone=zone,
    )


def _day(name: str) -> SpecialDay:
    """Read ``d12_24`` and ``d2026_12_24``."""
    *year, month, day = map(int, name.removeprefix("d").split("_"))
    return SpecialDay(year[0] if year else 0, month, day)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> datetime:
    # In UTC: of the hour that comes twice Python compares nothing between zones.
    local = datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)
    return local.astimezone(UTC)


OFFICE = weekly(
    "09:00-12:00, 13:00-17:00",
    "09:00-17:00",
    "closed",
    "22:00-02:00",
    "09:00-17:00",
    "closed",
)


class TestTable:
    """2026-11-23 is a Monday."""

    @pytest.mark.parametrize(
        ("moment", "is_open"),
        [
            ("2026-11-23 08:59:59.999", False),
            ("2026-11-23 09:00", True),
            ("2026-11-23 11:59:59.999", True),
            ("2026-11-23 12:00", False),
            ("2026-11-23 13:00", True),
            ("2026-11-23 17:00", False),
            ("2026-11-25 12:00", False),
            ("2026-11-26 01:00", False),
            ("2026-11-26 22:00", True),
            ("2026-11-27 00:00", True),
            ("2026-11-27 01:59:59", True),
            ("2026-11-27 02:00", False),
            ("2026-11-27 09:00", True),
            ("2026-11-28 01:00", False),
        ],
    )
    def test_it_is_open_within_the_hours_of_the_day(
        self, moment: str, is_open: bool
    ) -> None:
        assert OFFICE.is_open(at(moment)) == is_open

    @pytest.mark.parametrize(
        ("moment", "opens"),
        [
            ("2026-11-23 03:00", "2026-11-23 09:00"),
            ("2026-11-23 09:30", "2026-11-23 09:30"),
            ("2026-11-23 12:00", "2026-11-23 13:00"),
            ("2026-11-24 17:00", "2026-11-26 22:00"),
            ("2026-11-27 17:00", "2026-11-30 09:00"),
        ],
    )
    def test_next_opening(self, moment: str, opens: str) -> None:
        assert OFFICE.next_opening(at(moment)) == at(opens)

    @pytest.mark.parametrize(
        ("moment", "closes"),
        [
            ("2026-11-23 03:00", "2026-11-23 03:00"),
            ("2026-11-23 09:30", "2026-11-23 12:00"),
            ("2026-11-26 23:00", "2026-11-27 02:00"),
            ("2026-11-27 00:00", "2026-11-27 02:00"),
        ],
    )
    def test_next_closing(self, moment: str, closes: str) -> None:
        assert OFFICE.next_closing(at(moment)) == at(closes)

    @pytest.mark.parametrize(
        ("moment", "opened"),
        [
            ("2026-11-23 08:59", None),
            ("2026-11-23 09:00", "2026-11-23 09:00"),
            ("2026-11-23 14:00", "2026-11-23 13:00"),
            ("2026-11-27 01:00", "2026-11-26 22:00"),
        ],
    )
    def test_open_since(self, moment: str, opened: str | None) -> None:
        expected = None if opened is None else at(opened)
        assert OFFICE.open_since(at(moment)) == expected

    def test_open_for_some_days_or_longer_than_a_week(self) -> None:
        table = weekly("00:00-24:00", d11_20="closed")
        assert table.open_since(at("2026-11-23 12:00")) == at("2026-11-21 00:00")
        assert table.open_since(at("2026-12-05 12:00")) is None
        assert ALWAYS.open_since(at("2026-12-05 12:00")) is None

    def test_moments_are_of_the_time_zone_of_the_table(self) -> None:
        new_york = datetime(2026, 11, 23, 3, 30, tzinfo=ZoneInfo("America/New_York"))
        assert OFFICE.is_open(new_york)
        tokyo = datetime(2026, 11, 23, 2, 30, tzinfo=ZoneInfo("Asia/Tokyo"))
        opening = OFFICE.next_opening(tokyo)
        assert opening == datetime(2026, 11, 23, 8, tzinfo=UTC)
        assert opening.tzinfo is UTC

    def test_hours_that_touch_are_one(self) -> None:
        table = weekly("08:00-12:00, 12:00-24:00", "00:00-06:00", "closed")
        assert table.next_closing(at("2026-11-23 09:00")) == at("2026-11-24 06:00")

    def test_hours_past_midnight_may_reach_into_those_of_the_next_day(self) -> None:
        table = weekly("22:00-10:00", "09:00-12:00", "closed")
        assert table.next_closing(at("2026-11-23 23:00")) == at("2026-11-24 12:00")

    def test_a_whole_day_and_more(self) -> None:
        table = weekly("12:00-11:59", "closed")
        assert table.next_closing(at("2026-11-23 12:00")) == at("2026-11-24 11:59")

    def test_standing(self) -> None:
        noon, one = at("2026-11-23 12:00"), at("2026-11-23 13:00")
        assert OFFICE.state_at(noon) == OpenState(False, one)
        assert OFFICE.state_at(one) == OpenState(True, at("2026-11-23 17:00"))


class TestDaysWithOtherHours:
    TABLE = weekly(
        "09:00-17:00",
        d12_24="09:00-12:00",
        d12_25="closed",
        d2026_12_25="10:00-11:00",
        d2026_12_31="22:00-04:00",
        d01_01="closed",
    )

    def test_a_day_of_every_year(self) -> None:
        assert self.TABLE.next_closing(at("2026-12-24 09:00")) == at("2026-12-24 12:00")
        assert self.TABLE.next_closing(at("2031-12-24 09:00")) == at("2031-12-24 12:00")

    def test_a_day_of_one_year_goes_before_that_of_every_year(self) -> None:
        assert self.TABLE.is_open(at("2026-12-25 10:30"))
        assert not self.TABLE.is_open(at("2027-12-25 10:30"))

    def test_the_night_before_a_closed_day_is_held_to_its_end(self) -> None:
        assert self.TABLE.next_closing(at("2026-12-31 23:00")) == at("2027-01-01 04:00")
        assert self.TABLE.next_opening(at("2027-01-01 04:00")) == at("2027-01-02 09:00")

    def test_a_leap_day(self) -> None:
        table = weekly("09:00-17:00", d02_29="closed")
        assert table.next_opening(at("2028-02-28 17:00")) == at("2028-03-01 09:00")
        assert table.next_opening(at("2027-02-28 17:00")) == at("2027-03-01 09:00")


class TestAlwaysAndNever:
    def test_always(self) -> None:
        now = at("2026-11-23 03:00")
        assert ALWAYS.is_always
        assert ALWAYS.state_at(now) == OpenState(True, None)
        assert ALWAYS.next_opening(now) == now
        assert ALWAYS.after(now, timedelta(days=9)) == now + timedelta(days=9)

    def test_never(self) -> None:
        table = OpeningHours(week=(CLOSED,) * 7)
        now = at("2026-11-23 03:00")
        assert table.is_never
        assert table.state_at(now) == OpenState(False, None)
        assert table.after(now, timedelta(hours=4)) == now + timedelta(hours=4)

    def test_never_again(self) -> None:
        table = weekly("closed", d2026_01_05="09:00-17:00")
        assert not table.is_never
        assert table.next_opening(at("2026-01-05 17:00")) is None

    def test_open_but_for_one_day(self) -> None:
        table = weekly("00:00-24:00", d12_25="closed")
        now = at("2026-11-23 03:00")
        assert not table.is_always
        assert table.next_closing(now) == at("2026-12-25 00:00")
        assert table.next_opening(at("2026-12-25 07:00")) == at("2026-12-26 00:00")


class TestClocksAreSet:
    """In Berlin: forward on 2026-03-29 from 02:00 to 03:00, back on 2026-10-25."""

    #: 02:00, which is 03:00.
    FORWARD = datetime(2026, 3, 29, 1, tzinfo=UTC)
    #: 03:00, which is 02:00 again.
    BACK = datetime(2026, 10, 25, 1, tzinfo=UTC)

    def test_who_opens_in_the_skipped_hour_opens_when_it_is_skipped(self) -> None:
        table = weekly("02:30-06:00")
        night = self.FORWARD - timedelta(minutes=30)
        assert table.next_opening(night) == self.FORWARD
        assert table.next_closing(self.FORWARD) == self.FORWARD + timedelta(hours=3)

    def test_who_closes_in_the_skipped_hour_closes_when_it_is_skipped(self) -> None:
        table = weekly("22:00-02:30")
        assert table.next_closing(at("2026-03-28 23:00")) == self.FORWARD

    def test_hours_within_the_skipped_hour_are_not_held(self) -> None:
        table = weekly("02:15-02:45")
        assert table.next_opening(at("2026-03-29 00:00")) == at("2026-03-30 02:15")

    def test_hours_over_the_skipped_hour_are_one_hour_shorter(self) -> None:
        table = weekly("22:00-06:00")
        opens, closes = at("2026-03-28 22:00"), at("2026-03-29 06:00")
        assert table.next_closing(opens) == closes
        assert closes - opens == timedelta(hours=7)

    def test_hours_over_the_doubled_hour_are_one_hour_longer(self) -> None:
        table = weekly("22:00-06:00")
        opens, closes = at("2026-10-24 22:00"), at("2026-10-25 06:00")
        assert table.next_closing(opens) == closes
        assert closes - opens == timedelta(hours=9)

    def test_hours_within_the_doubled_hour_are_held_twice(self) -> None:
        table = weekly("02:15-02:45")
        first = at("2026-10-25 02:15")
        assert table.next_opening(at("2026-10-25 00:00")) == first
        closed = at("2026-10-25 02:45")
        assert table.next_closing(first) == closed
        again = at("2026-10-25 02:15", fold=1)
        assert table.next_opening(closed) == again
        end = at("2026-10-25 02:45", fold=1)
        assert table.next_closing(again) == end
        assert table.next_opening(end) == at("2026-10-26 02:15")

    def test_who_opens_in_the_doubled_hour_is_closed_when_it_is_two_again(self) -> None:
        table = weekly("02:30-06:00")
        first = at("2026-10-25 02:30")
        assert table.next_opening(at("2026-10-25 00:00")) == first
        assert table.next_closing(first) == self.BACK
        assert table.next_opening(self.BACK) == at("2026-10-25 02:30", fold=1)

    def test_who_closes_in_the_doubled_hour_opens_when_it_is_two_again(self) -> None:
        table = weekly("22:00-02:30")
        first = at("2026-10-25 02:30")
        assert table.next_closing(at("2026-10-24 23:00")) == first
        assert table.next_opening(first) == self.BACK
        assert table.next_closing(self.BACK) == at("2026-10-25 02:30", fold=1)

    def test_clocks_that_are_set_at_midnight(self) -> None:
        # On 2026-03-08 it is 01:00 after 23:59; on 2026-11-01 00:00 to 01:00 twice.
        table = weekly("00:30-02:00", zone=HAVANA)
        forward = datetime(2026, 3, 8, 5, tzinfo=UTC)
        assert table.next_opening(at("2026-03-07 20:00", HAVANA)) == forward
        first = table.next_opening(at("2026-10-31 20:00", HAVANA))
        assert first == datetime(2026, 11, 1, 4, 30, tzinfo=UTC)
        assert table.next_closing(first) == datetime(2026, 11, 1, 5, tzinfo=UTC)

    def test_clocks_that_are_set_back_into_the_day_before(self) -> None:
        # Azores, 2026-10-25: it is 00:00 after 00:59.
        table = weekly("00:10-00:20", zone=AZORES)
        first = datetime(2026, 10, 25, 0, 10, tzinfo=UTC)
        assert table.next_opening(at("2026-10-24 20:00", AZORES)) == first
        again = table.next_opening(first + timedelta(minutes=10))
        assert again == first + timedelta(hours=1)

    def test_half_an_hour(self) -> None:
        # 2026-04-05 at 02:00 it is 01:30 again.
        table = weekly("01:40-01:50", zone=LORD_HOWE)
        first = table.next_opening(at("2026-04-05 00:00", LORD_HOWE))
        assert first == at("2026-04-05 01:40", LORD_HOWE)
        again = table.next_opening(first + timedelta(minutes=10))
        assert again == first + timedelta(minutes=30)


class TestOpenTime:
    """When it has been open for so long."""

    @pytest.mark.parametrize(
        ("moment", "minutes", "then"),
        [
            ("2026-11-23 09:00", 60, "2026-11-23 10:00"),
            ("2026-11-23 09:00", 180, "2026-11-23 12:00"),
            ("2026-11-23 09:00", 181, "2026-11-23 13:01"),
            ("2026-11-23 03:00", 5, "2026-11-23 09:05"),
            ("2026-11-23 16:58", 5, "2026-11-24 09:03"),
            ("2026-11-24 17:00", 5, "2026-11-26 22:05"),
        ],
    )
    def test_it_is_the_time_while_it_is_open(
        self, moment: str, minutes: int, then: str
    ) -> None:
        assert OFFICE.after(at(moment), timedelta(minutes=minutes)) == at(then)

    def test_counted_backwards_it_is_the_same_time(self) -> None:
        earliest, now = at("2026-11-23 03:00"), at("2026-11-24 09:03")
        assert OFFICE.before(now, timedelta(minutes=5), earliest) == at(
            "2026-11-23 16:58"
        )
        assert OFFICE.before(now, timedelta(days=1), earliest) == earliest

    def test_it_opens_between_two_moments_or_not(self) -> None:
        night = at("2026-11-23 18:00")
        assert not OFFICE.opens_between(night, at("2026-11-24 09:00"))
        assert OFFICE.opens_between(night, at("2026-11-24 09:01"))
        assert OFFICE.opens_between(at("2026-11-23 16:59"), night)

    def test_where_there_is_not_enough_of_it_closed_time_counts(self) -> None:
        """But only from the last closing on, so that open time can be used."""
        table = weekly("closed", d12_24="09:00-09:10")
        missing = timedelta(hours=4) - timedelta(minutes=10)
        now = at("2026-11-10 03:00")
        assert table.after(now, timedelta(hours=4)) == at("2026-12-24 09:10") + missing
        # There are two such days within 400 days.
        now = at("2026-12-20 03:00")
        missing -= timedelta(minutes=10)
        assert table.after(now, timedelta(hours=4)) == at("2027-12-24 09:10") + missing

    def test_a_day_too_far_ahead_does_not_count(self) -> None:
        table = weekly("closed", d2028_06_01="09:00-17:00")
        now = at("2026-11-23 03:00")
        assert table.after(now, timedelta(hours=4)) == now + timedelta(hours=4)


class TestMistakes:
    @pytest.mark.parametrize(
        ("begin", "end"), [(-1, 5), (DAY, DAY + 5), (60, 60), (60, 30), (60, DAY + 61)]
    )
    def test_no_range(self, begin: int, end: int) -> None:
        with pytest.raises(ValueError, match="no range of a day"):
            Range(begin, end)

    @pytest.mark.parametrize(
        "ranges", [(Range(0, 60), Range(59, 90)), (Range(60, 90), Range(0, 30))]
    )
    def test_no_day(self, ranges: tuple[Range, ...]) -> None:
        with pytest.raises(ValueError, match="overlap"):
            DayHours(ranges)

    def test_no_date(self) -> None:
        with pytest.raises(ValueError, match="day"):
            SpecialDay(2027, 2, 29)
        assert str(SpecialDay(0, 2, 29)) == "02-29"
        assert str(SpecialDay(2028, 2, 29)) == "2028-02-29"


# -- whatever the table -------------------------------------------------------------


#: Some nights in which clocks are set, or near which they are not.
_NIGHTS: Final = {
    BERLIN: (date(2026, 3, 29), date(2026, 10, 25)),
    LORD_HOWE: (date(2026, 4, 5), date(2026, 10, 4)),
    AZORES: (date(2026, 3, 29), date(2026, 10, 25)),
    HAVANA: (date(2026, 3, 8), date(2026, 11, 1)),
    KATHMANDU: (date(2026, 12, 24),),
    UTC: (date(2028, 2, 29),),
}
#: All that is drawn is a multiple of it, so that steps of it miss nothing.
_STEP: Final = 5


@st.composite
def _day_hours(draw: st.DrawFn) -> DayHours:
    # Small numbers are drawn more often, and clocks are set in the small hours.
    some = st.integers(0, 6 * 60 // _STEP) | st.integers(0, 2 * DAY // _STEP)
    cuts = sorted(draw(st.lists(some, max_size=6, unique=True)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return DayHours(
        tuple(
            Range(_STEP * a, _STEP * b)
            for a, b in pairs
            if _STEP * a < DAY and _STEP * (b - a) <= DAY
        )
    )


@st.composite
def _at_night(draw: st.DrawFn) -> tuple[OpeningHours, datetime]:
    """A table and a moment shortly before clocks are set, or any other."""
    zone = draw(st.sampled_from(list(_NIGHTS)))
    night = draw(st.sampled_from(_NIGHTS[zone]))
    special = (SpecialDay(night.year, night.month, night.day), SpecialDay(0, 3, 8))
    table = OpeningHours(
        week=draw(st.tuples(*[_day_hours()] * 7)),
        days=draw(st.dictionaries(st.sampled_from(special), _day_hours())),
        zone=zone,
    )
    steps = draw(st.integers(-DAY // _STEP, 2 * DAY // _STEP))
    day = datetime.combine(night, datetime.min.time(), UTC)
    far = draw(st.sampled_from((0, 0, 0, 100, 1000)))
    return table, day + timedelta(days=far, minutes=_STEP * steps)


def _reads(table: OpeningHours, moment: datetime) -> bool:
    """Tell by looking at a clock on the wall, and at nothing else."""
    local = moment.astimezone(table.zone).replace(tzinfo=None)
    for back in (0, 1):
        day = local.date() - timedelta(days=back)
        midnight = datetime.combine(day, datetime.min.time())
        special = table.days.get(SpecialDay(day.year, day.month, day.day))
        if special is None:
            special = table.days.get(SpecialDay(0, day.month, day.day))
        for part in (special or table.week[day.weekday()]).ranges:
            begin = midnight + timedelta(minutes=part.begin)
            if begin <= local < midnight + timedelta(minutes=part.end):
                return True
    return False


@given(_at_night())
def test_it_is_open_when_a_clock_on_the_wall_says_so(
    drawn: tuple[OpeningHours, datetime],
) -> None:
    table, moment = drawn
    assert table.is_open(moment) == _reads(table, moment)


@given(_at_night())
def test_until_the_next_change_nothing_changes(
    drawn: tuple[OpeningHours, datetime],
) -> None:
    table, moment = drawn
    standing = table.state_at(moment)
    until = standing.until or moment + timedelta(days=300)
    assert until > moment
    if standing.until is not None:
        assert _reads(table, until) != standing.is_open
    steps = [timedelta(minutes=_STEP * n) for n in range(2 * DAY // _STEP)]
    steps += [timedelta(hours=7 * n) for n in range(7, 50)]
    for step in steps:
        if moment + step >= until:
            break
        assert _reads(table, moment + step) == standing.is_open


@given(_at_night(), st.integers(1, 5 * 3600))
def test_open_time_adds_up(drawn: tuple[OpeningHours, datetime], span_s: int) -> None:
    table, moment = drawn
    span = timedelta(seconds=span_s)
    end = table.after(moment, span)
    open_time, now, closed_at = timedelta(0), moment, moment
    while now < end:
        standing = table.state_at(now)
        until = min(end, standing.until or end)
        if standing.is_open:
            open_time += until - now
            closed_at = until
        now = until
    # If it is not open for so long, closed time counts from the last closing on.
    assert end == closed_at + (span - open_time)


@given(_at_night(), st.integers(1, 5 * 3600), st.integers(0, 5 * 3600))
def test_a_longer_span_never_ends_earlier(
    drawn: tuple[OpeningHours, datetime], span_s: int, more_s: int
) -> None:
    table, moment = drawn
    shorter = timedelta(seconds=span_s)
    longer = shorter + timedelta(seconds=more_s)
    assert table.after(moment, shorter) <= table.after(moment, longer)


@given(_day_hours())
def test_hours_are_read_back_as_they_are_written(day: DayHours) -> None:
    assert parse_day_hours(str(day)) == day


def test_a_zone_that_never_sets_its_clocks() -> None:
    zone = timezone(timedelta(hours=-9))
    table = OpeningHours(week=(ALL_DAY, *[CLOSED] * 6), zone=zone)
    opening = table.next_opening(datetime(2026, 11, 22, tzinfo=UTC))
    assert opening == datetime(2026, 11, 23, 9, tzinfo=UTC)


@given(_at_night(), st.integers(1, 5 * 3600))
def test_open_time_is_the_same_counted_backwards(
    drawn: tuple[OpeningHours, datetime], span_s: int
) -> None:
    table, moment = drawn
    span, earliest = timedelta(seconds=span_s), moment - timedelta(days=7)
    since = table.before(moment, span, earliest)
    assert since <= moment - span
    assert table.after(since + timedelta(seconds=1), span) > moment
    if since > earliest:
        assert table.after(since, span) <= moment
