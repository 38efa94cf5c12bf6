# SPDX-License-Identifier: MIT
"""Words, times, numbers and reasons as the pages show them, in one language.

Times are shown in the zone of their queue, those of no queue in the zone that all
queues have, if they have the same, or else in the machine's. Numbers of clients are
shown in groups of digits, and masked for people who may not see them.
"""

from __future__ import annotations

import gettext
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
import tzlocal
from attrs import field, frozen
from babel import Locale
from babel.dates import format_date, format_datetime, format_time
from babel.numbers import format_decimal, format_percent
from markupsafe import Markup

from fastagi.domain import reason as reasons
from fastagi.domain.reason import KINDS, Reason, Words, parse_utc_minute
from fastagi.web.console import terms
from fastagi.web.console.languages import translations
from fastagi.web.masking import mask, masked

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
#: What is shown for a value that is not known.
UNKNOWN: Final = "\N{EN DASH}"


@frozen
class Say:
    """How one page shows things.

    Attributes:
        language: the language of the page.
        now: the time of the page.
        masked: whether numbers of clients are masked.
        names_hidden: whether names of clients are left out.
        region: the country of numbers without a country code; may be empty.
        home: the zone of times that belong to no queue; empty: the machine's.
    """

    language: str
    now: datetime = field(factory=lambda: datetime.now(UTC))
    masked: bool = True
    region: str = ""
    home: str = ""

    # -- words -------------------------------------------------------------

    @cached_property
    def _catalogue(self) -> gettext.NullTranslations:
        return translations(self.language)

    @cached_property
    def _locale(self) -> Locale:
        return Locale.parse("en_GB" if self.language == "en" else self.language)

    def gettext(self, message: str, **values: object) -> str:
        """Return a text in the page's language."""
        translated = self._catalogue.gettext(message)
        return translated % values if values else translated

    def ngettext(self, one: str, many: str, number: int, **values: object) -> str:
        """Return a text with a number, in the form that the number needs."""
        translated = self._catalogue.ngettext(one, many, number)
        return translated % {"num": self.whole(number), **values}

    def term(self, kind: str, value: object) -> str:
        """Return a word of the database in words, such as a status."""
        words = terms.TERMS[kind].get(str(value))
        return str(value) if words is None else self.gettext(words)

    # -- numbers -----------------------------------------------------------

    def whole(self, number: float | None) -> str:
        """Return a whole number; a dash if it is not known."""
        return UNKNOWN if number is None else _whole(round(number), self._locale)

    def share(self, share: float | None) -> str:
        """Return a share as per cent; a dash if it is not known."""
        return (
            UNKNOWN
            if share is None
            else str(format_percent(share, locale=self._locale))
        )

    def decimal(self, number: float | None) -> str:
        """Return a number with one decimal; a dash if it is not known."""
        if number is None:
            return UNKNOWN
        return str(format_decimal(number, "#,##0.0", self._locale))

    def country(self, region: str) -> str:
        """Return the name of a country by its two letters."""
        return str(self._locale.territories.get(region, region))

    def number(self, number: str) -> str:
        """Return a client's number in groups of digits, masked if need be."""
        if not number:
            return self.gettext("withheld")
        shown = _grouped(number, self.region)
        return mask(shown) if self.masked else shown

    def anything(self, text: str) -> str:
        """Return a text of people; numbers in it are masked if need be."""
        return str(masked(text)) if self.masked else text

    # -- times -------------------------------------------------------------

    def zone(self, name: str | None) -> ZoneInfo:
        """Return the zone of a queue; without a name that of other times."""
        try:
            return ZoneInfo(name or self.home)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return local_zone()

    def clock(self, at: datetime | str | None, zone: str | None = None) -> str:
        """Return the time of day; with the date if it is not today."""
        when = as_time(at)
        if when is None:
            return UNKNOWN
        local = when.astimezone(self.zone(zone))
        today = self.now.astimezone(self.zone(zone)).date()
        time = format_time(local, "HH:mm", locale=self._locale)
        days = (local.date() - today).days
        if days == 0:
            return time
        if days == 1:
            return self.gettext("tomorrow %(time)s", time=time)
        if days == -1:
            return self.gettext("yesterday %(time)s", time=time)
        style = "EEE d MMM" if abs(days) < 180 else "d MMM y"
        return f"{format_date(local.date(), style, locale=self._locale)} {time}"

    def exact(self, at: datetime | str | None, zone: str | None = None) -> str:
        """Return a time with date, seconds and zone."""
        when = as_time(at)
        if when is None:
            return UNKNOWN
        local = when.astimezone(self.zone(zone))
        text = format_datetime(local, "EEE d MMM y, HH:mm:ss", locale=self._locale)
        return f"{text} {local:%Z}"

    def seconds_of(self, at: datetime | str | None, zone: str | None = None) -> str:
        """Return the time of day with seconds."""
        when = as_time(at)
        if when is None:
            return UNKNOWN
        return f"{when.astimezone(self.zone(zone)):%H:%M:%S}"

    def long_day(self, at: datetime | str | None, zone: str | None = None) -> str:
        """Return the date."""
        when = as_time(at)
        if when is None:
            return UNKNOWN
        day = when.astimezone(self.zone(zone)).date()
        return str(format_date(day, "EEEE d MMMM y", locale=self._locale))

    def day(self, day: date) -> str:
        """Return a day with its day of the week."""
        return str(format_date(day, "EEE d MMM y", locale=self._locale))

    def short_day(self, day: date) -> str:
        """Return a day and its month."""
        return str(format_date(day, "d MMM", locale=self._locale))

    def month(self, day: date) -> str:
        """Return the month of a day and its year."""
        return str(format_date(day, "LLL y", locale=self._locale))

    def when(self, at: datetime | str | None, zone: str | None = None) -> Markup:
        """Return a time as an element; its title has date, seconds and zone."""
        when = as_time(at)
        if when is None:
            return Markup(UNKNOWN)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            when.astimezone(UTC).isoformat(timespec="seconds"),
            self.exact(when, zone),
            self.clock(when, zone),
        )

    def span(self, seconds: float | None) -> str:
        """Return a span of time in two units at most, such as "3 h 05 min"."""
        if seconds is None:
            return UNKNOWN
        whole = max(round(seconds), 0)
        if whole < _MINUTE:
            return self.gettext("%(s)s s", s=whole)
        if whole < _HOUR:
            return self.gettext("%(min)s min", min=whole // _MINUTE)
        if whole < _DAY:
            hours, minutes = divmod(whole // _MINUTE, 60)
            if not minutes:
                return self.gettext("%(h)s h", h=hours)
            two_digits = format(minutes, "02")
            return self.gettext("%(h)s h %(min)s min", h=hours, min=two_digits)
        days, hours = divmod(whole // _HOUR, 24)
        if not hours:
            return self.gettext("%(d)s d", d=days)
        return self.gettext("%(d)s d %(h)s h", d=days, h=hours)

    def timer(self, seconds: float | None) -> str:
        """Return a span of time as on a stopwatch, such as "4:05"."""
        if seconds is None:
            return UNKNOWN
        whole = max(int(seconds), 0)
        minutes, rest = divmod(whole, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

    def since(self, at: datetime | str | None, *, timer: bool = False) -> Markup:
        """Return how long ago a time was, as an element that the browser counts on."""
        when = as_time(at)
        if when is None:
            return Markup(UNKNOWN)
        gone = (self.now - when).total_seconds()
        return Markup(
            '<span class="since" data-since="{}" data-as="{}">{}</span>'
        ).format(
            round(when.timestamp(), 1),
            "timer" if timer else "span",
            self.timer(gone) if timer else self.span(gone),
        )

    # -- reasons -----------------------------------------------------------

    def reason(self, reason: Reason | None, zone: str | None = None) -> str:
        """Return a reason in words, with times in a zone; "" for None."""
        if reason is None:
            return ""
        return self.anything(reasons.in_words(reason, self._words(zone)))

    def why(self, why: Mapping[str, Any] | None, zone: str | None = None) -> str:
        """Return a reason of the service's JSON (code, params, words) in words."""
        if not why:
            return ""
        code = why.get("code") or why.get("reason_code")
        params = why.get("params") or why.get("reason_params") or {}
        try:
            reason = reasons.from_json(str(code), params)
        except (ValueError, TypeError, KeyError, AttributeError):
            # A later version of the service has reasons that are not known here.
            return str(why.get("words") or why.get("reason") or code or "")
        return self.reason(reason, zone)

    def _words(self, zone: str | None) -> Words:
        def times(times: object) -> str:
            return self.ngettext("%(num)s time", "%(num)s times", int(str(times)))

        def minute(at: object) -> str:
            try:
                return self.clock(parse_utc_minute(str(at)), zone)
            except ValueError:
                return str(at)

        def pause(seconds: float) -> str:
            if reasons.is_said_in_seconds(seconds):
                return self.gettext("%(s)s s", s=f"{seconds:g}")
            return self.span(seconds)

        def grouped(number: object) -> str:
            # The whole sentence is masked, if need be.
            return _grouped(str(number), self.region)

        return Words(
            self._catalogue.gettext,
            {
                "times": times,
                **dict.fromkeys(("again_at", "chosen_at", "due_at", "until"), minute),
                "kind": lambda kind: self.gettext(KINDS.get(str(kind), str(kind))),
                "found": self._found,
                **dict.fromkeys(("wait_s", "delay_s"), pause),
                # Numbers of clients in the parameters of reasons.
                "caller": grouped,
                # Of the begin of an attempt it is a count.
                "number": lambda it: grouped(it) if isinstance(it, str) else str(it),
            },
        )

    def _found(self, found: object) -> str:
        names = sorted(str(found).split(","))
        known = [reasons.HISTORIES.get(name, name) for name in names]
        return self.gettext(" and ").join(map(self.gettext, known))


@lru_cache(maxsize=4096)
def _whole(number: int, locale: Locale) -> str:
    # A page of a report shows hundreds of numbers, most of them more than once.
    return str(format_decimal(number, "#,##0", locale))


def as_time(at: datetime | str | None) -> datetime | None:
    """Return a time of the service's JSON; None if there is none."""
    if at is None or at == "":
        return None
    return datetime.fromisoformat(at) if isinstance(at, str) else at


@lru_cache(maxsize=1)
def local_zone() -> ZoneInfo:
    """Return the time zone of this machine."""
    try:
        return ZoneInfo(tzlocal.get_localzone_name() or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


@lru_cache(maxsize=4096)
def _grouped(number: str, region: str) -> str:
    if not number.startswith("+") and not region:
        return number
    try:
        parsed = phonenumbers.parse(number, region or None)
    except phonenumbers.NumberParseException:
        return number
    if not phonenumbers.is_possible_number(parsed):
        return number
    national = not number.startswith("+")
    style = (
        phonenumbers.PhoneNumberFormat.NATIONAL
        if national
        else phonenumbers.PhoneNumberFormat.INTERNATIONAL
    )
    return str(phonenumbers.format_number(parsed, style))
