"""Every signed vector is rebuilt and equal; a vector that is wrong anywhere is said to be, and where."""

import copy
import json

import pytest
from order_reference import BUILDER, key

from polytraders.cli import main
from polytraders.errors import DataError
from polytraders.rows import OrderType
from polytraders.venue.orders import POLYGON, SELL, account, body, build, exchange, sign
from polytraders.venue.orders.build import Market
from polytraders.venue.orders.typed import domain_separator, struct_hash
from polytraders.venue.orders.vectors import PARTS, check_file, check_order

ALL = dict.fromkeys(PARTS, True)


@pytest.fixture(scope="module")
def vectors(shared):
    return json.loads(shared("venue/vectors.json").read_text())


@pytest.fixture
def run(capsys, monkeypatch):
    def call(*arguments) -> tuple[int, dict]:
        monkeypatch.setattr("sys.argv", ["polytraders", "venue", "check-vectors", *map(str, arguments), "--json"])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, json.loads(capsys.readouterr().out)

    return call


def test_every_vector_of_both_official_clients_is_equal(shared, run):
    code, result = run(shared("venue/vectors.json"))
    assert code == 0 and result["all_equal"] and result["orders"] == result["orders_equal"] == 36
    assert all(vector["parts"] == ALL for vector in result["vectors"])
    assert {"l1_auth[1]", "l2_hmac[2]", "wallet_derivation_polygon"} <= {other["name"] for other in result["others"]}


def test_the_one_vector_where_the_official_clients_disagree_has_the_amounts_of_the_one_that_is_right(shared, vectors):
    disagreeing = [vector["name"] for vector in vectors["orders"] if not vector["amounts_agree"]]
    noted = {v["name"]: v["notes"] for v in check_file(shared("venue/vectors.json"))["vectors"] if v["notes"]}
    assert disagreeing == ["market_sell_01"] and "(57120000, 32558400)" in noted["market_sell_01"][0]
    assert "protocol v2" in noted.pop("exchange_v3_position_buy")[0]
    assert list(noted) == disagreeing


def first(vectors, name: str) -> dict:
    return copy.deepcopy(next(vector for vector in vectors["orders"] if vector["name"] == name))


def put(vector: dict, path: str, value: object) -> None:
    *way, last = path.split(".")
    for step in way:
        vector = vector[step]
    assert vector[last] != value
    vector[last] = value


WRONG = {
    "inputs.price": ("0.35", {"amounts"}),
    "inputs.size": ("100.01", {"amounts"}),
    "inputs.side": ("SELL", {"amounts"}),
    "inputs.tick_size": ("0.1", {"amounts"}),
    "inputs.neg_risk": (True, set(PARTS) - {"amounts"}),
    "chain_id": (80002, set(PARTS) - {"amounts"}),
    "domain.verifyingContract": ("0x" + "22" * 20, set(PARTS) - {"amounts"}),
    "message.salt": ("1", {"struct_hash", "order_id", "signature", "signer", "body"}),
    "message.makerAmount": ("34000001", {"amounts", "struct_hash", "order_id", "signature", "signer", "body"}),
    "struct_hash": ("0x00", {"struct_hash"}),
    "domain_separator": ("0x00", {"domain_separator"}),
    "eip712_hash": ("0x00", {"order_id"}),
    "signature": ("0x00", {"signature", "signer"}),
    "expiration_posted": ("1710000300", {"body"}),
    "post_body.orderType": ("GTD", {"body"}),
    "post_body.order.salt": (1, {"body"}),
    "post_body.deferExec": (True, {"body"}),
    "amounts_polymarket_client": (["34000001", "100000000"], {"amounts"}),
}


@pytest.mark.parametrize("path", WRONG)
def test_a_vector_that_is_wrong_in_one_place_differs_in_what_depends_on_it(path: str, vectors):
    vector = first(vectors, "limit_builder_buy")
    assert check_order(vector, key()) == {"name": vector["name"], "equal": True, "parts": ALL, "notes": []}
    value, differs = WRONG[path]
    put(vector, path, value)
    verdict = check_order(vector, key())
    assert not verdict["equal"] and {name for name in PARTS if not verdict["parts"][name]} == differs


@pytest.mark.parametrize("name", ["message", "inputs", "signature", "domain", "post_body"])
def test_a_vector_with_a_part_missing_is_not_equal_and_says_which(name: str, vectors):
    vector = first(vectors, "limit_builder_buy")
    del vector[name]
    verdict = check_order(vector, key())
    assert not verdict["equal"] and name in verdict["notes"][-1]


def test_one_wrong_vector_makes_the_answer_no(vectors, tmp_path, run):
    wrong = copy.deepcopy(vectors)
    put(wrong["orders"][5], "message.timestamp", "1710000000001")
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    code, result = run(tmp_path / "wrong.json")
    assert code == 1 and not result["all_equal"] and result["orders_equal"] == 35
    assert [vector["name"] for vector in result["vectors"] if not vector["equal"]] == [wrong["orders"][5]["name"]]


def test_a_wrong_request_signature_makes_the_answer_no_too(vectors, tmp_path, run):
    wrong = copy.deepcopy(vectors)
    put(wrong["l2_hmac"][1], "path", "/order")
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    code, result = run(tmp_path / "wrong.json")
    assert code == 1 and [other["name"] for other in result["others"] if not other["equal"]] == ["l2_hmac[1]"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"private_key": "0x12", "orders": []}', "\x00"])
def test_what_is_no_file_of_vectors_is_refused(text: str, tmp_path, run):
    (tmp_path / "bad.json").write_text(text)
    code, result = run(tmp_path / "bad.json")
    assert code in (2, 4) and result["error"]


def test_a_file_without_orders_is_not_all_equal(vectors, tmp_path):
    (tmp_path / "none.json").write_text(json.dumps(vectors | {"orders": []}))
    assert not check_file(tmp_path / "none.json")["all_equal"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="no.json"):
        check_file(tmp_path / "no.json")


def sell_at(tick: str, price: str, shares: str, official: list[str]) -> dict:
    """A FAK sell as the official clients would give it in a file: amounts in the tick's own decimals."""
    domain = exchange(POLYGON, False)
    market = Market(7**90, 10, 5_000_000, False, POLYGON, "v1")
    mine = account(key().address, 0, POLYGON)
    order = build(
        market, mine, SELL, 4_440, 10_010_000, OrderType.FAK, salt=7, timestamp_ms=1_710_000_000_000, builder=BUILDER
    )
    signed = sign(order, key(), domain)
    names = ("salt", "maker", "signer", "tokenId", "makerAmount", "takerAmount", "side", "signatureType", "timestamp")
    return {
        "name": "fine",
        "chain_id": POLYGON,
        "domain": dict(zip(("name", "version", "chainId", "verifyingContract"), domain, strict=True)),
        "inputs": {
            "kind": "market",
            "tick_size": tick,
            "neg_risk": False,
            "side": "SELL",
            "price": price,
            "amount": shares,
        },
        "message": dict(zip((*names, "metadata", "builder"), order, strict=True)),
        "expiration_posted": "0",
        "struct_hash": "0x" + struct_hash(order).hex(),
        "domain_separator": "0x" + domain_separator(domain).hex(),
        "eip712_hash": signed.order_id,
        "signature": signed.signature,
        "amounts_polymarket_client": official,
        "amounts_agree": False,
        "post_body": body(order, signed.signature, OrderType.FAK, owner="an-api-key"),
    }


def test_official_amounts_too_fine_for_the_venue_are_explained_and_others_differ():
    # 10.01 x 0.444 = 4.44444: the clients sign five decimals on this tick, the venue takes four
    explained = check_order(sell_at("0.001", "0.444", "10.01", ["10010000", "4444440"]), key())
    assert explained["equal"] and "four decimals" in explained["notes"][0]
    unexplained = check_order(sell_at("0.001", "0.444", "10.01", ["10010000", "4444430"]), key())
    assert not unexplained["parts"]["amounts"] and "differ" in unexplained["notes"][0]
