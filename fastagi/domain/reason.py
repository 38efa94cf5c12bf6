# SPDX-License-Identifier: MIT
"""Reasons: why a task has its status, why an attempt ended, why a request was refused.

A reason is a code with parameters. Only the table in this module contains English
words. ``docs/reasons.md`` lists every code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

from attrs import evolve, field, frozen


class Code(StrEnum):
    """The codes of reasons."""

    # -- free text ---------------------------------------------------------
    #: Text of an operator, or of a version without codes.
    TEXT = "text"
    #: Text of Asterisk or of an exception.
    ERROR = "error"

    # -- how a task came about ---------------------------------------------
    REQUESTED = "requested"
    REQUESTED_WHILE_DOWN = "requested_while_down"
    MISSED_CALL = "missed_call"
    ADDED_BY_HAND = "added_by_hand"
    REQUESTED_AGAIN_BY_HAND = "requested_again_by_hand"
    REOPENED_BY_HAND = "reopened_by_hand"
    RESCHEDULED_BY_HAND = "rescheduled_by_hand"
    REQUESTED_WHILE_TALKING = "requested_while_talking"

    # -- what operators changed --------------------------------------------
    MOVED_TO_FRONT = "moved_to_front"
    MOVED_BEHIND = "moved_behind"
    ASSIGNED = "assigned"
    RELEASED_BY_HAND = "released_by_hand"
    ASSIGNMENT_OVER = "assignment_over"
    ASSIGNED_AGENT_CANNOT = "assigned_agent_cannot"
    NOTE = "note"

    # -- the chosen time ---------------------------------------------------
    WAITS_FOR_CHOSEN_TIME = "waits_for_chosen_time"
    CHOSEN_TIME_MISSED = "chosen_time_missed"
    NO_AGENT_FREE = "no_agent_free"
    CLIENT_NOT_DIALLED_YET = "client_not_dialled_yet"
    SERVICE_NOT_RUNNING = "service_not_running"
    ASTERISK_NOT_CONNECTED = "asterisk_not_connected"
    QUEUE_IS_CLOSED = "queue_is_closed"

    # -- how a call from outside ended -------------------------------------
    CALLER_HUNG_UP = "caller_hung_up"
    CALLER_LEFT_QUEUE = "caller_left_queue"
    CALL_NOT_ANSWERED = "call_not_answered"
    CALL_CUT_OFF = "call_cut_off"
    CALL_ANSWERED = "call_answered"

    # -- steps of an attempt -----------------------------------------------
    ATTEMPT_BEGINS = "attempt_begins"
    ATTEMPT_RESTORED = "attempt_restored"
    WAITS_IN_LINE = "waits_in_line"
    AGENT_RINGS = "agent_rings"
    AGENT_DID_NOT_ANSWER = "agent_did_not_answer"
    AGENT_ANSWERED = "agent_answered"
    CLIENT_DIALLED = "client_dialled"
    CLIENT_CONFIRMED = "client_confirmed"
    TALK_BEGINS = "talk_begins"
    REPEAT_TAKEN_BACK = "repeat_taken_back"

    # -- the agent who talked to the client last ---------------------------
    PREFERRED_AGENT_FIRST = "preferred_agent_first"
    PREFERRED_AGENT_AWAY = "preferred_agent_away"
    PREFERRED_AGENT_NOT_FREE = "preferred_agent_not_free"
    PREFERRED_AGENT_DID_NOT_TAKE = "preferred_agent_did_not_take"

    # -- how an attempt ended ----------------------------------------------
    TALKED = "talked"
    TALKED_TOO_SHORT = "talked_too_short"
    CLIENT_GONE_AT_ONCE = "client_gone_at_once"
    TALK_NOT_SEEN = "talk_not_seen"
    CLIENT_BUSY = "client_busy"
    CLIENT_NO_ANSWER = "client_no_answer"
    CLIENT_CONGESTION = "client_congestion"
    CLIENT_UNAVAILABLE = "client_unavailable"
    CLIENT_FORWARDS = "client_forwards"
    CLIENT_IS_MACHINE = "client_is_machine"
    NO_AGENT_FOR_CLIENT = "no_agent_for_client"
    CLIENT_PRESSED_NO_KEY = "client_pressed_no_key"
    NO_SUCH_NUMBER = "no_such_number"
    NO_ROUTE = "no_route"
    PHONE_DID_NOT_RESPOND = "phone_did_not_respond"
    PHONE_NOT_IN_NETWORK = "phone_not_in_network"
    CALL_REFUSED = "call_refused"
    NUMBER_CHANGED = "number_changed"
    EXCHANGE_OUT_OF_ORDER = "exchange_out_of_order"
    NUMBER_INCOMPLETE = "number_incomplete"
    NETWORK_CONGESTED = "network_congested"
    AGENT_HUNG_UP_RINGING = "agent_hung_up_ringing"
    AGENT_HUNG_UP_BEFORE_CONNECTING = "agent_hung_up_before_connecting"
    AGENT_HUNG_UP_BEFORE_DIALLING = "agent_hung_up_before_dialling"
    AGENT_LATER = "agent_later"
    AGENT_CANNOT = "agent_cannot"
    AGENT_PRESSED_NO_KEY = "agent_pressed_no_key"
    NO_AGENT_ANSWERED = "no_agent_answered"
    NO_AGENT_RUNG = "no_agent_rung"
    NOT_PLACED = "not_placed"
    ASTERISK_ENDED = "asterisk_ended"

    # -- why an attempt was withdrawn --------------------------------------
    SERVICE_STOPS = "service_stops"
    LEASE_RAN_OUT = "lease_ran_out"
    ASTERISK_TAKES_NO_CALLS = "asterisk_takes_no_calls"
    QUEUE_CLOSED = "queue_closed"
    CLIENT_RANG_IN = "client_rang_in"
    CLIENT_CALLED_BY_HAND_MEANWHILE = "client_called_by_hand_meanwhile"
    CLIENT_BEING_CALLED = "client_being_called"
    AGENT_TAKEN = "agent_taken"
    NO_AGENT_LOGGED_IN = "no_agent_logged_in"
    ONLY_REFUSING_AGENTS_FREE = "only_refusing_agents_free"
    PREFERRED_AGENT_BUSY = "preferred_agent_busy"
    PLACE_CHANGED = "place_changed"
    WAY_MADE = "way_made"
    ASSIGNMENT_CHANGED = "assignment_changed"
    ASSIGNED_AGENT_AWAY = "assigned_agent_away"
    TASK_TOO_OLD = "task_too_old"
    LINE_FULL = "line_full"
    LINE_NEEDED = "line_needed"
    AGENT_ELSEWHERE = "agent_elsewhere"
    ASTERISK_GONE = "asterisk_gone"
    LINE_NOT_JOINED = "line_not_joined"
    LINE_LEFT = "line_left"
    CALL_FORWARDED = "call_forwarded"

    # -- what becomes of a task --------------------------------------------
    RETRY = "retry"
    ATTEMPTS_USED_UP = "attempts_used_up"
    AGENT_TRIES_USED_UP = "agent_tries_used_up"
    RESULT_NOT_TRIED_AGAIN = "result_not_tried_again"
    RESULT_ATTEMPTS_USED_UP = "result_attempts_used_up"
    TOO_OLD = "too_old"
    TOO_OLD_FOR_ANOTHER = "too_old_for_another"
    REQUESTED_AGAIN_IN_TALK = "requested_again_in_talk"
    CALLED_TOO_OFTEN = "called_too_often"
    MORE_CALLS_ALLOWED = "more_calls_allowed"
    LIMIT_REACHED = "limit_reached"
    NOT_ALLOWED_ANY_MORE = "not_allowed_any_more"
    BLOCKED = "blocked"
    SAME_CLIENT = "same_client"
    TASK_DELETED_SOON = "task_deleted_soon"
    NUMBER_ERASED = "number_erased"
    CANCELLED_BY_HAND = "cancelled_by_hand"
    TAKEN_BACK = "taken_back"
    CLIENT_RANG_AGAIN = "client_rang_again"
    CLIENT_CALLED_BY_HAND = "client_called_by_hand"
    REACHED_IN_LOST_ATTEMPT = "reached_in_lost_attempt"

    # -- why a number is not called, or a request refused ------------------
    NO_NUMBER = "no_number"
    NUMBER_WITHHELD = "number_withheld"
    NOT_PLAIN = "not_plain"
    BAD_COUNTRY_CODE = "bad_country_code"
    KEYPAD_WORD = "keypad_word"
    TOO_FEW_DIGITS = "too_few_digits"
    TOO_MANY_DIGITS = "too_many_digits"
    SHORT_NUMBER = "short_number"
    OWN_NUMBER = "own_number"
    DENIED = "denied"
    NOT_ALLOWED = "not_allowed"
    KIND_NOT_CALLED = "kind_not_called"
    REGION_DENIED = "region_denied"
    REGION_NOT_ALLOWED = "region_not_allowed"
    NO_REGION = "no_region"
    UNKNOWN_REGION = "unknown_region"
    ENTERED_TOO_OFTEN = "entered_too_often"
    SLOT_FULL = "slot_full"
    CALLED_BY_OTHER_QUEUE = "called_by_other_queue"
    SLOT_OVER = "slot_over"
    CLOSED_TOO_LONG = "closed_too_long"
    UNKNOWN_QUEUE = "unknown_queue"
    QUEUE_NOT_IN_SETTINGS = "queue_not_in_settings"
    TOO_LONG_AGO = "too_long_ago"

    # -- why a task is not called yet --------------------------------------
    NO_LINK = "no_link"
    SYSTEMNAME_TAKEN = "systemname_taken"
    QUEUES_NOT_KNOWN = "queues_not_known"
    CATCHES_UP = "catches_up"
    CALLS_ON_HOLD = "calls_on_hold"
    LEASE_NOT_HELD = "lease_not_held"
    NO_SUCH_QUEUE = "no_such_queue"
    CLOSED_UNTIL = "closed_until"
    DIALPLAN_NOT_KNOWN = "dialplan_not_known"
    NO_TRUNK = "no_trunk"
    EXPIRED = "expired"
    NOT_DUE = "not_due"
    CHOSEN_TIME_TO_COME = "chosen_time_to_come"
    NUMBER_LIMIT = "number_limit"
    CLIENT_IN_A_CALL = "client_in_a_call"
    MINUTE_LIMIT = "minute_limit"
    HOUR_LIMIT = "hour_limit"
    AGENTS_AWAY = "agents_away"
    LIVE_CALLERS_FIRST = "live_callers_first"
    AGENTS_BUSY = "agents_busy"
    AGENTS_CLAIMED = "agents_claimed"
    TURN_NOT_NEAR = "turn_not_near"
    LINE_IS_FULL = "line_is_full"
    LINE_REFUSED = "line_refused"
    ANOTHER_JOINS_LINE = "another_joins_line"
    WAITS_FOR_AGENT = "waits_for_agent"
    WAITS_FOR_ASSIGNED = "waits_for_assigned"
    AGENTS_REFUSED = "agents_refused"
    OTHERS_FIRST = "others_first"
    IN_LINE = "in_line"


#: A value of a parameter; another reason where one reason is part of another.
Value: TypeAlias = "str | int | float | bool | Reason"


@frozen
class Reason:
    """A code with its parameters."""

    code: Code
    params: Mapping[str, Value] = field(factory=dict, hash=False)

    def __str__(self) -> str:
        return in_words(self)

    def with_params(self, **more: Value) -> Reason:
        """Return the same reason with more parameters."""
        return evolve(self, params={**self.params, **more})


def because(code: Code, **params: Value) -> Reason:
    """Return the reason with a code and parameters."""
    return Reason(code, params)


def said(words: str) -> Reason:
    """Return the reason with a text that an operator gave."""
    return Reason(Code.TEXT, {"text": words})


# -- words -----------------------------------------------------------------

_BEFORE: Final = "[ (before that in queue {before})]"
_FOUND: Final = "[ (found in {found})]"
_SOURCE: Final = "[ ({source})]"
_UNTIL_END: Final = "[ at least, until Asterisk ended|asterisk_ended]"
_MEANWHILE: Final = "[ while this service did not listen|unheard]"

#: Templates for each code. ``{name}`` is a parameter. A section in brackets is used
#: only if the parameters in it are present, or, if there is a bar, the one after the
#: bar. Of several templates the first is used whose parameters outside brackets are
#: present.
TEMPLATES: Final[Mapping[Code, tuple[str, ...]]] = {
    Code.TEXT: ("{text}",),
    Code.ERROR: ("{error}",),
    Code.REQUESTED: (
        "the client pressed the key in queue {queue}[ and entered this number, calling"
        " from {caller}]",
    ),
    Code.REQUESTED_WHILE_DOWN: (
        "the client pressed the key in queue {queue}[ at position {position}] while"
        " this service did not answer; Asterisk kept the request",
    ),
    Code.MISSED_CALL: ("missed call: {cause}",),
    Code.ADDED_BY_HAND: ("added by hand",),
    Code.REQUESTED_AGAIN_BY_HAND: ("asked for again by hand",),
    Code.REOPENED_BY_HAND: ("put back in line by hand",),
    Code.RESCHEDULED_BY_HAND: (
        "moved to {chosen_at} by hand",
        "to be called as soon as possible, by hand",
    ),
    Code.MOVED_TO_FRONT: ("moved to the front of the queue by hand",),
    Code.MOVED_BEHIND: ("moved behind task {task_id} by hand",),
    Code.ASSIGNED: ("assigned to {interface}[ for up to {wait_s}], by hand",),
    Code.RELEASED_BY_HAND: ("any agent is asked again, by hand",),
    Code.ASSIGNMENT_OVER: (
        "any agent is asked: {interface}, to whom it was assigned, did not take it in"
        " time",
    ),
    Code.ASSIGNED_AGENT_CANNOT: (
        "any agent is asked: {interface}, to whom it was assigned, can not take it",
    ),
    Code.NOTE: ("note: {text}",),
    Code.WAITS_FOR_CHOSEN_TIME: ("{cause}; waits for the chosen time, {chosen_at}",),
    Code.CHOSEN_TIME_MISSED: (
        "the client was not dialled within {slack_s:g} s after the chosen time,"
        " {chosen_at}: {cause}",
    ),
    Code.NO_AGENT_FREE: ("no agent was free for the callback",),
    Code.CLIENT_NOT_DIALLED_YET: ("an attempt is under way",),
    Code.SERVICE_NOT_RUNNING: ("the service did not run",),
    Code.ASTERISK_NOT_CONNECTED: ("the service had no connection to Asterisk",),
    Code.QUEUE_IS_CLOSED: ("the queue is closed",),
    Code.REQUESTED_WHILE_TALKING: (
        "{cause}, while the client talked in task {task_id}",
    ),
    Code.CALLER_HUNG_UP: (
        f"hung up after {{waited_s:.0f}} s in queue {{queue}}{_BEFORE}{_FOUND}",
    ),
    Code.CALLER_LEFT_QUEUE: (
        "left queue {queue} unanswered after {waited_s:.0f} s"
        f"[ and the call ended at {{place}}]{_BEFORE}{_FOUND}",
    ),
    Code.CALL_NOT_ANSWERED: (
        "the call to {called} ended[ at {place}] unanswered after {waited_s:.0f} s"
        f"{_FOUND}",
        "the call to us ended[ at {place}] unanswered after {waited_s:.0f} s"
        f"{_FOUND}",
    ),
    Code.CALL_CUT_OFF: (
        "waited at least {waited_s:.0f} s in queue {queue} until Asterisk ended"
        f"{_BEFORE}{_FOUND}",
    ),
    Code.CALL_ANSWERED: (
        f"answered by {{who}}[, they talked for {{talk_s:.0f}} s]{_FOUND}",
        f"answered by somebody[, they talked for {{talk_s:.0f}} s]{_FOUND}",
    ),
    Code.ATTEMPT_BEGINS: ("attempt {number} begins, channel id {channel_id}",),
    Code.ATTEMPT_RESTORED: (
        "the attempt with channel id {channel_id} is under way; the database was set"
        " back and had lost it",
    ),
    Code.WAITS_IN_LINE: ("waits in line at position {position}",),
    Code.AGENT_RINGS: ("{interface} rings",),
    Code.AGENT_DID_NOT_ANSWER: ("{interface} did not answer",),
    Code.AGENT_ANSWERED: ("{interface} answered",),
    Code.CLIENT_DIALLED: ("dialling {number}",),
    Code.CLIENT_CONFIRMED: ("the client pressed the key and is connected",),
    Code.TALK_BEGINS: ("agent and client are talking",),
    Code.REPEAT_TAKEN_BACK: ("asked again, but {cause}",),
    Code.PREFERRED_AGENT_FIRST: (
        "for up to {wait_s} only {interface} is asked, who talked to the client last",
    ),
    Code.PREFERRED_AGENT_AWAY: (
        "any agent is asked: {interface}, who talked to the client last, is not logged"
        " in, or is paused",
    ),
    Code.PREFERRED_AGENT_NOT_FREE: (
        "any agent is asked: {interface}, who talked to the client last, was not free"
        " in time",
    ),
    Code.PREFERRED_AGENT_DID_NOT_TAKE: (
        "any agent is asked: {interface}, who talked to the client last, did not take"
        " the callback",
    ),
    Code.TALKED: (f"they talked for {{talk_s:.1f}} s{_UNTIL_END}",),
    Code.TALKED_TOO_SHORT: (
        f"they talked for {{talk_s:.1f}} s{_UNTIL_END}, less than the {{needed_s:g}} s"
        " of a success",
    ),
    Code.CLIENT_GONE_AT_ONCE: ("the client answered and was gone at once",),
    Code.TALK_NOT_SEEN: (
        "the client answered, but nobody watched how long they talked",
    ),
    Code.CLIENT_BUSY: (f"the client was busy{_SOURCE}",),
    Code.CLIENT_NO_ANSWER: (f"the client did not answer{_SOURCE}",),
    Code.CLIENT_CONGESTION: (
        f"the network could not reach the client (congestion){_SOURCE}",
    ),
    Code.CLIENT_UNAVAILABLE: (f"the client's number could not be reached{_SOURCE}",),
    Code.CLIENT_FORWARDS: (
        f"the client's phone forwards calls; callbacks are not forwarded{_SOURCE}",
    ),
    Code.NO_AGENT_FOR_CLIENT: (
        "the client, who was dialled first, hung up before an agent answered, or no"
        " agent answered in time",
    ),
    Code.CLIENT_IS_MACHINE: (
        "an answering machine answered at the client's number[ (AMD: {amd_cause})]",
    ),
    Code.CLIENT_PRESSED_NO_KEY: (
        "somebody, or a mailbox, answered at the client's number and did not press the"
        " key",
    ),
    Code.NO_SUCH_NUMBER: (f"there is no such number{_SOURCE}",),
    Code.NO_ROUTE: (f"there is no route to the client's number{_SOURCE}",),
    Code.PHONE_DID_NOT_RESPOND: (f"the client's phone did not respond{_SOURCE}",),
    Code.PHONE_NOT_IN_NETWORK: (f"the client's phone is not in the network{_SOURCE}",),
    Code.CALL_REFUSED: (f"the call to the client was refused{_SOURCE}",),
    Code.NUMBER_CHANGED: (f"the client's number has changed{_SOURCE}",),
    Code.EXCHANGE_OUT_OF_ORDER: (f"the client's exchange is out of order{_SOURCE}",),
    Code.NUMBER_INCOMPLETE: (
        f"the client's number is not complete, or of a wrong form{_SOURCE}",
    ),
    Code.NETWORK_CONGESTED: (f"the network is congested{_SOURCE}",),
    Code.AGENT_HUNG_UP_RINGING: ("the agent hung up while the client's phone rang",),
    Code.AGENT_HUNG_UP_BEFORE_CONNECTING: (
        "the agent hung up after the client's answer, before they were connected",
    ),
    Code.AGENT_HUNG_UP_BEFORE_DIALLING: (
        "the agent hung up before the client was dialled",
    ),
    Code.AGENT_LATER: ("{who} put the callback off", "the agent put the callback off"),
    Code.AGENT_CANNOT: (
        "{who} can not take the callback",
        "the agent can not take the callback",
    ),
    Code.AGENT_PRESSED_NO_KEY: (
        "{who} answered and pressed no key",
        "the agent answered and pressed no key",
    ),
    Code.NO_AGENT_ANSWERED: ("no agent answered (rung: {rung})",),
    Code.NO_AGENT_RUNG: ("no agent could be rung",),
    Code.NOT_PLACED: ("Asterisk did not place the call: {cause}",),
    Code.ASTERISK_ENDED: ("Asterisk ended in the middle of the call",),
    Code.SERVICE_STOPS: ("the service stops, or lost Asterisk",),
    Code.LEASE_RAN_OUT: (
        "the lease of the database ran out, so another service may have taken over",
    ),
    Code.ASTERISK_TAKES_NO_CALLS: ("Asterisk takes no calls now",),
    Code.QUEUE_CLOSED: ("the queue closed meanwhile",),
    Code.CLIENT_RANG_IN: ("the client rang in meanwhile",),
    Code.CLIENT_CALLED_BY_HAND_MEANWHILE: ("the client was called by hand meanwhile",),
    Code.CLIENT_BEING_CALLED: ("the client is being called already",),
    Code.AGENT_TAKEN: ("the agent was taken meanwhile",),
    Code.NO_AGENT_LOGGED_IN: (
        "no agent of the queue is logged in and not paused any more",
    ),
    Code.ONLY_REFUSING_AGENTS_FREE: (
        "only agents are free who can not take this callback",
    ),
    Code.PREFERRED_AGENT_BUSY: (
        "other agents than {interface} are free for those behind in line",
    ),
    Code.PLACE_CHANGED: ("an operator gave it another place in line",),
    Code.WAY_MADE: ("an operator moved another task before it",),
    Code.ASSIGNMENT_CHANGED: ("an operator changed who is asked",),
    Code.ASSIGNED_AGENT_AWAY: (
        "{interface}, to whom it is assigned, is not logged in, or is paused",
    ),
    Code.TASK_TOO_OLD: ("the task is too old",),
    Code.LINE_FULL: ("Asterisk's queue is full (maxlen)",),
    Code.LINE_NEEDED: ("the last place in Asterisk's queue is left to live callers",),
    Code.AGENT_ELSEWHERE: ("an agent of the queue is free on another Asterisk",),
    Code.ASTERISK_GONE: ("the service has not reached the Asterisk {node} for long",),
    Code.LINE_NOT_JOINED: ("Asterisk's queue takes no caller now (joinempty)",),
    Code.LINE_LEFT: ("Asterisk's queue sends all callers away (leavewhenempty)",),
    Code.CALL_FORWARDED: ("the client's phone forwards the call",),
    Code.RETRY: ("{cause}; next try in {delay_s}",),
    Code.ATTEMPTS_USED_UP: ("all {limit} attempts used up; {cause}",),
    Code.AGENT_TRIES_USED_UP: ("all {limit} tries to reach an agent used up; {cause}",),
    Code.RESULT_NOT_TRIED_AGAIN: ("{cause}; not tried again",),
    Code.RESULT_ATTEMPTS_USED_UP: (
        "{cause}; given up after {limit} attempts that ended so",
    ),
    Code.TOO_OLD: (
        "too old; {calls} calls without success, {tries} tries without an agent",
        "too old; {calls} calls without success",
        "too old; {tries} tries without an agent",
        "too old; it was never called",
    ),
    Code.TOO_OLD_FOR_ANOTHER: ("too old for another attempt; {cause}",),
    Code.REQUESTED_AGAIN_IN_TALK: ("{cause}; asked for again in the talk: a new task",),
    Code.ENTERED_TOO_OFTEN: (
        "the caller has entered another number {limit} times within 24 hours, the most"
        " that is allowed",
    ),
    Code.CALLED_TOO_OFTEN: (
        "the number was called {times} within 24 hours, the most that is allowed; it"
        " may be called again from {again_at} on[, which is too late|too_late]",
    ),
    Code.LIMIT_REACHED: (
        "{limit} calls were placed, the most that {setting} allows; one more is allowed"
        " from {again_at} on",
    ),
    Code.MORE_CALLS_ALLOWED: ("the settings allow more calls to the number",),
    Code.NOT_ALLOWED_ANY_MORE: ("the settings do not allow it any more: {cause}",),
    Code.BLOCKED: ("the number is blocked[: {text}]",),
    Code.SAME_CLIENT: ("the same client as that of task {task_id}, which stays",),
    Code.TASK_DELETED_SOON: (
        "the task is too old to be put back in line; add a new one",
    ),
    Code.NUMBER_ERASED: ("its number was erased",),
    Code.CANCELLED_BY_HAND: ("cancelled by hand",),
    Code.TAKEN_BACK: ("the caller could not be told in time and is back in line",),
    Code.CLIENT_RANG_AGAIN: (
        f"the client rang again and {{who}} answered{_MEANWHILE}",
        f"the client rang again and somebody answered{_MEANWHILE}",
    ),
    Code.CLIENT_CALLED_BY_HAND: (
        "{who} called the client by hand and they talked for {talk_s:.0f} s"
        f"{_MEANWHILE}",
        "somebody called the client by hand and they talked for {talk_s:.0f} s"
        f"{_MEANWHILE}",
    ),
    Code.REACHED_IN_LOST_ATTEMPT: (
        "{cause}, in an attempt that the database had lost",
    ),
    Code.NO_NUMBER: ("there is no number",),
    Code.NUMBER_WITHHELD: ("the caller withholds the number",),
    Code.NOT_PLAIN: ("it is not a plain number",),
    Code.BAD_COUNTRY_CODE: ("it begins with +0, and no country's code begins with 0",),
    Code.KEYPAD_WORD: ("there is no number: it says {word} on a phone's keys",),
    Code.TOO_FEW_DIGITS: (
        "the number has {digits} digits, fewer than the {limit} needed",
    ),
    Code.TOO_MANY_DIGITS: (
        "the number has {digits} digits, more than the {limit} allowed",
    ),
    Code.SHORT_NUMBER: ("it is an emergency number or another short one",),
    Code.OWN_NUMBER: ("it is a number of our own",),
    Code.DENIED: ("the number is on the list of numbers not to call",),
    Code.NOT_ALLOWED: ("the number is not among those allowed",),
    Code.KIND_NOT_CALLED: ("it is {kind}",),
    Code.REGION_DENIED: ("it is a number of {region}, where nobody is called",),
    Code.REGION_NOT_ALLOWED: (
        "it is a number of {region}, and only those of {allowed} are called",
    ),
    Code.NO_REGION: (
        "it is a number of no country, and only those of {allowed} are called",
    ),
    Code.UNKNOWN_REGION: (
        "it is a number of an unknown country, and only those of {allowed} are called",
    ),
    Code.SLOT_FULL: ("others have chosen that time, and no more may",),
    Code.CALLED_BY_OTHER_QUEUE: (
        "queue {queue} calls that number at this moment, so no time can be chosen",
    ),
    Code.SLOT_OVER: ("that time has passed, or the queue is closed then",),
    Code.CLOSED_TOO_LONG: (
        "the queue is closed, and when it opens the request would be too old; see"
        " opening_hours in the settings",
    ),
    Code.UNKNOWN_QUEUE: (
        "the queue is not in the settings, and other requests wait behind",
    ),
    Code.QUEUE_NOT_IN_SETTINGS: ("the queue is not in the settings",),
    Code.TOO_LONG_AGO: ("it was too long ago ({cause})", "it was too long ago"),
    Code.NO_LINK: ("the service has no link to Asterisk",),
    Code.SYSTEMNAME_TAKEN: (
        "the Asterisk {node} has the same systemname as {other}, or is the same"
        " Asterisk; give each another systemname in asterisk.conf and restart it",
    ),
    Code.QUEUES_NOT_KNOWN: ("the state of Asterisk's queues is not known yet",),
    Code.CATCHES_UP: (
        "the service is finding out what happened while it had no link to Asterisk",
    ),
    Code.CALLS_ON_HOLD: ("Asterisk refuses all calls at the moment",),
    Code.LEASE_NOT_HELD: ("the lease of the database must be renewed first",),
    Code.NO_SUCH_QUEUE: ("there is no such queue in the settings",),
    Code.CLOSED_UNTIL: ("the queue is closed until {until}", "the queue stays closed"),
    Code.DIALPLAN_NOT_KNOWN: (
        "it is not known yet what the dialplan can do that Asterisk has loaded",
    ),
    Code.NO_TRUNK: (
        "Asterisk has no PJSIP endpoint {trunk} (outbound_channel of the queue)",
    ),
    Code.EXPIRED: ("the task has become too old",),
    Code.NOT_DUE: ("due at {due_at}",),
    Code.CHOSEN_TIME_TO_COME: ("the chosen time is {chosen_at}",),
    Code.NUMBER_LIMIT: ("the number was called as often as allowed, until {until}",),
    Code.CLIENT_IN_A_CALL: ("the client is in a call",),
    Code.MINUTE_LIMIT: (
        "as many calls as allowed were placed within a minute, until {until}",
    ),
    Code.HOUR_LIMIT: (
        "as many calls of the queue as allowed were placed within an hour, until"
        " {until}",
    ),
    Code.AGENTS_AWAY: ("no agent of the queue is logged in and not paused",),
    Code.LIVE_CALLERS_FIRST: ("live callers come first ({callers} wait)",),
    Code.AGENTS_BUSY: ("no agent is free",),
    Code.AGENTS_CLAIMED: (
        "the free agents are needed for callers of other queues, or for other"
        " callbacks",
    ),
    Code.TURN_NOT_NEAR: ("{ahead} are ahead in line",),
    Code.LINE_IS_FULL: ("no place is left in Asterisk's queue (maxlen)",),
    Code.LINE_REFUSED: (
        "Asterisk's queue has just sent a callback away; next try at {until}",
    ),
    Code.ANOTHER_JOINS_LINE: ("another callback is joining the line",),
    Code.WAITS_FOR_AGENT: (
        "waits until {until} for {interface}, who talked to the client last",
    ),
    Code.WAITS_FOR_ASSIGNED: (
        "waits[ until {until}] for {interface}, to whom it is assigned",
    ),
    Code.AGENTS_REFUSED: (
        "only agents are free who do not take this callback, until {until}",
    ),
    Code.OTHERS_FIRST: ("other tasks of the queue come first",),
    Code.IN_LINE: ("in line at position {position}", "in line"),
}
#: Added if an operator gave the command: who it was. Older rows do not have it.
ACTOR: Final = "[ ({actor})]"
#: Added if the task was cancelled or served during an attempt: how that attempt ended.
ENDINGS: Final = "[; the attempt under way: {attempt_of_served}][; {attempt}]"

#: The settings that decide about a number, for refusals that an operator sees.
SETTINGS: Final[Mapping[str, str]] = {
    Code.TOO_FEW_DIGITS: "numbers.min_digits",
    Code.TOO_MANY_DIGITS: "numbers.max_digits",
    Code.OWN_NUMBER: "number_plan.own_numbers",
    Code.DENIED: "numbers.deny",
    Code.NOT_ALLOWED: "numbers.allow",
    Code.KIND_NOT_CALLED: "numbers.kinds",
    Code.REGION_DENIED: "numbers.deny_regions",
    Code.REGION_NOT_ALLOWED: "numbers.allow_regions",
    Code.NO_REGION: "numbers.allow_regions",
    Code.UNKNOWN_REGION: "numbers.allow_regions",
}

#: Kinds of numbers, as KIND_NOT_CALLED names them.
KINDS: Final = {
    "fixed_line": "a number of a fixed line",
    "mobile": "a number of a mobile phone",
    "voip": "a VoIP number",
    "toll_free": "a toll-free number",
    "shared_cost": "a shared-cost number",
    "premium_rate": "a premium-rate number",
    "personal": "a personal number that may lead anywhere",
    "pager": "a number of a pager",
    "uan": "a universal access number",
    "voicemail": "a number of a voicemail",
    "satellite": "a number of a satellite or another worldwide network",
    "unknown": "no number that is known in the public network",
}
#: Histories, as the parameter ``found`` names them.
HISTORIES: Final = {"queue_log": "queue_log", "cdr": "the CDRs"}


def name_setting(code: str) -> str:
    """Return the setting behind a refusal, in brackets, to follow its words; or ""."""
    return f" (setting {SETTINGS[code]})" if code in SETTINGS else ""


def _histories(found: str) -> str:
    return " and ".join(sorted(HISTORIES.get(one, one) for one in found.split(",")))


def utc_minute(at: datetime) -> str:
    """Return a time as the value of a parameter: UTC, to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def parse_utc_minute(value: str) -> datetime:
    """Return the time that :func:`utc_minute` has written."""
    return datetime.strptime(value, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)


def _utc_in_words(at: object) -> str:
    return str(at).replace("T", " ").replace("Z", " UTC")


def is_said_in_seconds(seconds: float) -> bool:
    """Return whether a pause is said in seconds: it is short, or no whole minutes."""
    return seconds < 300 or seconds % 60 != 0


def pause_in_words(seconds: float) -> str:
    """Return the length of a pause in words, such as "90 s" or "1 h 30 min"."""
    if is_said_in_seconds(seconds):
        return f"{seconds:g} s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


#: Parameters that are not said as they are.
_SAID: Final[Mapping[str, Callable[[Any], str]]] = {
    "times": lambda times: "once" if times == 1 else f"{times} times",
    "again_at": _utc_in_words,
    "chosen_at": _utc_in_words,
    "due_at": _utc_in_words,
    "until": _utc_in_words,
    "kind": lambda kind: KINDS.get(kind, str(kind)),
    "found": _histories,
    "wait_s": pause_in_words,
    "delay_s": pause_in_words,
}
_PLACEHOLDER: Final = re.compile(r"\{(?P<name>\w+)(?::(?P<format>[^}]*))?\}")
_SECTION: Final = re.compile(r"\[(?P<words>[^\]|]*)(?:\|(?P<if>\w+))?\]")


@frozen
class Words:
    """How reasons are said.

    Attributes:
        translate: returns a template in another language.
        say: how parameters are said that are not said as they are.
    """

    translate: Callable[[str], str] = str
    say: Mapping[str, Callable[[Any], str]] = _SAID


_ENGLISH: Final = Words()


def in_words(reason: Reason, words: Words = _ENGLISH) -> str:
    """Return a reason in words, in English unless ``words`` says it otherwise."""
    params = reason.params
    # A damaged row, or one of another version, must not keep a list from being shown.
    with suppress(ArithmeticError, AttributeError, TypeError, ValueError):
        for template in TEMPLATES[reason.code]:
            if _names(_SECTION.sub("", template)) <= params.keys():
                parts = (template, ACTOR, ENDINGS)
                return _fill("".join(map(words.translate, parts)), params, words)
    values = ", ".join(f"{name}: {value}" for name, value in params.items())
    return f"{reason.code.value} ({values})" if values else reason.code.value


def _names(template: str) -> set[str]:
    return {match["name"] for match in _PLACEHOLDER.finditer(template)}


def _fill(template: str, params: Mapping[str, Value], words: Words) -> str:
    def section(match: re.Match[str]) -> str:
        needed = {match["if"]} if match["if"] else _names(match["words"])
        return match["words"] if needed <= params.keys() else ""

    def value(match: re.Match[str]) -> str:
        given = params[match["name"]]
        if isinstance(given, Reason):
            return in_words(given, words)
        if (say := words.say.get(match["name"])) is not None:
            return say(given)
        if match["format"] and isinstance(given, int | float):
            return format(given, match["format"])
        return str(given)

    # Values are inserted last, because a value may contain brackets.
    return _PLACEHOLDER.sub(value, _SECTION.sub(section, template))


# -- as JSON ---------------------------------------------------------------


def params_json(reason: Reason) -> dict[str, Any]:
    """Return the parameters as JSON values; a nested reason as code and params."""
    return {
        name: {"code": value.code.value, "params": params_json(value)}
        if isinstance(value, Reason)
        else value
        for name, value in reason.params.items()
    }


def dump_params(reason: Reason) -> str:
    """Return the parameters as one line of JSON."""
    return json.dumps(params_json(reason), ensure_ascii=False, separators=(",", ":"))


def load(code: str, params: str) -> Reason:
    """Return a reason from its code and the JSON of its parameters.

    If it cannot be read, such as a code of a later version, return a TEXT with the
    contents.
    """
    try:
        return from_json(code, json.loads(params))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return said(f"{code} {params}".strip())


def from_json(code: str, params: Mapping[str, Any]) -> Reason:
    """Return a reason from its code and its parameters as JSON values.

    Raises:
        ValueError: the code is not known; other errors if a value is not as expected.
    """
    return Reason(
        Code(code),
        {
            name: from_json(value["code"], value["params"])
            if isinstance(value, dict)
            else value
            for name, value in params.items()
        },
    )


def map_texts(reason: Reason, change: Callable[[str], str]) -> Reason:
    """Return the same reason with ``change`` applied to each text in it."""
    return Reason(
        reason.code,
        {
            name: map_texts(value, change)
            if isinstance(value, Reason)
            else change(value)
            if isinstance(value, str)
            else value
            for name, value in reason.params.items()
        },
    )


def codes_in(reason: Reason) -> Iterator[Code]:
    """Yield the code of a reason and of all reasons in its parameters."""
    yield reason.code
    for value in reason.params.values():
        if isinstance(value, Reason):
            yield from codes_in(value)


def actor_in(reason: Reason) -> str:
    """Return who gave the command that a reason is about; empty if nobody did."""
    actor = reason.params.get("actor")
    if isinstance(actor, str):
        return actor
    nested = (value for value in reason.params.values() if isinstance(value, Reason))
    return next((name for name in map(actor_in, nested) if name), "")
