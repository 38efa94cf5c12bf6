# SPDX-License-Identifier: MIT
"""Random sequences of the store's moves, compared with a small model."""

from __future__ import annotations

from datetime import timedelta

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from fastagi.domain.attempt import Disposition
from fastagi.domain.reason import said
from fastagi.domain.retry import RetryRules
from fastagi.domain.task import (
    OPEN,
    TRANSITIONS,
    CallbackTask,
    IllegalMove,
    Kind,
    Move,
    Status,
)
from fastagi.store import migrate
from fastagi.store.errors import AlreadyOpen, StaleTask
from fastagi.store.store import TaskAttempt, TaskStore
from tests.store.harness import at, done, new_task, verdict

RULES = RetryRules(
    attempts=2,
    retry_delay=timedelta(seconds=30),
    success_duration_s=5.0,
    member_attempts=3,
    member_retry_delay=timedelta(seconds=7),
)
NUMBERS = st.sampled_from("123")
QUEUES = st.sampled_from(["support", "sales"])
COSTLY = [
    d.value
    for d in Disposition
    if d.value not in {"ANSWERED", "MEMBER NO ANSWER", "NOT PLACED", "WITHDRAWN"}
]


@attrs.define
class Model:
    """The expected state of one task."""

    number: str
    queue: str
    joined_s: float
    due_s: float
    expires_s: float
    kind: str
    status: str = "pending"
    attempts: int = 0
    member_attempts: int = 0
    cancel: bool = False
    served: bool = False
    attempt_id: int | None = None
    moves: list[str] = attrs.field(factory=lambda: ["create"])
    #: When the last call to the client ended; the next must not come sooner.
    called_s: float | None = None
    #: When the current attempt began, and when the client answered.
    begun_s: float = 0.0
    answered_s: float | None = None
    #: Requests since then: queue, kind, when joined, when too old, when requested, and
    #: whether the client was known to have answered.
    later: list[tuple[str, str, float, float, float, bool]] = attrs.field(factory=list)

    @property
    def open(self) -> bool:
        return self.status in {"pending", "calling"}

    def go(self, move: str, status: str) -> None:
        self.moves.append(move)
        self.status = status


class StoreMachine(RuleBasedStateMachine):
    """Clients ask, agents answer or not, operators intervene, time passes."""

    attempts = Bundle("attempts")

    @initialize()
    def begin_empty(self) -> None:
        self.database = migrate.in_memory()
        self.store = TaskStore(self.database)
        self.now_s = 0.0
        self.models: dict[int, Model] = {}
        self.channels = 0

    def teardown(self) -> None:
        if hasattr(self, "database"):
            done(self.database.close())

    def open_of(self, number: str) -> tuple[int, Model] | None:
        found = [
            (i, m) for i, m in self.models.items() if m.number == number and m.open
        ]
        return found[0] if found else None

    @property
    def tasks(self) -> st.SearchStrategy[int]:
        return st.sampled_from(sorted(self.models) or [0])

    # -- time and clients --------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 7, 30, 45, 120]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(
        number=NUMBERS,
        queue=QUEUES,
        kind=st.sampled_from(Kind),
        waited=st.sampled_from([0.0, 10.0, 60.0]),
        life=st.sampled_from([20.0, 200.0]),
    )
    def client_asks(
        self, number: str, queue: str, kind: Kind, waited: float, life: float
    ) -> None:
        known = self.open_of(number)
        joined_s, expires_s = self.now_s - waited, self.now_s + life
        recorded = done(
            self.store.add(
                new_task(
                    number,
                    queue=queue,
                    kind=kind,
                    joined_at=at(joined_s),
                    due_at=at(self.now_s),
                    expires_at=at(expires_s),
                ),
                at(self.now_s),
            )
        )
        assert recorded.created is (known is None)
        if known is None:
            assert recorded.task.id not in self.models
            self.models[recorded.task.id] = Model(
                number, queue, joined_s, self.now_s, expires_s, kind.value
            )
            return
        task_id, model = known
        assert recorded.task.id == task_id
        model.expires_s = max(model.expires_s, expires_s)
        model.kind = "requested" if kind is Kind.REQUESTED else model.kind
        model.cancel = model.served = False
        model.go("repeat", model.status)
        if model.status == "calling":
            answered = model.answered_s is not None
            asked_s = self.now_s + (self.now_s == int(self.now_s))
            model.later.append(
                (queue, kind.value, joined_s, expires_s, asked_s, answered)
            )

    @rule(number=NUMBERS)
    def client_is_served_in_another_way(self, number: str) -> None:
        known = self.open_of(number)
        served = done(self.store.serve(number, said("rang again"), at(self.now_s)))
        if known is None:
            assert served is None
            return
        task_id, model = known
        assert served is not None and served.id == task_id
        if model.status == "calling":
            model.served = True
            model.later.clear()
            model.go("serve_later", "calling")
        else:
            model.go("serve", "served")

    # -- calls -------------------------------------------------------------

    @rule(
        target=attempts,
        queues=st.sets(QUEUES, min_size=1),
        most=st.integers(1, 3),
        busy=st.sets(NUMBERS, max_size=1),
    )
    def agents_turn_free(self, queues: set[str], most: int, busy: set[str]):
        due = sorted(
            (model.joined_s, task_id)
            for task_id, model in self.models.items()
            if model.status == "pending"
            and model.queue in queues
            and model.due_s <= self.now_s < model.expires_s
            and model.number not in busy
        )[:most]
        channels = [f"c{self.channels + n}" for n in range(most)]
        self.channels += most
        begun = done(
            self.store.begin_attempts(queues, channels, at(self.now_s), busy_keys=busy)
        ).begun
        assert [b.task.id for b in begun] == [task_id for _, task_id in due]
        for one in begun:
            model = self.models[one.task.id]
            if model.called_s is not None:
                assert self.now_s - model.called_s >= 30
            assert model.attempts < RULES.attempts
            model.attempt_id = one.attempt.id
            model.begun_s, model.answered_s = self.now_s, None
            model.later.clear()
            model.go("begin", "calling")
        return multiple(*begun)

    @rule(begun=attempts, answered=st.booleans())
    def something_is_told_of_a_call(self, begun: TaskAttempt, answered: bool) -> None:
        model = self.models[begun.task.id]
        told = self.store.progress(
            begun.attempt.channel_id,
            said("rings"),
            at(self.now_s),
            answered_at=at(self.now_s) if answered else None,
        )
        if model.attempt_id == begun.attempt.id:
            done(told)
            if answered and model.answered_s is None:
                model.answered_s = self.now_s
            model.go("progress", "calling")
        else:
            self.refused(told, StaleTask)

    @rule(begun=attempts, disposition=st.sampled_from(COSTLY))
    def call_fails(self, begun: TaskAttempt, disposition: str) -> None:
        self.end(begun, disposition)

    @rule(begun=attempts)
    def no_agent_answers(self, begun: TaskAttempt) -> None:
        self.end(begun, "MEMBER NO ANSWER")

    @rule(begun=attempts)
    def it_is_withdrawn(self, begun: TaskAttempt) -> None:
        self.end(begun, "WITHDRAWN")

    @rule(begun=consumes(attempts))
    def they_talk(self, begun: TaskAttempt) -> None:
        self.end(begun, "ANSWERED")

    def end(self, begun: TaskAttempt, disposition: str) -> None:
        model = self.models[begun.task.id]
        work = self.store.close_attempt(
            begun.attempt.channel_id, verdict(disposition), RULES, at(self.now_s)
        )
        if model.attempt_id != begun.attempt.id:
            self.refused(work, StaleTask)
            return
        done(work)
        model.attempt_id = None
        withdrawn = disposition == "WITHDRAWN"
        costs = disposition not in {"MEMBER NO ANSWER", "NOT PLACED", "WITHDRAWN"}
        model.attempts += costs
        model.member_attempts += not costs and not withdrawn
        if disposition == "ANSWERED":
            model.go("complete", "completed")
        elif model.served:
            model.go("serve", "served")
        elif model.cancel:
            model.go("cancel", "cancelled")
        elif self.now_s >= model.expires_s:
            model.go("expire", "expired")
        elif withdrawn:
            model.go("retry", "pending")
            model.due_s = self.now_s
        elif model.attempts >= 2 if costs else model.member_attempts >= 3:
            model.go("give_up", "failed")
        else:
            model.due_s = self.now_s + (30 if costs else 7)
            model.go("retry", "pending")
        if costs:
            model.called_s = self.now_s
        if not model.open and disposition in {"ANSWERED", "SHORT", "UNKNOWN"}:
            self.what_was_asked_for_goes_on(model)

    def what_was_asked_for_goes_on(self, former: Model) -> None:
        """A request made after the client had answered becomes a task."""
        answered_s = former.begun_s if former.answered_s is None else former.answered_s
        model: Model | None = None
        for queue, kind, joined_s, expires_s, asked_s, answered in former.later:
            if not (answered or asked_s > answered_s):
                continue
            if model is None:
                model = Model(
                    former.number, queue, joined_s, self.now_s, expires_s, kind
                )
                self.models[max(self.models) + 1] = model
                continue
            model.expires_s = max(model.expires_s, expires_s)
            model.kind = "requested" if kind == "requested" else model.kind
            model.go("repeat", "pending")

    # -- expiry and operators ----------------------------------------------

    @rule()
    def old_tasks_expire(self) -> None:
        late = {
            task_id
            for task_id, model in self.models.items()
            if model.status == "pending" and model.expires_s <= self.now_s
        }
        assert {task.id for task in done(self.store.expire(at(self.now_s)))} == late
        for task_id in late:
            self.models[task_id].go("expire", "expired")

    @rule(data=st.data())
    def operator_cancels(self, data: st.DataObject) -> None:
        if not self.models:
            return
        task_id = data.draw(self.tasks)
        model = self.models[task_id]
        work = self.store.cancel(task_id, said("by hand"), at(self.now_s))
        if model.status == "pending":
            done(work)
            model.go("cancel", "cancelled")
        elif model.status == "calling":
            done(work)
            model.cancel = True
            model.later.clear()
            model.go("cancel_later", "calling")
        else:
            self.refused(work, IllegalMove)

    @rule(data=st.data())
    def operator_puts_back_in_line(self, data: st.DataObject) -> None:
        if not self.models:
            return
        task_id = data.draw(self.tasks)
        model = self.models[task_id]
        work = self.store.retry(
            task_id, said("again"), at(self.now_s), at(self.now_s + 50)
        )
        if model.status in {"calling", "completed", "served"}:
            self.refused(work, IllegalMove)
        elif not model.open and self.open_of(model.number):
            self.refused(work, AlreadyOpen)
        else:
            done(work)
            if model.open:
                model.expires_s = max(model.expires_s, self.now_s + 50)
            else:
                model.expires_s = self.now_s + 50
                model.attempts = model.member_attempts = 0
                model.cancel = model.served = False
            model.due_s = self.now_s
            # An operator may choose an earlier time than the service.
            model.called_s = None
            model.go("reopen", "pending")

    def refused(self, work, error: type[Exception]) -> None:
        try:
            done(work)
        except error:
            return
        raise AssertionError(f"not refused with {error.__name__}")

    # -- invariants --------------------------------------------------------

    @invariant()
    def all_rules_hold(self) -> None:
        if not hasattr(self, "store"):
            return
        tasks = done(self.store.listing(limit=1000))
        self.the_store_says_what_the_model_says(tasks)
        self.a_number_has_one_open_task_and_one_call_at_most(tasks)
        self.the_limits_hold(tasks)
        self.every_end_has_one_moment_and_a_reason(tasks)
        self.the_history_is_whole_and_walks_along_the_table(tasks)
        self.it_is_known_when_something_happens_next()

    def the_store_says_what_the_model_says(self, tasks: list[CallbackTask]) -> None:
        for task in tasks:
            model = self.models[task.id]
            assert (
                *(task.number_key, task.queue, task.kind.value, task.status.value),
                *(task.attempts, task.member_attempts),
                *(task.joined_at, task.due_at, task.expires_at),
            ) == (
                *(model.number, model.queue, model.kind, model.status),
                *(model.attempts, model.member_attempts),
                *(at(model.joined_s), at(model.due_s), at(model.expires_s)),
            )
        assert len(tasks) == len(self.models)

    def a_number_has_one_open_task_and_one_call_at_most(
        self, tasks: list[CallbackTask]
    ) -> None:
        opened = [task.number_key for task in tasks if task.is_open]
        assert len(opened) == len(set(opened))
        # There is one attempt in progress for each task being called, and no other.
        assert sorted(b.task.id for b in done(self.store.open_attempts())) == sorted(
            task.id for task in tasks if task.status is Status.CALLING
        )

    def the_limits_hold(self, tasks: list[CallbackTask]) -> None:
        for task in tasks:
            assert task.attempts <= RULES.attempts
            counted = [
                attempt
                for attempt in done(self.store.attempts(task.id))
                if attempt.disposition is not None
            ]
            assert task.attempts + task.member_attempts <= len(counted)

    def every_end_has_one_moment_and_a_reason(self, tasks: list[CallbackTask]) -> None:
        for task in tasks:
            assert task.reason
            assert (task.ended_at is None) is task.is_open

    def the_history_is_whole_and_walks_along_the_table(
        self, tasks: list[CallbackTask]
    ) -> None:
        for task in tasks:
            events = done(self.store.history(task.id))
            assert [e.move.value for e in events] == self.models[task.id].moves
            assert events[0].move is Move.CREATE
            status = events[0].status
            for event in events[1:]:
                assert event.status is TRANSITIONS[status, event.move]
                status = event.status
            assert status is task.status
            assert [e.at for e in events] == sorted(e.at for e in events)

    def it_is_known_when_something_happens_next(self) -> None:
        waiting = [m for m in self.models.values() if m.status == "pending"]
        due = [m.due_s for m in waiting if m.expires_s > self.now_s]
        queues = {"support", "sales"}
        assert done(self.store.next_due(queues, at(self.now_s))) == (
            at(min(due)) if due else None
        )
        expiry = [m.expires_s for m in waiting]
        assert done(self.store.next_expiry()) == (at(min(expiry)) if expiry else None)
        counts = done(self.store.counts())
        assert sum(counts[status] for status in OPEN) == sum(
            m.open for m in self.models.values()
        )


StoreMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestStoreMachine = StoreMachine.TestCase
