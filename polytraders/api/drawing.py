"""Pieces of page for the operators' panels: the one style, and tables in it. Everything from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

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
