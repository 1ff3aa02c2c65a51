"""What the guard must know of the chain, read in rounds and told to it.

    watch = Watch(wallet, tokens, exchanges, guard.limits("sec.rpcfailovermanager"))
    seen = await asyncio.to_thread(watch.look)    reads, in a thread of its own
    watch.tell(guard, seen)                       on the thread that signs

A round that fails tells nothing: what was told before grows old, and the bots refuse by its age. Times in ns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from polytraders.bots import Conclusion
from polytraders.security import chainstateverifier, rpcfailovermanager
from polytraders.security.allowancemonitor import Allowance
from polytraders.security.chainstateverifier import View
from polytraders.security.rpcfailovermanager import Probe
from polytraders.venue.chain.nodes import Block
from polytraders.venue.chain.wallet import Holdings, Wallet
from polytraders.venue.guard import Funds, Guard
from polytraders.venue.refusal import Refused


@dataclass(frozen=True, slots=True)
class Seen:
    """One round. None: it could not be read, `failed` says why."""

    at: int  # ns, when the round began
    probes: tuple[Probe, ...]
    primary: str
    views: tuple[View, ...] | None
    block: Block | None
    allowances: tuple[Allowance, ...] | None
    holdings: Holdings | None
    failed: tuple[str, ...] = ()


@dataclass
class Watch:
    """Reads in rounds.

    Parameters
    ----------
    wallet: whose. tokens: outcome tokens of the run's markets. exchange: the spender whose allowance providers compare.
    rpc_limits: parameters of sec.rpcfailovermanager, which elects the primary.
    allowances_every: ns between readings of all allowances, which cost many requests.
    """

    wallet: Wallet
    tokens: Sequence[int]
    exchange: str
    rpc_limits: Any
    clock: Callable[[], int]
    allowances_every: int = 30 * 10**9
    _primary: str = field(default="", init=False)
    _relied_on: Block | None = field(default=None, init=False)
    _allowances_at: int = field(default=-(2**62), init=False)

    def look(self) -> Seen:
        """One round of readings. Raises nothing: what cannot be read is None."""
        nodes, now = self.wallet.nodes, self.clock()
        probes = tuple(nodes.probes())
        said = rpcfailovermanager.check(rpcfailovermanager.Inputs(probes, self._primary), self.rpc_limits, now)
        primary = said.payload.get("primary", "")
        failed: list[str] = []
        views = block = allowances = holdings = None
        try:
            found, block = self.wallet.views(self.exchange, self._relied_on)
            views = tuple(found)
            if now - self._allowances_at >= self.allowances_every:
                read, _ = self.wallet.allowances()
                allowances = tuple(read)
                self._allowances_at = now
            holdings = self.wallet.holdings(self.tokens)
        except Refused as error:
            failed.append(f"{error.code}: {error.what}")
        return Seen(now, probes, primary, views, block, allowances, holdings, tuple(failed))

    def tell(self, guard: Guard, seen: Seen) -> Conclusion | None:
        """Tell the guard what was seen. Returns what sec.chainstateverifier makes of the views, None without any.

        The block of a round becomes the one that is relied on when the bot approved it: after a reorganisation it
        stays refused until `accept` was called, which is after everything was read again from before it.
        """
        guard.providers(seen.probes, self._primary)
        self._primary = seen.primary or self._primary
        if seen.allowances is not None:
            guard.allowances(seen.allowances, seen.at)
        if seen.holdings is not None:
            guard.funds(Funds(seen.holdings.cash, seen.holdings.shares, seen.at))
        if seen.views is None or seen.block is None:
            return None
        relied_on = self._relied_on.hash if self._relied_on else ""
        guard.views(seen.views, seen.at, relied_on)
        given = chainstateverifier.Inputs(seen.views, seen.at, relied_on)
        said = chainstateverifier.check(given, guard.limits("sec.chainstateverifier"), seen.at)
        if not said.refused:
            self._relied_on = seen.block
        return said

    def accept(self) -> None:
        """Forget the block that was relied on: positions were reconciled from before it."""
        self._relied_on = None
