"""sec.contractaddressguard: signed for is only what stands in the table, under its own domain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_cases import MANY, ask, codes, declared

from polytraders.security.contractaddressguard import Inputs, Pinned

BOT = "sec.contractaddressguard"
EXCHANGE, ADAPTER, OLD = ("0x" + digit * 40 for digit in "aBc")
SEPARATOR = "ab" * 32
TABLE = {
    EXCHANGE.lower(): Pinned("exchange", frozenset({"order", "spender"}), SEPARATOR),
    ADAPTER.lower(): Pinned("adapter", frozenset({"call"})),
}
GOOD = Inputs(137, EXCHANGE, SEPARATOR, "order", 137, TABLE, frozenset({OLD}))

REASONS = [
    ({}, "SEC_CONTRACT_ALLOWED"),
    ({"contract": EXCHANGE.upper().replace("X", "x")}, "SEC_CONTRACT_ALLOWED"),
    ({"contract": ADAPTER, "purpose": "call", "separator": ""}, "SEC_CONTRACT_ALLOWED"),
    ({"purpose": "spender", "separator": ""}, "SEC_CONTRACT_ALLOWED"),
    ({"contract": ADAPTER}, "SEC_CONTRACT_ADDRESS_NOT_ALLOWED"),
    ({"purpose": "call"}, "SEC_CONTRACT_ADDRESS_NOT_ALLOWED"),
    ({"contract": EXCHANGE[:-1] + "0"}, "SEC_CONTRACT_ADDRESS_NOT_ALLOWED"),
    ({"allowed": {}}, "SEC_CONTRACT_ADDRESS_NOT_ALLOWED"),
    ({"contract": OLD}, "SEC_CONTRACT_RETIRED"),
    ({"chain_id": 80002}, "SEC_WRONG_CHAIN"),
    ({"configured_chain": 1}, "SEC_WRONG_CHAIN"),
    ({"separator": "cd" * 32}, "SEC_DOMAIN_MISMATCH"),
    ({"separator": ""}, "SEC_DOMAIN_MISMATCH"),
]


@pytest.mark.parametrize(("changed", "code"), REASONS)
def test_every_reason(changed, code):
    said = ask(BOT, GOOD._replace(**changed))
    assert (said.code, said.refused) == (code, code != "SEC_CONTRACT_ALLOWED")


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


addresses = st.sampled_from([EXCHANGE, ADAPTER, OLD]) | st.text("0123456789abcdefABCDEF", min_size=40, max_size=40).map(
    "0x{}".format
)
separators = st.sampled_from([SEPARATOR, ""]) | st.text("0123456789abcdef", min_size=64, max_size=64)


@MANY
@given(
    st.sampled_from([1, 137, 80002]),
    addresses,
    separators,
    st.sampled_from(["order", "call", "spender", "other"]),
    st.sampled_from([TABLE, {}, {OLD: Pinned("x", frozenset({"call"}))}]),
)
def test_approved_is_a_row_of_the_table_and_nothing_else(chain, contract, separator, purpose, table):
    said = ask(
        BOT, GOOD._replace(chain_id=chain, contract=contract, separator=separator, purpose=purpose, allowed=table)
    )
    row = table.get(contract.lower())
    whole = row is not None and purpose in row.purposes and (purpose != "order" or row.separator == separator != "")
    assert (said.verdict == "APPROVE") == (chain == 137 and whole)
