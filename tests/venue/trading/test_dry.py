"""A dry run signs everything and sends nothing; the step hears that each order is over."""

import asyncio
import time

import pytest
from ports import Heard, actions, environment, make_guard, submit, test_key

from polytraders.config import DEMO_BUILDER_CODE
from polytraders.data.markets import MarketInfo
from polytraders.reasons import REGISTRY
from polytraders.rows import ActionKind, EventKind
from polytraders.units import MICRO
from polytraders.venue.dry import DryPort
from polytraders.venue.orders import Credentials
from polytraders.venue.polymarket.port import PolymarketPort

NOWHERE = {name: "http://127.0.0.1:9" for name in ("rest", "user_ws", "data")}
MARKET = MarketInfo(
    "0x1", "one", "one", str(7**60), str(5**70), tick=100, grid=100, min_size=5 * MICRO, fee_rate=0, fee_exponent=1,
    rebate_rate=0, neg_risk=False, event_id="", end_ts=0,
)  # fmt: skip


def test_everything_is_signed_and_nothing_is_sent():
    """The inner port points where nobody listens: a request would be an error."""
    inner = PolymarketPort(
        environment(NOWHERE), [MARKET], make_guard(test_key("dry")), Credentials("a", "YQ==", "b"), DEMO_BUILDER_CODE
    )  # fmt: skip
    port, heard = DryPort(inner), Heard()
    good, bad = submit(0, "BUY", "0.50", "10"), submit(0, "BUY", "0.505", "10")
    merge = submit(0, "BUY", "0.50", "10")
    merge["kind"] = ActionKind.MERGE

    async def run():
        await port.start(heard)
        requests = port.prepare(actions(good, bad, merge), time.time_ns())
        assert requests[0].body and requests[0].key.startswith("0x") and not requests[1].body
        await port.send(requests)
        await port.cancel_all()
        assert await port.open_orders() == []
        await port.stop()

    asyncio.run(run())
    assert heard.kinds(good["order_id"]) == ["CANCEL"]
    assert heard.codes(good["order_id"]) == ["EXEC_DRY_RUN"]
    assert heard.codes(bad["order_id"]) == ["EXEC_OFF_TICK"]
    assert heard.rows[-1]["kind"] == EventKind.MERGE and heard.rows[-1]["size"] == 0
    assert port.signed == 1 and inner.client.asked == 0


def test_the_reason_is_in_the_register():
    assert REGISTRY["EXEC_DRY_RUN"].family == "EXEC"
    with pytest.raises(KeyError):
        REGISTRY["EXEC_WET_RUN"]
