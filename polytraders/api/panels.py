"""Live panels for operators: ipywidgets over the desk's store, for JupyterLab and for the console in a browser.

A panel reads the store again every second while its notebook has an event loop, and redraws what changed. Buttons
call the same functions as the command line; who clicks is the person the process belongs to (see `cli.operator`).
Everything from outside is escaped before it is shown.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from html import escape
from typing import Any

import ipywidgets as widgets

from polytraders import units
from polytraders.api import views
from polytraders.cli.operator import operator
from polytraders.config import load_settings
from polytraders.errors import PolytradersError
from polytraders.store import desk as store
from polytraders.store.sql import Database

EVERY_S = 1.0
_STYLE = """<style>
.pt {overflow-x: auto; max-width: 100%; font: 13px system-ui, sans-serif; line-height: 1.45}
.pt h4 {font: 600 13px system-ui, sans-serif; margin: 14px 0 4px}
.pt table {border-collapse: collapse; font: inherit; font-variant-numeric: tabular-nums}
.pt th {text-align: left; font-weight: 500; opacity: .75; padding: 2px 14px 2px 0; white-space: nowrap}
.pt td {padding: 2px 14px 2px 0; vertical-align: top; white-space: nowrap}
.pt td.n, .pt th.n {text-align: right}
.pt td.t {white-space: normal; overflow-wrap: anywhere; min-width: 11em; max-width: 46em}
.pt td.where {white-space: normal; overflow-wrap: anywhere; min-width: 7em}
.pt td.sum {font-weight: 600}
.pt .card {width: 100%} .pt .card td:first-child {width: 7em; overflow-wrap: normal}
.pt .card td + td {white-space: normal; overflow-wrap: anywhere}
.pt .bad {color: #b91c1c; font-weight: 600} .pt .ok {color: #15803d} .pt .dim {opacity: .75}
[data-jp-theme-light=false] .pt .bad {color: #fca5a5} [data-jp-theme-light=false] .pt .ok {color: #86efac}
.pt .bar {display: inline-block; width: 160px; height: 9px; background: #8884; border-radius: 4px; overflow: hidden}
.pt .bar i {display: block; height: 100%; background: #2563eb} .pt .bar i.hot {background: #b91c1c}
@media (max-width: 700px) {.pt .bar {width: 48px} .pt td, .pt th {padding-right: 9px}}
</style>"""
_GREEN, _RED = (
    {"button_color": "#15803d", "text_color": "#ffffff"},
    {"button_color": "#b91c1c", "text_color": "#ffffff"},
)
_WRAP = {"flex_flow": "row wrap", "align_items": "center"}


def html(body: str) -> str:
    """A piece of page in the panels' style."""
    return f"{_STYLE}<div class='pt'>{body}</div>"


def table(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]], empty: str) -> str:
    """An HTML table: heading -> key of the row.

    A heading that ends in `#` is a number, right-aligned; in `~` a text, which is broken into lines; in `?` is left out
    where no row has anything there. A row with `sum` is a total: what it has not stays empty. `bad` names the keys of a
    row that are bad news.
    """
    rows = list(rows)
    columns = {
        name.removesuffix("?"): key for name, key in columns.items()
        if not name.endswith("?") or any(row.get(key) not in (None, "") for row in rows)
    }  # fmt: skip
    if not rows:
        return html(f"<span class='dim'>{escape(empty)}</span>")

    def cell(name: str, key: str, row: Mapping[str, Any]) -> str:
        marks = [{"#": "n", "~": "t"}.get(name[-1], ""), "sum" if row.get("sum") else ""]
        marks += ["bad"] if key in row.get("bad", ()) else []
        mark = " ".join(one for one in marks if one)
        value, none = row.get(key), "" if row.get("sum") else "—"
        text = none if value in (None, "") else str(value)
        return f"<td class='{mark}'>{escape(text)}</td>" if mark else f"<td>{escape(text)}</td>"

    head = "".join(
        f"<th{' class=n' if name.endswith('#') else ''}>{escape(name.rstrip('#~'))}</th>" for name in columns
    )
    lines = "".join("<tr>" + "".join(cell(name, key, row) for name, key in columns.items()) + "</tr>" for row in rows)
    return html(f"<table><tr>{head}</tr>{lines}</table>")


class Panel:
    """A widget that keeps itself up to date.

    draw: reads the store and changes the panel's children; called at once, after every click, and every EVERY_S.
    """

    def __init__(self, desk: Database, draw: Callable[[Database, int], None], box: widgets.Widget):
        self.desk, self.box, self._draw = desk, box, draw
        self.fault, self.state = widgets.HTML(), widgets.HTML()
        self.view = widgets.VBox([self.state, self.fault, box])
        self.refresh()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return  # executed without a loop: one picture is enough
        self._task = asyncio.ensure_future(self._keep())

    def refresh(self, *_: Any) -> None:
        """Draw again. What cannot be read is said, and the old picture is marked as old."""
        try:
            now = time.time_ns()
            self._draw(self.desk, now)
            self.state.value = _state(self.desk, now)
            self.fault.value = ""
        except PolytradersError as error:
            self.fault.value = html(f"<span class='bad'>Not up to date: {escape(error.what)}</span>")

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            self.refresh()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.view)


def _state(desk: Database, now: int) -> str:
    """How the desk stands, in one line that is on every page."""
    seen, waiting = views.health_view(desk, now), len(store.intents(desk, limit=1_000))
    alive = sum(run["alive"] for run in store.runs(desk, now))
    told = [(f"{_count(alive, 'run')} alive" if alive else "no run is alive", False)]
    told += [(f"{_count(len(seen[name]), noun)} {word}", True) for name, noun, word in (
        ("silent", "run", "silent"), ("failed", "run", "failed"), ("down", "part", "down"),
        ("armed", "kill switch", "on"),
    ) if seen[name]]  # fmt: skip
    told.append((f"{_count(waiting, 'proposal')} {'waits' if waiting == 1 else 'wait'} for an answer", False))
    mood = "ok" if seen["status"] == "ok" else "bad"
    words = " · ".join(f"<span class=bad>{word}</span>" if bad else word for word, bad in told)
    return html(f"<b class='{mood} pt-health'>{escape(seen['status'])}</b> · {words}")


def _count(number: int, noun: str) -> str:
    plural = noun if number == 1 else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number or 'no'} {plural}"


def _desk(url: str | None) -> Database:
    return store.open_desk(url)


class _Card:
    """One trade intent with its two buttons."""

    def __init__(self, one: dict[str, Any], answered: Callable[[str, str, str], None]):
        self.id, self.shown = one["trade_intent_id"], one["shown_hash"]
        self.text = widgets.HTML()
        self.why = widgets.Text(placeholder="why not (for a rejection)", layout=widgets.Layout(width="260px"))
        self.approve = widgets.Button(description="Approve", style=_GREEN, tooltip=self.id)
        self.reject = widgets.Button(description="Reject", style=_RED, tooltip=self.id)
        self.approve.add_class("pt-approve")
        self.reject.add_class("pt-reject")
        self.approve.on_click(lambda _: answered("approve", self.id, self.shown))
        self.reject.on_click(lambda _: answered("reject", self.id, self.why.value or "rejected at the desk"))
        self.box = widgets.VBox(
            [self.text, widgets.HBox([self.approve, self.reject, self.why], layout=widgets.Layout(**_WRAP))],
            layout=widgets.Layout(border="1px solid #8886", padding="8px 12px", margin="6px 0", max_width="900px"),
        )

    def show(self, one: dict[str, Any], now: int, names: Mapping[str, str]) -> None:
        lines = [
            f"<tr><td class='dim'>{escape(name)}</td><td>{escape(value)}</td></tr>"
            for name, value in views.intent_lines(one, now, names)
        ]
        self.text.value = html(f"<table class=card>{''.join(lines)}</table>")


def approvals(url: str | None = None, settings: str | None = None) -> Panel:
    """What waits for an answer, each with its reason, edge and risk checks, and two buttons."""
    desk, policy = _desk(url), load_settings(settings).approvals
    said, cards = widgets.HTML(), widgets.VBox()
    known: dict[str, _Card] = {}

    def answered(what: str, id_: str, word: str) -> None:
        try:
            person = operator(desk, "approve")
            if what == "approve":
                answer = store.approve(desk, id_, person, "notebook", policy, shown=word)
            else:
                answer = store.reject(desk, id_, person, "notebook", word)
            mood, text = ("ok" if answer.ok else "bad"), f"{id_}: {answer.status}. {answer.message} ({answer.code})"
        except PolytradersError as error:
            mood, text = "bad", str(error)
        said.value = html(f"<span class='{mood} pt-said'>{escape(text)}</span>")
        panel.refresh()

    def draw(desk: Database, now: int) -> None:
        store.expire(desk, now)
        waiting, names = store.intents(desk), views.market_names(desk)
        for id_ in known.keys() - {one["trade_intent_id"] for one in waiting}:
            del known[id_]
        for one in waiting:
            card = known.setdefault(one["trade_intent_id"], _Card(one, answered))
            card.show(one, now, names)
        children = tuple(known[one["trade_intent_id"]].box for one in waiting)
        if children != cards.children or not children:
            cards.children = children or (widgets.HTML(html("<span class='dim'>Nothing waits for an answer.</span>")),)

    panel = Panel(desk, draw, widgets.VBox([said, cards]))
    return panel


def blotter(url: str | None = None, limit: int = 50) -> Panel:
    """Orders and proposals with what they were judged on: p̂, q_exec, net edge, fill probability, book hash."""
    orders, proposed = widgets.HTML(), widgets.HTML()
    figures = {"p̂#": "p_hat", "q_exec pUSD#": "q_exec", "net edge bps#": "net_edge_bps", "P(fill)#": "p_fill"}
    terms = {"market~": "market", "side": "side", "price pUSD#": "price", "size shares#": "size"}
    tail = {"filled shares#": "filled", "average pUSD#": "average", "status": "status", "book?": "book_hash"}

    def draw(desk: Database, now: int) -> None:
        names = views.market_names(desk)
        rows = [
            row | _run(row) | {
                "market": _market(row, names), "sent": _clock(row.get("sent_ns")),
                "side": f"{row.get('side', '')} {row.get('outcome', '')}".strip(), "status": _words(row.get("status")),
            }
            for row in views.said(desk, "orders", now)
        ]  # fmt: skip
        rows.sort(key=lambda row: row.get("sent_ns") or 0, reverse=True)
        shown = [_short(row) for row in rows]
        columns = {"sent": "sent"} | terms | figures | tail | {"mode": "mode", "run": "run"}
        orders.value = table(columns, shown, "No run that is here has sent an order.")
        rows = []
        for one in store.intents(desk, (), limit=limit):
            order = one["document"]["intent"] or {}
            row = {
                **one["figures"], "made": _clock(one["created_ns"]), "market": _market(one, names),
                "side": f"{one['side']} {one['outcome']}".strip() or "claim", "price": order.get("limit_price"),
                "size": order.get("size_shares") or one["document"]["claim_shares"], "status": _words(one["status"]),
                "why": "" if one["code"].startswith("GOV_INTENT_") else one["code"],  # else it says the status again
                "book_hash": one["document"]["book_hash"],
            }  # fmt: skip
            rows.append(_short(row))
        columns = {"made": "made"} | terms | figures | {"status": "status", "why?": "why", "book?": "book_hash"}
        proposed.value = table(columns, rows, "Nothing was proposed yet.")

    title = widgets.HTML(html("<h4>Orders, newest first</h4>")), widgets.HTML(html("<h4>Proposals, newest first</h4>"))
    return Panel(_desk(url), draw, widgets.VBox([title[0], orders, title[1], proposed]))


def _run(row: Mapping[str, Any]) -> dict[str, Any]:
    """The run of a row of the board (`views.said`), marked where its numbers are of then."""
    return {"run": f"{row['run_id']} ({row['stands']})", "bad": ("run",)} if row["stands"] else {"run": row["run_id"]}


def _market(row: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """A market as people know it."""
    name = names.get(str(row.get("condition_id")), row.get("slug") or row.get("condition_id") or "")
    return f"{name[:57]}…" if len(str(name)) > 60 else str(name)


def _clock(ns: Any) -> str | None:
    return f"{units.iso_utc(int(ns))[11:19]}Z" if ns else None


def _words(name: Any) -> str:
    return str(name or "").lower().replace("_", " ")


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """Long hexadecimal names cut to what a person compares."""

    def cut(value: Any) -> Any:
        long = isinstance(value, str) and len(value) >= 40 and re.fullmatch("(0x)?[0-9a-f]+", value)
        return f"{value[:10]}…" if long else value

    return {key: cut(value) for key, value in row.items()}


def risk(url: str | None = None) -> Panel:
    """Limits by how close they are to their breach, kill switches with their buttons, overrides in force."""
    limits, armed, changed, said = widgets.HTML(), widgets.VBox(), widgets.HTML(), widgets.HTML()
    reason = widgets.Text(placeholder="why (needed to stop and to clear)", layout=widgets.Layout(width="320px"))
    stop = widgets.Button(description="Stop everything", style=_RED, tooltip="Arm the global kill switch")
    stop.add_class("pt-stop")
    desk = _desk(url)

    def told(do: Callable[[Any], Any]) -> None:
        try:
            answer = do(operator(desk, "risk"))
            mood, text = ("ok" if answer.ok else "bad"), f"{answer.message} ({answer.code})"
        except PolytradersError as error:
            mood, text = "bad", str(error)
        said.value = html(f"<span class='{mood} pt-said'>{escape(text)}</span>")
        panel.refresh()

    stop.on_click(lambda _: told(lambda who: store.arm(desk, "global", None, who, "notebook", reason.value)))
    drawn: list[str] = []
    names: dict[str, str] = {}

    def row(one: dict[str, Any]) -> widgets.HBox:
        what, by = views.switch_words(one, names)
        button = widgets.Button(description="Clear")
        clear = store.clear
        button.on_click(lambda _: told(lambda who: clear(desk, one["switch_id"], who, "notebook", reason.value)))
        text = f"{what}: {one['reason']} ({by})"
        said = widgets.HTML(html(f"<span class='bad'>ON</span> {escape(text)}"))
        said.layout.flex = "1 1 300px"
        return widgets.HBox([button, said], layout=widgets.Layout(**_WRAP))

    def draw(desk: Database, now: int) -> None:
        names.update(views.market_names(desk))
        limits.value = html("<h4>Limits</h4>") + _bars(views.limits_view(desk, now))
        on = store.switches(desk, armed=True)
        if (key := [repr(one) for one in on]) != drawn or not armed.children:
            drawn[:] = key
            none = widgets.HTML(html("<span class='ok'>No kill switch is on.</span>"))
            armed.children = tuple(row(one) for one in on) or (none,)
        rows = []
        for one in store.overrides(desk, active=True):
            what, by = views.override_words(one, names)
            rows.append({"what": what, "why": one["justification"], "by": by})
        columns = {"limit~": "what", "how long, by whom~": "by", "why~": "why"}
        changed.value = html("<h4>Limits changed for a time</h4>") + table(columns, rows, "No limit is changed.")

    buttons = widgets.HBox([stop, reason], layout=widgets.Layout(**_WRAP))
    panel = Panel(desk, draw, widgets.VBox([buttons, said, armed, limits, changed]))
    return panel


def _bars(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return html("<span class='dim'>No run that is alive has told of a limit.</span>")
    lines = []
    for row in rows:
        used = Decimal(row["used"])
        hot = " class=hot" if used >= Decimal("0.8") else ""
        breach = "" if row["breach_s"] is None else "breached" if used >= 1 else f"in {row['breach_s']} s at this pace"
        old = f" <span class=bad>({escape(row['stands'])})</span>" if row["stands"] else ""
        lines.append(
            f"<tr><td style='white-space: normal'>{escape(str(row['name']))}</td>"
            f"<td class=n>{used * 100:.1f} %</td>"
            f"<td><span class=bar><i{hot} style='width:{min(100, int(used * 100))}%'></i></span></td>"
            f"<td class=n>{escape(str(row['observed']))} of {escape(str(row['limit']))} "
            f"{escape(str(row.get('unit', '')))}</td>"
            f"<td class=where><span class=dim>{escape(str(row.get('scope') or row['run_id']))}</span>{old}</td>"
            f"<td class=bad>{breach}</td></tr>"
        )
    head = (
        "<tr><th>limit</th><th class=n>used</th><th></th><th class=n>now, of at most</th><th>where</th><th></th></tr>"
    )
    return html(f"<table><tr>{head}</tr>{''.join(lines)}</table>")


def positions(url: str | None = None) -> Panel:
    """What the runs hold, what it is worth, and how far it is on its way to cash."""
    account, held = widgets.HTML(), widgets.HTML()

    def draw(desk: Database, now: int) -> None:
        columns = {
            "run": "run", "mode": "mode", "equity#": "equity", "profit today#": "pnl_day", "profit in all#": "pnl",
            "cash#": "cash", "behind orders#": "reserved", "not settled#": "unsettled", "positions#": "marked",
            "owed to us#": "receivable", "rebates#": "rebates", "fees paid#": "fees", "put in#": "deposits",
        }  # fmt: skip
        rows = [row | _run(row) for row in views.said(desk, "account", now)]
        account.value = html("<h4>Accounts, pUSD</h4>") + table(columns, rows, "No run told of its account.")
        names = views.market_names(desk)
        columns = {
            "market~": "market", "outcome": "outcome", "shares#": "size_shares", "cost pUSD#": "cost_pusd",
            "value pUSD#": "value_pusd", "price pUSD#": "mark_price", "unrealised pUSD#": "unrealised_pnl_pusd",
            "realised pUSD#": "realised_pnl_pusd", "fees pUSD#": "fees_pusd", "settlement": "settlement",
            "mode": "mode", "run": "run",
        }  # fmt: skip
        rows = [_short(row | _run(row) | {"market": _market(row, names)}) for row in views.said(desk, "positions", now)]
        held.value = html("<h4>Positions</h4>") + table(columns, [*rows, *_totals(rows)], "Nothing is held.")

    return Panel(_desk(url), draw, widgets.VBox([account, held]))


def _totals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A total of each kind of money: what is simulated is not added to what is not."""
    sums = ("cost_pusd", "value_pusd", "unrealised_pnl_pusd", "realised_pnl_pusd", "fees_pusd")
    told = []
    for mode in sorted({str(row["mode"]) for row in rows}):
        mine = [row for row in rows if row["mode"] == mode]
        total = {name: f"{sum((_money(row.get(name)) for row in mine), Decimal(0)):f}" for name in sums}
        told.append({"market": f"total {mode}".strip(), "sum": True, **total})
    return told


def _money(value: Any) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)


def health(url: str | None = None) -> Panel:
    """Is everything alive: runs, feeds, logs, bots; and what happened last."""
    runs, parts, bots, last = (widgets.HTML() for _ in range(4))

    def draw(desk: Database, now: int) -> None:
        rows = []
        for one in store.runs(desk, now):
            gone = not one["alive"] and one["state"] not in views.OVER
            state = f"SILENT (was {one['state']})" if gone else one["state"]
            heard = f"{views.lasting(now - one['heartbeat_ns'])} ago"
            bad = ("state",) if gone or one["state"] == "failed" else ()
            rows.append(one | {"heard": heard, "state": state, "bad": bad})
        columns = {"run": "run_id", "mode": "mode", "strategy": "strategy_id", "portfolio": "portfolio_id"}
        columns |= {"state": "state", "heard of#": "heard"}
        runs.value = html("<h4>Runs</h4>") + table(columns, rows, "No run has been here yet.")
        told = [_parts(name, mine, now) for name, mine in _by_run(views.said(desk, "health", now))]
        parts.value = "".join(told) or html("<h4>Parts</h4>") + table(
            {}, [], "No run that is alive has told of its parts."
        )
        end = store.last_seq(desk)
        rows = [
            {
                "at": views.clock_text(units.iso_utc(action.ts_ns)), "what": str(action.kind), "who": action.actor.id,
                "subject": action.subject, "code": action.payload.get("code"),
            }
            for action in reversed(store.since(desk, max(0, end - 15)))
        ]  # fmt: skip
        columns = {"at": "at", "what": "what", "who": "who", "subject": "subject", "code": "code"}
        last.value = html("<h4>What happened last</h4>") + table(columns, rows, "Nothing has happened yet.")
        told = [_bots(name, mine) for name, mine in _by_run(views.said(desk, "bots", now))]
        bots.value = "".join(told) or html("<h4>Bots</h4>") + table(
            {}, [], "No run that is alive has told of its bots."
        )

    return Panel(_desk(url), draw, widgets.VBox([runs, parts, last, bots]))


def _by_run(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """(run as a heading names it, its rows)."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(_run(row)["run"], []).append(row)
    return list(found.items())


def _parts(run: str, rows: list[dict[str, Any]], now: int) -> str:
    """The parts of a run: those that are down with what is wrong, the others by name and when they were heard of."""
    down = [row | {"bad": ("name",)} for row in rows if not row.get("up")]
    silent = " and what it said last" if rows[0]["stands"] else ""
    told = html(f"<h4>Parts of {escape(run)}{silent}</h4>")
    if down:
        columns = {"down": "name", "errors#?": "errors", "what~?": "error"}
        told += table(columns, down, "")
    up = [row for row in rows if row.get("up")]
    heard = [f"{row['name']} {views.lasting(now - int(row['last_ns']))} ago" for row in up if row.get("last_ns")]
    works = [str(row["name"]) for row in up if not row.get("last_ns")]
    restarted = [f"{row['name']} {row['errors']}" for row in up if row.get("errors")]
    for word, names in (("heard from", heard), ("work", works), ("restarts or errors", restarted)):
        if names:
            told += html(f"<span class=dim>{word}:</span> {escape(', '.join(names))}")
    return told


def _bots(run: str, rows: list[dict[str, Any]]) -> str:
    """The bots of a run, those that are not healthy first."""
    columns = {
        "bot": "bot_id", "status": "status", "decisions/min#": "decisions_last_minute",
        "errors/min#": "errors_last_minute", "p99 µs#?": "latency_p99_us", "reason?": "reason_code", "mode": "mode",
    }  # fmt: skip
    shown = sorted(rows, key=lambda row: (row.get("status") == "healthy", str(row.get("bot_id"))))
    shown = [row | {"bad": ("status",) if row.get("status") == "down" else ()} for row in shown]
    return html(f"<h4>Bots of {escape(run)}</h4>") + table(columns | {"mode": "mode"}, shown, "")
