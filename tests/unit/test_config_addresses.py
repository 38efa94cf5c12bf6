# SPDX-License-Identifier: MIT
"""Every library splits a database URL in the same way, or it is refused."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sqlalchemy.engine import URL, make_url

from fastagi.config.addresses import check_server, has_password
from fastagi.config.errors import BadValue
from fastagi.config.fields import parse_database_url, parse_history_url

_PRINTABLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
_IN_A_URL = st.text(
    st.one_of(st.sampled_from("@@::/?#[]%,=&"), _PRINTABLE), max_size=30
)


@given(
    password=st.text(_PRINTABLE, min_size=1, max_size=20),
    host=st.sampled_from(["db.example.com", "192.0.2.1", "2001:db8::1"]),
    port=st.none() | st.integers(1, 65535),
)
def test_any_password_can_be_written(
    password: str, host: str, port: int | None
) -> None:
    url = URL.create("postgresql", "callback", password, host, port, "callback")
    text = url.render_as_string(hide_password=False)
    assert make_url(parse_database_url(text)) == url
    assert has_password(text)


@given(_IN_A_URL)
@example("u:p@ss@h/d")
@example("u:p/s@h/d")
@example("u@h:/d")
@example("h:p@/d")
@example("u@h/d?host=a@b")
@example("u@[h/d")
def test_whatever_is_taken_has_its_password_where_it_seems_to_be(text: str) -> None:
    try:
        url = check_server(f"mysql://{text}")
    except BadValue:
        assume(False)
    parsed = make_url(url)
    credentials = text.rpartition("@")[0]
    assert (parsed.password or "") == unquote(credentials.partition(":")[2])
    assert "@" not in (parsed.host or "")
    assert has_password(url.partition("?")[0]) == bool(parsed.password)


@pytest.mark.parametrize("parse", [parse_database_url, parse_history_url])
@pytest.mark.parametrize(
    "rest", ["u@h:abc/d", "u@h:/d", "u@h:0/d", "u@h:65536/d", "u@h/d?port=x"]
)
def test_port_that_is_none(parse: object, rest: str) -> None:
    assert callable(parse)
    with pytest.raises(BadValue) as raised:
        parse(f"postgresql://{rest}")
    assert raised.value.problem.what == "holds a port that is no number from 1 to 65535"
