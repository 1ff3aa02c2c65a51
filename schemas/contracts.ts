// Generated from schemas/*.json by `polytraders schemas --write`. Do not edit.

/** A bot, a person or the system itself, as the author of a change. */
export interface Actor {
  /** What they are. */
  readonly kind: "bot" | "operator" | "system";
  /** Which one. */
  readonly id: string;
}

/** The answer to a trade intent: who, through which door, of what exactly. */
export interface Approval {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly approval_id: string;
  /** What it answers. */
  readonly trade_intent_id: string;
  /** The answer. */
  readonly decision: "APPROVE" | "REJECT";
  /** Who answered. */
  readonly actor: Actor;
  /** Through which door; policy: nobody was asked. */
  readonly channel: "cli" | "http" | "notebook" | "policy";
  /** The policy that answered, with channel policy only. */
  readonly policy?: string | null;
  /** What was shown: the trade intent's shown_hash. */
  readonly shown_hash: string;
  /** Best price when it was shown, pUSD; null of a claim. */
  readonly price_shown?: string | null;
  /** Why; a rejection says so. */
  readonly comment?: string | null;
  /** When it is void. */
  readonly valid_until: string;
}

/** The receipt of one change of state. */
export interface AuditEnvelope {
  /** Place in the chain, from 0. */
  readonly seq: number;
  /** Hash of the envelope before; zeros for the first. */
  readonly prev_hash: string;
  /** SHA-256 over the canonical JSON of this envelope without this field. */
  readonly hash: string;
  /** Its id, a ULID. */
  readonly envelope_id: string;
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** The one reason. */
  readonly reason: string;
  /** Builder code, never masked; zeros when there is none. */
  readonly builder_code: string;
  /** Who did it. */
  readonly actor: Actor;
  /** What was changed. */
  readonly subject: Subject;
  /** The scope, with STRAT_MARKET_IN_SCOPE and _OUT_OF_SCOPE only. */
  readonly scope_snapshot?: ScopeSnapshot | null;
}

/** All that rests at one price. */
export interface BookLevel {
  /** pUSD, YES. */
  readonly price: string;
  /** Shares. */
  readonly size: string;
}

/** How one bot runs: version, mode and parameters. */
export interface BotConfig {
  /** The bot. */
  readonly bot_id: string;
  /** Version of its code. */
  readonly bot_version: string;
  /** Changes with every change that can change a decision. */
  readonly config_version: string;
  /** How far its output is honoured. */
  readonly mode: "off" | "shadow" | "advisory" | "enforced" | "quarantine";
  /** All its parameters, in the order of its spec. */
  readonly parameters: readonly ParameterValue[];
  /** Other values in single markets. */
  readonly overrides?: readonly MarketOverride[];
  /** Feature flags. */
  readonly flags?: { readonly [name: string]: boolean };
}

/** One bot's heartbeat. */
export interface BotHealth {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** The bot. */
  readonly bot_id: string;
  /** Version of its code. */
  readonly bot_version: string;
  /** Version of its configuration. */
  readonly config_version: string;
  /** Its mode. */
  readonly mode: "off" | "shadow" | "advisory" | "enforced" | "quarantine";
  /** How it is. */
  readonly status: "healthy" | "degraded" | "down" | "unknown";
  /** Age of its last sign of life; null when it never gave one. */
  readonly heartbeat_age_ms: number | null;
  /** Decisions in the last minute, failed ones among them. */
  readonly decisions_last_minute: number;
  /** Of those, the failed ones. */
  readonly errors_last_minute: number;
  /** errors / decisions, to 4 decimals; 0 without decisions. */
  readonly error_rate_pct: string;
  /** 99th percentile of a decision's duration; null without decisions. */
  readonly latency_p99_us?: string | null;
  /** Inputs older than their budget. */
  readonly stale_inputs?: readonly string[];
  /** What is wrong; null when it is healthy. */
  readonly reason_code?: string | null;
}

/** How far one bot decided the same again. */
export interface BotParity {
  /** The bot. */
  readonly bot_id: string;
  /** Rows it has in the log or in the replay, whichever is more. */
  readonly rows: number;
  /** Of those, rows that agree to the byte. */
  readonly equal: number;
  /** Whether its rolling hash over all decisions agrees. */
  readonly hash_equal: boolean;
}

/** Markets that move together, found by the system from their metadata and prices. Nobody edits it. */
export interface Cluster {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** The cluster. */
  readonly cluster_id: string;
  /** Whose it is. */
  readonly tenant_id: string;
  /** Its name for people. */
  readonly name: string;
  /** Version of the code that built it. */
  readonly builder_version: string;
  /** Days of prices it was built on. */
  readonly window_days: number;
  /** Correlation from which prices put a market in. */
  readonly threshold: string;
  /** Its markets. */
  readonly members: readonly ClusterMember[];
}

/** Most exposure to one cluster of related markets. */
export interface ClusterCap {
  /** The cluster. */
  readonly cluster_id: string;
  /** Most gross exposure. */
  readonly gross_pusd: string;
  /** Most net exposure. */
  readonly net_pusd: string;
}

/** One market of a cluster, and why it is in it. */
export interface ClusterMember {
  /** The market. */
  readonly condition_id: string;
  /** What put it there. */
  readonly because: "metadata" | "price" | "both";
  /** Mean price correlation with the others; null without enough prices. */
  readonly correlation?: string | null;
}

/** What a reshape demands: only ever less, never another side, market or outcome. */
export interface Constraints {
  /** Most shares. */
  readonly max_size?: string | null;
  /** Highest price, in the intent's own token. */
  readonly max_price?: string | null;
  /** Lowest price, in the intent's own token. */
  readonly min_price?: string | null;
  /** Must not take. */
  readonly passive_only?: boolean;
  /** May only reduce the position. */
  readonly close_only?: boolean;
}

/** A strategy's decision: what it wanted, what risk said, what was left of it; or why it wanted nothing. */
export interface DecisionReport {
  /** Kind of payload. */
  readonly kind: "DecisionReport";
  /** The market. */
  readonly condition_id: string;
  /** What it wanted; null when it held back. */
  readonly intent?: OrderIntent | null;
  /** The votes received, in order. */
  readonly votes?: readonly VoteReceived[];
  /** What was left of it; null when refused or not voted on yet. */
  readonly final_intent?: OrderIntent | null;
  /** The decision in a sentence. */
  readonly reasoning: string;
  /** What was measured, against which limits. */
  readonly measures?: readonly Measure[];
}

/** How an approved intent becomes orders, and what that is expected to cost. */
export interface ExecutionPlan {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly plan_id: string;
  /** The intent it carries out. */
  readonly intent_id: string;
  /** The market. */
  readonly condition_id: string;
  /** Which token. */
  readonly outcome: "YES" | "NO";
  /** Buy or sell. */
  readonly side: "BUY" | "SELL";
  /** The orders, in the order they are sent. */
  readonly steps: readonly PlanStep[];
  /** How the cost was estimated. */
  readonly method: "passive" | "walk" | "conservative_default";
  /** Expected average price, pUSD. */
  readonly q_exec: string;
  /** Expected taker fees. */
  readonly estimated_fees_pusd: string;
  /** Expected maker rebates. */
  readonly estimated_rebate_pusd: string;
  /** Expected slippage against mid, bps of 1 pUSD. */
  readonly estimated_slippage_bps: string;
  /** The book it was estimated on; null with conservative_default. */
  readonly book_hash?: string | null;
  /** Which way was chosen. */
  readonly reason_code: string;
  /** Builder code of the orders; zeros when there is none. */
  readonly builder_code: string;
  /** When it is void. */
  readonly expires_at: string;
}

/** What happened to an order. Our refusal is "denied"; "rejected" is always the venue's. */
export interface ExecutionReport {
  /** Kind of payload. */
  readonly kind: "ExecutionReport";
  /** What happened. */
  readonly event: "estimated" | "planned" | "kept" | "denied" | "submitted" | "acknowledged" | "rejected" | "partially_filled" | "filled" | "cancel_sent" | "cancelled" | "expired";
  /** The market. */
  readonly condition_id: string;
  /** The intent behind it. */
  readonly intent_id?: string | null;
  /** Our id of the order, once there is one. */
  readonly order_id?: string | null;
  /** The venue's id of the order, once there is one. */
  readonly venue_order_id?: string | null;
  /** Which token. */
  readonly outcome?: "YES" | "NO" | null;
  /** Buy or sell. */
  readonly side?: "BUY" | "SELL" | null;
  /** pUSD, in the order's own token. */
  readonly limit_price?: string | null;
  /** Size of the order, shares. */
  readonly size_shares?: string | null;
  /** Filled so far, shares. */
  readonly filled_shares?: string;
  /** The plan, with planned. */
  readonly plan?: ExecutionPlan | null;
  /** The fill, with filled and partially_filled. */
  readonly fill?: Fill | null;
  /** What the venue wrote, unchanged. */
  readonly venue_message?: string | null;
  /** What was measured, against which limits. */
  readonly measures?: readonly Measure[];
}

/** What was measured of one market at one time. It measures and never decides. */
export interface FeatureVector {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly feature_vector_id: string;
  /** The market. */
  readonly condition_id: string;
  /** Version of the code that computed it. */
  readonly signal_version: string;
  /** Name -> value; null if not computed. */
  readonly features: { readonly [name: string]: string | null };
  /** Computed features / expected features, to 4 decimals. */
  readonly completeness: string;
  /** fresh only when complete and within its age budget. */
  readonly quality: "fresh" | "stale" | "partial";
  /** The book it was computed on. */
  readonly book_hash?: string | null;
}

/** One match of one of our orders. */
export interface Fill {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly fill_id: string;
  /** Our id of the order. */
  readonly order_id: string;
  /** The venue's id of the order. */
  readonly venue_order_id?: string | null;
  /** The intent behind the order. */
  readonly intent_id: string;
  /** The market. */
  readonly condition_id: string;
  /** Which token. */
  readonly outcome: "YES" | "NO";
  /** Buy or sell. */
  readonly side: "BUY" | "SELL";
  /** pUSD, in the order's own token. */
  readonly price: string;
  /** Shares. */
  readonly size_shares: string;
  /** Whether our order was resting. */
  readonly liquidity: "maker" | "taker";
  /** The venue's fee, from the match. */
  readonly fee_pusd: string;
  /** Maker rebate accrued. */
  readonly rebate_pusd: string;
  /** Builder's fee. */
  readonly builder_fee_pusd: string;
  /** Builder code of the order; zeros when there is none. */
  readonly builder_code: string;
  /** How final it is. */
  readonly status: "provisional" | "confirmed" | "voided";
  /** Transaction that settled it, once there is one. */
  readonly tx_hash?: string | null;
  /** The venue's own time of the match. */
  readonly exchange_ts: string;
}

/** Something that went wrong, from its first sign to its cause. `ts` is when it was opened. */
export interface Incident {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly incident_id: string;
  /** P0 is the worst. */
  readonly severity: "P0" | "P1" | "P2" | "P3";
  /** How far it is. */
  readonly state: "open" | "acknowledged" | "monitoring" | "resolved";
  /** What is wrong, in a few words. */
  readonly title: string;
  /** Whom or what it hurts. */
  readonly impact: string;
  /** Parts and bots it touches. */
  readonly affected: readonly string[];
  /** Codes it was raised by. */
  readonly reason_codes: readonly string[];
  /** The person who leads; from acknowledged on there is one. */
  readonly commander?: Actor | null;
  /** Kill switches it armed. */
  readonly switches?: readonly string[];
  /** Its story, in order. */
  readonly timeline?: readonly IncidentNote[];
  /** When it was over. */
  readonly resolved_at?: string | null;
  /** What it was, once resolved. */
  readonly cause?: string | null;
}

/** One line of an incident's story. */
export interface IncidentNote {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Who writes it. */
  readonly actor: Actor;
  /** What happened or was done. */
  readonly note: string;
}

/** One kill switch as it stands. */
export interface KillSwitch {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly switch_id: string;
  /** How far it reaches. */
  readonly scope: "global" | "portfolio" | "cluster" | "strategy" | "family" | "bot" | "market" | "feed" | "run";
  /** Which portfolio, cluster ...; null of the global one. */
  readonly target?: string | null;
  /** armed: nothing in its scope gets through. */
  readonly state: "clear" | "armed";
  /** What armed it last; null when nothing ever did. */
  readonly trigger?: "manual" | "drawdown_intraday" | "drawdown_weekly" | "drawdown_total" | "daily_loss" | "api_errors" | "stale_data" | "spread_anomaly" | "reject_rate" | "feed_loss" | "wallet_shortfall" | "reconciliation" | null;
  /** Code of the last arming. */
  readonly reason_code?: string | null;
  /** What was measured when it was armed. */
  readonly measures?: readonly Measure[];
  /** Who armed it last. */
  readonly armed_by?: Actor | null;
  /** When it was armed last. */
  readonly armed_at?: string | null;
  /** The persons who cleared it. */
  readonly cleared_by?: readonly Actor[];
  /** When they did. */
  readonly cleared_at?: string | null;
  /** Why they did. */
  readonly clear_reason?: string | null;
  /** How often it has been armed. */
  readonly firings: number;
}

/** A parameter that has another value in one market. */
export interface MarketOverride {
  /** The market. */
  readonly condition_id: string;
  /** The parameter. */
  readonly name: string;
  /** Its value there. */
  readonly value: string;
}

/** The markets a strategy may trade: the members of a cluster, or a list; never both. */
export interface MarketScope {
  /** Which of the two. */
  readonly mode: "cluster" | "manual";
  /** The cluster, with mode cluster. */
  readonly cluster_id?: string | null;
  /** The list, with mode manual. */
  readonly condition_ids?: readonly string[];
  /** What it came to. */
  readonly resolved_condition_ids?: readonly string[];
  /** When it was resolved; a backtest resolves it as it was on each day. */
  readonly resolved_at?: string | null;
}

/** One market as it stood at one time: its rules, its status and the best prices of YES. */
export interface MarketSnapshot {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** The market. */
  readonly condition_id: string;
  /** The venue's readable name of the market. */
  readonly slug: string;
  /** The question the market asks. */
  readonly question: string;
  /** Token id of YES. */
  readonly yes_token: string;
  /** Token id of NO. */
  readonly no_token: string;
  /** Life of the market. */
  readonly status: "OPEN" | "PAUSED" | "HALTED" | "RESOLVING" | "RESOLVED";
  /** Price step in force, pUSD. */
  readonly tick_size: string;
  /** Smallest order, shares. */
  readonly min_size: string;
  /** Rate of the market's fee curve. */
  readonly fee_rate: string;
  /** Exponent of the market's fee curve. */
  readonly fee_exponent: number;
  /** True when the market belongs to a negative-risk event. */
  readonly neg_risk: boolean;
  /** The event it belongs to, if known. */
  readonly event_id?: string | null;
  /** Scheduled close, if known. */
  readonly end_at?: string | null;
  /** Best bid of YES; null when nobody bids. */
  readonly best_bid?: string | null;
  /** Best ask of YES; null when nobody offers. */
  readonly best_ask?: string | null;
  /** Price of the last trade in YES; null before the first. */
  readonly last_price?: string | null;
  /** pUSD that one YES share pays; null until resolved. */
  readonly payout?: string | null;
  /** Traded in the last 24 hours. */
  readonly volume_24h_pusd: string;
  /** Resting near the best prices on both sides. */
  readonly liquidity_pusd: string;
  /** Where it comes from: clob_v2, recording, synthetic ... */
  readonly source: string;
  /** The venue's own time of the newest message behind it. */
  readonly exchange_ts: string;
  /** Age of that message when the snapshot was taken: ts - exchange_ts, never below 0. */
  readonly freshness_ms: number;
  /** SHA-256 of the raw message it was made from. */
  readonly provenance: string;
  /** Names of fields that the source did not contain. */
  readonly assumed?: readonly string[];
}

/** One thing that was measured, and what it was held against. */
export interface Measure {
  /** Name of the feature or parameter. */
  readonly name: string;
  /** What was measured. */
  readonly value: string;
  /** What it was held against, if anything. */
  readonly limit?: string | null;
  /** Unit of both: pUSD, shares, ppm, bps, ms, s, count ... */
  readonly unit: string;
}

/** The first row that differs. */
export interface Mismatch {
  /** Kind of row. */
  readonly kind: "decisions" | "actions" | "samples";
  /** Its place among those. */
  readonly row: number;
  /** The event it was decided after. */
  readonly seq: number;
  /** Whose decision, of decisions. */
  readonly bot_id?: string | null;
  /** The fields that differ. */
  readonly fields: readonly string[];
}

/** Before a trade: what was seen and measured of a market. Read-only. */
export interface ObservationReport {
  /** Kind of payload. */
  readonly kind: "ObservationReport";
  /** The market. */
  readonly condition_id: string;
  /** What was measured, against which limits. */
  readonly measures?: readonly Measure[];
  /** The market, when the report carries it whole. */
  readonly market?: MarketSnapshot | null;
  /** The book, when the report carries it whole. */
  readonly book?: OrderBookSnapshot | null;
  /** The features, when the report carries them whole. */
  readonly features?: FeatureVector | null;
  /** The score, when there is one. */
  readonly signal?: Signal | null;
}

/** What the platform did or found out about itself: a run, a replay, a drift, a health check. */
export interface OperationsReport {
  /** Kind of payload. */
  readonly kind: "OperationsReport";
  /** What it is about: ConfigDrift ... */
  readonly topic: string;
  /** The finding in a sentence. */
  readonly summary: string;
  /** The finding in parts. */
  readonly details?: { readonly [name: string]: Plain };
}

/** The book of one market at one time, in YES space, best prices first. */
export interface OrderBookSnapshot {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** The market. */
  readonly condition_id: string;
  /** Our sequence number of the newest event in it; the venue's messages carry none. */
  readonly seq: number;
  /** Price step in force, pUSD. */
  readonly tick_size: string;
  /** Bids, prices falling. */
  readonly bids: readonly BookLevel[];
  /** Asks, prices rising. */
  readonly asks: readonly BookLevel[];
  /** Whether decisions may be based on it. */
  readonly validity: "valid" | "stale" | "resyncing" | "crossed";
  /** The venue's own time of the newest message in it. */
  readonly exchange_ts: string;
  /** SHA-256 over the canonical JSON of condition_id, bids and asks. */
  readonly book_hash: string;
}

/** What a strategy wants to trade. Risk may shrink it or refuse it; nobody may grow or turn it. */
export interface OrderIntent {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id, and the key under which everything that follows happens at most once. */
  readonly intent_id: string;
  /** The strategy. */
  readonly strategy_id: string;
  /** The portfolio it trades for, bound at launch. */
  readonly portfolio_id: string;
  /** The market. */
  readonly condition_id: string;
  /** Which token. */
  readonly outcome: "YES" | "NO";
  /** Buy or sell. */
  readonly side: "BUY" | "SELL";
  /** Time in force, as the venue spells it. */
  readonly order_type: "GTC" | "GTD" | "FOK" | "FAK";
  /** Refuse rather than take. */
  readonly post_only?: boolean;
  /** May only close what is held. */
  readonly reduce_only?: boolean;
  /** Worst price accepted, in the intent's own token; null takes any. */
  readonly limit_price?: string | null;
  /** Size in pUSD: with a limit price and a size in shares, their product rounded up. */
  readonly size_pusd: string;
  /** Size in shares, which is what the venue counts. */
  readonly size_shares?: string | null;
  /** Most slippage accepted against mid, bps of 1 pUSD. */
  readonly max_slippage_bps?: number | null;
  /** Expected edge after costs, bps of 1 pUSD. */
  readonly model_edge_bps?: string | null;
  /** The signal it follows. */
  readonly signal_ref?: string | null;
  /** Why it was made. */
  readonly reason_code: string;
  /** Builder code of the order; zeros when there is none. */
  readonly builder_code: string;
  /** When it is void. */
  readonly expires_at: string;
}

/** Where one of our orders stands, after one message about it. */
export interface OrderUpdate {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Our id of the order. */
  readonly order_id: string;
  /** The venue's id of the order. */
  readonly venue_order_id?: string | null;
  /** The intent behind it. */
  readonly intent_id: string;
  /** The market. */
  readonly condition_id: string;
  /** Where it stands. */
  readonly status: "sent" | "delayed" | "live" | "partially_filled" | "filled" | "cancelled" | "expired" | "rejected" | "unknown";
  /** Shares ordered. */
  readonly size_shares: string;
  /** Shares filled so far. */
  readonly filled_shares: string;
  /** Shares that will not be filled any more. */
  readonly cancelled_shares: string;
  /** Shares that still can be: ordered - filled - cancelled. */
  readonly open_shares: string;
  /** How we heard of it. */
  readonly source: "response" | "stream" | "reconciliation" | "simulated";
  /** Our code, when it was rejected or cancelled. */
  readonly reason_code?: string | null;
  /** The venue's own word for the status, unchanged. */
  readonly venue_status?: string | null;
  /** What else the venue said, unchanged. */
  readonly venue_text?: string | null;
  /** The venue's own time, if it gave one. */
  readonly exchange_ts?: string | null;
}

/** A person's change of one limit, for a time. It lifts no refusal that was given. */
export interface Override {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly override_id: string;
  /** Whose limit. */
  readonly bot_id: string;
  /** The parameter as configured. */
  readonly before: ParameterValue;
  /** The parameter while the override holds. */
  readonly after: ParameterValue;
  /** Only in this portfolio; null: everywhere. */
  readonly portfolio_id?: string | null;
  /** Only for this strategy; null: for all. */
  readonly strategy_id?: string | null;
  /** Only in this market; null: in all. */
  readonly condition_id?: string | null;
  /** The person who asked for it. */
  readonly requested_by: Actor;
  /** The second person, where one is needed. */
  readonly approved_by?: Actor | null;
  /** Its code. */
  readonly reason_code: string;
  /** Why, in a sentence. */
  readonly justification: string;
  /** When it ends by itself, at most 2 hours later. */
  readonly expires_at: string;
  /** How it stands. */
  readonly state: "active" | "expired" | "revoked";
  /** Who ended it early, when revoked. */
  readonly revoked_by?: Actor | null;
}

/** One parameter of one bot as it runs. */
export interface ParameterValue {
  /** Its name in the bot's spec. */
  readonly name: string;
  /** Unit of all four values. */
  readonly unit: string;
  /** The value in force. */
  readonly value: string;
  /** The value when nobody sets one. */
  readonly default: string;
  /** Beyond it every decision warns; null when there is none. */
  readonly warning?: string | null;
  /** Beyond it the bot does not start; null when there is none. */
  readonly hard?: string | null;
  /** max: too much is dangerous; min: too little is. */
  readonly direction: "max" | "min";
}

export type Plain = string | number | boolean | readonly Plain[] | { readonly [name: string]: Plain } | null;

/** One order of a plan. */
export interface PlanStep {
  /** pUSD, in the plan's own token. */
  readonly limit_price: string;
  /** Shares. */
  readonly size_shares: string;
  /** Time in force. */
  readonly order_type: "GTC" | "GTD" | "FOK" | "FAK";
  /** Refuse rather than take. */
  readonly post_only: boolean;
}

/** The limits of one portfolio. Percentages are of its bankroll. */
export interface PortfolioConfig {
  /** The portfolio. */
  readonly portfolio_id: string;
  /** Whose it is. */
  readonly tenant_id: string;
  /** Its name for people. */
  readonly name: string;
  /** Changes with every change that can change a decision. */
  readonly config_version: string;
  /** What it may work with. */
  readonly bankroll_pusd: string;
  /** Loss from the day's peak that stops trading. */
  readonly max_drawdown_intraday_pct?: string;
  /** Loss from the week's peak that stops trading. */
  readonly max_drawdown_weekly_pct?: string;
  /** Loss from the all-time peak that stops trading. */
  readonly max_drawdown_total_pct?: string;
  /** Loss since the start of the UTC day that stops trading. */
  readonly max_daily_loss_pct?: string;
  /** Most in one position. */
  readonly max_position_pct?: string;
  /** Most in one category. */
  readonly max_category_pct?: string;
  /** Most in all positions. */
  readonly max_exposure_pct?: string;
  /** Most in one market. */
  readonly max_market_pusd?: string;
  /** Most orders in an hour. */
  readonly max_orders_per_hour?: number;
  /** Seconds an intent stays good. */
  readonly intent_ttl_s?: number;
  /** Gain at which a position is closed. */
  readonly take_profit_pct?: string;
  /** Loss at which a position is closed. */
  readonly stop_loss_pct?: string;
  /** Days before resolution at which a position is closed. */
  readonly exit_before_resolution_days?: number;
  /** Limits by cluster. */
  readonly cluster_caps?: readonly ClusterCap[];
}

/** What a portfolio holds of one outcome of one market. */
export interface Position {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** The portfolio. */
  readonly portfolio_id: string;
  /** The market. */
  readonly condition_id: string;
  /** Which token. */
  readonly outcome: "YES" | "NO";
  /** Shares held, with those reserved. */
  readonly size_shares: string;
  /** Of those, shares behind open sell orders. */
  readonly reserved_shares: string;
  /** Paid for what is held. */
  readonly cost_pusd: string;
  /** Worth at the mark price. */
  readonly value_pusd: string;
  /** Price it is valued at, usually mid; null when there is none. */
  readonly mark_price?: string | null;
  /** Earned by what was sold or settled, before fees and rebates. */
  readonly realised_pnl_pusd: string;
  /** value_pusd - cost_pusd. */
  readonly unrealised_pnl_pusd: string;
  /** Fees paid. */
  readonly fees_pusd: string;
  /** Rebates accrued. */
  readonly rebates_pusd: string;
  /** Where it is on the way to cash. */
  readonly settlement: "open" | "resolving" | "resolved" | "redeemed";
}

/** An input of the decision. */
export interface Read {
  /** What it is: book, market, features ... */
  readonly name: string;
  /** Its id, or its place in the run log. */
  readonly id: string;
  /** SHA-256 of its content. */
  readonly hash: string;
}

/** One entry of the reason-code registry. */
export interface ReasonCode {
  /** The code. */
  readonly name: string;
  /** Its number in the run log. */
  readonly number: number;
  /** Its prefix. */
  readonly family: "INTEL" | "DISC" | "STRAT" | "RISK" | "EXEC" | "SEC" | "GOV";
  /** How bad it is. */
  readonly severity: "INFO" | "WARN" | "RESHAPE" | "HARD_REJECT" | "EXPLAIN";
  /** What happened. */
  readonly meaning: string;
  /** What a person is told. */
  readonly user_message: string;
  /** What to do about it. */
  readonly action: string;
  /** Older spellings of the same event. */
  readonly aliases?: readonly string[];
  /** The bot that emits it; empty where several do. */
  readonly bot?: string | "";
  /** True when it is no longer written. */
  readonly deprecated?: boolean;
}

/** How far a run, derived again from its own log, came out the same. */
export interface ReplayReport {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly replay_id: string;
  /** The run. */
  readonly run_id: string;
  /** What kind of run it was. */
  readonly run_mode: "backtest" | "replay" | "paper" | "shadow" | "live";
  /** Its strategy. */
  readonly strategy_id: string;
  /** First event of the log. */
  readonly period_start: string;
  /** Last event of the log. */
  readonly period_end: string;
  /** Events fed again. */
  readonly events: number;
  /** Decision, action and sample rows in the log or the replay, whichever is more. */
  readonly rows: number;
  /** Of those, rows that agree to the byte. */
  readonly equal: number;
  /** equal / rows, rounded down to 9 decimals; 1 without rows. */
  readonly parity: string;
  /** The same by bot. */
  readonly bots: readonly BotParity[];
  /** The first row that differs; null when none does. */
  readonly first_mismatch?: Mismatch | null;
  /** Hash of the sources that decided in the run. */
  readonly run_source: string;
  /** Hash of the sources that decided in the replay. */
  readonly replay_source: string;
  /** What it came to. */
  readonly verdict: "parity_clean" | "parity_diverged" | "model_drift";
  /** GOV_REPLAY_MATCH or GOV_REPLAY_MISMATCH. */
  readonly reason_code: string;
}

/** The only thing a bot emits: one receipt for one decision. */
export interface ReportEnvelope {
  /** Place in the chain, from 0. */
  readonly seq: number;
  /** Hash of the envelope before; zeros for the first. */
  readonly prev_hash: string;
  /** SHA-256 over the canonical JSON of this envelope without this field. */
  readonly hash: string;
  /** Its id, a ULID. */
  readonly envelope_id: string;
  /** Version of this contract. */
  readonly envelope_version: "v2";
  /** Kind of its payload. */
  readonly kind: "ObservationReport" | "RiskVote" | "DecisionReport" | "ExecutionReport" | "SettlementReport" | "OperationsReport";
  /** The run whose chain it is in. */
  readonly run_id: string;
  /** Kind of run: a backtest's receipts say so. */
  readonly run_mode: "backtest" | "replay" | "paper" | "shadow" | "live";
  /** The same for everything that belongs to one intent. */
  readonly correlation_id: string;
  /** The bot that emits it. */
  readonly bot_id: string;
  /** Version of its code, filled in by the runtime. */
  readonly bot_version: string;
  /** Version of its configuration, filled in by the runtime. */
  readonly config_version: string;
  /** The bot's mode. */
  readonly mode: "off" | "shadow" | "advisory" | "enforced" | "quarantine";
  /** The one reason. */
  readonly reason_code: string;
  /** Severity of the decision. */
  readonly severity: "INFO" | "WARN" | "RESHAPE" | "HARD_REJECT" | "EXPLAIN";
  /** Builder code, never masked; zeros when there is none. */
  readonly builder_code: string;
  /** What it is about. */
  readonly subject: Subject;
  /** What the decision was based on. */
  readonly reads?: readonly Read[];
  /** The report. */
  readonly payload: ObservationReport | RiskVote | DecisionReport | ExecutionReport | SettlementReport | OperationsReport;
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly emitted_at: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly emitted_at_ns: number;
}

/** What one risk bot concluded about one intent; also a payload of the envelope. */
export interface RiskVote {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Kind of payload. */
  readonly kind: "RiskVote";
  /** The bot that votes. */
  readonly bot_id: string;
  /** The intent it votes on. */
  readonly intent_id: string;
  /** APPROVE, RESHAPE, REJECT or QUARANTINE. */
  readonly decision: "APPROVE" | "RESHAPE" | "REJECT" | "QUARANTINE";
  /** INFO or WARN with APPROVE, RESHAPE with RESHAPE, HARD_REJECT with the other two. */
  readonly severity: "INFO" | "WARN" | "RESHAPE" | "HARD_REJECT" | "EXPLAIN";
  /** Why. */
  readonly reason_code: string;
  /** The reason's sentence for the user. */
  readonly message: string;
  /** What a RESHAPE demands; null otherwise. */
  readonly constraints?: Constraints | null;
  /** What was measured, against which limits. */
  readonly measures?: readonly Measure[];
}

/** A strategy's markets at the moment its scope changed. */
export interface ScopeSnapshot {
  /** How the scope is given. */
  readonly mode: "cluster" | "manual";
  /** The cluster, with mode cluster. */
  readonly cluster_id?: string | null;
  /** The markets after the change. */
  readonly resolved_condition_ids: readonly string[];
}

/** What one security bot concluded about what is about to be signed. */
export interface SecurityCheck {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** The bot that checks. */
  readonly bot_id: string;
  /** The plan that is about to be signed. */
  readonly plan_id: string;
  /** What was looked at. */
  readonly surface: "signature" | "wallet" | "contract" | "session_key" | "allowance" | "chain" | "rpc" | "key";
  /** APPROVE, REJECT or QUARANTINE; security never reshapes. */
  readonly decision: "APPROVE" | "REJECT" | "QUARANTINE";
  /** INFO or WARN with APPROVE, HARD_REJECT with the other two. */
  readonly severity: "INFO" | "WARN" | "RESHAPE" | "HARD_REJECT" | "EXPLAIN";
  /** Why. */
  readonly reason_code: string;
  /** The reason's sentence for the user. */
  readonly message: string;
  /** What was measured, against which limits. */
  readonly measures?: readonly Measure[];
}

/** What was earned: of one fill, market, day or run. Realised apart from unrealised, fees apart from both. */
export interface SettlementReport {
  /** Kind of payload. */
  readonly kind: "SettlementReport";
  /** What it sums up. */
  readonly scope: "fill" | "market" | "day" | "run";
  /** The portfolio. */
  readonly portfolio_id: string;
  /** The market, with scope fill and market. */
  readonly condition_id?: string | null;
  /** First moment it covers. */
  readonly period_start: string;
  /** Last moment it covers. */
  readonly period_end: string;
  /** Fills in it. */
  readonly fills: number;
  /** Earned by what was sold or settled, before fees and rebates. */
  readonly realised_pnl_pusd: string;
  /** What open positions are worth above their cost. */
  readonly unrealised_pnl_pusd: string;
  /** Fees paid, from the match events. */
  readonly fees_pusd: string;
  /** Rebates accrued. */
  readonly rebates_pusd: string;
  /** Builder fees paid. */
  readonly builder_fees_pusd: string;
  /** realised + unrealised - fees - builder fees + rebates. */
  readonly net_pnl_pusd: string;
  /** pUSD that one YES share paid, when the market was resolved. */
  readonly payout?: string | null;
  /** What is still held. */
  readonly positions?: readonly Position[];
}

/** A score of one market by one strategy. */
export interface Signal {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly signal_id: string;
  /** The strategy. */
  readonly strategy_id: string;
  /** The market. */
  readonly condition_id: string;
  /** The features it was computed from. */
  readonly feature_vector_id?: string | null;
  /** What it scores. */
  readonly score_type: "fair_value" | "momentum" | "expected_edge" | "confidence" | "custom";
  /** The score, 0 ... 1. */
  readonly strategy_score: string;
  /** Estimated probability of YES. */
  readonly p_hat?: string | null;
  /** Lower bound of the estimate (10 % quantile). */
  readonly lower?: string | null;
  /** Upper bound of the estimate (90 % quantile). */
  readonly upper?: string | null;
  /** What is taken off the edge for not knowing better, pUSD a share. */
  readonly uncertainty_buffer?: string | null;
  /** The model behind it. */
  readonly model_version?: string | null;
  /** The calibration behind it. */
  readonly calibration_version?: string | null;
  /** Why it must not be acted on; null when it may. */
  readonly suppressed_by?: string | null;
  /** When it is too old to act on. */
  readonly expires_at: string;
}

/** The order as the exchange contract verifies it. Our documents write addresses in small letters. */
export interface SignedOrder {
  /** Makes equal orders different; below 2^53, exact in any JSON. */
  readonly salt: number;
  /** Whose money it is. */
  readonly maker: string;
  /** Who signs for the maker. */
  readonly signer: string;
  /** The outcome's token. */
  readonly token_id: string;
  /** What the maker gives, base units: pUSD of a BUY, shares of a SELL. */
  readonly maker_amount: string;
  /** What the maker gets, base units: shares of a BUY, pUSD of a SELL. */
  readonly taker_amount: string;
  /** Buy or sell. */
  readonly side: "BUY" | "SELL";
  /** 0 plain key, 1 proxy wallet, 2 Safe, 3 deposit wallet. */
  readonly signature_type: 0 | 1 | 2 | 3;
  /** When it was made, ms since the Unix epoch. */
  readonly timestamp_ms: number;
  /** Free to us; zeros when unused. */
  readonly metadata: string;
  /** Builder code; an order without one is not sent. */
  readonly builder: string;
  /** The signature: 65 bytes, more of a deposit wallet. */
  readonly signature: string;
}

/** One signed order and how it is to be sent. It carries no key and no credential. */
export interface SignedOrderRequest {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Our id of the order. */
  readonly order_id: string;
  /** The plan it is a step of. */
  readonly plan_id: string;
  /** The intent behind it. */
  readonly intent_id: string;
  /** The market. */
  readonly condition_id: string;
  /** EIP-712 digest of the order: the venue's id of it, known before it is sent. */
  readonly digest: string;
  /** The exchange contract that verifies it. */
  readonly exchange: string;
  /** Polygon, or its test network. */
  readonly chain_id: 137 | 80002;
  /** Version of the signing domain. */
  readonly domain_version: "2";
  /** True when the market belongs to a negative-risk event. */
  readonly neg_risk: boolean;
  /** What was signed. */
  readonly order: SignedOrder;
  /** Time in force; sent beside the order, not signed. */
  readonly order_type: "GTC" | "GTD" | "FOK" | "FAK";
  /** Refuse rather than take; sent beside the order, not signed. */
  readonly post_only: boolean;
  /** When the venue drops a GTD order, s since the Unix epoch; 0 with every other type. */
  readonly expiration_s: number;
}

/** What a receipt is about; at least one id. */
export interface Subject {
  /** A portfolio. */
  readonly portfolio_id?: string | null;
  /** A strategy. */
  readonly strategy_id?: string | null;
  /** An intent. */
  readonly intent_id?: string | null;
  /** A signal. */
  readonly signal_id?: string | null;
  /** A market. */
  readonly condition_id?: string | null;
}

/** The layer above portfolios: limits over all of them, and the clusters they are held against. */
export interface TenantConfig {
  /** The tenant. */
  readonly tenant_id: string;
  /** Its name for people. */
  readonly name: string;
  /** Changes with every change that can change a decision. */
  readonly config_version: string;
  /** Its portfolios. */
  readonly portfolios: readonly string[];
  /** Most in all positions of all portfolios. */
  readonly max_exposure_pusd: string;
  /** Loss of all since the start of the UTC day that stops trading. */
  readonly max_daily_loss_pct?: string;
  /** Loss of all from the all-time peak that stops trading. */
  readonly max_drawdown_total_pct?: string;
  /** From this notional on an approval needs two persons. */
  readonly two_persons_above_pusd?: string;
  /** Its clusters. */
  readonly clusters?: readonly string[];
  /** Limits by cluster, over all portfolios. */
  readonly cluster_caps?: readonly ClusterCap[];
}

/** An order, or a claim of a settlement, that waits for a person. */
export interface TradeIntent {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly trade_intent_id: string;
  /** What it would do. */
  readonly type: "OPEN_POSITION" | "CLOSE_POSITION" | "CLAIM_SETTLEMENT";
  /** How far it is. */
  readonly status: "PENDING" | "APPROVED" | "EXECUTED" | "REJECTED" | "EXPIRED" | "VOID";
  /** The portfolio. */
  readonly portfolio_id: string;
  /** The market. */
  readonly condition_id: string;
  /** The order; null of a claim. */
  readonly intent?: OrderIntent | null;
  /** Shares to redeem, of a claim. */
  readonly claim_shares?: string | null;
  /** What proposes an exit; with CLOSE_POSITION only. */
  readonly trigger?: "take_profit" | "stop_loss" | "time_exit" | "liquidity" | "portfolio" | "strategy" | null;
  /** The risk checks it passed, in order. */
  readonly votes?: readonly VoteReceived[];
  /** The book it was judged on; null of a claim. */
  readonly book_hash?: string | null;
  /** SHA-256 over intent, book_hash and votes: what an approval binds to. */
  readonly shown_hash: string;
  /** What the model thinks the token is worth. */
  readonly model_price?: string | null;
  /** What the market asks or pays for it. */
  readonly market_price?: string | null;
  /** The difference in our favour, bps of 1 pUSD; with both prices. */
  readonly edge_bps?: string | null;
  /** An approval is void once the price moved further. */
  readonly tolerance_bps: number;
  /** Why it was made. */
  readonly reason_code: string;
  /** The same in plain English. */
  readonly reasoning: string;
  /** Persons it takes. */
  readonly approvals_needed: 1 | 2;
  /** The approvals it has. */
  readonly approvals?: readonly string[];
  /** When it is void without an answer. */
  readonly expires_at: string;
}

/** A risk bot's vote as the decision took it. */
export interface VoteReceived {
  /** The bot. */
  readonly bot_id: string;
  /** Its mode; only an enforced or quarantine vote binds. */
  readonly mode: "off" | "shadow" | "advisory" | "enforced" | "quarantine";
  /** What it decided. */
  readonly decision: "APPROVE" | "RESHAPE" | "REJECT" | "QUARANTINE";
  /** Why. */
  readonly reason_code: string;
}

/** Markets an operator wants to see. It has no meaning for risk. */
export interface Watchlist {
  /** When, as ISO 8601 in UTC with nine decimals. */
  readonly ts: string;
  /** The same in nanoseconds since the Unix epoch. */
  readonly ts_ns: number;
  /** Its id. */
  readonly watchlist_id: string;
  /** Whose it is. */
  readonly operator: string;
  /** Its name for people. */
  readonly name: string;
  /** The markets, in the operator's order. */
  readonly condition_ids: readonly string[];
}
