"""From the settings to the bots of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polytraders.bots import FAMILIES, KERNEL_BOTS, BotMode, load_bot
from polytraders.engine.setup import Pipeline, PipelineBot, order_bots
from polytraders.errors import ConfigError, UsageError
from polytraders.store.manifest import bot_row_of, runtime_row

if TYPE_CHECKING:
    from polytraders.config import Settings


WITHOUT_WALLET = {"risk.compliancegate": {"clearance_required": "false"}}
"""Bot -> parameters in force while no wallet trades: a simulated venue clears nobody."""

CLEARING = "risk.compliancegate"
"""A run with a wallet has this bot, its refusals bind, and it asks for a clearance: nothing else holds back a wallet
that may not trade."""

SUITABILITY = "risk.strategysuitabilitygate"


def build_pipeline(
    settings: Settings, strategy: str, *, run_mode: str = "backtest", wallet: bool = False
) -> tuple[Pipeline, list[dict[str, Any]]]:
    """The run's bots in pipeline order and their rows for the manifest (the runtime's own last).

    Every kernel bot that has a module takes part, in its mode for runs of this kind; `off` ones stay out. Of the
    strategies only `strategy` does. run_mode: backtest, shadow, paper or live. wallet: orders go to a venue with
    somebody's money; else the parameters of WITHOUT_WALLET hold.
    Raises ConfigError when the strategy or the risk chain would be missing, or with a wallet what clears it.
    """
    chosen = load_bot(strategy)
    if chosen.family != "strat" or chosen.decide is None:
        raise UsageError(
            f"{chosen.id} is no strategy", rule="a run has one strategy, a bot of the family strat", mend="name one"
        )
    members, rows = [], {}
    others = [b for b in KERNEL_BOTS if not b.startswith("strat.")]
    for bot_id in [*others, chosen.id]:
        bot, config = load_bot(bot_id), settings.bot(bot_id)
        mode = config.mode_in(run_mode)
        if mode is BotMode.OFF:
            continue
        values = config.values if wallet else config.values | WITHOUT_WALLET.get(bot_id, {})
        if bot_id == SUITABILITY:
            from polytraders.risk.strategysuitabilitygate import class_of

            values = values | {"strategy_class": str(max(int(values["strategy_class"]), class_of(chosen.id)))}
        members.append(PipelineBot(bot, mode.number, bot.spec.kernel_params(values), bool(config.warned)))
        rows[bot_id] = bot_row_of(bot.spec, mode, values)
    pipeline = order_bots(members)
    for family, why in (
        ("strat", "nothing would be proposed"),
        ("risk", "nothing would stop an order"),
        ("exec", "no order would leave"),
    ):
        if not pipeline.of(family):
            raise ConfigError(
                f"every bot of the family {FAMILIES[family].title} is off",
                where=settings.source,
                rule=f"a run needs one: {why}",
                mend="set the mode of at least one to shadow or enforced",
            )
    if wallet and not asks_clearance(pipeline):
        raise ConfigError(
            f"{CLEARING} would let a wallet trade that nobody cleared",
            where=settings.source,
            rule="a run that sends orders asks whether its wallet may: mode enforced, clearance_required true",
            mend=f"set them in [{CLEARING}]; a local venue clears its wallets too",
        )
    return pipeline, [rows[b.bot.id] for b in pipeline.bots] + [runtime_row()]


def asks_clearance(pipeline: Pipeline) -> bool:
    """Would this pipeline hold a wallet to a clearance, with an answer that binds?"""
    from polytraders.risk.compliancegate import REQUIRED

    bindings = (BotMode.ENFORCED.number, BotMode.QUARANTINE.number)
    return any(
        member.bot.id == CLEARING and member.mode in bindings and bool(member.params[REQUIRED])
        for member in pipeline.bots
    )


def pipeline_from_manifest(manifest: dict[str, Any]) -> Pipeline:
    """The pipeline a logged run had: its bots with the parameters in its manifest. Raises UsageError for a bot that
    is gone or has another version."""
    members = []
    for row in manifest["bots"][:-1]:
        bot = load_bot(row["bot_id"])
        if bot.spec.version != row["version"]:
            raise UsageError(
                f"{bot.id} is at version {bot.spec.version}, the run had {row['version']}",
                where=manifest["run_id"],
                rule="a replay runs the bots the run had",
                mend=f"check out the commit of the run ({(manifest.get('git') or {}).get('commit') or 'unknown'})",
            )
        values = {p["name"]: p["value"] for p in row["params"]}
        params = bot.spec.kernel_params(values)
        members.append(PipelineBot(bot, BotMode(row["mode"]).number, params, bool(bot.spec.check(values))))
    return order_bots(members)
