"""The desk's list of markets: what a line says of whom, and that an unreadable list stops rather than passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polytraders.config import load_settings
from polytraders.data.markets import MarketInfo
from polytraders.errors import ConfigError
from polytraders.rows import EventKind, Listed
from polytraders.run import listing

ID = "0x" + "9d" * 32
BASE = MarketInfo(ID, "btc-updown-5m-1", "?", "1", "2", 100, 100, 5_000_000, 0, 1, 0, False, "77", 0)
OTHER = replace(BASE, condition_id="0x" + "11" * 32, slug="will-it-rain", event_id="78")
NOW = 1_776_330_000_000_000_000


def write(tmp_path, text: str):
    path = tmp_path / "markets.list"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_line_names_a_market_by_condition_event_or_slug(tmp_path):
    lines = listing.read_list(
        write(
            tmp_path, f"# ours\n\nbanned {ID.upper().replace('0X', '0x')} # why\ndisputed event:78\nno_source will-*\n"
        )
    )
    assert [line.flag for line in lines] == [Listed.BANNED, Listed.DISPUTED, Listed.NO_SOURCE]
    assert lines[0].why == "why"
    assert listing.flags_of(BASE, lines) == Listed.BANNED
    assert listing.flags_of(OTHER, lines) == Listed.DISPUTED | Listed.NO_SOURCE


def test_the_list_adds_to_what_the_metadata_says(tmp_path):
    lines = listing.read_list(write(tmp_path, "banned btc-*"))
    known = replace(BASE, flags=int(Listed.SINGLE_SOURCE))
    assert listing.flags_of(known, lines) == Listed.BANNED | Listed.SINGLE_SOURCE


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("\nbaned btc-*", 2, "did you mean banned"),
        ("banned", 1, "one target"),
        ("banned a b", 1, "one target"),
        ("banned 0x12", 1, "64 hex"),
        ("unvetted x", 1, "no finding"),
    ],
)
def test_a_line_that_is_no_finding_is_refused_with_its_place(tmp_path, text, line, what):
    with pytest.raises(ConfigError) as refused:
        listing.read_list(write(tmp_path, text))
    assert refused.value.where.endswith(f":{line}") and what in str(refused.value)


def test_a_named_list_that_cannot_be_read_stops_the_start(tmp_path):
    settings = load_settings().with_overrides({"listing.file": str(tmp_path / "gone")})
    with pytest.raises(ConfigError, match="cannot be read"):
        listing.vet([BASE], settings)
    (tmp_path / "binary").write_bytes(b"banned \xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        listing.read_list(tmp_path / "binary")


def test_markets_of_a_run_carry_what_the_list_says(tmp_path):
    path = write(tmp_path, "banned btc-*")
    settings = load_settings().with_overrides({"listing.file": str(path)})
    first, second = listing.vet([BASE, OTHER], settings)
    assert (first.flags, second) == (Listed.BANNED, OTHER)
    assert listing.vet([BASE], load_settings()) == [BASE]


def test_a_list_that_changes_becomes_one_row_a_changed_market(tmp_path):
    path = write(tmp_path, "banned btc-*")
    rows = listing.vet_again([BASE, OTHER], [0, 0], path, NOW)
    assert rows["kind"].tolist() == [EventKind.FLAGS] and rows["market"].tolist() == [0]
    assert rows["size"].tolist() == [Listed.BANNED] and rows["ts_recv"].tolist() == [NOW]
    assert not len(listing.vet_again([BASE, OTHER], [int(Listed.BANNED), 0], path, NOW))


def test_a_list_that_can_no_longer_be_read_makes_every_market_unvetted(tmp_path):
    rows = listing.vet_again([BASE, OTHER], [0, int(Listed.BANNED)], tmp_path / "gone", NOW)
    assert rows["size"].tolist() == [Listed.UNVETTED, Listed.UNVETTED | Listed.BANNED]
