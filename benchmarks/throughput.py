"""What the organism costs: a whole replay under law and diary against a bare engine with a no-op subscriber.

``python -m benchmarks.throughput [--pairs 5]``

Each run is a process of its own; timed is ``engine.run`` and closing the diary, without import, tape and report.
Needs the shared tapes (``ALPHATRADE_TAPES``).
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.figures import ROOT, Figure, child, figure, interleave, publish, ratios

COMMAND = "python -m benchmarks.throughput"
TAPES = Path(os.environ.get("ALPHATRADE_TAPES", ROOT / ".." / "shared" / "tapes"))
FOLDERS = {"EUR/USD": "eurusd_ticks_201405", "XAU/USD": "xauusd_ticks_201405"}
SIDES = ("bare", "full", "no_diary")
SIGNALS = "SELECT step FROM '{folder}/**/beliefs.parquet' WHERE cause <> ''"
# What the sides "learn" and "explore" have beside "full". Nothing is to freeze exploration half way.
MORE = {
    "learn": ("policy.flags.linear_attention=true", "policy.flags.fast_weights=true"),
    "explore": (
        "exploration=true", "explore.probability=1", "explore.delta_bps=[-9000,9000]", "policy.risk.near_miss=1",
        "policy.drift.run_length=5000", "policy.drift.baseline=2000", "policy.drift.k=3",
    ),
}  # fmt: skip


def run_side(side: str, instrument: str, events_per_decision: int) -> None:
    """Run one of `SIDES` in this process and print its figures as JSON."""
    from alphatrade.nodes import feed, wiring
    from alphatrade.nodes.engine import build_engine, run_engine
    from alphatrade.nodes.settings import compose_settings
    from alphatrade.nodes.sim import load_tapes
    from benchmarks.bare import bare_engine
    from benchmarks.figures import timed

    settings = compose_settings(
        [
            "tape=file",
            f"tape.path={TAPES / FOLDERS[instrument] / 'data.parquet'}",
            "tape.kind=quotes",
            f"tape.instrument={instrument}",
            "policy.cadence.kind=events",
            f"policy.cadence.n={events_per_decision}",
            *MORE.get(side, ()),
        ]
    )
    tapes = load_tapes(settings.run)
    data, spec = feed.events(tapes[0]), tapes[0].instrument
    with tempfile.TemporaryDirectory() as folder:
        if side == "bare":
            engine = bare_engine(feed.instrument(spec), data)
            result: dict[str, Any] = timed(engine.run)
        else:
            run_dir = None if side == "no_diary" else Path(folder)
            config = wiring.sim_config(settings.policy, tapes, settings.run, run_dir)
            venue = wiring.venue_arguments(tapes, settings.run)
            engine = build_engine(config, [feed.instrument(spec)], [data], spec.venue, venue)
            scribes = [actor for actor in engine.trader.actors() if type(actor).__name__ == "DiaryScribe"]

            def work() -> None:
                run_engine(engine)
                for scribe in scribes:
                    scribe.finish()

            result = timed(work)
            organism = engine.trader.strategies()[0]
            eye = next(actor for actor in engine.trader.actors() if type(actor).__name__ == "Perception")
            steps = sorted(spent - organism.sending_ns.get(at, 0) for at, spent in enumerate(eye.step_ns))
            with_orders = sorted(eye.step_ns)
            signals = duckdb.sql(SIGNALS.format(folder=folder)).fetchall() if side != "no_diary" else []
            switches = sorted(eye.step_ns[step] for (step,) in signals) or [0]
            if side == "explore":
                budget = engine.kernel._controller.law.exploration
                told = duckdb.sql(f"SELECT avg((explored <> '')::INT) FROM '{folder}/**/decisions.parquet'").fetchall()
                used = budget.explored2 / budget.flow2 / settings.run.explore.share
                result |= {"explored": told[0][0], "used": used, "frozen": budget.frozen}
            result |= {
                "decisions": organism.decisions,
                "orders": len(organism.signal_order_ns),
                "step_p50_us": statistics.median(steps) / 1e3,
                "step_p99_us": steps[int(0.99 * len(steps))] / 1e3,
                "sending_p99_us": with_orders[int(0.99 * len(steps))] / 1e3,
                "switch_p99_us": switches[int(0.99 * len(switches))] / 1e3,
            }
        result["events"] = len(data)
        print(json.dumps(result))


def compare(instrument: str, events_per_decision: int, pairs: int, target: str, label: str) -> list[Figure]:
    """Return the rows of one tape at one cadence."""

    def go(side: str) -> dict[str, float]:
        every = str(events_per_decision)
        return child("benchmarks.throughput", "--side", side, "--instrument", instrument, "--every", every)

    runs = interleave({side: (lambda side=side: go(side)) for side in SIDES}, pairs, f"throughput {label}")
    bare, full = runs["bare"], runs["full"]
    walls = {side: [run["wall_s"] for run in runs[side]] for side in SIDES}
    decisions, orders = full[0]["decisions"], full[0]["orders"]
    diary = [1e6 * (a - b) / decisions for a, b in zip(walls["full"], walls["no_diary"], strict=True)]
    what = f"{instrument}, {bare[0]['events']:,.0f} quotes, {decisions:,.0f} decisions, {orders:,.0f} orders"
    key = f"throughput.{label}"

    def row(name: str, words: str, values: list[float], unit: str, want: str = "") -> Figure:
        return figure(f"{key}.{name}", words, values, unit, want, command=COMMAND)

    return [
        row("ratio", f"wall over the bare engine: {what}", ratios(walls["full"], walls["bare"]), "x", target),
        row("rate", "events per second", [run["events"] / run["wall_s"] for run in full], "events/s"),
        row("bare_rate", "the same, bare", [run["events"] / run["wall_s"] for run in bare], "events/s"),
        row("diary", "(wall with diary - without) / decisions", diary, "us", "<= 15" if target else ""),
        row(
            "step_p50",
            "one decision step, median: features, belief, regime, route, diary append",
            [r["step_p50_us"] for r in full],
            "us",
            "<= 80",
        ),
        row("step_p99", "one decision step, 99th percentile", [r["step_p99_us"] for r in full], "us", "<= 300"),
        row("sending_p99", "the same with the orders that were sent in it", [r["sending_p99_us"] for r in full], "us"),
        row("rss", "peak memory", [run["peak_rss_mb"] for run in full], "MB"),
        row("bare_rss", "peak memory, bare", [run["peak_rss_mb"] for run in bare], "MB"),
        row("decisions", "decisions", [decisions], "decisions", ">= 50000"),
        row("orders", "orders", [orders], "orders", ">= 1000"),
    ]


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--side", choices=[*SIDES, *MORE], help="run one side here and print JSON")
    parser.add_argument("--instrument", choices=sorted(FOLDERS), default="EUR/USD")
    parser.add_argument("--every", type=int, default=10, help="events per decision")
    args = parser.parse_args()
    if args.side:
        run_side(args.side, args.instrument, args.every)
        return
    few = max(1, args.pairs // 2)
    publish(
        "throughput",
        [
            *compare("EUR/USD", 10, args.pairs, "<= 3", "eurusd"),
            *compare("EUR/USD", 2, few, "", "eurusd_dense"),
            *compare("XAU/USD", 40, few, "", "xauusd"),
        ],
    )


if __name__ == "__main__":
    main()
