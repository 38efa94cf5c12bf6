# SPDX-License-Identifier: MIT
"""AGI as bytes, with and without a real Asterisk's own words."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastagi.wire.agi import (
    MAX_COMMAND_BYTES,
    MAX_COMMAND_WORDS,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    MAX_UNFINISHED_BYTES,
    NEED_DATA,
    AgiHangup,
    AgiParser,
    AgiReply,
    AgiRequest,
    encode_command,
)
from fastagi.wire.errors import LocalProtocolError, RemoteProtocolError
from tests.emulator.agi_client import split_words
from tests.recordings.dialogue import dialogue_names, read_dialogue

OPENING = b"agi_network: yes\nagi_network_script: request\n\n"
BOTH = ("22.10", "16.28")
#: A name with a newline forges headers; one line too long is answered as two.
NOT_BELIEVED = ("newline-in-name", "newline-ends-headers")


def outcome(pieces: list[bytes]) -> tuple[list[object], str]:
    """Return what came out, and the text of the error that ended it, if any."""
    parser = AgiParser()
    found: list[object] = []
    for piece in pieces:
        parser.receive_data(piece)
        try:
            while (event := parser.next_event()) is not NEED_DATA:
                found.append(event)
        except RemoteProtocolError as error:
            return found, str(error)
    return found, ""


def heard(name: str) -> bytes:
    """Asterisk's part of a recorded dialogue. AGI ends lines with LF alone."""
    return read_dialogue(name).from_asterisk.replace(b"\r\n", b"\n")


def said(name: str) -> list[tuple[str, ...]]:
    """The commands of a recorded dialogue, split into words."""
    data = read_dialogue(name).from_client.replace(b"\r\n", b"\n")
    return [split_words(line) for line in data.decode("latin-1").splitlines()]


def replies(name: str) -> list[AgiReply]:
    events, error = outcome([heard(name)])
    assert error == ""
    return [event for event in events if isinstance(event, AgiReply)]


def request(block: bytes) -> AgiRequest:
    (event,), error = outcome([block])
    assert error == ""
    assert isinstance(event, AgiRequest)
    return event


def reply(line: bytes) -> AgiReply:
    events, error = outcome([OPENING + line])
    assert error == ""
    (event,) = events[1:]
    assert isinstance(event, AgiReply)
    return event


def refusal(data: bytes) -> str:
    return outcome([data])[1]


class TestDialogues:
    @pytest.mark.parametrize("name", dialogue_names("agi-*"))
    def test_any_split_in_two_gives_the_same_messages(self, name: str) -> None:
        data = heard(name)
        whole = outcome([data])
        assert whole[0] or whole[1]
        # In long values every position is like the next.
        step = 1 if len(data) < 3000 else 7
        for cut in range(0, len(data) + 1, step):
            assert outcome([data[:cut], data[cut:]]) == whole

    @pytest.mark.parametrize("name", dialogue_names("agi-*"))
    def test_single_bytes_give_the_same_messages(self, name: str) -> None:
        data = heard(name)
        assert outcome([bytes([byte]) for byte in data]) == outcome([data])

    @pytest.mark.parametrize("name", dialogue_names("agi-*"))
    def test_both_versions_are_understood(self, name: str) -> None:
        error = outcome([heard(name)])[1]
        if name.endswith(NOT_BELIEVED):
            assert error in ("a header came twice", "the header block ends too early")
        elif name.endswith("newline-in-value"):
            assert error == "not a reply: b'three)'"
        else:
            assert error == ""

    def test_there_are_dialogues_of_both_versions(self) -> None:
        old, new = (dialogue_names(f"agi-{version}-*") for version in BOTH[::-1])
        assert len(old) == len(new) == 18

    @pytest.mark.parametrize("version", BOTH)
    def test_request_with_every_kind_of_argument(self, version: str) -> None:
        events, _ = outcome([heard(f"agi-{version}-request")])
        found = events[0]
        assert isinstance(found, AgiRequest)
        assert found.script == "request"
        assert found.query == {"queue": "support", "note": "a b+c", "flag": ""}
        assert found.args == ("support", "", "a b", "3", "x,y", "L\xe4tin", "")
        assert found.channel == "Local/args@run-00000000;2"
        assert found.callerid == "+4930123456"
        # UTF-8 with bytes that are none among it is read as Latin-1.
        assert found.calleridname == 'J\xc3\xb6rg "Q" \\, \xe4\xffx'
        assert found.callingpres == 0
        assert found.language == "en"
        assert (found.context, found.extension) == ("run", "args")
        assert found.version.startswith(version)
        assert found.uniqueid.startswith("17953779")
        assert found.variables["agi_accountcode"] == ""
        assert len(found.variables) == 29

    @pytest.mark.parametrize("version", BOTH)
    def test_request_without_a_path(self, version: str) -> None:
        events, _ = outcome([heard(f"agi-{version}-bare")])
        found = events[0]
        assert isinstance(found, AgiRequest)
        assert found.script == ""
        assert found.args == ()
        assert found.callerid == "unknown"
        assert found.callingpres == 67

    @pytest.mark.parametrize("version", BOTH)
    def test_variables(self, version: str) -> None:
        found = replies(f"agi-{version}-request")
        assert [(one.result, one.value) for one in found] == [
            (0, ""),
            (1, ""),
            (1, "ACCEPTED"),
            (1, "en"),
            (1, "+4930123456-args"),
            (0, ""),
            (1, ""),
            (6, ""),
        ]

    @pytest.mark.parametrize("version", BOTH)
    def test_each_value_comes_back_as_it_was_set(self, version: str) -> None:
        name = f"agi-{version}-quoting"
        commands, found = said(name), replies(name)
        assert len(commands) == len(found) == 44
        for put, got in zip(commands[::2], found[1::2], strict=True):
            value = put[3].encode("latin-1")
            assert reply(b"200 result=1 (" + value + b")\n").value == got.value

    @pytest.mark.parametrize("version", BOTH)
    def test_what_was_sent_is_what_we_would_send(self, version: str) -> None:
        name = f"agi-{version}-quoting"
        data = read_dialogue(name).from_client.replace(b"\r\n", b"\n")
        for line in data.splitlines(keepends=True):
            text = line.decode("utf-8", "surrogateescape")
            try:
                again = encode_command(*split_words(text.removesuffix("\n")))
            except LocalProtocolError:
                # The one value that was sent as bytes that are no UTF-8.
                assert b"8bit" in line
            else:
                assert again == line

    @pytest.mark.parametrize("version", BOTH)
    def test_playback(self, version: str) -> None:
        found = replies(f"agi-{version}-playback")
        assert found[0] == AgiReply(
            code=200, result=0, result_text="0", data="endpos=3520"
        )
        assert (found[2].result, found[2].data) == (-1, "endpos=0")
        assert found[5].result == -2
        assert found[7] == AgiReply(code=200, value="timeout")

    @pytest.mark.parametrize("version", BOTH)
    def test_errors(self, version: str) -> None:
        found = replies(f"agi-{version}-errors")
        assert [one.code for one in found] == [510] * 2 + [520] * 6 + [200] * 4
        assert found[0].data == "Invalid or unknown command"
        assert not found[0].ok
        usage = found[4].data.splitlines()
        assert usage[0] == "Invalid command syntax.  Proper usage follows:"
        assert usage[1].startswith("Hangs up the specified channel.")
        assert usage[-1] == "520 End of proper usage."

    @pytest.mark.parametrize("version", BOTH)
    def test_a_usage_block_holds_what_looks_like_a_reply(self, version: str) -> None:
        found = replies(f"agi-{version}-errors")
        assert "200 result=1 (testvariable)" in found[5].data

    @pytest.mark.parametrize("version", BOTH)
    def test_dead_channel(self, version: str) -> None:
        found = replies(f"agi-{version}-dead-channel")
        assert [one.code for one in found] == [511, 200, 200, 511, 200, 200]

    @pytest.mark.parametrize("version", BOTH)
    def test_hangup_in_playback(self, version: str) -> None:
        events, _ = outcome([heard(f"agi-{version}-hangup-in-playback")])
        kinds = [
            "hangup" if isinstance(event, AgiHangup) else event.code  # type: ignore[attr-defined]
            for event in events[1:]
        ]
        # fmt: off
        assert kinds == [
            200, "hangup", 511, 511, 200, 200, 200, 511, 511, "hangup"
        ]
        # fmt: on

    @pytest.mark.parametrize("version", BOTH)
    def test_hangup_glued_to_a_reply(self, version: str) -> None:
        events, _ = outcome([heard(f"agi-{version}-hangup-exits")])
        assert [type(event) for event in events] == [
            AgiRequest,
            AgiReply,
            AgiHangup,
            AgiHangup,
        ]

    @pytest.mark.parametrize("version", BOTH)
    def test_a_100_comes_before_the_reply(self, version: str) -> None:
        first, second = replies(f"agi-{version}-gosub")
        assert (first.code, second.code) == (100, 200)
        assert second.data == "Gosub complete"

    @pytest.mark.parametrize("version", BOTH)
    def test_a_value_of_several_lines(self, version: str) -> None:
        events, _ = outcome([heard(f"agi-{version}-newline-in-value")])
        first = events[1]
        assert isinstance(first, AgiReply)
        assert first.value == "one\ntwo\nthree"

    @pytest.mark.parametrize("version", BOTH)
    def test_a_name_cannot_forge_an_argument(self, version: str) -> None:
        events, error = outcome([heard(f"agi-{version}-newline-in-name")])
        assert events == []
        assert error == "a header came twice"

    @pytest.mark.parametrize("version", BOTH)
    def test_a_name_cannot_end_the_header_block(self, version: str) -> None:
        events, error = outcome([heard(f"agi-{version}-newline-ends-headers")])
        assert events == []
        assert error == "the header block ends too early"

    @pytest.mark.parametrize("version", BOTH)
    def test_get_variable_cuts_a_long_value(self, version: str) -> None:
        put, got = replies(f"agi-{version}-long-value")
        assert put.result == 1
        assert len(got.value) == 1023

    def test_only_the_new_buffer_takes_a_long_line(self) -> None:
        # The old one runs the rest as commands: hence MAX_COMMAND_BYTES.
        new = [one.code for one in replies("agi-22.10-line-too-long")]
        old = [one.code for one in replies("agi-16.28-line-too-long")]
        assert new == [200, 200]
        assert old == [200, 510, 510, 200]

    def test_the_tail_of_a_long_line_was_run_as_a_command(self) -> None:
        old = replies("agi-16.28-line-too-long-tail")
        assert [one.code for one in old] == [200, 520, 200]
        assert "Sets a variable to the current channel." in old[1].data


class TestRequest:
    def test_arguments_keep_their_order_beyond_nine(self) -> None:
        lines = b"".join(b"agi_arg_%d: %d\n" % (n, n) for n in range(1, 13))
        found = request(b"agi_network: yes\n" + lines + b"\n")
        assert found.args == tuple(str(n) for n in range(1, 13))

    def test_one_space_behind_the_colon_is_no_part_of_the_value(self) -> None:
        found = request(b"agi_arg_1:   two\nagi_arg_2:none\nagi_arg_3:\n\n")
        assert found.args == ("  two", "none", "")

    def test_path_of_several_parts(self) -> None:
        found = request(b"agi_network_script: //a/b?c=d\n\n")
        assert found.script == "a/b"
        assert found.query == {"c": "d"}

    def test_a_plus_in_the_query_stays_a_plus(self) -> None:
        found = request(b"agi_network_script: r?n=+49%2030&n=1&=x&&e=\n\n")
        assert found.query == {"n": "+49 30", "e": ""}

    def test_percent_signs_of_no_meaning_stay(self) -> None:
        found = request(b"agi_network_script: r?n=100%&m=%e4%zz\n\n")
        assert found.query == {"n": "100%", "m": "\xe4%zz"}

    def test_unreadable_presentation_counts_as_not_available(self) -> None:
        assert request(b"agi_callingpres: 32\n\n").callingpres == 32
        for text in (b"", b"x", b"-1", b"\xc2\xb2", b"9" * 30):
            assert request(b"agi_callingpres: " + text + b"\n\n").callingpres == 67

    def test_utf8_is_read_as_such_beside_a_header_that_is_none(self) -> None:
        found = request(b"agi_arg_1: J\xc3\xb6rg\nagi_arg_2: J\xf6rg\n\n")
        assert found.args == ("J\xf6rg", "J\xf6rg")

    def test_variables_cannot_be_changed(self) -> None:
        with pytest.raises(TypeError):
            request(OPENING).variables["agi_x"] = ""  # type: ignore[index]

    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\x00",
            b"\n",
            b"HANGUP\n",
            b"ag\n",
            b"agi-network: yes\n\n",
            b"AGI_NETWORK: yes\n\n",
            b"agi_network\n\n",
            b"agi_network: yes\nrubbish\n\n",
            b"agi_a: 1\nagi_a: 2\n\n",
            b"agi_arg_1: forged\nagi_channel: x\n\n",
            b"agi_arg_2: x\n\n",
            b"agi_arg_1: x\nagi_arg_3: x\n\n",
            b"agi_arg_2: x\nagi_arg_1: x\n\n",
            b"agi_arg_01: x\n\n",
        ],
    )
    def test_what_is_no_header_block_is_refused(self, data: bytes) -> None:
        events, error = outcome([data])
        assert events == []
        assert error != ""

    def test_strangers_are_known_by_their_first_bytes(self) -> None:
        for data, began in ((b"GET", False), (b"ag", False), (b"agi_", True)):
            parser = AgiParser()
            parser.receive_data(data)
            if data == b"GET":
                with pytest.raises(RemoteProtocolError, match="not AGI"):
                    parser.next_event()
            else:
                assert parser.next_event() is NEED_DATA
            assert parser.request_began is began

    def test_the_longest_line_and_one_byte_more(self) -> None:
        name = b"agi_arg_1: "
        room = b"x" * (MAX_LINE_BYTES - len(name))
        assert request(name + room + b"\n\n").args == (room.decode(),)
        assert refusal(name + room + b"x\n\n") == "a header line is too long"
        assert refusal(name + room + b"x") == "a header line is too long"

    def test_as_many_headers_as_may_be_and_one_more(self) -> None:
        lines = b"".join(b"agi_arg_%d: x\n" % n for n in range(1, MAX_HEADERS + 1))
        assert len(request(lines + b"\n").args) == MAX_HEADERS
        more = lines + b"agi_arg_%d: x\n" % (MAX_HEADERS + 1)
        assert refusal(more + b"\n") == "too many headers"
        assert refusal(more) == "too many headers"

    def test_the_whole_block_is_limited(self) -> None:
        line = b"x" * 16000
        lines = b"".join(b"agi_arg_%d: " % n + line + b"\n" for n in range(1, 6))
        assert len(lines) > MAX_UNFINISHED_BYTES
        assert refusal(lines) == "the header block is too long"
        assert refusal(lines + b"\n") == "the header block is too long"


class TestReplies:
    @pytest.mark.parametrize(
        ("line", "result", "value", "data"),
        [
            (b"200 result=1", 1, "", ""),
            (b"200 result=-1", -1, "", ""),
            (b"200 result=1 ()", 1, "", ""),
            (b"200 result=1 (a b)", 1, "a b", ""),
            (b"200 result=1 ( )", 1, " ", ""),
            (b"200 result=1 (f(x) (y)", 1, "f(x) (y", ""),
            (b"200 result=1 (a) b)", 1, "a) b", ""),
            (b"200 result=1 (:-()", 1, ":-(", ""),
            (b"200 result=0 endpos=8000", 0, "", "endpos=8000"),
            (b"200 result=-1 (hangup) endpos=0", -1, "hangup", "endpos=0"),
            (b"200 result=49 (dtmf) endpos=1234", 49, "dtmf", "endpos=1234"),
            (b"200 result=", None, "", ""),
            (b"200 result= (timeout)", None, "timeout", ""),
            (b"200 result=*1#", None, "", ""),
            (b"200 result=1 (J\xc3\xb6rg)", 1, "J\xf6rg", ""),
            (b"200 result=1 (J\xf6rg)", 1, "J\xf6rg", ""),
            (b"200 result=1 (\xff\x00\x80)", 1, "\xff\0\x80", ""),
            (b"200 nothing of note", None, "", "nothing of note"),
            (b"511 Command Not Permitted", None, "", "Command Not Permitted"),
            (b"520 Invalid command syntax.", None, "", "Invalid command syntax."),
        ],
    )
    def test_one_line(
        self, line: bytes, result: int | None, value: str, data: str
    ) -> None:
        found = reply(line + b"\n")
        assert (found.result, found.value, found.data) == (result, value, data)
        assert found.code == int(line[:3])

    def test_digits_keep_their_zeros(self) -> None:
        found = reply(b"200 result=0042\n")
        assert (found.result, found.result_text) == (42, "0042")

    def test_a_number_too_long_for_any_use_is_no_number(self) -> None:
        found = reply(b"200 result=" + b"9" * 5000 + b"\n")
        assert found.result is None
        assert len(found.result_text) == 5000

    def test_a_usage_block_lasts_until_its_own_code(self) -> None:
        found = reply(b"520-Wrong\n511 no\n520-more\nHANGUP\n\n520 End\n")
        assert found.code == 520
        assert found.data == "Wrong\n511 no\n520-more\nHANGUP\n\n520 End"

    def test_hangup_alone_glued_and_in_a_row(self) -> None:
        events, error = outcome(
            [OPENING + b"HANGUP\nHANGUP\n200 result=1\nHANGUP\n511 no\nHANGUP\n"]
        )
        assert error == ""
        assert [type(event) for event in events[1:]] == [
            AgiHangup,
            AgiHangup,
            AgiReply,
            AgiHangup,
            AgiReply,
            AgiHangup,
        ]

    def test_hangup_whose_newline_was_lost(self) -> None:
        events, error = outcome([OPENING + b"HANGUP200 result=1\n200 result=0\n"])
        assert error == ""
        assert [type(event) for event in events[1:]] == [AgiHangup, AgiReply, AgiReply]

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"rubbish",
            b"HANG UP",
            b"HANGUP now",
            b"hangup",
            b"20 result=1",
            b"2000 result=1",
            b"099 result=1",
            b"200",
            b"200result=1",
            b" 200 result=1",
            b"agi_request: x",
            b"\xff\xfe",
        ],
    )
    def test_what_is_no_reply_is_refused(self, line: bytes) -> None:
        assert refusal(OPENING + line + b"\n").startswith("not a reply")

    def test_a_reply_of_any_size_is_not_waited_for(self) -> None:
        value = b"200 result=1 (" + b"x" * MAX_LINE_BYTES
        assert refusal(OPENING + value) == "a reply is too long"
        assert refusal(OPENING + value + b")\n") == "a reply is too long"
        block = b"520-Usage\n" + b"line of a block\n" * 5000
        assert refusal(OPENING + block) == "a reply is too long"
        lines = b"200 result=1 (x\n" + b"line of a value\n" * 5000
        assert refusal(OPENING + lines) == "a reply is too long"

    def test_after_an_error_there_is_nothing_but_that_error(self) -> None:
        parser = AgiParser()
        parser.receive_data(OPENING + b"rubbish\n200 result=1\n")
        assert isinstance(parser.next_event(), AgiRequest)
        for _ in range(2):
            with pytest.raises(RemoteProtocolError, match="rubbish"):
                parser.next_event()
            parser.receive_data(b"200 result=1\n")

    @pytest.mark.parametrize(
        ("rest", "expected"),
        [
            (b"", True),
            (b"HANG", True),
            (b"HANGUP", True),
            (b"HANGING", False),
            (b"2", False),
            (b"\0", False),
            (b"520-Usage\n", False),
        ],
    )
    def test_bytes_behind_a_reply_are_seen(self, rest: bytes, expected: bool) -> None:
        parser = AgiParser()
        parser.receive_data(OPENING + b"200 result=1\n" + rest)
        assert isinstance(parser.next_event(), AgiRequest)
        assert isinstance(parser.next_event(), AgiReply)
        parser.next_event()
        assert parser.between_messages is expected


CUTS = st.lists(st.integers(0, 400), max_size=8)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


class TestAnyBytes:
    @given(st.binary(max_size=300), CUTS)
    @example(b"agi_network: yes\n\nHANGUP\n", [1, 18])
    def test_nothing_but_a_protocol_error_comes_out(
        self, data: bytes, cuts: list[int]
    ) -> None:
        for prefix in (b"", b"agi_", OPENING, OPENING + b"200 result=1 ("):
            outcome(pieces_of(prefix + data, cuts))

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"HANGUP\n",
                    b"HANGUP",
                    b"200 result=1 (",
                    b"200 result=1\n",
                    b"520-x\n",
                    b"520 x\n",
                    b"a)\n",
                    b")\n",
                    b"\xc3",
                    b"\n",
                    b"100 x\n",
                ]
            ),
            max_size=12,
        ),
        CUTS,
    )
    def test_any_split_gives_the_same(
        self, parts: list[bytes], cuts: list[int]
    ) -> None:
        data = OPENING + b"".join(parts)
        assert outcome(pieces_of(data, cuts)) == outcome([data])

    @given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=20)), CUTS)
    def test_arguments_come_back_whatever_they_hold(
        self, args: list[str], cuts: list[int]
    ) -> None:
        args = [arg.encode("utf-8", "ignore").decode() for arg in args]
        lines = "".join(f"agi_arg_{n}: {arg}\n" for n, arg in enumerate(args, 1))
        data = b"agi_network: yes\n" + lines.encode() + b"\n"
        (found,), error = outcome(pieces_of(data, cuts))
        assert error == ""
        assert isinstance(found, AgiRequest)
        assert found.args == tuple(args)


class TestCommands:
    def test_plain_words_are_sent_as_they_are(self) -> None:
        line = encode_command("STREAM", "FILE", "custom/accepted", "#")
        assert line == b"STREAM FILE custom/accepted #\n"

    def test_other_words_are_quoted(self) -> None:
        line = encode_command("SET", "VARIABLE", "A", 'say "hi" \\ J\xf6rg')
        assert line == b'SET VARIABLE A "say \\"hi\\" \\\\ J\xc3\xb6rg"\n'

    def test_an_empty_word_is_kept(self) -> None:
        assert encode_command("STREAM", "FILE", "x", "") == b'STREAM FILE x ""\n'

    @given(
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30)),
    )
    def test_asterisk_splits_it_into_the_same_words(self, words: list[str]) -> None:
        if any(mark in word for word in words for mark in "\r\n\0"):
            with pytest.raises(LocalProtocolError):
                encode_command("NOOP", *words)
            return
        line = encode_command("NOOP", *words)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert split_words(line[:-1].decode()) == ("NOOP", *words)

    @pytest.mark.parametrize("mark", ["\r", "\n", "\0", "x\nHANGUP", "x\r\n"])
    @pytest.mark.parametrize("place", range(4))
    def test_a_line_cannot_be_broken(self, mark: str, place: int) -> None:
        words = ["SET", "VARIABLE", "A", "b"]
        words[place] += mark
        with pytest.raises(LocalProtocolError):
            encode_command(*words)

    def test_a_word_that_is_no_text_is_refused(self) -> None:
        with pytest.raises(LocalProtocolError, match="cannot be encoded"):
            encode_command("NOOP", "\udce4")

    @pytest.mark.parametrize(
        "words",
        [(), ("",), ("failure",), ("Failures", "x"), ("SET VARIABLE",), ("\xe4",)],
    )
    def test_what_asterisk_would_not_take_for_a_command(
        self, words: tuple[str, ...]
    ) -> None:
        with pytest.raises(LocalProtocolError):
            encode_command(*words)

    def test_failure_is_a_value_like_any_other(self) -> None:
        assert encode_command("NOOP", "failure") == b"NOOP failure\n"

    def test_the_longest_line_fits_the_smallest_buffer(self) -> None:
        room = MAX_COMMAND_BYTES - len(b"NOOP ")
        line = encode_command("NOOP", "x" * room)
        # fgets() leaves room for the NUL, and its newline must be read with it.
        assert len(line) == 2048 - 1
        with pytest.raises(LocalProtocolError, match="2046 bytes, not 2047"):
            encode_command("NOOP", "x" * (room + 1))

    def test_the_length_is_counted_in_bytes_as_sent(self) -> None:
        encode_command("NOOP", '"' * 1019)
        with pytest.raises(LocalProtocolError):
            encode_command("NOOP", '"' * 1020)
        with pytest.raises(LocalProtocolError):
            encode_command("NOOP", "\xf6" * 1020)

    def test_as_many_words_as_asterisk_counts(self) -> None:
        encode_command("NOOP", *[""] * (MAX_COMMAND_WORDS - 1))
        with pytest.raises(LocalProtocolError, match="120 words"):
            encode_command("NOOP", *[""] * MAX_COMMAND_WORDS)
