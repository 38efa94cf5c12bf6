# SPDX-License-Identifier: MIT
"""The statements of calls that are compiled before the first call."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from fastagi.store import attempts, requests, statements


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
def test_each_compiles_with_just_the_parameters_that_it_has(dialect: Dialect) -> None:
    for one in statements.of_calls(dialect.name):
        compiled = one.statement.compile(dialect=dialect, column_keys=list(one.names))
        assert one.names <= set(compiled.params), compiled


@pytest.mark.parametrize(
    ("engine", "other"), [("sqlite", "postgresql"), ("postgresql", "sqlite")]
)
def test_each_constant_is_found_once_for_one_and_inserts_for_several_rows(
    engine: str, other: str
) -> None:
    found = list(statements.of_calls(engine))
    keys = [(id(one.statement), one.several) for one in found]
    assert len(keys) == len(set(keys))
    for one in (attempts._FIRST, attempts._FIRST_OF_MANY[engine]):
        assert (id(one), False) in keys
        assert (id(one), True) not in keys
    assert (id(attempts._FIRST_OF_MANY[other]), False) not in keys
    assert {(id(requests._INSERT_TASK), several) for several in (False, True)} < set(
        keys
    )
