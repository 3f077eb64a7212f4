"""Shim: a simulated venue for a BacktestEngine or a BacktestNode, both from one `VenueSpec`: they agree."""

from collections.abc import Mapping, Set
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest.config import (
    BacktestVenueConfig,
    ImportableFillModelConfig,
    ImportableLatencyModelConfig,
)
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.config import ImportableActorConfig
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.objects import Currency, Money

from alphatrade.nodes.venue_models import HouseFillModel, HouseFillModelConfig, VenueWatch, VenueWatchConfig
from alphatrade.nodes.venue_spec import VenuePlan, VenueSpec, plan

_MODELS = "alphatrade.nodes.venue_models"
_NS_PER_MS = 1_000_000


def venue_kwargs(
    spec: VenueSpec,
    currency: str,
    kinds: Set[str],
    provides: Set[str],
    half_spreads: Mapping[str, float],
    seed: int,
) -> dict[str, Any]:
    """
    Return the arguments of ``BacktestEngine.add_venue``, except the venue itself.

    Fees are the instruments' (see `VenueSpec.priced`).

    Parameters
    ----------
    spec : VenueSpec
        The venue group of the run.
    currency : str
        Settlement currency: the quote currency of the venue's instruments.
    kinds, provides, half_spreads
        What the tapes are: see :func:`alphatrade.nodes.venue_spec.plan`.
    seed : int
        Seed of the fill model, which draws from a generator of its own.
    """
    can = plan(spec, kinds, provides, half_spreads)
    money = Currency.from_str(currency)
    return _flags(spec, can) | {
        "oms_type": OmsType.NETTING,
        "account_type": AccountType.CASH if spec.account == "cash" else AccountType.MARGIN,
        "starting_balances": [Money(spec.starting_balance, money)],
        "base_currency": None if spec.account == "cash" else money,  # a cash account holds what it has bought
        "default_leverage": _leverage(spec),
        "fill_model": HouseFillModel(HouseFillModelConfig(**_fill_config(spec, can, seed))),
        "latency_model": LatencyModel(_latency_ns(spec)) if spec.latency_ms else None,
        "modules": [VenueWatch(VenueWatchConfig(**_watch_config(spec)))],
    }


def venue_config(
    spec: VenueSpec,
    name: str,
    currency: str,
    kinds: Set[str],
    provides: Set[str],
    half_spreads: Mapping[str, float],
    seed: int,
) -> BacktestVenueConfig:
    """
    Return the same venue for a ``BacktestNode``, everything named by import path.

    Parameters
    ----------
    name : str
        The venue, such as ``"SIM"``.
    spec, currency, kinds, provides, half_spreads, seed
        As for `venue_kwargs`.
    """
    can = plan(spec, kinds, provides, half_spreads)
    watch = ImportableActorConfig(
        actor_path=f"{_MODELS}:VenueWatch",
        config_path=f"{_MODELS}:VenueWatchConfig",
        config=_watch_config(spec),
    )
    latency = ImportableLatencyModelConfig(
        latency_model_path="nautilus_trader.backtest.models:LatencyModel",
        config_path="nautilus_trader.backtest.config:LatencyModelConfig",
        config={"base_latency_nanos": _latency_ns(spec)},
    )
    return BacktestVenueConfig(
        name=name,
        oms_type="NETTING",
        account_type=spec.account.upper(),
        starting_balances=[f"{spec.starting_balance:f} {currency}"],
        base_currency=None if spec.account == "cash" else currency,
        default_leverage=float(_leverage(spec)),
        fill_model=ImportableFillModelConfig(
            fill_model_path=f"{_MODELS}:HouseFillModel",
            config_path=f"{_MODELS}:HouseFillModelConfig",
            config=_fill_config(spec, can, seed),
        ),
        latency_model=latency if spec.latency_ms else None,
        modules=[watch],
        **_flags(spec, can),
    )


def _flags(spec: VenueSpec, can: VenuePlan) -> dict[str, Any]:
    """Return what both ways of building a venue spell alike."""
    return {
        "use_random_ids": False,
        "bar_adaptive_high_low_ordering": spec.adaptive_bars,
        "queue_position": can.queue_position,
        "liquidity_consumption": can.liquidity_consumption,
        # Once the shown size is used up, Nautilus fills only orders that were acknowledged: others hang for
        # ever.
        "use_market_order_acks": can.liquidity_consumption,
    }


def _fill_config(spec: VenueSpec, can: VenuePlan, seed: int) -> dict[str, Any]:
    return {
        "prob_fill_on_limit": spec.prob_fill_on_limit,
        "prob_slippage": spec.prob_slippage,
        "random_seed": seed,
        "half_spread_bps": {name: str(bps) for name, bps in can.half_spread_bps.items()},
        "widen": str(can.widen),
    }


def _watch_config(spec: VenueSpec) -> dict[str, int]:
    return {"arrival_ns": _latency_ns(spec) if spec.exact_latency else 0}


def _latency_ns(spec: VenueSpec) -> int:
    return round(spec.latency_ms * _NS_PER_MS)


def _leverage(spec: VenueSpec) -> Decimal:
    return Decimal(1) if spec.account == "cash" else spec.leverage
