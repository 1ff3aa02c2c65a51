"""The specification as one page for people: every route with its scope, what is sent and what comes back.

Made from /openapi.json on this machine; it runs no script and loads nothing, so it can be read without a network.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any

_STYLE = """
:root {color-scheme: light dark}
body {font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 0 auto; padding: 16px 20px 60px}
h1 {font-size: 26px; margin: 12px 0} h2 {font-size: 20px; margin: 36px 0 8px; border-bottom: 1px solid #8886}
h3 {font: 600 15px/1.4 ui-monospace, monospace; margin: 26px 0 2px; overflow-wrap: anywhere}
p {margin: 4px 0 8px} code {font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere}
pre {background: #8881; padding: 10px 12px; overflow-x: auto; font: 13px/1.5 ui-monospace, monospace}
table {border-collapse: collapse; width: 100%; font-size: 14px; margin: 4px 0 10px}
th {text-align: left; font-weight: 500; opacity: .8; padding: 2px 12px 2px 0}
td {padding: 2px 12px 2px 0; vertical-align: top; overflow-wrap: anywhere} td:first-child {white-space: nowrap}
.scope {font: 600 12px system-ui, sans-serif; border: 1px solid currentColor; border-radius: 9px; padding: 1px 8px}
nav a {margin-right: 14px}
"""
CSP = f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
"""What a browser lets this page do: show itself."""
EVERYWHERE = ("401", "403", "413", "422", "429")
"""Refusals that any route may answer: told once, at the top, and named at each route that has them."""
_SCOPES = {
    "public": "open to everybody",
    "read": "scope read",
    "approve": "scope approve",
    "risk": "scope risk",
    "admin": "scope admin",
}


def page(spec: Mapping[str, Any]) -> str:
    """The page of a specification (OpenAPI 3.1)."""
    by_tag: dict[str, list[str]] = {}
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append("".join(_operation(spec, path, method, operation)))
    links = "".join(f"<a href='#{escape(tag)}'>{escape(tag)}</a>" for tag in by_tag)
    parts = "".join(f"<h2 id='{escape(tag)}'>{escape(tag)}</h2>{''.join(of)}" for tag, of in by_tag.items())
    info, refusals = spec["info"], {}
    for operation in (one for methods in spec["paths"].values() for one in methods.values()):
        if operation.get("x-scope") != "public":
            refusals |= {k: v for k, v in operation["responses"].items() if k in EVERYWHERE}
    title = escape(f"{info['title']} {info['version']}")
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{escape(info.get('description', ''))} "
        "The same for programs: <a href='/openapi.json'>/openapi.json</a>.</p>"
        "<p>Who calls says so in the header, with a token that has the scope of the route; every scope includes "
        "<code>read</code>, and <code>admin</code> all of them. "
        "A token comes from <code>polytraders tokens create</code>.</p><pre>curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8000/status\n"
        "curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\n"
        "     -X POST http://127.0.0.1:8000/intents/ti_…/reject -d '{\"comment\": \"too close to the news\"}'</pre>"
        f"<nav>{links}</nav><h2 id='refusals'>refusals</h2>{''.join(_answers(spec, refusals))}{parts}</body></html>"
    )  # fmt: skip


def _operation(spec: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    scope = str(operation.get("x-scope", ""))
    yield f"<h3>{escape(method.upper())} {escape(path)}</h3>"
    badge = f"<span class=scope>{escape(_SCOPES.get(scope, scope))}</span>"
    yield f"<p>{escape(operation.get('description', ''))} {badge}</p>"
    sent = [
        (one["name"], f"{one['in']}", one.get("required", False), one["schema"], one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        shape, optional = _whole(spec, body)
        needed = () if optional else shape.get("required", ())
        for name, schema in shape.get("properties", {}).items():
            sent.append((name, "body", name in needed, schema, schema.get("description", "")))
    if sent:
        yield "<table><tr><th>sent</th><th>in</th><th>what</th></tr>"
        for name, where, required, schema, told in sent:
            kind = _kind(spec, schema)
            must = "" if required else f", {_default(schema)}"
            yield (
                f"<tr><td><code>{escape(name)}</code></td><td>{escape(where)}</td>"
                f"<td>{escape(told)} <code>{escape(kind)}</code>{escape(must)}</td></tr>"
            )
        yield "</table>"
    common = [status for status in EVERYWHERE if status in operation["responses"]]
    yield "".join(_answers(spec, {k: v for k, v in operation["responses"].items() if k not in common}))
    yield f"<p>And {', '.join(common)}, <a href='#refusals'>as everywhere</a>.</p>"


def _answers(spec: Mapping[str, Any], responses: Mapping[str, Any]) -> Iterator[str]:
    yield "<table><tr><th>answer</th><th>when</th><th>as</th></tr>"
    for status, answer in sorted(responses.items()):
        content = answer.get("content") or {}
        shape = "; ".join(_shape(spec, kind, of.get("schema") or {}) for kind, of in content.items())
        yield (
            f"<tr><td><code>{escape(status)}</code></td><td>{escape(answer['description'])}</td>"
            f"<td><code>{escape(shape)}</code></td></tr>"
        )
    yield "</table>"


def _whole(spec: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """(schema without references, whether none is as good) of what may be left out or not."""
    every = schema.get("anyOf", [schema])
    kept = [one for one in every if one.get("type") != "null"]
    found = kept[0] if kept else {}
    if "$ref" in found:
        found = spec["components"]["schemas"][found["$ref"].rpartition("/")[2]]
    return found, len(kept) < len(every)


def _kind(spec: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A value in words: its type and what it must be."""
    found, _ = _whole(spec, schema)
    if "enum" in found or "const" in found:
        return " | ".join(str(one) for one in found.get("enum", [found.get("const")]))
    if found.get("type") == "array":
        inner = found.get("items", {})
        fields = _whole(spec, inner)[0].get("properties")
        of = f"{{{', '.join(fields)}}}" if fields else _kind(spec, inner)
        most = f", at most {found['maxItems']}" if "maxItems" in found else ""
        return f"list of {of}{most}"
    bounds = [f"from {found['minimum']}"] if "minimum" in found else []
    top = found.get("maximum", found.get("exclusiveMaximum"))
    bounds += [f"to {top}"] if top is not None else []
    bounds += [f"at most {found['maxLength']} characters"] if "maxLength" in found else []
    pattern = [found["pattern"]] if "pattern" in found and "maxLength" not in found else []
    return " ".join([str(found.get("type", "any")), *bounds, *pattern])


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    return "may be left out" if value is None else f"{value} when left out"


def _shape(spec: Mapping[str, Any], kind: str, schema: Mapping[str, Any]) -> str:
    if kind != "application/json":
        return kind
    name = schema.get("$ref", "").rpartition("/")[2]
    fields = _whole(spec, schema)[0].get("properties", {})
    return (
        name + (" " if name else "") + f"{{{', '.join(fields)}}}" if fields else name or str(schema.get("type", kind))
    )
