"""Sessions with a person in the loop: proposals, answers to them, and what must hold of whatever was sent.

As a script: run the sessions below in this process's mode and print what they came to as JSON.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from toys import MS, PUSD, SHARE, Info, S, maker, random_tape, script

from polytraders.engine.backtest import Collected, VenueModel, feed, flush, simulate
from polytraders.engine.setup import new_state
from polytraders.rows import EVENT, ActionKind, Answer, EventKind, Flag, Gate

TTL = 5 * S
PIPELINES = {
    "quotes": maker(10 * SHARE, 100 * SHARE),
    "takes": script(9_900, 5 * SHARE, passive=0, wake=137 * MS),
    "rests": script(4_900, 40 * SHARE, wake=300 * MS),
}
END = (EventKind.CANCEL, EventKind.ORDER_REJECT)
FILL = (EventKind.FILL_CONFIRMED, EventKind.FILL_PROVISIONAL)


def infos(markets=1):
    return [Info(grid=10, taker_delay=250 * MS) for _ in range(markets)]


def answer_row(proposal, at, said=Answer.APPROVED, tolerance=-1, seen=0):
    """EVENT[1]: the answer to a PROPOSE row at `at` (ns)."""
    row = np.zeros(1, EVENT)
    row["ts_recv"] = row["ts_event"] = at
    row["kind"], row["market"], row["flags"] = EventKind.APPROVAL, proposal["market"], Flag.LAST
    row["aux"], row["size"], row["price"], row["ref"] = proposal["corr"], said, tolerance, seen
    return row


def merged(events, more):
    """The stream with rows put in behind those of their time."""
    more = more[np.argsort(more["ts_recv"], kind="stable")]
    joined = np.insert(events, np.searchsorted(events["ts_recv"], more["ts_recv"], "right"), more)
    joined["seq"] = np.arange(1, len(joined) + 1)
    return joined


def run(events, pipeline, *, gate=Gate.APPROVAL, markets=1, interval=100 * MS, infos_=None, ttl=TTL, **more):
    """(simulation, its rows) of a session behind a gate."""
    venue = VenueModel(**{k: more.pop(k) for k in list(more) if k in VenueModel.__dataclass_fields__})
    options = {"cash": 500 * PUSD, "sample_interval": S, "interval": interval, "gate": gate, "intent_ttl": ttl} | more
    sink = Collected()
    sim = simulate(events, infos_ or infos(markets), pipeline, venue=venue, sink=sink, **options)
    return sim, sink


def answered(events, pipeline, decide, rounds=8, **options):
    """Run again and again, each time with the first open proposal answered by `decide(proposal, k)`: a row or None."""
    rows, seen, first = np.zeros(0, EVENT), set(), events
    for k in range(rounds):
        _, sink = run(events, pipeline, **options)
        made = sink.rows("actions")
        open_ = [a for a in made if a["kind"] == ActionKind.PROPOSE and int(a["corr"]) not in seen] if len(made) else []
        if not open_:
            break
        seen.add(int(open_[0]["corr"]))
        row = decide(open_[0], k)
        if row is not None:
            rows = np.concatenate([rows, row])
            events = merged(first, rows)
    return (*run(events, pipeline, **options), events)


def replayed(sink, pipeline, *, markets=1, interval=100 * MS, ttl=TTL, gate=Gate.APPROVAL, infos_=None, **more):
    """The rows that the step alone gives for the events the session consumed."""
    more = {k: v for k, v in more.items() if k not in VenueModel.__dataclass_fields__}
    options = {"cash": 500 * PUSD, "sample_interval": S, "interval": interval, "gate": gate, "intent_ttl": ttl} | more
    state, again = new_state(infos_ or infos(markets), pipeline, **options), Collected()
    feed(sink.rows("events"), state, pipeline, again)
    flush(state, again)
    return again


def uncovered(sink, approval_ttl=TTL, default=100) -> list[str]:
    """What was sent though no approval covered it, or more or dearer than approved: one line each."""
    consumed, actions, found = sink.rows("events"), sink.rows("actions"), []
    if not len(actions):
        return found
    shown = {int(a["corr"]): a for a in actions if a["kind"] == ActionKind.PROPOSE}
    answers = consumed[consumed["kind"] == EventKind.APPROVAL]
    of = {int(a["order_id"]): a for a in actions if a["kind"] == ActionKind.SUBMIT}
    for order, a in of.items():
        p = shown.get(int(a["corr"]))
        name = f"order {order} of {int(a['corr'])}"
        if p is None:
            found.append(f"{name} was never proposed")
            continue
        mine = answers[(answers["aux"] == a["corr"]) & (answers["ts_recv"] <= a["ts"])]
        yes = mine[mine["size"] == Answer.APPROVED]
        if not len(yes) or mine["size"][-1] != Answer.APPROVED or len(yes) < len(mine):
            found.append(f"{name} is not approved")
            continue
        at, tolerance = int(yes["ts_recv"][0]), int(yes["price"][0])
        tolerance = default if tolerance < 0 else tolerance
        if not (at < int(p["ts"]) + int(p["expiry"]) * MS and at <= a["ts"] < at + approval_ttl):
            found.append(f"{name} left outside the approval's time")
        if abs(int(a["price"]) - int(p["price"])) > tolerance:
            found.append(f"{name} at {a['price']}, shown {p['price']}")
        if any(int(a[f]) != int(p[f]) for f in ("market", "slot", "outcome", "side")):
            found.append(f"{name} is another order than was shown")
        if p["flags"] & 1 and not a["flags"] & 1:
            found.append(f"{name} takes, and was shown resting")
        # what of this approval has filled, and what may still fill, when this order leaves
        before = consumed[consumed["ts_recv"] <= a["ts"]]
        used = 0
        for other, b in of.items():
            if b["corr"] == a["corr"] and other <= order:
                news = before[before["aux"] == other]
                filled = int(news["size"][np.isin(news["kind"], FILL)].sum())
                over = filled >= b["size"] or np.isin(news["kind"], END).any()
                used += filled if over else int(b["size"])
        if used > p["size"]:
            found.append(f"{name}: {used} of {p['size']} approved")
    return found


def mixed_answers(seed):
    """A desk that approves most, rejects some, is late or silent now and then."""
    draw = np.random.Generator(np.random.PCG64(seed))

    def decide(proposal, k):
        if draw.random() < 0.15:
            return None
        late = draw.random() < 0.1
        at = int(proposal["ts"]) + int((TTL + S) if late else draw.integers(1, 3_000) * MS)
        said = Answer(int(draw.choice([0, 1, 1, 1, 1, 2])))
        low = int(proposal["order_id"]) & 0x7FFFFFFF
        return answer_row(proposal, at, said, int(draw.choice([-1, 0, 100, 500])), int(draw.choice([0, 0, low, 1])))

    return decide


def digests(seed=2) -> dict:
    """What three sessions came to, as numbers that a mistake would change."""
    found = {}
    for who, pipeline in PIPELINES.items():
        sim, sink, _ = answered(random_tape(seed, 250, 1), pipeline, mixed_answers(seed), rounds=5)
        found[who] = {
            "rows": {k: [len(sink.rows(k)), hashlib.sha256(sink.rows(k).tobytes()).hexdigest()] for k in sink.parts},
            "hashes": sim.state.bots["hash"].tolist(),
            "kinds": np.bincount(sink.rows("actions")["kind"], minlength=9).tolist(),
        }
    return found


if __name__ == "__main__":
    print(json.dumps(digests()))
