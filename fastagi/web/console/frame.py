# SPDX-License-Identifier: MIT
"""What every page has: who looks, in which language, what is live, the navigation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen
from fastapi import Depends, Request
from fastapi.responses import HTMLResponse

from fastagi.web.console import rendering
from fastagi.web.console.languages import N_
from fastagi.web.console.say import Say
from fastagi.web.parts import WebParts, parts_of
from fastagi.web.people.access import Principal, Right, require
from fastagi.web.templates import page

Json = Mapping[str, Any]


#: What a page says at its top after something was done, by the word in its address.
#: Other words say nothing, so nobody can put a text of their own there.
SAID: Final = {
    "cancelled": N_("The task is cancelled. If a call is in progress, it ends first."),
    "retried": N_("The task is back in line and due at once."),
    "next": N_("The task is at the front of its queue and is called next."),
    "moved": N_("The task has another time."),
    "assigned": N_("The task is assigned."),
    "released": N_("Any agent is asked again."),
    "noted": N_("The note is in the story."),
    "added": N_("The task is added."),
    "exists": N_("The number has an open task already: this one."),
    "blocked": N_("The number is blocked. Its open task ends."),
    "blocked-before": N_("The number was blocked already."),
    "unblocked": N_("The number may be called again."),
    "erased": N_("The number is erased. Copies of the database still contain it."),
}


@frozen
class Frame:
    """One request for a page.

    Attributes:
        request: the request.
        who: the one who looks.
        parts: the parts of the process.
        say: how things are shown.
    """

    request: Request
    who: Principal
    parts: WebParts
    say: Say

    @property
    def snapshot(self) -> Json | None:
        """The live state; None while the service can not be reached."""
        return self.parts.live.snapshot

    @property
    def queues(self) -> list[str]:
        """The names of the queues that may be seen, as far as they are known."""
        snapshot = self.snapshot
        known = list(snapshot["queues"]) if snapshot else sorted(self.who.queues or ())
        own = self.who.queues
        return [name for name in known if own is None or name in own]

    def zone(self, queue: str) -> str | None:
        """Return the name of a queue's time zone; None if it is not known."""
        snapshot = self.snapshot
        found = snapshot["queues"].get(queue) if snapshot else None
        return found["time_zone"] if found else None

    def agent_name(self, interface: str) -> str:
        """Return an agent's name as Asterisk has it, or the interface."""
        snapshot = self.snapshot
        agent = snapshot["agents"].get(interface) if snapshot else None
        return (agent and agent["name"]) or interface

    def page(
        self, template: str, section: str, *, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """Return a page.

        Args:
            template: its template.
            section: the path of its entry in the navigation.
            status: the status of the answer.
            values: what else the template needs.
        """
        word = self.request.query_params.get("said", "")
        known = SAID.get(word)
        said = known and {"level": "ok", "icon": "ok", "text": self.say.gettext(known)}
        down = self.parts.live.down_since
        shown = {
            "say": self.say,
            "who": self.who,
            "may": self.who.may,
            "section": section,
            "snapshot": self.snapshot,
            "down_since": down,
            "down_reason": self._down_reason,
            "may_see_health": self.who.may(Right.HEALTH_READ),
            "queues": self.queues,
            "agent_name": self.agent_name,
            "zone": self.zone,
            "said": said,
            "now_s": round(self.say.now.timestamp(), 1),
        }
        return page(self.request, template, status_code=status, **(shown | values))

    @property
    def _down_reason(self) -> str:
        problem = self.parts.live.problem
        if problem is None or not self.who.may(Right.HEALTH_READ):
            return ""
        return str(problem)


def framed(right: Right) -> Callable[..., Frame]:
    """Return a dependency: the frame of a page that needs a right."""

    needed = Depends(require(right))

    # Not Annotated: the name of a local variable can not be resolved there.
    def frame(request: Request, who: Principal = needed) -> Frame:
        return frame_of(request, who)

    return frame


def frame_of(request: Request, who: Principal) -> Frame:
    """Return the frame of a request."""
    parts = parts_of(request)
    snapshot = parts.live.snapshot
    zones = (
        {one["time_zone"] for one in snapshot["queues"].values()} if snapshot else ()
    )
    say = Say(
        rendering.language_of(request),
        parts.now(),
        masked=not who.sees_numbers,
        home=str(min(zones) or "") if len(zones) == 1 else "",
    )
    return Frame(request, who, parts, say)
