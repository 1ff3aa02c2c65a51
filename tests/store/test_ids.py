"""Names that carry what is needed to find a thing again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from polytraders import contracts
from polytraders.errors import UsageError
from polytraders.store.ids import correlation_id, envelope_id, intent_id, parse_id, run_tag


@given(run=st.text(min_size=1), corr=st.integers(0, 2**63 - 1))
def test_a_correlation_id_gives_back_its_run_and_number(run: str, corr: int) -> None:
    for make, form in ((intent_id, contracts.IntentId), (correlation_id, contracts.CorrelationId)):
        text = make(run, corr)
        TypeAdapter(form).validate_python(text)
        assert parse_id(text) == parse_id(text.lower()) == (run_tag(run), corr)


def test_a_correlation_id_is_what_it_always_was() -> None:
    """Ids stand in reports and audits: the way they are made may not change."""
    assert intent_id("01K0TESTRUN000000000000001", 1) == "oi_XHH4V1070000001"


@given(a=st.integers(0, 2**35 - 1), b=st.integers(0, 2**35 - 1))
def test_ids_of_one_run_sort_as_their_numbers(a: int, b: int) -> None:
    assert (intent_id("r", a) < intent_id("r", b)) == (a < b)


@pytest.mark.parametrize(
    "text", ["", "oi_", "oi_123", "sig_V4BYMWPE0000001", "oi_XHH4V107000000U", "oi_XHH4V107-000001"]
)
def test_what_is_no_correlation_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a correlation id"):
        parse_id(text)


def test_letters_that_are_misread_are_read_as_meant() -> None:
    assert parse_id("oi_XHH4V107OOOOOOl") == parse_id("oi_XHH4V1070000001")


@given(ns=st.integers(0, 2**62), run=st.text(), seq=st.integers(0, 2**40))
def test_the_fast_envelope_id_is_that_of_the_contracts(ns: int, run: str, seq: int) -> None:
    assert envelope_id(ns, run, seq) == contracts.envelope_id(ns, run, seq)


def test_envelope_ids_sort_by_time() -> None:
    assert envelope_id(1_000_000, "r", 2) < envelope_id(2_000_000, "r", 1)
