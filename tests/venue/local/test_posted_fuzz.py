"""Changed requests to the local venue: refused in its words, and nothing done that nobody signed."""

from __future__ import annotations

import asyncio

from bench.faults import Venue
from bench.fuzz import posted


def test_changed_requests_are_refused_and_do_nothing_that_nobody_signed(venue):
    counts = asyncio.run(posted.campaign(Venue(venue.urls), 800, 1))
    kinds = {kind.split()[-1] for kind in counts}
    assert {"EXEC_BAD_ENVELOPE", "SEC_SIGNATURE_REFUSED", "SEC_CREDENTIALS_REFUSED", "EXEC_MARKET_UNKNOWN"} <= kinds
    assert counts["/order: done"] and counts["market_ws: goes on"] and counts["user_ws: hung up"]
