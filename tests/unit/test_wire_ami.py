# SPDX-License-Identifier: MIT
"""The manager interface as bytes, with and without a real Asterisk's own words."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.wire.ami import (
    MAX_BANNER_BYTES,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    NEED_DATA,
    AmiMessage,
    AmiParser,
    Banner,
    encode_action,
)
from fastagi.wire.errors import LocalProtocolError, RemoteProtocolError
from tests.harness.messages import written
from tests.recordings.dialogue import dialogue_names, read_dialogue

BANNER = b"Asterisk Call Manager/11.0.0\r\n"


def outcome(parser: AmiParser, pieces: list[bytes]) -> tuple[list[object], str]:
    """Return what came out, and the text of the error that ended it, if any."""
    found: list[object] = []
    for piece in pieces:
        parser.receive_data(piece)
        try:
            while (event := parser.next_event()) is not NEED_DATA:
                found.append(event)
        except RemoteProtocolError as error:
            return found, str(error)
    return found, ""


def messages_of(data: bytes) -> list[AmiMessage]:
    found, error = outcome(AmiParser(expect_banner=False), [data])
    assert error == ""
    return [message for message in found if isinstance(message, AmiMessage)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


class TestRecordedDialogues:
    """The messages of a real Asterisk 16.28 and 22.10, byte for byte."""

    @pytest.mark.parametrize("name", dialogue_names("ami-*"))
    def test_any_cut_in_two_gives_the_same_messages(self, name: str) -> None:
        data = read_dialogue(name).from_asterisk
        banner = data.startswith(b"Asterisk Call Manager")
        whole, error = outcome(AmiParser(expect_banner=banner), [data])
        assert (whole, error) != ([], "")
        assert error == ""
        for place in range(len(data)):
            parser = AmiParser(expect_banner=banner)
            assert outcome(parser, [data[:place], data[place:]]) == (whole, "")

    @pytest.mark.parametrize("name", dialogue_names("ami-*"))
    def test_byte_by_byte_gives_the_same_messages(self, name: str) -> None:
        data = read_dialogue(name).from_asterisk
        banner = data.startswith(b"Asterisk Call Manager")
        whole, _ = outcome(AmiParser(expect_banner=banner), [data])
        drips = [data[place : place + 1] for place in range(len(data))]
        assert outcome(AmiParser(expect_banner=banner), drips) == (whole, "")

    @pytest.mark.parametrize("name", dialogue_names("ami-*"))
    def test_no_byte_is_lost(self, name: str) -> None:
        data = read_dialogue(name).from_asterisk
        if data.startswith(b"Asterisk Call Manager"):
            _, _, data = data.partition(b"\r\n")
        assert b"".join(map(written, messages_of(data))) == data

    @pytest.mark.parametrize("name", dialogue_names("[!a]*") + dialogue_names("ami-*"))
    def test_no_event_of_a_real_asterisk_is_doubtful(self, name: str) -> None:
        for message in messages_of(read_dialogue(name).from_asterisk):
            assert not (message.kind == "event" and message.is_doubtful), message

    def test_event_with_a_line_break_in_a_number_is_doubtful(self) -> None:
        event = AmiMessage(
            b"Event: Hangup\r\nCallerIDNum: 4930\r\nUniqueid: callback-1-ab-1\r\n"
            b"ChanVariable: a=1\r\nChanVariable: b=2\r\nUniqueID: 1.1"
        )
        assert event.is_doubtful
        assert not AmiMessage(event.raw.rpartition(b"\r\n")[0]).is_doubtful

    def test_strange_name_of_a_header_is_shown_in_plain_letters(self) -> None:
        shown = repr(AmiMessage("Eve\x1b[2J\nnt\xf6: x".encode()))
        assert shown == "<AmiMessage other '' with Eve\\x1b[2J\\nnt\\xf6>"

    def test_nothing_is_believed_of_who_did_not_begin_with_a_banner(self) -> None:
        said = b"Response: Success\r\nActionID: 1\r\n\r\nEvent: Hangup\r\n\r\n"
        for data in ([said], [said[:20], said[20:]], [b"SSH-2.0\r\n" + said]):
            events, error = outcome(AmiParser(), data)
            assert events == []
            assert "this is no Asterisk manager" in error

    @pytest.mark.parametrize("name", dialogue_names("ami-*-originate"))
    def test_the_quick_look_agrees_with_the_parsed_headers(self, name: str) -> None:
        for message in messages_of(read_dialogue(name).from_asterisk):
            parsed = dict(reversed(message.headers))
            assert message.event == parsed.get("Event", "")
            assert message.action_id == parsed.get("ActionID", "")
            assert message.kind == ("event" if message.event else "response")

    @pytest.mark.parametrize("name", dialogue_names("ami-*-originate"))
    def test_latin_1_name_of_the_caller_is_read(self, name: str) -> None:
        found = [
            message.get("CallerIDName")
            for message in messages_of(read_dialogue(name).from_asterisk)
            if isinstance(message, AmiMessage) and message.event == "OriginateResponse"
        ]
        assert found == ["J\xf6rg", "<unknown>"]

    @pytest.mark.parametrize("name", dialogue_names("ami-*-command"))
    def test_every_line_a_command_printed_is_kept(self, name: str) -> None:
        shown = messages_of(read_dialogue(name).from_asterisk)[-1]
        output = shown.all("Output")
        assert len(output) == 10
        assert output[1:4] == ["   No Members", "   No Callers", ""]
        assert output[5] == "   Members: "


class TestStream:
    @given(
        stream=st.lists(
            st.sampled_from(
                [b"\r\n", b"\r", b"\n", b"Event: A", b"X: y", b":", b" ", b"\xf6\0"]
            ),
            max_size=40,
        ).map(b"".join),
        places=st.lists(st.integers(min_value=0), max_size=8),
        limit=st.integers(min_value=1, max_value=60),
        banner=st.booleans(),
    )
    def test_any_split_gives_the_same_messages(
        self, stream: bytes, places: list[int], limit: int, banner: bool
    ) -> None:
        stream = BANNER + stream if banner else stream

        def parser() -> AmiParser:
            return AmiParser(expect_banner=banner, max_message_bytes=limit)

        whole, error = outcome(parser(), [stream])
        assert outcome(parser(), cut(stream, places)) == (whole, error)

    @given(data=st.binary(max_size=600), places=st.lists(st.integers(0), max_size=6))
    def test_reading_anything_fails_in_one_way_only(
        self, data: bytes, places: list[int]
    ) -> None:
        whole, error = outcome(AmiParser(), [data])
        assert outcome(AmiParser(), cut(data, places)) == (whole, error)
        for message in messages_of(data):
            assert message.headers
            str((message, message.kind, message.event, message.action_id))
            # What was read can be stored: there is no lone surrogate in it.
            "".join(name + value for name, value in message.headers).encode()

    def test_banner_comes_first_and_tells_the_version(self) -> None:
        parser = AmiParser()
        parser.receive_data(BANNER + b"Response: Success\r\n\r\n")
        banner, response = parser.next_event(), parser.next_event()
        assert isinstance(banner, Banner)
        assert banner.ami_version == "11.0.0"
        assert isinstance(response, AmiMessage)
        assert response.kind == "response"

    def test_blank_lines_too_many_are_no_messages(self) -> None:
        found = messages_of(b"\r\n\r\nA: 1\r\n\r\n\r\nB: 2\r\n\r\n\r\n\r\n")
        assert [message.raw for message in found] == [b"A: 1", b"B: 2"]

    @pytest.mark.parametrize(
        "said",
        [b"SSH-2.0-OpenSSH_9.2\r\n", b"x" * (MAX_BANNER_BYTES + 2), b"\r\n"],
    )
    def test_other_service_on_the_port_is_found_out(self, said: bytes) -> None:
        parser = AmiParser()
        parser.receive_data(said)
        for _ in range(2):
            with pytest.raises(RemoteProtocolError, match="no Asterisk manager"):
                parser.next_event()
        parser.receive_data(BANNER)
        with pytest.raises(RemoteProtocolError):
            parser.next_event()

    @pytest.mark.parametrize("piece", [1, 7, 100])
    def test_message_of_the_greatest_size_is_read_and_one_byte_more_is_not(
        self, piece: int
    ) -> None:
        for size, wanted in ((50, ""), (51, "more than 50 bytes")):
            data = b"A: 1\r\n\r\n" + b"x" * size + b"\r\n\r\n"
            pieces = [data[i : i + piece] for i in range(0, len(data), piece)]
            found, error = outcome(
                AmiParser(expect_banner=False, max_message_bytes=50), pieces
            )
            assert wanted in error
            assert len(found) == (1 if wanted else 2)

    def test_message_without_an_end_is_not_waited_for(self) -> None:
        parser = AmiParser(expect_banner=False, max_message_bytes=50)
        found, error = outcome(parser, [b"x"] * 60)
        assert found == []
        assert "without an end" in error

    @pytest.mark.parametrize("piece", [1, 100, 1000])
    def test_longest_banner_is_read(self, piece: int) -> None:
        line = BANNER[:-2].ljust(MAX_BANNER_BYTES, b".") + b"\r\n"
        pieces = [line[i : i + piece] for i in range(0, len(line), piece)]
        found, error = outcome(AmiParser(), pieces)
        assert error == ""
        assert len(found) == 1

    def test_slow_drip_of_a_long_message_costs_no_more_than_its_length(self) -> None:
        def seconds(size: int) -> float:
            parser = AmiParser(expect_banner=False)
            start = time.process_time()
            for _ in range(size):
                parser.receive_data(b"x")
                parser.next_event()
            return time.process_time() - start

        seconds(1000)
        # Searching from the start each time would take the square: 64 times as long.
        assert seconds(160_000) < 24 * max(seconds(20_000), 0.005)


class TestMessage:
    def test_header_is_found_in_any_case_and_the_first_of_equal_ones_wins(self) -> None:
        message = AmiMessage(b"Event: TestEvent\r\nState: one\r\nState: two")
        assert message.get("STATE") == "one"
        assert message.all("state") == ["one", "two"]
        assert message.get("Nothing", "else") == "else"
        assert message.get("Nothing") == ""

    def test_event_that_carries_a_response_is_an_event(self) -> None:
        message = AmiMessage(b"Event: OriginateResponse\r\nResponse: Failure")
        assert message.kind == "event"
        assert message.event == "OriginateResponse"

    def test_header_out_of_its_usual_place_is_found(self) -> None:
        event = AmiMessage(b"Privilege: call,all\r\nevent: Hangup")
        assert (event.kind, event.event) == ("event", "Hangup")
        response = AmiMessage(b"actionid: 7\r\nresponse: Success")
        assert (response.kind, response.action_id) == ("response", "7")
        assert response.event == ""
        assert AmiMessage(b"Action: Ping\r\nActionID: 3").kind == "other"

    @pytest.mark.parametrize(
        ("line", "name", "value"),
        [
            ("Exten: 500", "exten", "500"),
            ("Exten:500", "exten", "500"),
            ("Exten:", "exten", ""),
            ("Exten: ", "exten", ""),
            ("Exten:  500 ", "exten", " 500 "),
            ("Exten: a: b", "exten", "a: b"),
            ("Exten:a: b", "exten", "a: b"),
            (": b", "", "b"),
            (" a b", "", " a b"),
        ],
    )
    def test_header_is_split_at_its_first_colon(
        self, line: str, name: str, value: str
    ) -> None:
        message = AmiMessage(f"Event: Hangup\r\n{line}".encode())
        assert message.first == {"event": "Hangup", name: value}
        assert message.headers[1][1] == message.get(name) == value

    def test_two_lines_without_a_colon_are_doubtful(self) -> None:
        assert AmiMessage(b"Event: Hangup\r\none\r\ntwo").is_doubtful

    def test_line_without_a_colon_is_kept(self) -> None:
        message = AmiMessage(b"Response: Follows\r\nno colon here\r\nEmpty:")
        assert message.headers[1:] == (("", "no colon here"), ("Empty", ""))

    def test_one_bad_byte_does_not_spoil_the_other_headers(self) -> None:
        message = AmiMessage(b"Event: A\r\nX: J\xf6rg\r\nY: J\xc3\xb6rg")
        assert message.get("X") == message.get("Y") == "J\xf6rg"

    def test_value_keeps_all_blanks_but_the_first(self) -> None:
        assert AmiMessage(b"Output:   a ").get("Output") == "  a "

    def test_values_are_not_shown(self) -> None:
        message = AmiMessage(b"Action: Login\r\nSecret: hush\r\nKey: 1234")
        assert "hush" not in repr(message)
        assert "Secret" in repr(message)


TOKEN = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True).filter(
    lambda name: name.lower() not in ("action", "actionid")
)
VALUE = st.text(
    st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=200
)


class TestEncode:
    def test_action_is_written_as_asterisk_reads_it(self) -> None:
        data = encode_action(
            "Originate", [("Variable", "A=1"), ("Variable", "B=2")], "x-1"
        )
        assert data == (
            b"Action: Originate\r\nActionID: x-1\r\nVariable: A=1\r\n"
            b"Variable: B=2\r\n\r\n"
        )

    @given(name=TOKEN, headers=st.lists(st.tuples(TOKEN, VALUE), max_size=20))
    def test_what_is_written_is_read_back(
        self, name: str, headers: list[tuple[str, str]]
    ) -> None:
        (message,) = messages_of(encode_action(name, headers, "id-1"))
        assert message.headers == (
            ("Action", name),
            ("ActionID", "id-1"),
            *headers,
        )

    @given(
        name=st.text(max_size=12),
        headers=st.lists(st.tuples(st.text(max_size=12), st.text()), max_size=4),
        action_id=st.text(max_size=12),
    )
    def test_nothing_that_is_written_can_be_two_messages(
        self, name: str, headers: list[tuple[str, str]], action_id: str
    ) -> None:
        try:
            data = encode_action(name, headers, action_id)
        except LocalProtocolError:
            return
        assert data.count(b"\r\n") == len(headers) + 3
        assert data.endswith(b"\r\n\r\n")
        assert data.count(b"\r") == data.count(b"\n") == len(headers) + 3

    @pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\r\nAction: Command", "\udcf6"])
    def test_value_that_would_be_misread_is_refused(self, bad: str) -> None:
        for headers, action_id in (
            ([("Value", f"a{bad}b")], "1"),
            ([("Value", "a")], f"1{bad}"),
        ):
            with pytest.raises(LocalProtocolError):
                encode_action("SetVar", headers, action_id)

    @pytest.mark.parametrize("bad", ["", "A B", "A:", ":", "A\n", "Ä", "1", " A"])
    def test_name_that_is_no_word_is_refused(self, bad: str) -> None:
        with pytest.raises(LocalProtocolError):
            encode_action(bad, [], "1")
        with pytest.raises(LocalProtocolError):
            encode_action("Ping", [(bad, "x")], "1")

    def test_second_action_or_id_is_refused(self) -> None:
        for name in ("Action", "ACTIONID"):
            with pytest.raises(LocalProtocolError):
                encode_action("Ping", [(name, "x")], "1")
        with pytest.raises(LocalProtocolError):
            encode_action("Ping", [], "")

    def test_longest_line_passes_and_one_byte_more_is_refused(self) -> None:
        # Asterisk 16.28 and 22.10 took 1022 bytes and refused 1023 (the dialogue
        # "refusals"). An o with dots has two.
        room = MAX_LINE_BYTES - len("X: ")
        assert encode_action("Ping", [("X", "a" * room)], "1")
        assert encode_action("Ping", [("X", "\xf6" * (room // 2))], "1")
        with pytest.raises(LocalProtocolError, match="1023 bytes"):
            encode_action("Ping", [("X", "a" * (room + 1))], "1")
        with pytest.raises(LocalProtocolError):
            encode_action("Ping", [("X", "\xf6" * (room // 2 + 1))], "1")

    def test_most_headers_pass_and_one_more_is_refused(self) -> None:
        most = [("X", "1")] * (MAX_HEADERS - 2)
        assert encode_action("Ping", most, "1")
        with pytest.raises(LocalProtocolError, match="129 headers"):
            encode_action("Ping", [*most, ("X", "1")], "1")

    def test_refusal_does_not_tell_the_value(self) -> None:
        for value in ("hush\n", "hush" * 300, "hush\udcf6"):
            with pytest.raises(LocalProtocolError) as caught:
                encode_action("Login", [("Secret", value)], "1")
            assert "hush" not in str(caught.value)
