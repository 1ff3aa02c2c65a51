"""Jupyter-centric research-to-live platform for Polymarket: the notebook you backtest is the step that trades.

Modules:

- `polytraders.config`: The committed configuration: one ini file, checked line by line before anything starts.
- `polytraders.data.agreement`: How well a recording's replayed book agrees with what the venue itself said of it, and why where it does not.
- `polytraders.data.bookhash`: The venue's book hash: check a book against it, and read from it what the message leaves out.
- `polytraders.data.catalog`: The catalog: recordings as Parquet files, loaded as one ordered stream of event rows.
- `polytraders.data.checks`: A recording against itself: replay its rows and compare with what its own messages said.
- `polytraders.data.importer`: Recordings in, one entry of the catalog out.
- `polytraders.data.inference`: Trades from the books that the venue pushes after each of them, for recordings without trade messages.
- `polytraders.data.journal`: What an import writes down: event rows, the message table, findings, and the one clock of the stream.
- `polytraders.data.markets`: Who is who in a recording: conditions, their two tokens, and where each rule of a market comes from.
- `polytraders.data.normalise`: Messages of the venue's market channel to event rows: one book per condition, in YES space.
- `polytraders.data.quality`: What can be wrong with a recording, by name. Nothing is repaired in silence: every case is a row.
- `polytraders.data.rules`: Dated venue rules for what a recording does not carry, and what a slug tells about its market.
- `polytraders.data.sources`: Recording files to messages: decompress, split, recognise the envelope, unwrap.
- `polytraders.data.synth`: A made-up market that speaks the venue's wire format: to try things on where no recording is at hand.
- `polytraders.engine.backtest`: Drive the step over a stream: through the simulated venue (`simulate`) or alone (`feed`).
- `polytraders.engine.book`: One dense integer book per condition, in YES space.
- `polytraders.engine.fees`: The taker fee and the maker rebate, in integers.
- `polytraders.engine.jit`: Compilation of kernels, with a cache that cannot go stale and a switch to plain Python.
- `polytraders.engine.kernels`: The explicit signature of each bot family: what `decide` is given and must return.
- `polytraders.engine.ledger`: Cash, reservations and positions, to the micro-pUSD.
- `polytraders.engine.loop`: The compiled loops that drive the step: the backtest with its simulated venue, and the bare event feed.
- `polytraders.engine.matching`: The simulated venue: what Polymarket's operator would have done with our orders on this tape.
- `polytraders.engine.probe`: One bot under the lamp: build the records a kernel reads from a few numbers, call it, read what it wrote.
- `polytraders.engine.state`: What the step knows: a handful of record arrays, owned by the step and written by nobody else.
- `polytraders.engine.step`: The step: everything that decides. Backtest, replay, paper, shadow and live run this code and no other.
- `polytraders.errors`: The few error classes of the platform; each is one message a person can act on.
- `polytraders.report.analysis`: A run's log as tidy tables: fills, markouts, profit and loss, orders, decisions, quality of the data.
- `polytraders.report.charts`: The report's charts: plotly figures whose title is their message.
- `polytraders.report.findings`: What a reader has to know before the charts: five plain sentences, then what limits the result.
- `polytraders.report.panels`: What stands on the page: panels of one message each, with the run mode on every one of them.
- `polytraders.report.render`: From a run's folder to one page: the template notebook executed by papermill, the result wrapped to stand alone.
- `polytraders.research.calibrate`: Queue and latency parameters from a recording, with their errors, as settings a run can take.
- `polytraders.research.queue`: What a recording itself says about queues: virtual orders, and what happened before and behind them.
- `polytraders.research.wallet`: A wallet's books from its public trades: cash, positions, profit by market, through the engine's own ledger.
- `polytraders.rows`: The rows that cross the line: what happened (Event), what was decided (Decision), what is to be done (Action).
- `polytraders.run.band`: One backtest under three fill models: what is uncertain about the fills, carried into the profit.
- `polytraders.run.replay`: Replay: derive every decision of a run again, from its log alone, and compare row for row.
- `polytraders.store.envelopes`: The envelope store: the receipts of runs in SQLite, a projection of their logs that can be rebuilt at any time.
- `polytraders.store.ids`: Names of intents, runs and envelopes: short, sortable where it matters, and the same on every rebuild.
- `polytraders.store.log`: The run log: append-only segments of event, decision, action and sample rows. It is the truth.
- `polytraders.store.manifest`: What a run was made from, as its log's manifest: enough to read, trace and replay it without this machine.
- `polytraders.store.receipts`: From the rows of a run log to its receipts: one `ReportEnvelope` document per row that decides, sends or answers.
- `polytraders.store.trace`: The whole story of one intent, read from its run's log: what was known, decided, voted, sent and traded.
- `polytraders.units`: Units and the only conversions between them."""

__version__ = "0.1.0"
