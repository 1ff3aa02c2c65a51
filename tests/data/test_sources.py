"""Files to messages: every source form is recognised by its content, and damage is a counted place, not a crash."""

from __future__ import annotations

import gzip
import hashlib
import random

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from wire import NO, NS, T0, YES, lines_of

from polytraders.data.checks import check
from polytraders.data.importer import import_files
from polytraders.data.sources import seconds_ns, venue_ns
from polytraders.errors import DataError, UsageError
from polytraders.rows import EventKind as K


def _envelopes(frames, form):
    for at, frame in enumerate(frames):
        ms = T0 + 30 + 10 * at
        yield {
            "frames": {"recv_ns": ms * NS, "frame": frame},
            "frames as text": {"recv_ns": ms * NS, "frame": orjson.dumps(frame).decode()},
            "book stream": {"recv_ts": ms / 1_000, "slug": "btc-updown-5m-1776323400", "raw": frame},
            "capture": {"capturedAt": ms / 1_000, "payload": frame},
            "session": {
                "source": "polymarket_clob",
                "recv_wall_ts": ms,
                "recv_mono_ns": ms * NS + 5,
                "payload": orjson.dumps(frame).decode(),
            },
            "bare frames": frame,
        }[form]


@pytest.mark.parametrize("form", ["frames", "frames as text", "book stream", "capture", "session", "bare frames"])
def test_json_lines_of_every_form_give_the_same_rows(bench, wire, form):
    frames = [wire.book({"0.48": "10"}, {"0.5": "30"}), wire.change(wire.leg("0.47", "4", "BUY"))]
    data = b"\n".join(orjson.dumps(line) for line in _envelopes(frames, form))
    events = bench.catalog.load(bench.bring(data).name).events
    assert events[["kind", "side", "price", "size"]].tolist() == [
        (K.BOOK_CLEAR, 0, 0, 0),
        (K.LEVEL, 0, 4800, 10_000_000),
        (K.LEVEL, 1, 5000, 30_000_000),
        (K.CHANGE, 0, 4700, 4_000_000),
    ]
    expected = {
        "session": [(T0 + 30) * NS + 5, (T0 + 40) * NS + 5],
        "bare frames": [(T0 + 1) * NS, (T0 + 2) * NS],
    }.get(form, [(T0 + 30) * NS, (T0 + 40) * NS])
    assert sorted(set(events["ts_recv"].tolist())) == expected
    sources = bench.catalog.manifest("x")["sources"]
    assert sources[0]["lines"] == {form.removesuffix(" as text"): 2}


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".zst", zstandard.compress),
        (".renamed", zstandard.compress),
        (".crlf", None),
    ],
)
def test_compression_is_recognised_by_content(bench, wire, suffix, pack):
    data = lines_of([wire.book({"0.48": "10"}, {"0.5": "30"})] * 3)
    data = data.replace(b"\n", b"\r\n") if pack is None else pack(data)
    assert bench.bring(data, f"x.jsonl{suffix}", name="x").manifest["messages"] == 3


def test_several_compressed_frames_in_a_row_are_one_file(bench, wire):
    line = lines_of([wire.book({"0.48": "10"}, {"0.5": "30"}, tick_size="0.01", last_trade_price="")])
    assert bench.bring(zstandard.compress(line) * 3, "x.jsonl.zst").manifest["messages"] == 3


def test_other_feeds_of_a_session_are_counted_and_give_no_rows(bench, wire):
    lines = list(_envelopes([wire.book({"0.48": "1"}, {"0.5": "1"})], "session"))
    lines.append({"source": "binance", "recv_wall_ts": T0 + 90_000, "payload": "{}"})
    result = bench.bring(b"\n".join(orjson.dumps(line) for line in lines))
    assert result.manifest["kinds"] == {"book": 1, "out_of_scope:binance": 1}
    assert result.manifest["quality"] == {}  # nor do they end a silence of the market feed
    assert bench.catalog.table("x", "messages").column("n_rows").to_pylist() == [3, 0]


def test_heartbeats_are_no_messages(bench, wire):
    frames = ["PONG", [], wire.book({"0.48": "1"}, {"0.5": "1"}), "[]"]
    result = bench.bring(lines_of(frames))
    assert result.manifest["messages"] == 1
    assert result.manifest["quality"] == {}


LEVELS = "market_slug,asset_id,market_id,event_type,price,side,size,hash,timestamp\n"


def _level(kind, price, side, size, digest, ms, token=YES):
    return f"mlb-a-b,{token},,{kind},{price},{side},{size},{digest},{ms}\n"


def test_rows_of_a_level_csv_that_belong_together_are_one_message(bench):
    rows = [
        _level("book", 0.49, "bid", "5.0", "h1", T0),
        _level("book", 0.51, "ask", "6.0", "h1", T0),
        _level("book", 0.49, "bid", "6.0", "h2", T0, NO),
        _level("book", 0.51, "ask", "5.0", "h2", T0, NO),
        _level("price_change", 0.5, "bid", "2.0", "h3", T0 + 1),
        _level("price_change", 0.49, "bid", "0.0", "h3", T0 + 1),
    ]
    result = bench.bring((LEVELS + "".join(rows)).encode(), "x.csv")
    table = bench.catalog.table("x", "messages").to_pylist()
    assert [(m["kind"], m["line"], m["n_rows"]) for m in table] == [
        ("book", 2, 3),
        ("book", 4, 1),
        ("price_change", 6, 2),
    ]
    assert table[0]["sha256"] == hashlib.sha256("".join(rows[:2]).strip().encode()).digest()
    (info,) = bench.catalog.markets("x")
    assert (info.slug, info.condition_id, info.yes_token, info.no_token) == ("mlb-a-b", "mlb-a-b", YES, NO)
    assert any("No receive time" in note for note in result.manifest["notes"])


def test_a_level_csv_cut_in_a_message_loses_that_message_only(bench):
    rows = _level("book", 0.49, "bid", "5.0", "h1", T0) + _level("price_change", 0.5, "bid", "2.0", "h3", T0 + 1)
    cut = (LEVELS + rows + _level("price_change", 0.48, "bid", "1.0", "h4", T0 + 2) + "mlb-a-b,11").encode()
    result = bench.bring(cut, "x.csv")
    assert result.manifest["kinds"] == {"book": 1, "price_change": 1}
    assert result.manifest["quality"] == {"malformed": 1}
    assert result.problems == ("x.csv:5: malformed: csv: 2 values, the header has 9",)


def test_a_changes_csv_is_the_old_price_change(bench):
    text = (
        '"id","asset_id","market","timestamp","hash","changes"\n'
        f'1,"{YES}","0xe0",2025-01-25 18:15:47.925 +0100,h1,'
        '"[{""side"": ""SELL"", ""size"": ""300"", ""price"": ""0.23""}]"\n'
        f'2,"{YES}","0xe0",2025-01-25T17:15:48.000Z,h2,'
        '"[{""side"": ""BUY"", ""size"": ""1.5"", ""price"": ""0.2""}]"\n'
        f'3,"{YES}","0xe0",yesterday,h2,"[]"\n'
    )
    result = bench.bring(text.encode(), "x.csv")
    events = bench.catalog.load("x").events
    assert events[["kind", "side", "price", "size"]].tolist() == [
        (K.CHANGE, 1, 2300, 300_000_000),
        (K.CHANGE, 0, 2000, 1_500_000),
    ]
    assert events["ts_event"].tolist() == [1_737_825_347_925 * NS, 1_737_825_348_000 * NS]
    assert result.problems[0].startswith("x.csv:4: malformed")


def _flat(rows):
    names = ["timestamp", "price", "size", "best_bid", "best_ask", "side", "event_type", "asset_id"]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns["timestamp"] = pa.array(columns["timestamp"], pa.timestamp("ms", "UTC"))
    return pa.table(columns)


def test_flat_parquet_pairs_the_tokens_by_their_mirrored_rows(bench):
    path = bench.folder / "x.parquet"
    rows = [
        (T0, 0.31, 198.0, 0.31, 0.39, "BID", "PRICE_CHANGE", YES),
        (T0, 0.69, 198.0, 0.61, 0.69, "ASK", "PRICE_CHANGE", NO),
        (T0 + 1, 0.61, 2.5, 0.61, 0.69, "BID", "PRICE_CHANGE", NO),
        (T0 + 2, 0.69, 1.25, 0.0, 0.0, "BID", "LAST_TRADE", NO),
    ]
    pq.write_table(_flat(rows), path)
    (result,) = import_files([path], root=bench.root, gap_s=5).recordings
    events = bench.catalog.load("x").events
    assert events[["kind", "side", "price", "size"]].tolist() == [
        (K.CHANGE, 0, 3100, 198_000_000),
        (K.CHANGE, 1, 3900, 2_500_000),
        (K.TRADE, 1, 3100, 1_250_000),
    ]
    (info,) = bench.catalog.markets("x")
    assert (info.yes_token, info.no_token) == (YES, NO)
    assert result.manifest["best"] == {"checked": 2, "agreed": 1}  # the ask was older than the recording at first


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        (1776323404.7760892, 1_776_323_404_776_089_200),
        (1776094505.287683, 1_776_094_505_287_683_000),
        (1776808414, 1_776_808_414_000_000_000),
        ("1776808414.5", 1_776_808_414_500_000_000),
    ],
)
def test_seconds_become_ns_by_their_decimal_text(value, ns):
    assert seconds_ns(value) == ns


def test_venue_times_are_scaled_by_their_magnitude():
    for text in ("1776323404", "1776323404000", "1776323404000000", "1776323404000000000"):
        assert venue_ns(text) == 1_776_323_404 * 10**9
    for bad in ("12", "9" * 18, "-5"):
        with pytest.raises(ValueError, match="2017"):
            venue_ns(bad)


# -- damage ------------------------------------------------------------------------------------------


def _good(wire, count=40):
    draw = random.Random(5)
    frames = [wire.book({"0.48": "10"}, {"0.5": "30"})]
    legs = [wire.leg("0.47", str(n + 1), "BUY") | {"hash": draw.randbytes(20).hex()} for n in range(count - 1)]
    return lines_of(frames + [wire.change(leg) for leg in legs])


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        (b'{"recv_ns": 17763', "malformed", "unexpected end"),
        (b"not json at all", "malformed", "expected"),
        (b'{"hello": 1}', "malformed", "no recording form"),
        (b"3", "malformed", "no recording form"),
        (b'{"recv_ns": "soon", "frame": {}}', "malformed", "soon"),
        (b'{"recv_ns": 5, "frame": {}}', "malformed", "2017"),
        (b'{"recv_ns": 1776323404000000000, "frame": [1, 2]}', "malformed", "neither an object"),
        (b'{"recv_ns": 1776323404000000000, "frame": "INVALID OPERATION"}', "malformed", "unexpected"),
        ('{"recv_ns": 1776323404000000000, "frame": "b\xf6\xf6k"}'.encode("latin-1"), "encoding", "not UTF-8"),
        ('{"recv_ns": 1}'.encode("utf-16"), "encoding", "UTF-16"),
        (bytes(range(128, 256)), "encoding", "not UTF-8"),
        (b"[" * 5_000, "malformed", ""),
    ],
)  # fmt: skip
def test_a_bad_line_is_told_with_file_and_line_and_the_rest_is_imported(bench, wire, line, kind, says):
    good = _good(wire).splitlines()
    data = b"\n".join([*good[:20], line, *good[20:]])
    result = bench.bring(data)
    assert result.manifest["messages"] == 40
    assert result.manifest["quality"] == {kind: 1}
    (finding,) = bench.quality()
    assert (finding["file"], finding["line"], finding["message"]) == ("x.jsonl", 21, -1)
    assert says in finding["detail"]
    assert result.problems == (f"x.jsonl:21: {kind}: {finding['detail']}",)
    with pytest.raises(DataError, match=r"x\.jsonl:21"):
        bench.bring(data, strict=True, replace=True)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("zst", zstandard.compress)])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_compressed_file_gives_what_can_be_read(bench, wire, suffix, pack, damage):
    packed = bytearray(pack(_good(wire, 4_000)))
    if damage == "cut":
        del packed[len(packed) * 3 // 4 :]
    else:
        packed[len(packed) * 3 // 4 : len(packed) * 3 // 4 + 40] = b"\xff" * 40
    result = bench.bring(bytes(packed), f"x.jsonl.{suffix}", name="x")
    assert 1_000 < result.manifest["messages"] < 4_000
    assert {"cut": {"truncated"}, "flipped": {"truncated", "malformed", "encoding"}}[damage] & set(
        result.manifest["quality"]
    )
    assert result.problems[0].startswith(f"x.jsonl.{suffix}:")
    assert check("x", root=bench.root, sources=bench.folder).ok
    with pytest.raises(DataError, match=r"x\.jsonl"):
        bench.bring(bytes(packed), f"x.jsonl.{suffix}", name="x", strict=True, replace=True)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("empty.jsonl", b"", "empty"),
        ("blank.jsonl", b"\n\n  \n", "nothing in it"),
        ("noise.bin", bytes((n * 197 + 13) % 256 for n in range(5_000)), "not UTF-8"),
        ("wide.jsonl", ('{"recv_ns": 1}\n' * 5).encode("utf-16"), "UTF-16"),
        ("some.csv", b"a,b\n1,2\n", "malformed"),
        ("half.parquet", b"PAR1" + b"x" * 90, "parquet"),
        ("stub.zst", b"\x28\xb5\x2f\xfd", "middle of a frame"),
        ("stub.gz", b"\x1f\x8b\x08", "middle of a frame"),
    ],
)
def test_a_file_with_nothing_usable_is_refused_with_the_reason_and_leaves_nothing(bench, name, data, says):
    with pytest.raises(DataError) as caught:
        bench.bring(data, name)
    assert says in str(caught.value)
    assert name in str(caught.value)
    assert bench.catalog.names() == []
    assert not bench.root.exists() or list(bench.root.iterdir()) == []


def test_other_parquet_is_named_as_such(bench):
    pq.write_table(pa.table({"a": [1]}), bench.folder / "x.parquet")
    with pytest.raises(DataError, match="without the columns timestamp"):
        import_files([bench.folder / "x.parquet"], root=bench.root, gap_s=5)


def test_one_bad_file_does_not_keep_the_others_out(bench, wire):
    good, bad = bench.write(_good(wire), "good.jsonl"), bench.write(b"nonsense", "bad.jsonl")
    done = import_files([bad, good], root=bench.root, gap_s=5).recordings
    assert [(r.name, r.status) for r in done] == [("bad", "failed"), ("good", "imported")]
    assert bench.catalog.names() == ["good"]


def test_missing_files_and_folders_are_refused_before_anything_is_written(bench, wire):
    good = bench.write(_good(wire))
    for path, says in ((bench.folder / "nowhere.jsonl", "no such file"), (bench.folder, "folder")):
        with pytest.raises(UsageError, match=says):
            import_files([good, path], root=bench.root, gap_s=5)
    assert bench.catalog.names() == []


def test_strict_writes_nothing_when_it_stops(bench, wire):
    with pytest.raises(DataError, match="no recording form"):
        bench.bring(_good(wire) + b'{"x": 1}\n', strict=True)
    assert bench.catalog.names() == []


def test_a_line_without_end_is_given_up_not_swallowed(bench, monkeypatch):
    monkeypatch.setattr("polytraders.data.sources.LINE_LIMIT", 1_000_000)
    with pytest.raises(DataError, match="longer than"):
        bench.bring(b"x" * 3_000_000)
