"""The guard around the signer: the one door to a signature, with every enforced security bot before it.

    guard = Guard(key, account, settings)
    guard.authorise("strat.maker_tight", now)          a session: who may sign what, until when
    guard.funds(Funds(...))                            what is known, whenever it is read anew
    checked = guard.preview(asked, now)                one Checked an order: refused by whom, or not at all
    signed = guard.sign(asked, now)                    the same, then (id, signature) or the refusal of each

The key lives here and nowhere else: whoever holds a guard can have signed only what passes. What an order is compared
with (`Decided`) comes from the step's action and the run's configuration, never from who built the order.

Invariants
    G1  a signature is made only after every enforced bot approved that very record at that time
    G2  what is not known, too old, or fails while it is checked, refuses
    G3  an approved order's cost is counted before the next one is checked, until it is told that the order ended
    G4  `BYPASSES` is the whole list of what signs or sends without these checks

Times in ns, money in micro-pUSD, sizes in micro-shares.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from polytraders.bots import BotMode, Conclusion, ServiceBot, load_bot, security_check
from polytraders.execution import nonceshepherd
from polytraders.rows import OrderType, Side
from polytraders.security import (
    allowancemonitor,
    chainstateverifier,
    contractaddressguard,
    keyrotationreminder,
    rpcfailovermanager,
    sessionkeymanager,
    signaturepreviewer,
    wallet_funding_guard,
    walletpermissionguard,
)
from polytraders.units import ONE
from polytraders.venue.chain import calls
from polytraders.venue.chain.addresses import RETIRED, Contracts, contracts, pinned
from polytraders.venue.chain.calls import Call
from polytraders.venue.orders import Account, Domain, Key, Order, Signed, whole_cents
from polytraders.venue.orders.signing import sign as _sign
from polytraders.venue.orders.typed import ZERO_WORD, domain_separator
from polytraders.venue.refusal import Refused

if TYPE_CHECKING:
    import numpy as np

    from polytraders.config import Settings

Decided = signaturepreviewer.Decided

BYPASSES = {
    "cancel": "A cancel is authenticated by the API credentials, not signed with the key, and can only end orders.",
    "flatten": "Under a kill switch a SELL passes: shares that are held are all one can sell, so it only reduces. "
    "Every other check holds.",
    "pause": "The emergency stop is sent under a kill switch, after a session's end and at any percentile of gas.",
    "polytraders.venue.orders.auth": "The venue's login (ClobAuth) proves the key's address; it moves nothing.",
    "polytraders.venue.orders.vectors": "Signs published vectors with the public test keys that stand in their file.",
}
"""What reaches a signature or the venue without the whole chain of checks: a situation or a module, and why."""

BOTS = (
    "sec.walletpermissionguard",
    "sec.signaturepreviewer",
    "sec.sessionkeymanager",
    "sec.keyrotationreminder",
    "sec.allowancemonitor",
    "sec.rpcfailovermanager",
    "sec.chainstateverifier",
    "sec.contractaddressguard",
    "exec.nonceshepherd",
    "sec.wallet_funding_guard",
)
"""Who is asked, in this order: absolute and cheap checks first, money last."""
CHAIN_BOTS = ("sec.allowancemonitor", "sec.rpcfailovermanager", "sec.chainstateverifier")
SURFACES = {
    "sec.walletpermissionguard": "wallet",
    "sec.signaturepreviewer": "signature",
    "sec.sessionkeymanager": "session_key",
    "sec.keyrotationreminder": "key",
    "sec.allowancemonitor": "allowance",
    "sec.rpcfailovermanager": "rpc",
    "sec.chainstateverifier": "chain",
    "sec.contractaddressguard": "contract",
    "sec.wallet_funding_guard": "wallet",
}
STANDING_FOR = 100_000_000
"""ns for which a conclusion about the chain or the keys is taken as it is, before the bot is asked again."""
SALTS = 100_000
"""Salts of recent orders that are remembered."""
ORDER_METHOD = "matchOrders"
"""What an order permits: the exchange's operator may match it."""


class Asked(NamedTuple):
    """One order that is to be signed, and what was decided."""

    order: Order
    domain: Domain
    decided: Decided
    fee: int = 0  # micro-pUSD that a BUY may cost on top
    overridden_until: int = 0  # ns, end of a person's override of this intent's funding; 0 = none


def decided(action: np.void, token_id: int, account: Account, builder: str, metadata: str = ZERO_WORD) -> Decided:
    """What the step decided, from its action alone. action: rows.ACTION of a submit; token_id: of its outcome.

    A BUY that may not rest spends money: that of its size at its limit, in whole cents as the venue takes it.
    """
    side, price, size = int(action["side"]), int(action["price"]), int(action["size"])
    by_money = side == Side.BUY and int(action["order_type"]) in (OrderType.FOK, OrderType.FAK)
    amount = whole_cents(price * size // ONE) if by_money else size
    kind = int(account.signature_type)
    return Decided(token_id, side, price, amount, by_money, account.maker, account.signer, kind, builder, metadata)


class Funds(NamedTuple):
    """What the wallet holds, and what others have reserved of it."""

    cash: int
    shares: Mapping[int, int]  # token id -> micro-shares
    read_at: int
    reserved_elsewhere: int = 0  # micro-pUSD promised by other processes on the same wallet


class Grant(NamedTuple):
    """What one strategy may have signed."""

    strategy: str
    methods: frozenset[str]
    contracts: frozenset[str]  # small-letter addresses
    expires: int


class Checked(NamedTuple):
    """What the bots said about one order or call."""

    bot_id: str  # who refused, "" = nobody
    refusal: Conclusion | None
    warned: tuple[tuple[str, Conclusion], ...]  # warnings, and refusals of bots that do not bind

    def documents(self, plan_id: str, now: int) -> list[Any]:
        """`contracts.SecurityCheck` of what was refused and warned about, by security bots."""
        said = (*self.warned, *(((self.bot_id, self.refusal),) if self.refusal else ()))
        return [
            security_check(bot_id, c, plan_id=plan_id, surface=SURFACES[bot_id], now=now)
            for bot_id, c in said
            if bot_id in SURFACES
        ]

    def raise_refusal(self) -> None:
        """Raise `Refused` when somebody refused."""
        if self.refusal is not None:
            what = self.refusal.what or f"{self.refusal.observed} against {self.refusal.limit} {self.refusal.unit}"
            raise Refused(self.refusal.code, what, where=self.bot_id)


class _Seat(NamedTuple):
    """One bot as this guard asks it."""

    bot_id: str
    check: Callable[[Any, Any, int], Conclusion]
    limits: Any
    binds: bool


class Guard:
    """The signer with its guard.

    Parameters
    ----------
    key: signs; it is not handed out again.
    account: who funds and signs, and on which chain.
    settings: modes and parameters of the bots.
    chain: whether the wallet is one of a chain that is read; False for a venue of one's own without a chain: the bots
        of `CHAIN_BOTS` are not asked then, and `asked` says so.
    table: other contracts than the pinned ones, for a chain of one's own.
    settles: ns that a match may take to be in a balance: what filled is held back until a reading so much later.
    """

    def __init__(
        self,
        key: Key,
        account: Account,
        settings: Settings,
        *,
        chain: bool = True,
        table: Contracts | None = None,
        settles: int = 0,
    ):
        self._key, self.account, self.chain, self.settles = key, account, chain, settles
        self._table = table or contracts(account.chain_id)
        self._allowed = pinned(account.chain_id, self._table)
        self._spenders = frozenset(a for a, row in self._allowed.items() if "spender" in row.purposes)
        self._seats: dict[str, _Seat] = {}
        for bot_id in BOTS:
            bot, config = load_bot(bot_id), settings.bot(bot_id)
            assert isinstance(bot, ServiceBot)
            if config.mode is BotMode.OFF or (bot_id in CHAIN_BOTS and not chain):
                continue
            binds = config.mode in (BotMode.ENFORCED, BotMode.QUARANTINE)
            self._seats[bot_id] = _Seat(bot_id, bot.check, bot.spec.limits(config.values), binds)
        self.kill_switch = False
        self._grants: dict[str, Grant] = {}
        self._sessions: dict[str, sessionkeymanager.Session] = {}
        self._strategy = ""
        self._funds = Funds(0, {}, 0)
        self._reserved: dict[str, tuple[int, int, int]] = {}  # order id -> token (0 = cash), amount, shares to come
        self._settling: list[tuple[int, int, int]] = []  # (since, token, amount): filled, not in the balance yet
        self._totals: dict[int, int] = {}  # token -> reserved and settling
        self._allowances: allowancemonitor.Inputs | None = None
        self._probes: rpcfailovermanager.Inputs | None = None
        self._views: chainstateverifier.Inputs | None = None
        self._keys: keyrotationreminder.Inputs | None = None
        self._credentials_end = 2**62
        self._salts: set[int] = set()
        self._salt_order: deque[int] = deque()
        self._takes: dict[tuple[str, str], int] = {}  # (spender, token) -> what it may take
        self._least = 0  # smallest balance that any provider says
        self._separators: dict[Domain, str] = {}
        self._standing: tuple[tuple[str, Conclusion], ...] = ()
        self._standing_at = -STANDING_FOR - 1

    # -- who may sign ------------------------------------------------------------------------------------------

    @property
    def asked(self) -> dict[str, bool]:
        """Bots that are asked -> whether their refusal binds."""
        return {seat.bot_id: seat.binds for seat in self._seats.values()}

    def limits(self, bot_id: str) -> Any:
        """The bot's parameters in kernel units, as this guard has them; its spec's defaults for one that is off."""
        seat = self._seats.get(bot_id)
        return seat.limits if seat else load_bot(bot_id).spec.limits()

    @property
    def address(self) -> str:
        """Address of the key."""
        return self._key.address

    def authorise(
        self,
        strategy: str,
        now: int,
        *,
        lasts: int = 8 * 3_600 * 10**9,
        methods: Iterable[str] = (ORDER_METHOD,),
        targets: Iterable[str] | None = None,
    ) -> None:
        """Begin a session: `strategy` may have these methods of these contracts signed from now on.

        targets: small-letter addresses, by default both exchanges. A former session of the strategy is replaced.
        """
        both = (self._table.exchange.lower(), self._table.neg_risk_exchange.lower())
        where = both if targets is None else targets
        self._grants[strategy] = Grant(strategy, frozenset(methods), frozenset(where), now + lasts)
        self._sessions[strategy] = sessionkeymanager.Session(strategy, self._key.address, now, now)
        self._strategy = self._strategy or strategy

    def revoke(self, strategy: str = "") -> None:
        """End the session of a strategy, of all without a name."""
        for name in [strategy] if strategy else list(self._sessions):
            if name in self._sessions:
                self._sessions[name] = self._sessions[name]._replace(revoked=True)

    # -- what is known -----------------------------------------------------------------------------------------

    def funds(self, funds: Funds) -> None:
        """A reading of what the wallet holds. What filled before it was read is in it and no longer held back."""
        self._funds = funds
        keep = []
        for since, token, amount in self._settling:
            if since + self.settles >= funds.read_at:
                keep.append((since, token, amount))
            else:
                self._totals[token] = self._totals.get(token, 0) - amount
        self._settling = keep

    def promised(self, order_id: str, token: int, amount: int, shares: int) -> None:
        """An order that a former process had signed and that may still trade. token: 0 = cash; amount: what it holds
        back, micro-pUSD or micro-shares; shares: micro-shares still to come. Known ids are left as they are."""
        if order_id in self._reserved or amount <= 0:
            return
        self._reserved[order_id] = (token, amount, shares)
        self._totals[token] = self._totals.get(token, 0) + amount

    def filled(self, order_id: str, money: int, shares: int, now: int) -> None:
        """A part of an order was matched: `money` (micro-pUSD, with its fee) against `shares` (micro-shares).

        What leaves the wallet is held back until a reading of it after `now`; an order that is filled whole frees the
        rest of what it had reserved. Unknown ids are ignored.
        """
        if (held := self._reserved.get(order_id)) is None:
            return
        token, amount, left = held
        part = min(shares if token else money, amount)
        if part > 0:
            self._settling.append((now, token, part))
        self._reserved[order_id] = (token, amount - part, left - shares)
        if left <= shares:
            self.ended(order_id)

    def ended(self, order_id: str) -> None:
        """An order of ours ended: what it had still reserved is free. Unknown ids are ignored."""
        token, rest, _ = self._reserved.pop(order_id, (0, 0, 0))
        self._totals[token] = self._totals.get(token, 0) - rest

    def allowances(self, read: Sequence[allowancemonitor.Allowance], read_at: int) -> None:
        """A reading of what contracts may take of the wallet."""
        self._allowances = allowancemonitor.Inputs(tuple(read), self._spenders, read_at)
        self._takes = {(a.spender, a.token): a.amount for a in read}
        self._standing_at = -STANDING_FOR - 1

    def providers(self, probes: Sequence[rpcfailovermanager.Probe], primary: str) -> None:
        """A round of probes of the chain's providers."""
        self._probes = rpcfailovermanager.Inputs(tuple(probes), primary)
        self._standing_at = -STANDING_FOR - 1

    def views(self, views: Sequence[chainstateverifier.View], read_at: int, relied_on: str = "") -> None:
        """What each provider says about the wallet at one block."""
        self._views = chainstateverifier.Inputs(tuple(views), read_at, relied_on)
        self._least = min((view.balance for view in views), default=0)
        self._standing_at = -STANDING_FOR - 1

    def keys(self, uses: Sequence[keyrotationreminder.KeyUse], environment: str) -> None:
        """The record of keys in use."""
        self._keys = keyrotationreminder.Inputs(tuple(uses), environment)
        self._standing_at = -STANDING_FOR - 1

    def credentials(self, end: int) -> None:
        """When the venue's credentials end, ns."""
        self._credentials_end = end

    # -- checks ------------------------------------------------------------------------------------------------

    def _ask(self, seat: _Seat, given: Any, now: int) -> Conclusion:
        """The bot's conclusion; a bot that fails, or was never told anything, refuses (G2)."""
        if given is None:
            return Conclusion("SEC_CHECK_FAILED", "REJECT", what=f"{seat.bot_id} was told nothing yet")
        try:
            return seat.check(given, seat.limits, now)
        except Exception as error:  # noqa: BLE001  whatever it is, nothing may be signed without an answer
            return Conclusion("SEC_CHECK_FAILED", "REJECT", what=f"{seat.bot_id}: {type(error).__name__}: {error}")

    def _stand(self, now: int) -> tuple[tuple[str, Conclusion], ...]:
        """What is to be said of keys and chain whatever the order: (bot, conclusion) of all but plain approvals."""
        if 0 <= now - self._standing_at <= STANDING_FOR:
            return self._standing
        given = {
            "sec.keyrotationreminder": self._keys,
            "sec.allowancemonitor": self._allowances,
            "sec.rpcfailovermanager": self._probes,
            "sec.chainstateverifier": self._views,
        }
        said = [(b, self._ask(self._seats[b], facts, now)) for b, facts in given.items() if b in self._seats]
        self._standing = tuple((b, c) for b, c in said if c.refused or c.severity != "INFO")
        self._standing_at = now
        return self._standing

    def unready(self, now: int, strategy: str = "") -> list[tuple[str, Conclusion]]:
        """Refusals that any order would meet now, by bots that bind: what is not known of keys, chain and funds, or too
        old, and a session that ended. Empty = the next order is judged by what it is. A kill switch is not among them.
        """
        name = strategy or self._strategy
        said = list(self._stand(now))
        funds = wallet_funding_guard.Inputs(0, self._funds.cash, 0, self._funds.read_at)
        session = sessionkeymanager.Inputs(name, self._key.address, 1, self._sessions.get(name))
        for bot_id, given in (("sec.sessionkeymanager", session), ("sec.wallet_funding_guard", funds)):
            if (seat := self._seats.get(bot_id)) is not None:
                said.append((bot_id, self._ask(seat, given, now)))
        return [(bot_id, c) for bot_id, c in said if c.refused and self._seats[bot_id].binds]

    def warnings(self, now: int) -> list[tuple[str, Conclusion]]:
        """What is to be said of keys and chain without refusing an order: warnings, and bots that do not bind."""
        return [(b, c) for b, c in self._stand(now) if not (c.refused and self._seats[b].binds)]

    def state(self) -> dict[str, Any]:
        """What the guard holds, for people: no key, no signature."""
        session = self._sessions.get(self._strategy)
        return {
            "asked": self.asked,
            "chain": self.chain,
            "kill_switch": self.kill_switch,
            "cash": self._funds.cash,
            "reserved": self._totals.get(0, 0),
            "funds_read_at": self._funds.read_at,
            "signatures": session.calls if session else 0,
            "session_since": session.granted_at if session else 0,
        }

    def _need(self, domain: Domain, cost: int, selling: bool, now: int) -> Iterable[tuple[str, Conclusion]]:
        """Allowance and balance for one order: asked of the bots in full only where a plain comparison falls short."""
        exchange = domain.contract.lower()
        token, least = ("CTF", 1) if selling else ("pUSD", cost)
        if self._takes.get((exchange, token), 0) < least:
            if (seat := self._seats.get("sec.allowancemonitor")) and (read := self._allowances):
                given = allowancemonitor.Inputs(read.allowances, read.known, read.read_at, exchange, cost, selling)
                yield "sec.allowancemonitor", self._ask(seat, given, now)
        if self._least < cost and not selling:
            if (seat := self._seats.get("sec.chainstateverifier")) and (seen := self._views):
                whole = chainstateverifier.Inputs(seen.views, seen.read_at, seen.relied_on, cost)
                yield "sec.chainstateverifier", self._ask(seat, whole, now)

    def _check(self, asked: Asked, strategy: str, number: int, totals: dict[int, int], now: int) -> Checked:
        order, domain = asked.order, asked.domain
        selling = bool(order.side)
        money = order.taker_amount if selling else order.maker_amount
        killed = self.kill_switch and not selling  # BYPASSES: flatten
        grant = self._grants.get(strategy) or _NO_GRANT
        token = order.token_id if selling else 0
        held = self._funds.shares.get(token, 0) if selling else self._funds.cash
        promised = totals.get(token, 0) + (0 if selling else self._funds.reserved_elsewhere)
        contract = domain.contract.lower()
        if (separator := self._separators.get(domain)) is None:
            separator = self._separators[domain] = domain_separator(domain).hex()
        required = order.maker_amount + (0 if selling else asked.fee)
        warned: list[tuple[str, Conclusion]] = []
        for bot_id, said in self._stand(now):
            if said.refused and self._seats[bot_id].binds:
                return Checked(bot_id, said, ())
            warned.append((bot_id, said))
        per_order = (
            (
                "sec.walletpermissionguard",
                (strategy, ORDER_METHOD, contract, money, *grant, killed),
                walletpermissionguard.Inputs,
            ),
            ("sec.signaturepreviewer", (order, asked.decided, killed), signaturepreviewer.Inputs),
            (
                "sec.sessionkeymanager",
                (strategy, self._key.address, number + 1, self._sessions.get(strategy), killed),
                sessionkeymanager.Inputs,
            ),
            (
                "sec.contractaddressguard",
                (
                    domain.chain_id, domain.contract, separator, "order", self.account.chain_id,
                    self._allowed, RETIRED,
                ),
                contractaddressguard.Inputs,
            ),
            (
                "sec.wallet_funding_guard",
                (required, held, promised, self._funds.read_at, selling, asked.overridden_until),
                wallet_funding_guard.Inputs,
            ),
        )  # fmt: skip
        for bot_id, values, inputs in per_order:
            seat = self._seats.get(bot_id)
            if seat is None:
                continue
            said = self._ask(seat, inputs(*values), now)
            if said.refused:
                if seat.binds:
                    return Checked(bot_id, said, tuple(warned))
                warned.append((bot_id, said))
            elif said.code not in _PLAIN and said.severity != "INFO":
                warned.append((bot_id, said))
        if (seat := self._seats.get("exec.nonceshepherd")) is not None:
            given = nonceshepherd.Inputs(
                False, unposted=number, salt=order.salt, salts=self._salts, credentials_end=self._credentials_end
            )
            said = self._ask(seat, given, now)
            if said.refused and seat.binds:
                return Checked("exec.nonceshepherd", said, tuple(warned))
            if said.code != "EXEC_NONCE_RESERVED":
                warned.append(("exec.nonceshepherd", said))
        if self.chain:
            for bot_id, said in self._need(domain, required, selling, now):
                if said.refused and self._seats[bot_id].binds:
                    return Checked(bot_id, said, tuple(warned))
                warned.append((bot_id, said))
        return Checked("", None, tuple(warned)) if warned else _CLEAN

    def preview(self, asked: Sequence[Asked], now: int, strategy: str = "") -> list[Checked]:
        """What the bots say about these orders, in turn, each with what those before it would reserve. Signs nothing.

        strategy: who asks, by default the first that was authorised.
        """
        totals, salts, passed, out = dict(self._totals), [], 0, []
        for one in asked:
            checked = self._check(one, strategy or self._strategy, passed, totals, now)
            if checked.refusal is None:
                passed += 1
                token, amount = _reservation(one)
                totals[token] = totals.get(token, 0) + amount
                if one.order.salt not in self._salts:
                    self._salts.add(one.order.salt)
                    salts.append(one.order.salt)
            out.append(checked)
        self._salts.difference_update(salts)
        return out

    # -- signatures --------------------------------------------------------------------------------------------

    def sign(self, asked: Sequence[Asked], now: int, strategy: str = "") -> list[Signed | Checked]:
        """Check and sign, one by one: (id, signature) of what passed, the refusal of what did not (G1).

        Raises nothing for a single order, whatever is wrong with it.
        """
        name, out = strategy or self._strategy, []
        for one in asked:
            checked = self._check(one, name, 0, self._totals, now)
            if checked.refusal is not None:
                out.append(checked)
                continue
            try:
                signed = _sign(one.order, self._key, one.domain)
            except Refused as error:
                out.append(Checked("signer", Conclusion(error.code, "REJECT", what=error.what), checked.warned))
                continue
            self._count(name, now)
            token, amount = _reservation(one)
            shares = one.order.maker_amount if one.order.side else one.order.taker_amount
            self._reserved[signed.order_id] = (token, amount, shares)
            self._totals[token] = self._totals.get(token, 0) + amount
            self._remember(one.order.salt)
            out.append(signed)
        return out

    def sign_one(self, asked: Asked, now: int, strategy: str = "") -> Signed:
        """As `sign`, for one order. Raises `Refused` with the code of who refused."""
        done = self.sign((asked,), now, strategy)[0]
        if isinstance(done, Checked):
            done.raise_refusal()
        return done  # type: ignore[return-value]

    def _count(self, strategy: str, now: int) -> None:
        """One more signature of the strategy's session."""
        if (session := self._sessions.get(strategy)) is not None:
            self._sessions[strategy] = session._replace(calls=session.calls + 1, last_used=now)

    def _remember(self, salt: int) -> None:
        self._salts.add(salt)
        self._salt_order.append(salt)
        if len(self._salt_order) > SALTS:
            self._salts.discard(self._salt_order.popleft())

    def check_call(self, call: Call, chain_id: int, now: int, strategy: str = "") -> Checked:
        """What the bots say about a transaction: read back from its bytes, and compared with what it is said to be."""
        name = strategy or self._strategy
        urgent = call.method == "pauseUser"  # BYPASSES: pause
        try:
            method, spender, amount = calls.decode(call.data)
        except Refused as error:
            return _refuse("sec.signaturepreviewer", error.code, error.what)
        if (method, spender, amount) != (call.method, call.spender.lower(), call.amount):
            what = f"the bytes say {method} {spender} {amount}, meant was {call.method} {call.spender} {call.amount}"
            return _refuse("sec.signaturepreviewer", "SEC_PREVIEW_FIELD_DIFFERS", what)
        target = call.to.lower()
        purpose = "pause" if method in ("pauseUser", "unpauseUser") else "call"
        places = [(call.to, purpose)]
        if spender and amount:
            places.append((spender, "spender"))
        grant = self._grants.get(name) or _NO_GRANT
        moves = amount if method in ("splitPosition", "convertPositions") else 0
        killed = self.kill_switch and not urgent and not (method in ("approve", "setApprovalForAll") and not amount)
        asked: list[tuple[str, Any]] = [
            (
                "sec.contractaddressguard",
                contractaddressguard.Inputs(chain_id, to, "", p, self.account.chain_id, self._allowed, RETIRED),
            )
            for to, p in places
        ]
        if not urgent:
            asked += [
                (
                    "sec.walletpermissionguard",
                    walletpermissionguard.Inputs(name, method, target, moves, *grant, killed),
                ),
                (
                    "sec.sessionkeymanager",
                    sessionkeymanager.Inputs(name, self._key.address, 1, self._sessions.get(name), killed),
                ),
            ]
        for bot_id, given in asked:
            seat = self._seats.get(bot_id)
            if seat is not None and (said := self._ask(seat, given, now)).refused and seat.binds:
                return Checked(bot_id, said, ())
        return _CLEAN

    def sign_transaction(self, call: Call, fields: Mapping[str, Any], now: int, strategy: str = "") -> bytes:
        """The raw bytes of a signed EIP-1559 transaction that makes this call, ready to be sent.

        fields: chainId, nonce, gas, maxFeePerGas, maxPriorityFeePerGas. Raises `Refused` when a bot refuses.
        """
        from eth_account.typed_transactions import TypedTransaction

        checked = self.check_call(call, fields["chainId"], now, strategy)
        checked.raise_refusal()
        body = {**fields, "type": 2, "to": call.to, "data": call.data, "value": 0, "accessList": []}
        raw = self._key.sign(bytes(TypedTransaction.from_dict(body).hash()))
        numbers = {
            "v": raw[64] - 27,
            "r": int.from_bytes(raw[:32], "big"),
            "s": int.from_bytes(raw[32:64], "big"),
        }
        self._count(strategy or self._strategy, now)
        return bytes(TypedTransaction.from_dict(body | numbers).encode())


_NO_GRANT = Grant("", frozenset(), frozenset(), 0)
_CLEAN = Checked("", None, ())
_PLAIN = frozenset(
    {
        "SEC_WALLET_PERMITTED",
        "SEC_PREVIEW_EQUAL",
        "SEC_SESSION_ACTIVE",
        "SEC_CONTRACT_ALLOWED",
        "SEC_FUNDING_OK",
    }
)
"""Approvals without a warning: named, so that the register is not asked for each order."""


def _reservation(asked: Asked) -> tuple[int, int]:
    """(token, amount) that the order holds back; token 0 is cash."""
    order = asked.order
    return (order.token_id, order.maker_amount) if order.side else (0, order.maker_amount + asked.fee)


def _refuse(bot_id: str, code: str, what: str) -> Checked:
    return Checked(bot_id, Conclusion(code, "REJECT", what=what), ())
