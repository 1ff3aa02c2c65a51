"""The replayed book against the venue's own words on the real recordings: pinned, and as docs/book_replay.md says."""

from __future__ import annotations

import json

import pytest
from repository import ROOT
from wire import Bench, Wire, lines_of

from polytraders.data.agreement import Cause, agreement, disagreements
from polytraders.rows import Side

GOLDEN = ROOT / "tests" / "golden" / "agreement.json"
STORED = json.loads(GOLDEN.read_text())
QUOTED = ("capture", "session", "tickscope")
PUSHED = ("april", "capture", "session", "sd-lad", "bos-laa", "tb-kc")


@pytest.mark.parametrize("which", sorted({*QUOTED, *PUSHED}))
def test_a_recording_agrees_with_the_venue_at_the_pinned_rate(real, which):
    _, catalog, _ = real(which)
    assert agreement(which, root=catalog.root).as_dict() == STORED[which]


def test_the_rates_are_those_that_the_recordings_readme_gives():
    """92.96 % is its 93 %; three games change 1.3 to 1.5 levels a book."""
    assert round(STORED["tickscope"]["quotes_equal"] / STORED["tickscope"]["quotes"], 2) == 0.93
    for game in ("sd-lad", "bos-laa", "tb-kc"):
        told = STORED[game]
        assert 1.3 <= told["levels"] / (told["books"] - told["books_equal"]) <= 1.5


def test_the_captures_disagreements_are_two_changes_four_quotes_and_three_before_the_first_book(real):
    """Both tokens' entries of two changes are the README's 4 of 10,361; its 4 of 144 quotes are ours."""
    _, catalog, _ = real("capture")
    kinds = catalog.table("capture", "messages").to_pydict()["kind"]
    wrong = disagreements("capture", root=catalog.root)
    before_the_book = wrong["replayed"] == 10_000
    kind = wrong["message"].map(kinds.__getitem__)
    assert wrong[before_the_book]["message"].tolist() == [0, 1, 2]
    assert wrong[~before_the_book].groupby(kind)["message"].nunique().to_dict() == {
        "price_change": 2,
        "best_bid_ask": 4,
    }


def test_one_level_that_is_never_taken_back_is_most_of_what_is_wrong_with_tickscope(real):
    _, catalog, _ = real("tickscope")
    wrong = disagreements("tickscope", root=catalog.root)
    sizes = wrong.groupby(["market", "side", "episode"]).size().sort_values()
    assert sizes.index[-1][:2] == (3, Side.BUY) and sizes.iloc[-2:].tolist() == [749, 12_472]
    one = wrong.set_index(["market", "side", "episode"]).loc[[sizes.index[-1]]]
    assert set(one["cause"]) == {Cause.LINGERING} and set(one["replayed"]) == {5_000}
    lingering = (wrong["cause"] == Cause.LINGERING).sum()
    assert lingering - 12_472 - 749 == 181


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n ").split("|")]


def test_the_page_says_what_was_measured():
    page = (ROOT / "docs" / "book_replay.md").read_text()
    told = [tuple(cells(line)) for line in page.splitlines() if line.startswith("|") and cells(line)[0] in STORED]
    expected = []
    for name in QUOTED:
        s = STORED[name]
        wrong = [f"{s['wrong'][cause]:,}" for cause in ("untold", "lingering", "late")]
        rate = f"{s['quotes_equal'] / s['quotes']:.2%}".replace("%", " %")
        longest = f"{s['longest_ns'] / 1e9:.1f} s"
        counts = f"{s['quotes']:,}", f"{s['quotes_equal']:,}"
        expected.append((name, *counts, rate, *wrong, f"{s['episodes']}", longest, f"{s['lasting']:,}"))
    for name in PUSHED:
        s = STORED[name]
        changed = s["books"] - s["books_equal"]
        each = f"{s['levels'] / changed:.2f}"
        expected.append((name, f"{s['books']:,}", f"{changed:,}", f"{s['levels']:,}", each))
    assert told == expected


def test_each_cause_is_told_from_the_others(wire: Wire, bench: Bench):
    """Bids of 0.40 and 0.41; the venue reports 0.45 (never told of), 0.40 (ours is 0.41), 0.41 (ours is taken back)."""
    told = (("0.39", "1", "0.45"), ("0.38", "1", "0.40"), ("0.41", "0", "0.41"), ("0.37", "1", "0.40"))
    changes = [wire.change(wire.leg(price, size, "BUY", best_bid=best, best_ask="0.60")) for price, size, best in told]
    book = wire.book({"0.40": "10", "0.41": "5"}, {"0.60": "10"})
    name = bench.bring(lines_of([book, *changes])).name
    wrong = disagreements(name, root=bench.root)
    assert wrong["cause"].tolist() == [Cause.UNTOLD, Cause.LINGERING, Cause.LATE]
    assert wrong[["reported", "replayed"]].values.tolist() == [[4_500, 4_100], [4_000, 4_100], [4_100, 4_000]]
    assert wrong["episode"].tolist() == [0, 0, 0] and wrong["until"].nunique() == 1
    found = agreement(name, root=bench.root)
    assert (found.quotes, found.quotes_equal, found.messages_equal, found.episodes) == (8, 5, 1, 1)
    assert (found.longest_ns, found.longest_checks, found.lasting) == (30_000_000, 3, 0)


def test_a_pushed_book_is_counted_by_the_levels_it_changes(wire: Wire, bench: Bench):
    """Of three books the first sets up, the second moves one level and removes one, the third repeats the second."""
    books = [wire.book({"0.40": "10", "0.39": "5"}, {"0.60": "10"})]
    books += [wire.book({"0.40": "9"}, {"0.60": "10"}, hash=str(k)) for k in range(2)]
    found = agreement(bench.bring(lines_of(books)).name, root=bench.root)
    assert (found.books, found.books_equal, found.levels, found.rate) == (2, 1, 2, 1.0)
