"""`polytraders chain`: the wallet on the chain. Nothing is sent without --send and the words typed that it asks for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from polytraders.cli.output import Json, print_json

if TYPE_CHECKING:
    from polytraders.venue.chain.calls import Call
    from polytraders.venue.chain.operations import Operations

app = typer.Typer(
    no_args_is_help=True, help="The wallet on the chain: balances, allowances, complete sets, the last stop."
)
allowances_app = typer.Typer(no_args_is_help=True, help="What contracts may take of the wallet: as little as will do.")
app.add_typer(allowances_app, name="allowances")

RPC = "POLYTRADERS_RPC"

Rpc = Annotated[
    list[str] | None,
    typer.Option(
        "--rpc", help=f"A node of the chain; at least two, of different companies. Default: {RPC}, with commas."
    ),
]
Wallet = Annotated[str, typer.Option("--wallet", help="What pays: EOA, PROXY, SAFE or DEPOSIT_WALLET.")]
Chain = Annotated[int, typer.Option("--chain", help="Chain id: 137 is Polygon, 80002 its test chain Amoy.")]
OwnContracts = Annotated[
    Path | None,
    typer.Option("--contracts", help="JSON file of names and addresses, for a chain of one's own; elsewhere refused."),
]
Send = Annotated[
    bool, typer.Option("--send", help="Send it, after its words were typed. Without: only say what would be.")
]
Confirm = Annotated[str, typer.Option("--confirm", help="The words, where nobody sits at a terminal.")]
NegRisk = Annotated[bool, typer.Option("--neg-risk", help="The market is one of a neg-risk event.")]
Condition = Annotated[str, typer.Argument(help="Condition id of the market: 0x and 64 digits.")]
Amount = Annotated[str, typer.Argument(help="pUSD, or complete sets: 50 or 0.5.")]


@contextmanager
def _open(
    rpc: Sequence[str] | None, wallet: str, chain: int, own: Path | None, owner: str = ""
) -> Iterator[Operations]:
    """The wallet of the key in the environment, or of `owner`, which can only be looked at."""
    from polytraders.config import home, load_settings
    from polytraders.errors import UsageError
    from polytraders.venue.chain import providers
    from polytraders.venue.orders import SignatureType, load_key
    from polytraders.venue.refusal import Refused

    if wallet.upper() not in SignatureType.__members__:
        rule = ", ".join(SignatureType.__members__)
        raise UsageError(f"there is no wallet type {wallet!r}", where="--wallet", rule=rule)
    urls = providers.urls(" ".join(rpc) if rpc else None)
    if len(urls) < 2:
        raise Refused(
            "SEC_RPC_QUORUM_LOST", f"{len(urls)} nodes of the chain are named", where="--rpc",
            rule="a number counts when two providers say the same",
            mend=f"name two with --rpc, or in {RPC} with a comma between them",
        )  # fmt: skip
    try:
        from polytraders.venue.chain.operations import opened
    except ImportError as error:
        raise UsageError(
            f"the chain needs {error.name}", mend="install the extra: pip install 'polytraders[chain]'"
        ) from None
    key = None if owner else load_key()
    if owner:
        owner = _address(owner)
    with opened(
        urls,
        key,
        SignatureType[wallet.upper()],
        load_settings(),
        home(),
        chain_id=chain,
        given=_given(own),
        owner=owner,
    ) as desk:
        yield desk


def _given(own: Path | None) -> dict[str, str] | None:
    import json

    from polytraders.errors import UsageError

    if own is None:
        return None
    try:
        told = json.loads(own.read_text(encoding="utf-8"))
        return {str(name): _address(str(address)) for name, address in told.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"cannot be read: {error}", where=str(own), rule='a JSON object {"pusd": "0x…", …}') from None


def _address(text: str) -> str:
    from polytraders.errors import UsageError
    from polytraders.venue.orders.typed import checksum

    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 20:
        raise UsageError(f"{text!r} is no address", rule="0x and 40 hexadecimal digits")
    return checksum(raw)


def _amount(text: str) -> int:
    """Micro-units of a typed amount above 0."""
    from polytraders.errors import UsageError
    from polytraders.units import UnitError, money_micro

    try:
        amount = money_micro(text)
    except UnitError as error:
        raise UsageError(str(error), where="AMOUNT") from None
    if amount <= 0:
        raise UsageError(f"{text} is nothing", where="AMOUNT", rule="more than 0")
    return amount


def _word(text: str, where: str) -> str:
    """32 bytes in hexadecimal."""
    from polytraders.errors import UsageError

    digits = text.removeprefix("0x")
    if len(digits) != 64 or any(c not in "0123456789abcdefABCDEF" for c in digits):
        raise UsageError(f"{text!r} is no {where}", where=where, rule="0x and 64 hexadecimal digits")
    return "0x" + digits.lower()


# -- looking -----------------------------------------------------------------------------------------------


@app.command("balances")
def balances(
    token: Annotated[
        list[str] | None, typer.Option("--token", help="Also of this outcome token; may be repeated.")
    ] = None,
    owner: Annotated[str, typer.Option("--owner", help="Of this wallet instead of the key's own.")] = "",
    rpc: Rpc = None,
    wallet: Wallet = "EOA",
    chain: Chain = 137,
    contracts: OwnContracts = None,
    as_json: Json = False,
) -> None:
    """pUSD, outcome tokens and gas money of the wallet, as at least two nodes say alike at one block."""
    from polytraders.errors import UsageError
    from polytraders.units import money_text, size_text

    if bad := next((text for text in token or () if not text.isdecimal()), None):
        raise UsageError(f"{bad!r} is no token", where="--token", rule="the decimal number of an outcome token")
    with _open(rpc, wallet, chain, contracts, owner) as desk:
        held = desk.wallet.holdings([int(text) for text in token or ()])
        who, at = desk.account.maker, held.block.number
        gas = desk.nodes.agree("gas money", lambda web3: int(web3.eth.get_balance(who, at)))  # type: ignore[arg-type]
    told = {
        "wallet": who, "chain": chain, "block": at, "pusd": money_text(held.cash), "gas_wei": gas,
        "tokens": {str(number): size_text(size) for number, size in held.shares.items()},
    }  # fmt: skip
    if as_json:
        print_json(told)
        return
    print(f"{who} at block {at}")
    print(f"{told['pusd']:>20}  pUSD")
    print(f"{gas / 10**18:>20.6f}  POL for gas")
    for number, size in told["tokens"].items():
        print(f"{size:>20}  shares of token {number}")


@allowances_app.command("show")
def show(
    owner: Annotated[str, typer.Option("--owner", help="Of this wallet instead of the key's own.")] = "",
    rpc: Rpc = None,
    wallet: Wallet = "EOA",
    chain: Chain = 137,
    contracts: OwnContracts = None,
    as_json: Json = False,
) -> None:
    """Every contract that may take something of the wallet, and what is too much. Exit code 1: something is."""
    from polytraders.bots import load_bot
    from polytraders.security.allowancemonitor import Inputs, check
    from polytraders.units import money_text
    from polytraders.venue.chain.addresses import spenders

    with _open(rpc, wallet, chain, contracts, owner) as desk:
        read, block = desk.wallet.allowances()
        names, known = desk.names(), spenders(chain, desk.where)
        config = desk.settings.bot("sec.allowancemonitor")
        limits = load_bot("sec.allowancemonitor").spec.limits(config.values)
        said = check(Inputs(tuple(read), known, block.time), limits, block.time)
        who = desk.account.maker
    shrink = {(token, spender): to for token, spender, to in said.payload.get("shrink", ())}
    rows = [
        {
            "spender": a.spender, "name": names.get(a.spender, "not of the venue"), "token": a.token,
            "may_take": "everything" if a.operator or a.amount >= 2**128 else money_text(a.amount),
            "last_used_s": max(block.time - a.last_used, 0) // 10**9,
            "shrink_to": None if (a.token, a.spender) not in shrink else money_text(shrink[a.token, a.spender]),
        }
        for a in read
    ]  # fmt: skip
    if as_json:
        print_json(
            {"wallet": who, "block": block.number, "code": said.code, "good": not said.refused, "allowances": rows}
        )
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("spender", "token", "may take", "last used", "should be", title=f"{who}, block {block.number}")
        for row in rows:
            days = f"{row['last_used_s'] / 86_400:.1f} days ago"
            table.add_row(
                f"{row['name']} {row['spender']}", row["token"], row["may_take"], days, row["shrink_to"] or ""
            )
        console = Console()
        console.print(table if rows else f"Nobody may take anything of {who}.")
        console.print(f"{said.code}: " + (said.what or "as it should be"))
    raise typer.Exit(1 if said.refused else 0)


# -- doing -------------------------------------------------------------------------------------------------


def _act(desk: Operations, made: Sequence[Call], words: str, send: bool, confirm: str, as_json: bool) -> None:
    """Say what would be sent; with `send` and its words typed, send it and wait until it is mined."""
    from polytraders.venue.refusal import Refused

    if not made:
        _say(
            as_json, {"sent": [], "words": words, "what": "the chain has it so already"}, "The chain has it so already."
        )
        return
    plan = desk.plan(*made, words=words)
    names = desk.names()
    steps = [
        {
            "method": call.method, "to": call.to, "contract": names.get(call.to.lower(), ""),
            "amount": str(call.amount), "spender": names.get(call.spender.lower(), call.spender),
            "data": "0x" + call.data.hex(), "gas": quote.gas if quote else None,
            "at_most_pol": f"{quote.most / 10**18:.6f}" if quote else None,
        }
        for call, quote in zip(plan.calls, plan.quotes, strict=True)
    ]  # fmt: skip
    if not as_json:
        print(f"{desk.account.maker} on chain {desk.nodes.chain_id}")
        for step in steps:
            cost = f"at most {step['at_most_pol']} POL" if step["at_most_pol"] else "priced after the one before"
            about = f" {step['spender']} {step['amount']}".rstrip() if step["spender"] else f" {step['amount']}"
            print(f"  {step['method']}{about}  by {step['contract']} {step['to']}, {cost}")
    if not send:
        _say(
            as_json,
            {"sent": [], "words": words, "would_send": steps},
            f"Nothing was sent. With --send it asks for: {words}",
        )
        return
    if not _confirmed(words, confirm):
        _say(as_json, {"sent": [], "words": words, "what": "other words were typed"}, "Nothing was sent.")
        raise typer.Exit(1)
    done: list[dict[str, Any]] = []
    try:
        for call, receipt in desk.carry_out(plan):
            done.append({"method": call.method, "hash": receipt.hash, "block": receipt.block, "paid_wei": receipt.paid})
            if not as_json:
                pol = receipt.paid / 10**18
                print(f"  {call.method}: {receipt.hash} in block {receipt.block}, {pol:.6f} POL", flush=True)
    except Refused as error:  # what was sent before it stands, and is told
        if not as_json:
            raise
        print_json({"sent": done, "words": words, **error.as_dict()})
        raise typer.Exit(error.exit_code) from None
    if as_json:
        print_json({"sent": done, "words": words, "would_send": steps})


def _confirmed(words: str, confirm: str) -> bool:
    import sys

    from polytraders.errors import UsageError

    if confirm:
        return confirm.strip() == words
    if not sys.stdin.isatty():
        raise UsageError("nobody is here to type the words", where="--send", mend=f"--confirm '{words}'")
    return typer.prompt(f"Type '{words}' to send it", default="", show_default=False, err=True).strip() == words


def _say(as_json: bool, told: dict[str, Any], text: str) -> None:
    print_json(told) if as_json else print(text)


class Made(NamedTuple):
    """What a command comes to: calls in order, the words that send them, and what is said before."""

    calls: Sequence[Call]
    words: str
    note: str = ""


def _options(
    send: Send = False,
    confirm: Confirm = "",
    rpc: Rpc = None,
    wallet: Wallet = "EOA",
    chain: Chain = 137,
    contracts: OwnContracts = None,
    as_json: Json = False,
) -> None:
    """The options of every command that sends."""


def _sends(asked: Callable[..., Callable[[Operations], Made]]) -> Callable[..., None]:
    """A command that sends. `asked` has its own arguments, which it checks before anything is opened, and gives what
    makes the calls of an open wallet; the options of all that send are added here."""

    def command(
        send: bool, confirm: str, rpc: list[str] | None, wallet: str, chain: int, contracts: Path | None,
        as_json: bool, **given: Any,
    ) -> None:  # fmt: skip
        make = asked(**given)
        with _open(rpc, wallet, chain, contracts) as desk:
            made = make(desk)
            if made.note and not as_json:
                print(made.note)
            _act(desk, made.calls, made.words, send, confirm, as_json)

    parameters = [
        parameter
        for one in (asked, _options)
        for parameter in inspect.signature(one, eval_str=True, locals={"Operations": Any}).parameters.values()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__name__, command.__doc__ = asked.__name__, asked.__doc__
    return command


@allowances_app.command("set")
@_sends
def set_(
    spenders: Annotated[
        list[str] | None, typer.Argument(help="Names or addresses; default: exchange and neg_risk_exchange.")
    ] = None,
    pusd: Annotated[str, typer.Option("--pusd", help="Exactly this much pUSD may be taken, and no more.")] = "",
    shares: Annotated[
        bool, typer.Option("--shares", help="Outcome tokens may be moved: all, for their contract knows nothing less.")
    ] = False,
) -> Callable[[Operations], Made]:
    """Let contracts of the venue take an exact amount of pUSD, and move outcome tokens. Never without limit."""
    from polytraders.errors import UsageError

    if not pusd and not shares:
        raise UsageError("nothing is allowed by that", where="allowances set", mend="--pusd AMOUNT, --shares, or both")
    amount, named = _amount(pusd) if pusd else None, list(spenders or ("exchange", "neg_risk_exchange"))

    def made(desk: Operations) -> Made:
        from polytraders.venue.chain.operations import allowance_calls, whole

        calls = allowance_calls(desk, desk.needed(named), amount, True if shares else None)
        what = [whole(amount)] if amount is not None else []
        return Made(calls, " ".join(["allow", *named, *what, *(["shares"] if shares else [])]))

    return made


@allowances_app.command("revoke")
@_sends
def revoke(
    spenders: Annotated[list[str] | None, typer.Argument(help="Names or addresses; default: everybody.")] = None,
) -> Callable[[Operations], Made]:
    """Nobody named, or nobody at all, may take anything any more. What was signed before cannot be settled then."""

    def made(desk: Operations) -> Made:
        from polytraders.venue.chain import calls
        from polytraders.venue.chain.operations import allowance_calls

        words = " ".join(["revoke", *(spenders or ["all"])])
        if spenders:
            known = desk.names().items()
            wanted = [next((a for a, name in known if text == name), None) or _address(text) for text in spenders]
            return Made(allowance_calls(desk, wanted, 0, False), words)
        read, _ = desk.wallet.allowances()
        return Made(calls.shrinks(desk.where, [(a.token, a.spender, 0) for a in read]), words)

    return made


@app.command("split")
@_sends
def split(condition: Condition, amount: Amount, neg_risk: NegRisk = False) -> Callable[[Operations], Made]:
    """pUSD into as many complete sets of a market. The adapter must be allowed the pUSD."""
    return _sets("split", condition, amount, neg_risk)


@app.command("merge")
@_sends
def merge(condition: Condition, amount: Amount, neg_risk: NegRisk = False) -> Callable[[Operations], Made]:
    """Complete sets into as many pUSD. The adapter must be allowed to move the tokens."""
    return _sets("merge", condition, amount, neg_risk)


def _sets(method: str, condition: str, amount: str, neg_risk: bool) -> Callable[[Operations], Made]:
    micro, word = _amount(amount), _word(condition, "condition id")

    def made(desk: Operations) -> Made:
        from polytraders.venue.chain import calls
        from polytraders.venue.chain.operations import whole

        return Made([getattr(calls, method)(desk.where, word, micro, neg_risk)], f"{method} {whole(micro)}")

    return made


@app.command("redeem")
@_sends
def redeem(condition: Condition, neg_risk: NegRisk = False) -> Callable[[Operations], Made]:
    """Everything held of a resolved market into what it pays."""
    word = _word(condition, "condition id")

    def made(desk: Operations) -> Made:
        from polytraders.venue.chain import calls

        return Made([calls.redeem(desk.where, word, neg_risk)], f"redeem {word[2:10]}")

    return made


@app.command("convert")
@_sends
def convert(
    event: Annotated[str, typer.Argument(help="Id of the neg-risk event: 0x and 64 digits.")],
    amount: Annotated[str, typer.Argument(help="NO shares of each question.")],
    questions: Annotated[str, typer.Option("--questions", help="Their numbers in the event, from 0: 0,2.")] = "",
) -> Callable[[Operations], Made]:
    """NO of some questions of a neg-risk event into pUSD and YES of all the others."""
    from polytraders.errors import UsageError

    micro, word = _amount(amount), _word(event, "event id")
    numbers = [part.strip() for part in questions.split(",") if part.strip()]
    if not numbers or not all(part.isdecimal() and int(part) < 256 for part in numbers):
        raise UsageError(
            f"{questions!r} names no questions", where="--questions", rule="numbers from 0 to 255, with commas"
        )

    def made(desk: Operations) -> Made:
        from polytraders.venue.chain import calls
        from polytraders.venue.chain.operations import whole

        call = calls.convert(desk.where, word, sum(1 << int(n) for n in set(numbers)), micro)
        return Made([call], f"convert {whole(micro)}")

    return made


@app.command("pause-user")
@_sends
def pause_user() -> Callable[[Operations], Made]:
    """The last resort: no order of this wallet, signed or leaked, is settled any more, some blocks later."""

    def made(desk: Operations) -> Made:
        blocks = max(desk.wallet.pause_blocks(place) for place in _exchanges(desk))
        note = f"The last resort: {blocks} blocks after it is mined no order of this wallet is settled any more."
        return Made(_pauses(desk, "pause"), "pause my wallet", note)

    return made


@app.command("unpause-user")
@_sends
def unpause_user() -> Callable[[Operations], Made]:
    """Let the exchanges settle this wallet's orders again."""
    return lambda desk: Made(_pauses(desk, "unpause"), "unpause my wallet")


def _exchanges(desk: Operations) -> list[str]:
    return [place for place in (desk.where.exchange, desk.where.neg_risk_exchange) if place]


def _pauses(desk: Operations, method: str) -> list[Call]:
    """The calls that pause or unpause this wallet at the exchanges where it is not so yet."""
    from polytraders.venue.chain import calls

    wanted = method == "pause"
    return [getattr(calls, method)(place) for place in _exchanges(desk) if desk.wallet.paused(place) != wanted]
