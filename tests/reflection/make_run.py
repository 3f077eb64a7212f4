"""A small synthetic run folder with every file of the contract, for tests of its readers."""

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import yaml

from alphatrade.reflection.parquet import write_parquet

DEC = pa.decimal128(38, 9)
MINUTE = 60_000_000_000
START = 1_514_764_800_000_000_000  # 2018-01-01
REGIMES = ("down-low", "down-high", "flat-low", "flat-high", "up-low", "up-high")
TABLE = {
    "down-low": "momentum", "down-high": "breakout", "flat-low": "maker",
    "flat-high": "reversion", "up-low": "momentum", "up-high": "breakout",
}  # fmt: skip
INSTRUMENT = "BTCUSD.SIM"
CAPITAL = 100_000.0
Row = dict[str, Any]


def _nine(x: float | None) -> Decimal | None:
    return None if x is None else Decimal(f"{x:.9f}")


def _table(rows: list[Row], types: dict[str, Any]) -> pa.Table:
    columns = {}
    for name, kind in types.items():
        values = [row.get(name) for row in rows]
        columns[name] = pa.array([_nine(v) for v in values] if kind == DEC else values, kind)
    return pa.table(columns)


class Maker:
    """Walks a price, decides, orders, fills and books; deliberately naive, and nothing like the real code."""

    def __init__(self, decisions: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.decisions = decisions
        self.seq = 0
        self.cash, self.position, self.average, self.peak = CAPITAL, 0.0, 0.0, CAPITAL
        self.fees = 0.0
        self.rows: dict[str, list[Row]] = {
            name: []
            for name in (
                "orders",
                "fills",
                "marks",
                "risk_events",
                "equity",
                "decisions",
                "expost",
                "beliefs",
            )
        }
        self.mids = 13_000 * np.exp(np.cumsum(self.rng.normal(0, 8e-4, decisions)))
        self.regimes = [REGIMES[int(k) % 6] for k in np.cumsum(self.rng.random(decisions) < 0.012)]

    def next_seq(self) -> int:
        """Count orders, fills, marks and risk events on one line."""
        self.seq += 1
        return self.seq

    def tactic(self, i: int) -> str:
        """Return who is in charge: the table's choice, late by the time a tactic is held."""
        return TABLE[self.regimes[max(0, i - 15)]]

    def order(self, i: int, ts: int, mid: float, side: int) -> str:
        """Send one market or limit order and everything that follows from it."""
        name, qty = f"O-{i:06d}", 0.05
        kind = "MARKET" if i % 3 else "LIMIT"
        base: Row = {
            "instrument": INSTRUMENT, "strategy": "organism-000", "order_id": name, "type": kind, "qty": qty,
            "side": "BUY" if side > 0 else "SELL", "price": None if kind == "MARKET" else mid,
            "trigger": None, "reduce_only": False, "reason": None, "decision": i,
        }  # fmt: skip
        event = lambda what, late, leaves, **more: self.rows["orders"].append(  # noqa: E731
            base | {"seq": self.next_seq(), "ts": ts + late, "event": what, "leaves": leaves} | more
        )
        event("initialized", 0, qty)
        if i % 41 == 0:
            code = ("PRICE_COLLAR", "ORDER_RATE", "INSTRUMENT_EXPOSURE")[i % 3]
            event("denied", 0, 0.0, reason=f"{code}: what=1.2 > limit=1.0 (<b>words</b> & more)")
            self.risk("denied", ts, name, code)
            return name
        event("submitted", 0, qty)
        event("accepted", 50_000_000, qty)
        if kind == "LIMIT" and i % 2:
            event("canceled", MINUTE // 2, 0.0)
            return name
        event("filled", 50_000_000, 0.0)
        self.fill(i, ts + 50_000_000, mid * (1 + side * 1e-4), side * qty, name, kind)
        return name

    def fill(self, i: int, ts: int, price: float, qty: float, order: str, kind: str) -> None:
        """Book one fill at average cost."""
        fee = abs(qty) * price * 5e-4
        closed = min(abs(qty), abs(self.position)) if qty * self.position < 0 else 0.0
        realized = closed * (price - self.average) * (1 if self.position > 0 else -1)
        after = self.position + qty
        if after * self.position <= 0 and abs(after) > 1e-12:
            self.average = price
        elif abs(after) > abs(self.position):
            self.average = (self.average * abs(self.position) + price * abs(qty)) / abs(after)
        self.position = after if abs(after) > 1e-12 else 0.0
        self.cash -= qty * price + fee
        self.fees += fee
        self.rows["fills"].append({
            "seq": self.next_seq(), "ts": ts, "instrument": INSTRUMENT, "strategy": "organism-000",
            "order_id": order, "trade_id": f"T-{i}", "side": "BUY" if qty > 0 else "SELL", "qty": abs(qty),
            "price": price, "fee": fee, "currency": "USD",
            "liquidity": "TAKER" if kind == "MARKET" else "MAKER",
            "position_after": self.position, "realized": realized, "decision": i,
        })  # fmt: skip

    def risk(self, kind: str, ts: int, order: str | None, limit: str) -> None:
        """Log one risk event."""
        self.rows["risk_events"].append({
            "seq": self.next_seq(), "ts": ts, "kind": kind, "instrument": INSTRUMENT, "order_id": order,
            "limit": limit, "value": "0.93", "bound": "1.0", "detail": "synthetic",
        })  # fmt: skip

    def step(self, i: int) -> None:
        """One decision."""
        ts, mid, regime = START + i * MINUTE, float(self.mids[i]), self.regimes[i]
        self.rows["marks"].append({
            "seq": self.next_seq(), "ts": ts, "instrument": INSTRUMENT,
            "bid": mid * 0.9999, "ask": mid * 1.0001,
            "source": "bar", "assumed": True,
        })  # fmt: skip
        side, orders = 0, []
        if i > 20 and self.rng.random() < 0.12:
            side = -1 if self.position > 0.1 else 1 if self.position < -0.1 else int(self.rng.choice((-1, 1)))
            orders.append(self.order(i, ts, mid, side))
        if i % 97 == 50:
            self.risk("near_miss", ts, None, "INSTRUMENT_EXPOSURE")
        denied = bool(orders) and i % 41 == 0
        units = np.sort(self.rng.choice(128, 16 if i % 5 else 11, replace=False)).tolist()
        values = self.rng.random(len(units)).round(4).tolist()
        confidence = float(self.rng.random())
        tactic = self.tactic(i)
        self.rows["beliefs"].append({
            "step": i, "ts": ts, "instrument": INSTRUMENT, "idx": units, "val": values, "regime": regime,
            "regime_confidence": confidence,
        })  # fmt: skip
        self.rows["decisions"].append({
            "decision": i, "ts": ts, "instrument": INSTRUMENT, "step": i, "mid": mid, "belief_idx": units,
            "belief_val": values, "regime": regime, "regime_confidence": confidence, "policy_hash": "ab" * 32,
            "exec_topo": tactic, "risk_template": "default", "f_ret_1": float(self.rng.normal()),
            "f_vol_20": float(self.rng.random()), "p_surge": None if i < 60 else 2.0 + (i % 7) / 2, "candidates": sorted(set(TABLE.values())),
            "scores": [confidence if name == tactic else 0.0 for name in sorted(set(TABLE.values()))],
            "action": "submit" if orders else "none", "order_ids": orders,
            "verdict": "none" if not orders else "deny:PRICE_COLLAR" if denied else "allow",
            "explanation": f"{regime}: {tactic} by the table",
        })  # fmt: skip
        future = {h: float(self.mids[min(i + h, self.decisions - 1)]) for h in (1, 5, 20)}
        known = {h: i + h < self.decisions for h in (1, 5, 20)}
        self.rows["expost"].append(
            {"decision": i, "ts": ts, "fills": abs(side), "side": side, "cost_bps": 6.0, "realized": None}
            | {f"markout_{h}": side * (future[h] / mid - 1) * 1e4 - 6.0 * abs(side) if known[h] else None
               for h in (1, 5, 20)}
            | {f"known_{h}": ts + h * MINUTE if known[h] else None for h in (1, 5, 20)}
        )  # fmt: skip
        equity = self.cash + self.position * mid
        self.peak = max(self.peak, equity)
        self.rows["equity"].append({
            "ts": ts, "equity": equity, "cash": self.cash, "exposure": self.position * mid, "peak": self.peak,
            "drawdown": 1 - equity / self.peak,
        })  # fmt: skip


S, N, F = pa.string(), pa.int64(), pa.float64()
TYPES: dict[str, dict[str, Any]] = {
    "orders": {"seq": N, "ts": N, "instrument": S, "strategy": S, "order_id": S, "event": S, "side": S,
               "type": S, "qty": DEC, "leaves": DEC, "price": DEC, "trigger": DEC, "reduce_only": pa.bool_(),
               "reason": S, "decision": N},
    "fills": {"seq": N, "ts": N, "instrument": S, "strategy": S, "order_id": S, "trade_id": S, "side": S,
              "qty": DEC, "price": DEC, "fee": DEC, "currency": S, "liquidity": S, "position_after": DEC,
              "realized": DEC, "decision": N},
    "marks": {"seq": N, "ts": N, "instrument": S, "bid": DEC, "ask": DEC, "source": S, "assumed": pa.bool_()},
    "risk_events": {"seq": N, "ts": N, "kind": S, "instrument": S, "order_id": S, "limit": S, "value": S,
                    "bound": S, "detail": S},
    "equity": {"ts": N, "equity": DEC, "cash": DEC, "exposure": DEC, "peak": DEC, "drawdown": F},
    "decisions": {"decision": N, "ts": N, "instrument": S, "step": N, "mid": F,
                  "belief_idx": pa.list_(pa.int16()), "belief_val": pa.list_(pa.float32()), "regime": S,
                  "regime_confidence": F, "policy_hash": S, "exec_topo": S, "risk_template": S, "f_ret_1": F,
                  "f_vol_20": F, "p_surge": F, "candidates": pa.list_(S), "scores": pa.list_(F), "action": S,
                  "order_ids": pa.list_(S), "verdict": S, "explanation": S},
    "expost": {"decision": N, "ts": N, "fills": pa.int32(), "side": pa.int8(), "cost_bps": F, "markout_1": F, "known_1": N,
               "markout_5": F, "known_5": N, "markout_20": F, "known_20": N, "realized": DEC},
    "beliefs": {"step": N, "ts": N, "instrument": S, "idx": pa.list_(pa.int16()),
                "val": pa.list_(pa.float32()),
                "regime": S, "regime_confidence": F},
}  # fmt: skip
PLACES = {"decisions": "diary/decisions", "expost": "diary/expost", "beliefs": "belief_snapshots/beliefs"}


def make_run(folder: Path, decisions: int = 2000, finished: bool = True, seed: int = 1) -> Path:
    """
    Write a run folder.

    Parameters
    ----------
    folder : Path
        Created; must not exist.
    decisions : int
        Decision steps, one a minute.
    finished : bool
        False leaves what a killed run leaves: segments, no summary.
    seed : int
        Of the walk.
    """
    maker = Maker(decisions, seed)
    for i in range(decisions):
        maker.step(i)
    (folder / "diary").mkdir(parents=True)
    (folder / "belief_snapshots").mkdir()
    for name, types in TYPES.items():
        table = _table(maker.rows[name], types)
        if name in PLACES:
            table = table.add_column(0, "row", pa.array(range(table.num_rows), pa.int64()))
        if finished:
            write_parquet(table, folder / f"{PLACES.get(name, name)}.parquet")
        elif name in PLACES:
            _segments(table.drop(["realized"]) if name == "expost" else table, folder / PLACES[name])
    _texts(folder, maker, seed)
    if finished:
        _summary(folder, maker, seed)
    return folder


def _segments(table: pa.Table, place: Path) -> None:
    place.mkdir(exist_ok=True)
    half = table.num_rows // 2
    for first, piece in ((0, table.slice(0, half)), (half, table.slice(half))):
        write_parquet(piece, place / f"segment-{first:012d}-{piece.num_rows}.parquet")
    (place / f"segment-{table.num_rows:012d}-9.parquet.tmp").write_bytes(b"PAR1 half written")


def _texts(folder: Path, maker: Maker, seed: int) -> None:
    policy = {
        "features": {"ret_1": {"kind": "return", "n": 1}, "vol_20": {"kind": "vol", "n": 20}},
        "belief": {"n": 128, "k": 16, "seed": 7}, "cadence": {"kind": "seconds", "n": 60},
        "router": {"table": TABLE}, "risk": {"name": "default", "price_collar": 0.03, "drawdown_max": 0.1},
        "expost": {"horizons": [1, 5, 20], "primary": 5},
    }  # fmt: skip
    (folder / "policy.json").write_text(json.dumps(policy))
    run = {
        "capital": "100000", "currency": "USD", "long_only": False, "seed": seed, "env": "sim",
        "instruments": {INSTRUMENT: {"price_precision": 2, "size_precision": 3, "tick": "0.01",
                                     "lot": "0.001",
                                     "maker_fee": "0.0002", "taker_fee": "0.0005", "quote": "USD",
                                     "base": "BTC",
                                     "stale_after_s": 180, "half_spread_bps": 1.0, "kind": "bars"}},
        "venue": {"fill_prob": 0.5, "slippage_prob": 0.5, "latency_ms": 50}, "tapes": [{"name": "btcusd_1m"}],
        "probes": {"surge": {"unit": "deviations", "threshold": 4.0, "needs": ["size"]}},
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    nanos = {"count": 2000, "p50_ns": 41_000, "p99_ns": 120_000, "p999_ns": 410_000, "max_ns": 1_900_000}
    latency = {name: nanos | {"count": maker.decisions} for name in ("ingest_signal", "signal_order", "step")}
    (folder / "latency.json").write_text(json.dumps(latency | {"order_ack": nanos | {"count": 0}}))
    (folder / "heartbeat.json").write_text(json.dumps({"ts": START, "clock": "event time"}))


def _summary(folder: Path, maker: Maker, seed: int) -> None:
    rows = maker.rows
    equity, fills = rows["equity"], rows["fills"]
    pnl = equity[-1]["equity"] - CAPITAL
    stress = [
        {"costs": costs, "latency_ms": latency, "pnl": f"{pnl - (costs - 1) * maker.fees - latency:.2f}",
         "return": (pnl - (costs - 1) * maker.fees - latency) / CAPITAL, "fills": len(fills)}
        for costs in (1, 2) for latency in (0, 50, 250)
    ]  # fmt: skip
    (folder / "stress.json").write_text(json.dumps(stress))
    used: dict[str, dict[str, int]] = {
        name: {"decisions": 0, "fills": 0} for name in sorted(set(TABLE.values()))
    }
    for row in rows["decisions"]:
        used[cast(str, row["exec_topo"])]["decisions"] += 1
    for row in fills:
        used[maker.tactic(row["decision"])]["fills"] += 1
    kinds = [row["kind"] for row in rows["risk_events"]]
    summary = {
        "run_id": f"{seed:02d}" + "c0ffee" * 10 + "ab", "policy_hash": "ab" * 32, "tape_hash": "cd" * 32,
        "code_hash": "ef" * 32, "seed": seed, "events": maker.decisions, "decisions": maker.decisions,
        "orders": len({row["order_id"] for row in rows["orders"]}), "fills": len(fills),
        "denied": kinds.count("denied"), "near_misses": kinds.count("near_miss"),
        "regime_transitions": sum(a != b for a, b in zip(maker.regimes, maker.regimes[1:], strict=False)),
        "topologies_used": used, "pnl": f"{pnl:.9f}", "return": pnl / CAPITAL,
        "max_drawdown": max(row["drawdown"] for row in equity), "fees": f"{maker.fees:.9f}",
        "diary_coverage": 1.0,
        "tape_audit": {"btcusd_1m": {"rows": maker.decisions, "gaps": 3, "outliers": 0}},
        "digests": {"diary": "11" * 32, "fills": "22" * 32, "equity": f"{seed:02d}" * 32}, "wall_s": 1.25,
        "events_per_s": maker.decisions / 1.25, "env": "sim", "killed": None, "currency": "USD",
        "capital": "100000",
        "tapes": [{"name": "btcusd_1m", "kind": "bars", "instrument": INSTRUMENT,
                   "reference": "last closed bar",
                   "from": START, "to": START + maker.decisions * MINUTE, "half_spread_bps": 1.0}],
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    print(make_run(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000))
