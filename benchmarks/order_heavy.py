"""Order-heavy: the bundled EMACross on a year of one-minute bars, our engine under the law against stock Nautilus.

``python -m benchmarks.order_heavy [--pairs 5] [--bars 100000] [--long 520000] [--law off]``

Timed is ``engine.run`` with, on our side, the law and the writing of its record; import and conversion are not.
"""

import argparse
import json
import tempfile

from alphatrade.nodes.venue_spec import VenueSpec
from benchmarks.figures import Figure, child, figure, interleave, publish, ratios

COMMAND = "python -m benchmarks.order_heavy"


def run_side(side: str, count: int, law: bool) -> None:
    """Run one side in this process and print its measurement as JSON."""
    from benchmarks import bars

    data = bars.bars(count)
    if side == "stock":
        result = bars.measure(bars.stock_engine(data), ours=False)
    else:
        venue = bars.STOCK if side == "ours" else VenueSpec()
        with tempfile.TemporaryDirectory() as folder:
            engine = bars.our_engine(data, venue, folder if law else None, law)
            result = bars.measure(engine, ours=True)
    print(json.dumps(result | {"bars": len(data)}))


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--bars", type=int, default=100_000)
    parser.add_argument("--long", type=int, default=520_000, help="0 leaves the long runs out")
    parser.add_argument("--long-pairs", type=int, default=3)
    parser.add_argument("--law", choices=("on", "off"), default="on")
    parser.add_argument("--side", choices=("ours", "careful", "stock"), help="run one side here, print JSON")
    args = parser.parse_args()
    if args.side:
        run_side(args.side, args.bars, args.law == "on")
        return

    def go(side: str, count: int) -> dict[str, float]:
        return child("benchmarks.order_heavy", "--side", side, "--bars", str(count), "--law", args.law)

    short = interleave(
        {"stock": lambda: go("stock", args.bars), "ours": lambda: go("ours", args.bars)}, args.pairs, "order-heavy"
    )
    rows = _rows(short, args.bars, args.law)
    if args.long:
        long = interleave(
            {"long": lambda: go("ours", args.long), "short": lambda: go("ours", args.bars)},
            args.long_pairs,
            "order-heavy, long",
        )
        rows += _long_rows(long)
    publish("order_heavy", rows)


def _rows(runs: dict[str, list[dict[str, float]]], count: int, law: str) -> list[Figure]:
    stock, ours = runs["stock"], runs["ours"]
    with_law = "with the law and its record" if law == "on" else "without the law"
    differ = sum(a["digest"] != b["digest"] or a["equity"] != b["equity"] for a, b in zip(stock, ours, strict=True))

    def column(side: list[dict[str, float]], name: str) -> list[float]:
        return [run[name] for run in side]

    def rate(side: list[dict[str, float]], clock: str) -> list[float]:
        return [run["bars"] / run[clock] for run in side]

    what = f"EMACross {count:,} bars, {ours[0]['fills']:,} fills"
    wall = ratios(column(stock, "wall_s"), column(ours, "wall_s"))
    cpu = ratios(column(stock, "cpu_s"), column(ours, "cpu_s"))
    return [
        figure("order_heavy.ratio", f"{what}: our rate {with_law} / stock, wall", wall, "x", ">= 3", command=COMMAND),
        figure("order_heavy.ratio_cpu", f"{what}: the same in CPU time", cpu, "x", ">= 3", command=COMMAND),
        figure("order_heavy.differences", "pairs with other fills or end equity", differ, "", "== 0", command=COMMAND),
        figure("order_heavy.ours", f"our rate {with_law}", rate(ours, "wall_s"), "bars/s", command=COMMAND),
        figure("order_heavy.stock", "stock rate", rate(stock, "wall_s"), "bars/s", command=COMMAND),
        figure("order_heavy.rss_ours", "our peak RSS", column(ours, "peak_rss_mb"), "MB", command=COMMAND),
        figure("order_heavy.rss_stock", "stock peak RSS", column(stock, "peak_rss_mb"), "MB", command=COMMAND),
    ]


def _long_rows(runs: dict[str, list[dict[str, float]]]) -> list[Figure]:
    def held(clock: str) -> list[float]:
        return [
            (long["bars"] / long[clock]) / (short["bars"] / short[clock])
            for long, short in zip(runs["long"], runs["short"], strict=True)
        ]

    what = f"our rate at {runs['long'][0]['bars']:,} bars / at {runs['short'][0]['bars']:,}"
    return [
        figure("order_heavy.held", f"{what}, wall", held("wall_s"), "x", ">= 0.9", command=COMMAND),
        figure("order_heavy.held_cpu", f"{what}, CPU time", held("cpu_s"), "x", ">= 0.9", command=COMMAND),
        figure(
            "order_heavy.rss_long",
            "our peak RSS over the long run",
            [run["peak_rss_mb"] for run in runs["long"]],
            "MB",
            command=COMMAND,
        ),
    ]


if __name__ == "__main__":
    main()
