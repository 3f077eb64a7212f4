"""What learning costs: both flags on against off and a bare engine, interleaved, on the EUR/USD tape."""

from benchmarks.figures import Figure, child, figure, interleave, ratios

COMMAND = "make learn-bench"
SIDES = ("bare", "full", "learn")


def rows(pairs: int = 3) -> list[Figure]:
    """Return the figures; each run is a process of its own."""

    def go(side: str) -> dict[str, float]:
        return child("benchmarks.throughput", "--side", side, "--instrument", "EUR/USD", "--every", "10")

    runs = interleave({side: (lambda side=side: go(side)) for side in SIDES}, pairs, "cost of learning")
    found = {side: {key: [run.get(key, 0.0) for run in runs[side]] for key in runs["learn"][0]} for side in SIDES}

    def over(key: str, below: str = "full") -> list[float]:
        return ratios(found["learn"][key], found[below][key])

    def row(name: str, what: str, values: list[float], unit: str, target: str = "") -> Figure:
        return figure(f"learn.cost.{name}", what, values, unit, target, command=COMMAND)

    return [
        row("p50", "decision step, median: both flags on over off", over("step_p50_us"), "x", "<= 1.5"),
        row("p99", "decision step, 99th percentile: both flags on over off", over("step_p99_us"), "x", "<= 1.5"),
        row("p50_us", "decision step, median, both flags on", found["learn"]["step_p50_us"], "us"),
        row("p99_us", "decision step, 99th percentile, both flags on", found["learn"]["step_p99_us"], "us"),
        row("off_p50_us", "decision step, median, flags off", found["full"]["step_p50_us"], "us"),
        row("off_p99_us", "decision step, 99th percentile, flags off", found["full"]["step_p99_us"], "us"),
        row("run", "whole run with both flags on over the bare engine", over("wall_s", "bare"), "x", "<= 3.5"),
        row("run_off", "the same, flags off", ratios(found["full"]["wall_s"], found["bare"]["wall_s"]), "x"),
        row("switch", "regime signal to decided, orders sent, 99th percentile", [
            value / 1e3 for value in found["learn"]["switch_p99_us"]
        ], "ms", "<= 2"),
        row("decisions", "decisions", found["learn"]["decisions"], "decisions"),
        row("orders", "orders, both flags on", found["learn"]["orders"], "orders"),
    ]  # fmt: skip
