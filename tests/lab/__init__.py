# SPDX-License-Identifier: MIT
"""The laboratory: a real Asterisk, real SIP phones, a witness and the service.

Nothing here depends on the product's inside; it uses what an administrator
uses: configuration files, the command line, AMI and SIP. A test asks for the fixture
`lab` and runs on every Asterisk version::

    def test_an_agent_calls_back(lab: Lab) -> None:
        lab.service()
        client = lab.client("+4930555123", BUSY, Answer(ring_ms=500))
        caller = lab.caller("support", Press("1"), number="+4930555123")
        caller.wait_for_end()
        alice = lab.agent("alice", Answer())
        alice.wait_to_hear(client, deadline_s=30)

Durations (ringing, talking) are part of the behaviour and are timed inside
SIPp; a test only waits for what must happen, with a deadline. An agent or client
without a phone cannot be reached at all: Asterisk gives up after 6.4 s.
"""
