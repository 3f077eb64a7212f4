"""Peer run in the bench venv: backtesting.py on the bars of an .npz file. ``python peer_backtesting.py BARS.npz``.

Standalone: imports nothing of AlphaTrade or Nautilus. Orders fill at the close of the bar that decided
(``trade_on_close``), as Nautilus fills them. It trades whole units only: prices are scaled so that one unit is one
order size.
"""

import json
import sys
import time

import numpy as np
import pandas as pd
from backtesting import Strategy
from backtesting.lib import FractionalBacktest


class Cross(Strategy):
    """Goes to the wanted side whenever it changes; the old trade is closed by ``exclusive_orders``."""

    want = None

    def init(self):
        """Nothing to prepare: the rule is given."""

    def next(self):
        """Follow the rule."""
        want = self.want[len(self.data) - 1]
        if want > 0 and not self.position.is_long:
            self.buy(size=1)
        elif want < 0 and not self.position.is_short:
            self.sell(size=1)


def peak_rss_mb():
    """Return this process's own peak memory in MB; ru_maxrss would be the parent's."""
    with open("/proc/self/status") as status:
        return sum(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def main():
    """Run and print JSON."""
    bars = np.load(sys.argv[1])
    index = pd.to_datetime(bars["ts"], unit="ns")
    columns = {name.capitalize(): bars[name] for name in ("open", "high", "low", "close", "volume")}
    data = pd.DataFrame(columns, index=index)
    test = FractionalBacktest(
        data,
        Cross,
        fractional_unit=float(bars["size"]),
        cash=float(bars["cash"]),
        commission=float(bars["fee"]),
        trade_on_close=True,
        exclusive_orders=True,
        finalize_trades=True,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    result = test.run(want=bars["want"].tolist())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    out = {"wall_s": wall, "cpu_s": cpu, "peak_rss_mb": peak_rss_mb(), "bars": len(data)}
    trades = len(result["_trades"])
    out |= {"fills": 2 * trades, "equity": float(result["Equity Final [$]"]), "open": 0.0}
    out["fees"] = float(result["Commissions [$]"])
    print(json.dumps(out))


if __name__ == "__main__":
    main()
