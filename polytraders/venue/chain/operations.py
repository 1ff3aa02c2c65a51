"""What a person does with a wallet on the chain: look, allow, revoke, split, merge, redeem, convert, and pause at last.

    with opened(urls, key, SignatureType.EOA, settings, folder) as desk:
        plan = desk.plan(calls.split(desk.where, condition, 50_000_000), words="split 50")
        desk.carry_out(plan)

Nothing is signed before `carry_out`. Every transaction stands in `transactions.jsonl` before it is sent; the next
process takes up those that are not known to be mined, so that a nonce is never used for two of them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polytraders.units import MICRO
from polytraders.venue.chain import calls
from polytraders.venue.chain.addresses import CONTRACTS, Contracts, contracts, pinned
from polytraders.venue.chain.calls import Call
from polytraders.venue.chain.nodes import Nodes, connect
from polytraders.venue.chain.sender import Quote, Receipt, Sender, Sent
from polytraders.venue.chain.wallet import Wallet
from polytraders.venue.guard import Guard
from polytraders.venue.orders import Account, Key, SignatureType, account
from polytraders.venue.refusal import Refused

if TYPE_CHECKING:
    from polytraders.config import Settings

OPERATOR = "operator"
"""Whose session a person's transactions are signed in."""
SESSION = 15 * 60 * 10**9
"""ns that it lasts."""


class Plan(NamedTuple):
    """Transactions in order, and the words that a person types to have them sent."""

    calls: tuple[Call, ...]
    quotes: tuple[Quote | None, ...]  # None: it can be priced only after those before it
    words: str
    sender: Sender  # whose session covers these calls and nothing else


@dataclass
class Operations:
    """One wallet, its chain and its journal."""

    nodes: Nodes
    where: Contracts
    account: Account
    guard: Guard | None  # None: it can only be looked at
    settings: Settings
    journal: Path
    clock: Callable[[], int] = time.time_ns
    patience: float = 180.0
    poll: float = 1.0

    @property
    def wallet(self) -> Wallet:
        return Wallet(self.nodes, self.where, self.account.maker)

    def names(self) -> dict[str, str]:
        """Small-letter address -> name of each contract in the pinned table."""
        return {address: row.name for address, row in pinned(self.nodes.chain_id, self.where).items()}

    def spender(self, text: str) -> str:
        """A spender by its name in the table or its address. Raises `Refused` for anybody else."""
        known = {a: r.name for a, r in pinned(self.nodes.chain_id, self.where).items() if "spender" in r.purposes}
        found = [address for address, name in known.items() if text.lower() in (address, name)]
        if not found:
            what = f"{text!r} is none of the venue's contracts that may take tokens"
            rule = f"one of {', '.join(sorted(known.values()))}, or its address"
            raise Refused("SEC_CONTRACT_ADDRESS_NOT_ALLOWED", what, where="spender", rule=rule)
        return getattr(self.where, known[found[0]])

    def needed(self, names: Sequence[str]) -> list[str]:
        """Spenders by name; all of the table that trading needs without any."""
        return [self.spender(name) for name in names or ("exchange", "neg_risk_exchange")]

    # -- doing -------------------------------------------------------------------------------------------------

    def sender(self, made: Sequence[Call]) -> Sender:
        """A sender whose session covers these calls and nothing else. Raises `Refused` for a wallet of another kind."""
        if self.guard is None:
            raise Refused("SEC_KEY_UNUSABLE", "a wallet without its key can only be looked at", where="key")
        targets = {call.to.lower() for call in made}
        methods = {call.method for call in made}
        self.guard.authorise(OPERATOR, self.clock(), lasts=SESSION, methods=methods, targets=targets)
        values = {bot: self.settings.bot(bot).values for bot in ("exec.gasoracle", "exec.nonceshepherd")}
        sender = Sender(
            self.nodes, self.guard, self.record, gas_values=dict(values["exec.gasoracle"]),
            nonce_values=dict(values["exec.nonceshepherd"]), clock=self.clock, patience=self.patience, poll=self.poll,
        )  # fmt: skip
        for sent in self.unfinished(sender):
            sender.take_up(sent)
        return sender

    def plan(self, *made: Call, words: str) -> Plan:
        """What would be sent, checked by the guard and priced. Nothing is signed. Raises `Refused`."""
        sender = self.sender(made)
        if not all(call.urgent for call in made):
            sender.seed_gas()
        quotes: list[Quote | None] = []
        for number, call in enumerate(made):
            try:
                quotes.append(sender.quote(call, OPERATOR))
            except Refused as error:
                if number == 0 or error.code != "SEC_TRANSACTION_FAILED":
                    raise
                quotes.append(None)
        return Plan(made, tuple(quotes), words, sender)

    def carry_out(self, plan: Plan) -> Iterator[tuple[Call, Receipt]]:
        """Send one after the other, each after the one before is mined. Raises `Refused`; what was yielded stands."""
        for call in plan.calls:
            yield call, plan.sender.follow(plan.sender.send(call, OPERATOR))

    # -- the journal -------------------------------------------------------------------------------------------

    def record(self, sent: Sent) -> None:
        """Write a transaction down before it is sent, on the disk when this returns."""
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        entry = {
            "chain": self.nodes.chain_id, "from": self.account.maker, "method": sent.method, "hash": sent.hash,
            "nonce": sent.nonce, "raw": sent.raw.hex(), "at": sent.at,
        }  # fmt: skip
        with os.fdopen(os.open(self.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def recorded(self) -> list[Sent]:
        """Transactions of this wallet on this chain, as they were written down. A line cut short is no transaction:
        it was never sent."""
        if not self.journal.exists():
            return []
        found = []
        for line in self.journal.read_text(encoding="ascii").splitlines():
            try:
                entry = json.loads(line)
                ours = (entry["chain"], entry["from"]) == (self.nodes.chain_id, self.account.maker)
                if ours:
                    raw = bytes.fromhex(entry["raw"])
                    found.append(Sent(entry["method"], entry["hash"], entry["nonce"], raw, entry["at"]))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def unfinished(self, sender: Sender) -> list[Sent]:
        """Those whose nonce the chain has not used yet. Raises `Refused`."""
        if not (known := self.recorded()):
            return []
        owner, head = self.account.maker, self.nodes.head()
        used = self.nodes.agree("nonce", lambda web3: int(web3.eth.get_transaction_count(owner, head.number)))  # type: ignore[arg-type]
        return [sent for sent in known if sent.nonce >= used]


def table_of(chain_id: int, given: dict[str, str] | None) -> Contracts:
    """The contracts of a chain; for a chain of one's own those given. Raises `Refused`."""
    if given is None:
        return contracts(chain_id)
    if chain_id in CONTRACTS:
        what = f"the contracts of chain {chain_id} are those of the pinned table"
        raise Refused("SEC_CONTRACT_ADDRESS_NOT_ALLOWED", what, where="--contracts")
    if not given.keys() <= set(Contracts._fields):
        what = f"there is no contract {sorted(given.keys() - set(Contracts._fields))[0]!r}"
        rule = ", ".join(Contracts._fields)
        raise Refused("SEC_CONTRACT_ADDRESS_NOT_ALLOWED", what, where="--contracts", rule=rule)
    return Contracts(**{name: given.get(name, "") for name in Contracts._fields})


@contextmanager
def opened(
    urls: Sequence[str],
    key: Key | None,
    wallet: SignatureType,
    settings: Settings,
    folder: Path,
    *,
    chain_id: int,
    given: dict[str, str] | None = None,
    owner: str = "",
) -> Iterator[Operations]:
    """A wallet on a chain, through the providers at `urls`; without a key it can only be looked at.

    folder: where the journal is kept. given: contracts of a chain of one's own. owner: whose wallet, without a key.
    Raises `Refused`.
    """
    where = table_of(chain_id, given)
    if key is not None and chain_id in CONTRACTS:
        mine = account(key.address, int(wallet), chain_id)
    elif key is not None and wallet == SignatureType.EOA:
        mine = Account(key.address, key.address, SignatureType.EOA, chain_id)
    elif key is not None:
        what = f"a wallet of kind {wallet.name} is derived from the venue's factories, and chain {chain_id} has none"
        raise Refused("SEC_WRONG_CHAIN", what, where="--wallet")
    else:
        mine = Account(owner, owner, SignatureType.EOA, chain_id)
    nodes = Nodes([connect(f"provider {number}", url) for number, url in enumerate(urls, 1)], chain_id)
    try:
        guard = Guard(key, mine, settings, table=where) if key is not None else None
        yield Operations(nodes, where, mine, guard, settings, folder / "chain" / "transactions.jsonl")
    finally:
        nodes.close()


def allowance_calls(desk: Operations, spenders: Sequence[str], amount: int | None, shares: bool | None) -> list[Call]:
    """Calls that let each spender take `amount` micro-pUSD (None: leave it) and, or no longer, move all outcome
    tokens (None: leave it); those that the chain has already are left out."""
    made, at = [], desk.nodes.head()
    for spender in spenders:
        if amount is not None and desk.wallet.allowance(spender, at) != amount:
            made.append(calls.approve(desk.where, spender, amount))
        if shares is not None and desk.wallet.is_operator(spender, at) != shares:
            made.append(calls.set_operator(desk.where, spender, shares))
    return made


def whole(amount: int) -> str:
    """Micro-units as a person types them: 50, 0.5."""
    from polytraders.units import money_text

    return str(amount // MICRO) if amount % MICRO == 0 else money_text(amount)
