"""The tables of the desk. `operator_actions` is the truth, append-only; `JOURNALED` tables follow from it.

Every change of a journaled table stands in the action that made it (`writes`), so the tables can be folded again
from the actions alone, and a table that says something else is found. The other tables are what runs tell the
desk about themselves: they are gone with the run and rebuilt by the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from polytraders.store.sql import Statement

PART = "desk"

_APPEND_ONLY: tuple[Statement, ...] = (
    {
        "sqlite": "CREATE TRIGGER actions_stay BEFORE UPDATE ON operator_actions "
        "BEGIN SELECT RAISE(ABORT, 'operator_actions is append-only'); END",
        "postgresql": "CREATE FUNCTION actions_are_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'operator_actions is append-only'; END $$",
    },
    {
        "sqlite": "CREATE TRIGGER actions_remain BEFORE DELETE ON operator_actions "
        "BEGIN SELECT RAISE(ABORT, 'operator_actions is append-only'); END",
        "postgresql": "CREATE TRIGGER actions_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON operator_actions "
        "FOR EACH STATEMENT EXECUTE FUNCTION actions_are_append_only()",
    },
)

MIGRATIONS: tuple[tuple[Statement, ...], ...] = (
    (
        """
    CREATE TABLE operator_actions (
        seq        BIGINT PRIMARY KEY,  -- 1, 2, 3 ... without a hole
        ts_ns      BIGINT NOT NULL,
        kind       TEXT NOT NULL,  -- see journal.Kind
        actor_kind TEXT NOT NULL,  -- operator | system | bot
        actor      TEXT NOT NULL,
        channel    TEXT NOT NULL,  -- cli | http | notebook | policy | run
        run_id     TEXT NOT NULL,  -- '' = for every run
        subject    TEXT NOT NULL,  -- what it is about: ti_, ks_, OVR- ...
        payload    TEXT NOT NULL,  -- canonical JSON: what was asked, the reason code, a comment
        writes     TEXT NOT NULL,  -- canonical JSON: [table, key, values, new] of every row it changed
        prev_hash  TEXT NOT NULL,
        hash       TEXT NOT NULL  -- SHA-256 of the canonical JSON of all of the above
    )
    """,
        *_APPEND_ONLY,
        "CREATE INDEX actions_by_subject ON operator_actions (subject, seq)",
        "CREATE INDEX actions_by_run ON operator_actions (run_id, seq)",
        """
    CREATE TABLE trade_intents (
        trade_intent_id TEXT PRIMARY KEY,
        run_id          TEXT NOT NULL,
        corr            BIGINT NOT NULL,  -- correlation number of the intent in its run
        type            TEXT NOT NULL,
        status          TEXT NOT NULL,  -- PENDING | APPROVED | EXECUTED | REJECTED | EXPIRED | VOID
        code            TEXT NOT NULL,  -- reason code of its present status
        portfolio_id    TEXT NOT NULL,
        strategy_id     TEXT NOT NULL,
        condition_id    TEXT NOT NULL,
        outcome         TEXT NOT NULL,  -- YES | NO, '' of a claim
        side            TEXT NOT NULL,  -- BUY | SELL, '' of a claim
        notional_micro  BIGINT NOT NULL,  -- micro-pUSD
        needed          BIGINT NOT NULL,  -- persons it takes
        given           BIGINT NOT NULL,  -- persons who approved
        shown_hash      TEXT NOT NULL,
        price_shown     BIGINT,  -- pips, best price on the side it would trade with; null of a claim
        tolerance_pips  BIGINT NOT NULL,
        created_ns      BIGINT NOT NULL,
        expires_ns      BIGINT NOT NULL,
        decided_ns      BIGINT,
        order_key       TEXT,  -- of the order, once executed
        document        TEXT NOT NULL,  -- the TradeIntent as it was proposed
        figures         TEXT NOT NULL,  -- what the blotter shows beside it
        UNIQUE (run_id, corr)
    )
    """,
        "CREATE INDEX intents_by_status ON trade_intents (status, expires_ns)",
        """
    CREATE TABLE approvals (
        approval_id     TEXT PRIMARY KEY,
        trade_intent_id TEXT NOT NULL,
        actor_kind      TEXT NOT NULL,
        actor           TEXT NOT NULL,
        decision        TEXT NOT NULL,  -- APPROVE | REJECT
        shown_hash      TEXT NOT NULL,
        ts_ns           BIGINT NOT NULL,
        document        TEXT NOT NULL,  -- the Approval
        UNIQUE (trade_intent_id, actor_kind, actor)
    )
    """,
        """
    CREATE TABLE switches (
        switch_id TEXT PRIMARY KEY,
        scope     TEXT NOT NULL,
        target    TEXT NOT NULL,  -- '' of the global one
        state     TEXT NOT NULL,  -- armed | clear
        firings   BIGINT NOT NULL,
        reason    TEXT NOT NULL,  -- of the last arming, in words
        asked     TEXT NOT NULL,  -- JSON: who asked to clear it while it is armed
        document  TEXT NOT NULL  -- the KillSwitch
    )
    """,
        """
    CREATE TABLE overrides (
        override_id TEXT PRIMARY KEY,
        bot_id      TEXT NOT NULL,
        parameter   TEXT NOT NULL,
        actor       TEXT NOT NULL,
        state       TEXT NOT NULL,  -- active | expired | revoked
        ts_ns       BIGINT NOT NULL,
        expires_ns  BIGINT NOT NULL,
        document    TEXT NOT NULL  -- the Override
    )
    """,
        """
    CREATE TABLE runs (
        run_id       TEXT PRIMARY KEY,
        mode         TEXT NOT NULL,
        strategy_id  TEXT NOT NULL,
        portfolio_id TEXT NOT NULL,
        state        TEXT NOT NULL,  -- starting | running | halted | stopping | stopped
        started_ns   BIGINT NOT NULL,
        heartbeat_ns BIGINT NOT NULL,
        document     TEXT NOT NULL  -- account and whatever else the run tells of itself
    )
    """,
        """
    CREATE TABLE quotes (
        run_id       TEXT NOT NULL,
        condition_id TEXT NOT NULL,
        outcome      TEXT NOT NULL,
        bid          BIGINT,  -- pips, null = none
        ask          BIGINT,
        book_hash    TEXT NOT NULL,
        ts_ns        BIGINT NOT NULL,
        PRIMARY KEY (run_id, condition_id, outcome)
    )
    """,
        """
    CREATE TABLE board (
        run_id   TEXT NOT NULL,
        topic    TEXT NOT NULL,  -- see board.TOPICS
        name     TEXT NOT NULL,
        ts_ns    BIGINT NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (run_id, topic, name)
    )
    """,
    ),
    (
        """
    CREATE TABLE tokens (
        token_id   TEXT PRIMARY KEY,
        owner      TEXT NOT NULL,  -- the person it stands for
        scopes     TEXT NOT NULL,  -- JSON list: read, approve, risk, admin
        digest     TEXT NOT NULL,  -- SHA-256 of its secret part
        created_ns BIGINT NOT NULL,
        expires_ns BIGINT,
        revoked_ns BIGINT
    )
    """,
        """
    CREATE TABLE calls (
        seq      BIGINT PRIMARY KEY,
        ts_ns    BIGINT NOT NULL,
        token_id TEXT NOT NULL,  -- '' without a good one
        owner    TEXT NOT NULL,
        peer     TEXT NOT NULL,
        method   TEXT NOT NULL,
        path     TEXT NOT NULL,
        status   BIGINT NOT NULL,
        code     TEXT NOT NULL  -- reason code of a refusal, else ''
    )
    """,
    ),
    (
        """
    CREATE TABLE configs (
        kind     TEXT NOT NULL,  -- tenant | portfolio | cluster | watchlist
        id       TEXT NOT NULL,
        owner    TEXT NOT NULL,  -- its tenant; of a watchlist its operator
        ts_ns    BIGINT NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    )
    """,
        """
    CREATE TABLE launches (
        launch_id    TEXT PRIMARY KEY,
        strategy_id  TEXT NOT NULL,
        portfolio_id TEXT NOT NULL,
        tenant_id    TEXT NOT NULL,
        state        TEXT NOT NULL,  -- running | stopped
        started_ns   BIGINT NOT NULL,
        stopped_ns   BIGINT,
        scope        TEXT NOT NULL  -- the MarketScope with the markets it came to
    )
    """,
        """
    CREATE TABLE audit (
        seq         BIGINT PRIMARY KEY,
        envelope_id TEXT NOT NULL,
        document    TEXT NOT NULL  -- the AuditEnvelope, chained
    )
    """,
    ),
    (
        """
    CREATE TABLE processes (
        run_id  TEXT PRIMARY KEY,
        process TEXT NOT NULL  -- machine, process and its begin: see board.this_process
    )
    """,
        """
    CREATE TABLE figures (
        run_id       TEXT PRIMARY KEY,
        pool         TEXT NOT NULL,  -- runs of one pool share limits
        portfolio_id TEXT NOT NULL,
        tenant_id    TEXT NOT NULL,
        strategy_id  TEXT NOT NULL,
        state        TEXT NOT NULL,  -- running | ended
        opens        BIGINT NOT NULL,  -- 0 = nothing is kept free for it
        ts_ns        BIGINT NOT NULL,
        day          BIGINT NOT NULL,  -- UTC day number of ts_ns
        week         BIGINT NOT NULL,  -- UTC week number, Monday
        day_loss     BIGINT NOT NULL,  -- this and the rest in micro-pUSD, see shares.Falls
        day_fall     BIGINT NOT NULL,
        week_loss    BIGINT NOT NULL,
        week_fall    BIGINT NOT NULL,
        fall         BIGINT NOT NULL
    )
    """,
        "CREATE INDEX figures_by_tenant ON figures (tenant_id, pool)",
        """
    CREATE TABLE shares (
        run_id   TEXT NOT NULL,
        name     TEXT NOT NULL,  -- exposure | orders | condition id
        used     BIGINT NOT NULL,
        share    BIGINT NOT NULL,  -- the most that its step may use
        gross    BIGINT NOT NULL,  -- of a market: cost and open purchases, micro-pUSD
        net      BIGINT NOT NULL,  -- of a market: YES less NO, at cost
        category TEXT NOT NULL,
        PRIMARY KEY (run_id, name)
    )
    """,
    ),
)
"""The statements that take the desk from version i to i + 1."""

JOURNALED: dict[str, Sequence[str]] = {
    "trade_intents": ("trade_intent_id",),
    "approvals": ("approval_id",),
    "switches": ("switch_id",),
    "overrides": ("override_id",),
    "tokens": ("token_id",),
    "configs": ("kind", "id"),
    "launches": ("launch_id",),
    "audit": ("seq",),
}
"""Tables that follow from the actions, and their keys."""

TOLD = ("runs", "quotes", "board", "calls", "processes", "figures", "shares")
"""Tables of what runs and callers tell of themselves."""
