"""What must never get out does not: a whole session at a local venue, and everything that it left behind is searched.

Keys, API credentials, tokens and the addresses of webhooks are looked for in what processes print, in their command
lines, in every file of POLYTRADERS_HOME, in receipts, in executed notebooks and in messages of things that fail.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the venue extra is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "venue"))

from crash import KEY
from served import serve
from test_live_approvals import CLI, ROOT, Desk, breathing, running

HOOK = "http://127.0.0.1:9/services/T000/B000/whoever-has-this-writes"
"""A webhook that nobody answers at: what cannot be delivered is told without it."""


def spellings(secret: str) -> set[bytes]:
    """A secret as it might be written: as it is, without 0x, in capitals, as bytes, in base64."""
    bare = secret.removeprefix("0x")
    found = {secret.encode(), bare.encode(), bare.upper().encode()}
    try:
        raw = bytes.fromhex(bare)
        found |= {raw, base64.b64encode(raw), base64.urlsafe_b64encode(raw)}
    except ValueError:
        pass
    return {one for one in found if len(one) >= 12}


class Watcher:
    """Everything that was said, and what must not be in it."""

    def __init__(self, secrets: dict[str, str]):
        self.secrets = {name: spellings(value) for name, value in secrets.items()}
        self.said: dict[str, bytes] = {}

    def hear(self, where: str, what: str | bytes) -> None:
        self.said[where] = what.encode() if isinstance(what, str) else what

    def files(self, folder: Path) -> int:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        for path in paths:
            self.hear(str(path.relative_to(folder)), path.read_bytes())
        return len(paths)

    def leaks(self) -> list[tuple[str, str]]:
        return [
            (name, where)
            for name, forms in self.secrets.items()
            for where, text in self.said.items()
            if any(form in text for form in forms)
        ]


def command_lines() -> str:
    """What `ps` shows of every process of this machine."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(lines)


@contextmanager
def served_api(desk: Desk) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`polytraders api` in a process of its own: (its address, the process)."""
    with socket_port() as port:
        process = subprocess.Popen(
            [*CLI, "api", "--port", str(port), "--settings", str(ROOT / "settings.ini")], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=desk.environment | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()


@contextmanager
def socket_port() -> Iterator[int]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def asked(url: str, token: str, method: str = "GET") -> tuple[int, str]:
    ask = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(ask, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def test_no_secret_gets_out_of_a_session(tmp_path: Path):
    with serve("--empty") as venue:
        home = tmp_path / "home"
        home.mkdir()
        desk = Desk(venue, home)
        desk.environment |= {"POLYTRADERS_ALERT_WEBHOOKS": HOOK, "POLYTRADERS_DEBUG": "1"}
        made = desk.cli("tokens", "create", "bob", "--scope", "approve", "--scope", "risk")
        token = made["token"]
        api_key = credentials_of(venue.urls)
        watcher = Watcher(
            {"private key": KEY, "API secret": api_key.secret, "passphrase": api_key.passphrase,
             "token": token.partition("_")[2].partition("_")[2], "webhook": "whoever-has-this-writes"}
        )  # fmt: skip
        rain = venue.market("rain")
        with breathing(venue, "rain"), running(desk, "rain") as (process, told), served_api(desk) as (base, api):
            one = desk.proposed(rain, "YES")
            watcher.hear("shown", json.dumps(desk.cli("intents", "show", one["trade_intent_id"])))
            desk.until(lambda: asked(f"{base}/status", token)[0] == 200, "the API answers")
            for method, path in (
                ("GET", "/intents"), ("GET", "/status"), ("GET", "/report"), ("GET", "/metrics"), ("GET", "/orders"),
                ("POST", f"/intents/{one['trade_intent_id']}/approve"), ("GET", "/decisions"), ("GET", "/actions"),
                ("GET", f"/status?token={token[:8]}"), ("POST", "/tokens"), ("GET", f"/trace/{one['trade_intent_id']}"),
            ):  # fmt: skip
                status, text = asked(base + path, token, method)
                assert status < 500, (path, status, text)
                watcher.hear(f"{method} {path}", text)
            desk.environment["POLYTRADERS_TOKEN"] = token
            watcher.hear("status", json.dumps(desk.cli("status", code=None)))
            watcher.hear(
                "armed", json.dumps(desk.cli("kill-switches", "arm", "market", rain["condition"], "-r", "odd"))
            )
            watcher.hear("alerts", said(desk, "alerts", "--once"))
            del desk.environment["POLYTRADERS_TOKEN"]
            watcher.hear("ps", command_lines())
            for page in ("approvals", "blotter", "health"):
                watcher.hear(f"notebook {page}", executed(desk, page, tmp_path))
            process.terminate()
            rest, _ = process.communicate(timeout=120)
            watcher.hear("run", rest + json.dumps(told))
            api.terminate()
            watcher.hear("api", api.communicate(timeout=60)[0])
        run = told["run_id"]
        for words in (["db", "rebuild"], ["trace", one["trade_intent_id"]], ["replay", run], ["report", "--today"]):
            watcher.hear(" ".join(words), said(desk, *words, "--json"))
        # what fails says what it was, and nothing of the key
        for name, value in (("POLYTRADERS_KEY", KEY[:-1] + "z"), ("POLYTRADERS_TOKEN", token + "x")):
            desk.environment[name] = value
            words = ["run", "--mode", "live", "--venue", "local", "--venue-urls", json.dumps(venue.urls), "--set",
                     "live.dry_run=false", "--confirm", "TRADE LIVE PORT-001"]  # fmt: skip
            failed = said(desk, *(words if name == "POLYTRADERS_KEY" else ["intents", "approve", "ti_"]))
            assert value not in failed
            watcher.hear(f"bad {name}", failed)
        assert watcher.files(home) > 5
    assert any(b"POST" in text for text in watcher.said.values()), "the API's log was read"
    assert watcher.leaks() == []


def test_the_search_finds_what_is_there(tmp_path: Path):
    """The test above proves something only if it would find a secret in each of the forms it might have."""
    raw = bytes.fromhex(KEY.removeprefix("0x"))
    for number, form in enumerate((KEY.encode(), KEY[2:].upper().encode(), raw, base64.b64encode(raw))):
        (tmp_path / f"{number}.bin").write_bytes(b"some words " + form + b" and more")
    watcher = Watcher({"key": KEY})
    assert watcher.files(tmp_path) == 4
    assert sorted(where for _, where in watcher.leaks()) == ["0.bin", "1.bin", "2.bin", "3.bin"]


def credentials_of(urls: dict[str, str]) -> Any:
    """The API credentials that the venue gave this key."""
    from polytraders.run.venues import _derived, environment
    from polytraders.venue.orders.keys import Key

    return _derived(environment("local", json.dumps(urls)), Key(KEY))


def said(desk: Desk, *words: str) -> str:
    done = subprocess.run([*CLI, *words], capture_output=True, text=True, cwd=ROOT, timeout=180, env=desk.environment)
    return done.stdout + done.stderr


def executed(desk: Desk, page: str, folder: Path) -> str:
    """An operator notebook with its outputs."""
    out = folder / f"{page}-executed.ipynb"
    subprocess.run(
        [sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", "--output", str(out),
         str(ROOT / "nbs" / "desk" / f"{page}.ipynb")],
        check=True, capture_output=True, timeout=300, cwd=ROOT,
        env=desk.environment | {"PYTHONPATH": str(ROOT), "POLYTRADERS_SETTINGS": str(ROOT / "settings.ini")},
    )  # fmt: skip
    return out.read_text()
