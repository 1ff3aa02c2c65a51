"""Tenants, portfolios, scopes and launches, on SQLite and on PostgreSQL."""

from __future__ import annotations

from decimal import Decimal

import pytest
from desk_cases import ANN, BEN, MACHINE, NOW, S

from polytraders.config import load_settings
from polytraders.contracts import (
    Cluster,
    ClusterCap,
    ClusterMember,
    PortfolioConfig,
    TenantConfig,
    Watchlist,
    at,
    verify_chain,
)
from polytraders.errors import UsageError
from polytraders.store.desk import check, rebuild
from polytraders.store.desk.portfolio import (
    as_settings,
    audit,
    configs,
    effective_limits,
    in_scope,
    launch,
    launches,
    layers_of,
    put_config,
    read_config,
    rescope,
    scope_of,
    stop,
)

A, B, C = ("0x" + letter * 64 for letter in "abc")
CLUSTER = "clu_us_election"


def tenant(**changes):
    told = {"tenant_id": "TEN-001", "name": "House", "config_version": "1", "max_exposure_pusd": "5000"}
    told |= {"portfolios": ("PORT-001", "PORT-002"), "clusters": (CLUSTER,)}
    return TenantConfig(**told | changes)


def portfolio(id_="PORT-001", **changes):
    told = {"portfolio_id": id_, "tenant_id": "TEN-001", "name": "Election", "config_version": "1"}
    return PortfolioConfig(**told | {"bankroll_pusd": "10000"} | changes)


def cluster(*markets, now=NOW):
    members = tuple(ClusterMember(condition_id=market, because="metadata") for market in markets)
    return Cluster(
        **at(now), cluster_id=CLUSTER, tenant_id="TEN-001", name="US election", builder_version="1.0.0",
        window_days=30, threshold="0.6", members=members,
    )  # fmt: skip


@pytest.fixture
def house(desk):
    """A tenant with two portfolios and a cluster of two markets."""
    put_config(desk, tenant(), ANN, "cli", NOW)
    put_config(desk, portfolio(), ANN, "cli", NOW)
    put_config(desk, portfolio("PORT-002"), ANN, "cli", NOW)
    put_config(desk, cluster(A, B), MACHINE, "run", NOW)
    return desk


def reasons(desk):
    return [(one["reason"], one["subject"]["condition_id"]) for one in audit(desk)]


def test_a_launch_binds_a_strategy_and_leaves_a_receipt_for_every_market(house):
    done = launch(house, "strat.momentum", "PORT-001", scope_of(CLUSTER, ()), ANN, "cli", NOW + S)
    assert done.ok and done.details == {"markets": 2}
    assert reasons(house) == [
        ("GOV_STRATEGY_LAUNCHED", None), ("STRAT_MARKET_IN_SCOPE", A), ("STRAT_MARKET_IN_SCOPE", B),
    ]  # fmt: skip
    receipt = audit(house)[1]
    assert receipt["scope_snapshot"] == {"mode": "cluster", "cluster_id": CLUSTER, "resolved_condition_ids": [A, B]}
    assert verify_chain(audit(house)) is None and in_scope(house, "strat.momentum") == {A, B}
    assert check(house) == []


def test_a_strategy_moves_to_another_portfolio_only_by_stop_and_launch(house):
    first = launch(house, "strat.momentum", "PORT-001", scope_of(None, [A]), ANN, "cli", NOW)
    again = launch(house, "strat.momentum", "PORT-002", scope_of(None, [A]), ANN, "cli", NOW + S)
    assert again.code == "GOV_STRATEGY_ALREADY_BOUND" and again.details["portfolio_id"] == "PORT-001"
    assert stop(house, first.subject, ANN, "cli", "moving", NOW + 2 * S).ok
    assert in_scope(house, "strat.momentum") is None
    second = launch(house, "strat.momentum", "PORT-002", scope_of(None, [A]), ANN, "cli", NOW + 3 * S)
    assert second.ok and second.subject != first.subject
    made = [(one["reason"], one["subject"]["portfolio_id"]) for one in audit(house)]
    assert made.count(("GOV_STRATEGY_LAUNCHED", "PORT-001")) == made.count(("GOV_STRATEGY_LAUNCHED", "PORT-002")) == 1
    assert ("GOV_STRATEGY_STOPPED", "PORT-001") in made
    assert [one["portfolio_id"] for one in launches(house, running=True)] == ["PORT-002"]
    assert stop(house, first.subject, ANN, "cli", "again", NOW + 4 * S).seq == 0


def test_markets_enter_and_leave_with_their_cluster(house):
    id_ = launch(house, "strat.momentum", "PORT-001", scope_of(CLUSTER, ()), ANN, "cli", NOW + S).subject
    assert rescope(house, id_, MACHINE, "run", NOW + 2 * S).seq == 0
    put_config(house, cluster(B, C, now=NOW + 3 * S), MACHINE, "run", NOW + 3 * S)
    moved = rescope(house, id_, MACHINE, "run", NOW + 4 * S)
    assert moved.details == {"entered": [C], "left": [A]}
    assert reasons(house)[-2:] == [("STRAT_MARKET_OUT_OF_SCOPE", A), ("STRAT_MARKET_IN_SCOPE", C)]
    assert in_scope(house, "strat.momentum") == {B, C}
    ended = rescope(house, id_, MACHINE, "run", NOW + 5 * S, ended=[B])
    assert ended.details["left"] == [B]
    assert check(house) == [] and rebuild(house)["audit"] == len(audit(house))


def test_a_scope_is_resolved_as_it_was_on_the_day(house):
    from polytraders.store.desk.portfolio import resolve

    put_config(house, cluster(B, C, now=NOW + 3 * S), MACHINE, "run", NOW + 3 * S)
    with house.read() as tx:
        asked = scope_of(CLUSTER, ())
        assert resolve(tx, asked, NOW + 2 * S).resolved_condition_ids == (A, B)
        assert resolve(tx, asked, NOW + 3 * S).resolved_condition_ids == (B, C)
        with pytest.raises(UsageError, match="no such cluster"):
            resolve(tx, asked, NOW - 1)


def test_a_scope_keeps_its_mode_and_a_list_is_edited(house):
    by_cluster = launch(house, "strat.momentum", "PORT-001", scope_of(CLUSTER, ()), ANN, "cli", NOW).subject
    with pytest.raises(UsageError, match="cannot be edited"):
        rescope(house, by_cluster, ANN, "cli", NOW + S, condition_ids=[C])
    by_list = launch(house, "strat.maker_tight", "PORT-001", scope_of(None, [A, B]), ANN, "cli", NOW).subject
    assert rescope(house, by_list, ANN, "cli", NOW + S, condition_ids=[B, C]).details == {"entered": [C], "left": [A]}


@pytest.mark.parametrize(("cluster_id", "markets"), [(None, []), (CLUSTER, [A]), (None, [A, A]), (None, ["0x12"])])
def test_a_scope_is_a_cluster_or_a_list_and_never_both(cluster_id, markets):
    with pytest.raises(UsageError, match="market scope"):
        scope_of(cluster_id, markets)


def test_a_list_has_at_most_fifty_markets():
    assert scope_of(None, ["0x" + f"{n:064x}" for n in range(50)]).mode == "manual"
    with pytest.raises(UsageError):
        scope_of(None, ["0x" + f"{n:064x}" for n in range(51)])


def test_nobody_edits_a_cluster_and_a_watchlist_is_its_operators(house):
    with pytest.raises(UsageError, match="built by the system"):
        put_config(house, cluster(A, C), ANN, "cli", NOW)
    mine = Watchlist(**at(NOW), watchlist_id="wl_000000000001", operator="ann", name="Mine", condition_ids=(A, B))
    assert put_config(house, mine, ANN, "cli", NOW).status == "saved"
    assert put_config(house, mine, ANN, "cli", NOW + S).status == "unchanged"
    with pytest.raises(UsageError, match="somebody else's"):
        put_config(house, mine, BEN, "cli", NOW)
    assert [one["name"] for one in configs(house, "watchlist")] == ["Mine"]
    assert put_config(house, portfolio(), ANN, "cli", NOW).seq == 0


def test_a_portfolio_belongs_to_the_tenant_that_names_it(house):
    with pytest.raises(UsageError, match="does not name this portfolio"):
        put_config(house, portfolio("PORT-009"), ANN, "cli", NOW)
    with pytest.raises(UsageError, match="no such portfolio"):
        launch(house, "strat.momentum", "PORT-009", scope_of(None, [A]), ANN, "cli", NOW)


def test_no_lower_layer_loosens_a_higher_one():
    caps = (ClusterCap(cluster_id=CLUSTER, gross_pusd="900", net_pusd="400"),)
    top = tenant(max_exposure_pusd="1500", max_daily_loss_pct="10", cluster_caps=caps)
    wide = (ClusterCap(cluster_id=CLUSTER, gross_pusd="1000", net_pusd="300"),)
    held = portfolio(cluster_caps=wide)  # 20 % of 10 000 = 2 000 pUSD of exposure
    found = effective_limits({"exposure_pusd": "9000", "market_pusd": "250", "position_pusd": "200"}, held, top)
    told = {name: (limit.value, limit.layer) for name, limit in found.items()}
    assert told["exposure_pusd"] == (1500, "tenant")  # 9 000 of the strategy, 2 000 of the portfolio
    assert told["market_pusd"] == (250, "strategy")  # a lower layer may be stricter
    assert told["position_pusd"] == (200, "portfolio")  # equal: the higher layer says it
    assert told["daily_loss_pct"] == (10, "tenant")
    assert told[f"cluster_gross:{CLUSTER}"] == (900, "tenant") and told[f"cluster_net:{CLUSTER}"] == (300, "portfolio")
    with pytest.raises(UsageError, match="no limit luck"):
        effective_limits({"luck": "1"}, held, top)


def test_the_layers_become_the_settings_that_the_step_enforces(house):
    put_config(house, tenant(max_exposure_pusd="1500"), ANN, "cli", NOW + S)
    found, held = layers_of(house, "PORT-001", {"market_pusd": "250"})
    values = as_settings(found, held)
    assert values["risk.portfolioguard.max_exposure_pct"] == "15"  # 1 500 of 10 000
    settings = load_settings("settings.ini").with_overrides(values)
    assert settings.bot("risk.portfolioguard").values["max_market_pusd"] == "250"
    assert settings.portfolio.cash_pusd == Decimal(10_000) and settings.portfolio.id == "PORT-001"


def test_a_file_is_read_as_what_it_is():
    for config in (tenant(), portfolio(), cluster(A, B)):
        assert read_config(config.to_json()) == config
    with pytest.raises(UsageError, match="this is no"):
        read_config(b'{"name": "x"}', "x.json")
    with pytest.raises(UsageError, match="bankroll_pusd"):
        read_config(portfolio().to_json().replace(b'"10000"', b'"-1"'), "x.json")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_portfolios_and_launches_on_the_terminal(house, tmp_path):
    import json

    from typer.testing import CliRunner

    from polytraders.cli import app

    def told(*arguments):
        done = CliRunner().invoke(app, [*arguments, "--database", house.url, "--json"])
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.output)

    (tmp_path / "tenant.json").write_bytes(tenant(max_exposure_pusd="1000").to_json())
    assert told("portfolios", "put", str(tmp_path / "tenant.json"))["status"] == "saved"
    assert len(told("portfolios", "list")["portfolio"]) == 2
    limits = told("portfolios", "limits", "PORT-001", "--strategy-limit", "market_pusd=250")["limits"]
    assert limits["exposure_pusd"] == {"value": "1000", "layer": "tenant"}
    assert limits["market_pusd"] == {"value": "250", "layer": "strategy"}
    begun = told("launches", "start", "strat.momentum", "PORT-001", "--market", A)
    assert told("launches", "list")["launches"][0]["launch_id"] == begun["subject"]
    assert told("launches", "stop", begun["subject"])["status"] == "stopped"
