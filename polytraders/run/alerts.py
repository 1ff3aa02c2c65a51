"""Alerts: to a file always, to webhooks when there are any, each thing once in a while and not once a second.

A webhook's URL is a secret (whoever has it can write into the channel): it comes from POLYTRADERS_ALERT_WEBHOOKS and is
in no file and no message.

Invariants
    L1  an alert is in the file before anybody is called
    L2  the same key is told again only after `quiet_s`, with how often it came meanwhile; that it is over is told once
    L3  a webhook that does not answer delays nobody; what could not be delivered is in the file as such
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import orjson

from polytraders import units
from polytraders.config import home

VARIABLE = "POLYTRADERS_ALERT_WEBHOOKS"
"""URLs with spaces between."""
ATTEMPTS = 4
REMEMBERED = 1_000
"""Lines of the file from which a new process knows what was told lately."""
_STOP = object()


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a person should know. `key` says what counts as the same thing."""

    key: str
    severity: Literal["P0", "P1", "P2", "P3"]  # P0 is the worst
    title: str
    detail: str = ""
    code: str = ""  # reason code
    run_id: str = ""
    more: dict[str, Any] = field(default_factory=dict)


class Alerts:
    """Where alerts go. Thread-safe; `close` waits for what is on its way.

    Parameters
    ----------
    file: JSON lines; None = alerts.jsonl in POLYTRADERS_HOME.
    webhooks: None = those of POLYTRADERS_ALERT_WEBHOOKS. Each gets a POST with the alert as JSON, `text` first.
    quiet_s: for how long the same key is not told again.
    """

    def __init__(
        self,
        file: Path | None = None,
        webhooks: Iterable[str] | None = None,
        *,
        quiet_s: float = 300,
        clock: Callable[[], int] = time.time_ns,
    ):
        self.file = file or home() / "alerts.jsonl"
        self.webhooks = tuple(os.environ.get(VARIABLE, "").split() if webhooks is None else webhooks)
        self._quiet, self._clock, self._lock = int(quiet_s * units.NS_PER_S), clock, threading.Lock()
        self._told: dict[str, int] = {}  # key -> when, ns
        self._swallowed: dict[str, int] = {}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._remember()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._sender: threading.Thread | None = None

    def _remember(self) -> None:
        try:
            lines = self.file.read_bytes().splitlines()[-REMEMBERED:]
        except FileNotFoundError:
            return
        for line in lines:
            try:
                seen = orjson.loads(line)
                if seen["what"] == "raised":
                    self._told[seen["key"]] = seen["at_ns"]
                elif seen["what"] == "over":
                    self._told.pop(seen["key"], None)
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue  # a line that a crash cut off

    def send(self, alert: Alert) -> bool:
        """Tell it, unless it was told lately; True when it was told now."""
        now = self._clock()
        with self._lock:
            last = self._told.get(alert.key)
            if last is not None and now - last < self._quiet:
                self._swallowed[alert.key] = self._swallowed.get(alert.key, 0) + 1
                return False
            self._told[alert.key] = now
            self._put({"what": "raised", **asdict(alert), "again": self._swallowed.pop(alert.key, 0)}, now)
            return True

    def over(self, key: str, title: str) -> bool:
        """Tell that something is over, if it was told at all."""
        with self._lock:
            if self._told.pop(key, None) is None:
                return False
            self._swallowed.pop(key, None)
            self._put({"what": "over", "key": key, "severity": "P3", "title": title}, self._clock())
            return True

    def _put(self, told: dict[str, Any], now: int) -> None:
        told = told | {"at": units.iso_utc(now), "at_ns": now}
        self._write(told)
        if self.webhooks:
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_all, name="alerts", daemon=True)
                self._sender.start()
            self._queue.put(told)

    def _write(self, told: dict[str, Any]) -> None:
        with self.file.open("ab") as file:
            file.write(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE, default=str))
            file.flush()
            os.fsync(file.fileno())

    def _send_all(self) -> None:
        while (told := self._queue.get()) is not _STOP:
            for url in self.webhooks:
                if (fault := _post(url, told)) != "":
                    with self._lock:
                        host = urlsplit(url).hostname
                        self._write({"what": "undelivered", "key": told["key"], "host": host, "fault": fault})

    def close(self) -> None:
        """Wait for what is on its way to the webhooks."""
        if self._sender is not None:
            self._queue.put(_STOP)
            self._sender.join()
            self._sender = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def text_of(told: dict[str, Any]) -> str:
    """One line for a channel."""
    mark = "ENDED" if told["what"] == "over" else told["severity"]
    detail = f": {told['detail']}" if told.get("detail") else ""
    run = f" [{told['run_id']}]" if told.get("run_id") else ""
    again = f" ({told['again']} times more meanwhile)" if told.get("again") else ""
    return f"{mark} {told['title']}{detail}{run}{again}"


def _post(url: str, told: dict[str, Any]) -> str:
    """Deliver it; what went wrong, without the URL, or ''."""
    import httpx
    from tenacity import RetryError, Retrying, stop_after_attempt, wait_exponential

    body = orjson.dumps({"text": text_of(told), **told}, default=str)
    try:
        for attempt in Retrying(stop=stop_after_attempt(ATTEMPTS), wait=wait_exponential(0.2, max=5)):
            with attempt:
                answer = httpx.post(url, content=body, headers={"content-type": "application/json"}, timeout=10)
                if answer.status_code >= 300:
                    raise ConnectionError(f"status {answer.status_code}")
    except RetryError as error:
        last = error.last_attempt.exception()
        return f"status {answer.status_code}" if isinstance(last, ConnectionError) else type(last).__name__
    return ""


# ---------------------------------------------------------------------------------------------------- watching


LEDGER_EVERY = 600 * units.NS_PER_S
"""Between two readings of the whole chain of acts."""
LEDGER_ALERTS: dict[str, Literal["P0", "P1", "P2"]] = {
    "GOV_AUDIT_CHAIN_BROKEN": "P0",
    "GOV_AUDIT_LOG_UNAVAILABLE": "P1",
    "GOV_ACTION_UNEXPLAINED": "P2",
}


class Watch:
    """Turns what the desk's store shows into alerts: call `look` now and then.

    Told: kill switches armed and cleared, proposals that need a second person, overrides, runs that fell silent or
    failed, parts that are down, limits used to 80 % (P2) and reached (P1), and what gov.useractivityledger finds wrong
    with the record of what people did (read whole every LEDGER_EVERY).
    """

    def __init__(self, desk: Any, alerts: Alerts):
        from polytraders.store.desk import last_seq

        self.desk, self.alerts, self._seq = desk, alerts, last_seq(desk)
        self._standing: set[str] = set()
        self._read_at, self._ledger = 0, ("", "")

    def look(self, now: int | None = None) -> int:
        """Tell what is new; the number of alerts sent."""
        from polytraders.store.desk import ENDED, runs, since, standing

        sent = 0
        for action in since(self.desk, self._seq):
            self._seq = action.seq
            sent += self._acted(action)
        stand: dict[str, Alert] = {}
        code, what = self._ledger_now(time.time_ns() if now is None else now)
        if code in LEDGER_ALERTS:
            self._stand(stand, LEDGER_ALERTS[code], f"the desk's ledger: {code}", "", what)
        for run in runs(self.desk, now):
            ended = run["state"] in ENDED
            if run["state"] == "failed":
                self._stand(stand, "P0", f"run {run['run_id']} failed", run["run_id"])
            elif not run["alive"] and not ended:
                self._stand(stand, "P0", f"run {run['run_id']} is silent", run["run_id"])
        for part in standing(self.desk, "health", now):
            if not part.get("up"):
                self._stand(stand, "P1", f"{part['name']} is down", part["run_id"])
        for limit in standing(self.desk, "limits", now):
            used = float(limit["used"])
            if used >= 0.8:
                level, word = ("P1", "is reached") if used >= 1 else ("P2", "is nearly used up")
                detail = f"{limit['observed']} of {limit['limit']} {limit.get('unit', '')}".strip()
                self._stand(stand, level, f"limit {limit['name']} {word}", limit["run_id"], detail)
        sent += sum(self.alerts.send(alert) for alert in stand.values())
        for key in self._standing - stand.keys():
            sent += self.alerts.over(key, key.partition("|")[2])
        self._standing = set(stand)
        return sent

    def _ledger_now(self, now: int) -> tuple[str, str]:
        """(code, what) of the last reading of the ledger, read again when that is too long ago."""
        from polytraders.store.desk.activity import activity

        if not self._read_at or now - self._read_at >= LEDGER_EVERY:
            found = activity(self.desk, now=now)
            self._read_at, self._ledger = now, (found.code, found.what)
        return self._ledger

    @staticmethod
    def _stand(into: dict[str, Alert], severity: Any, title: str, run_id: str, detail: str = "") -> None:
        key = f"{run_id}|{title}"
        into[key] = Alert(key, severity, title, detail, run_id=run_id)

    def _acted(self, action: Any) -> int:
        from polytraders.store.desk import Kind

        said, subject = action.payload, action.subject
        by = f"by {action.actor.id}"
        if action.kind is Kind.ARM:
            where = " ".join(filter(None, (said["scope"], said.get("target"))))
            alert = Alert(subject, "P0", f"kill switch {where} armed", f"{said['reason']} ({by})", str(said["why"]))
            return self.alerts.send(alert)
        if action.kind is Kind.CLEAR and said.get("final"):
            return self.alerts.over(subject, f"kill switch {said['scope']} cleared {by}: {said['reason']}")
        if action.kind is Kind.OVERRIDE:
            title = f"{said['bot_id']}.{said['parameter']} changed to {said['after']} for {said['ttl_s']} s"
            return self.alerts.send(Alert(subject, "P2", title, f"{said['reason']} ({by})", str(said["code"])))
        if action.kind is Kind.APPROVE and not said.get("final"):
            title = f"trade intent {subject} needs a second person"
            return self.alerts.send(Alert(subject, "P3", title, by, str(said["code"]), action.run_id))
        return 0
