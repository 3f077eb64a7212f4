"""Peer run in the bench venv: backtrader on the bars of an .npz file. ``python peer_backtrader.py BARS.npz``.

Standalone: imports nothing of AlphaTrade or Nautilus. Orders fill at the close of the bar that decided (``coc``), as
Nautilus fills them.
"""

import json
import sys
import time

import backtrader as bt
import numpy as np
import pandas as pd


class Cross(bt.Strategy):
    """Goes to the wanted position whenever it changes: one order reverses."""

    params = (("want", None), ("size", 0.1))

    def __init__(self):
        self.fills = 0
        self.fees = 0.0

    def notify_order(self, order):
        """Count fills and what they cost."""
        if order.status == order.Completed:
            self.fills += 1
            self.fees += order.executed.comm

    def next(self):
        """Follow the rule; what is open at the end stays open."""
        want = float(self.p.want[len(self) - 1]) * self.p.size
        if want != 0 and want != self.position.size:
            self.order_target_size(target=want)


def peak_rss_mb():
    """Return this process's own peak memory in MB; ru_maxrss would be the parent's."""
    with open("/proc/self/status") as status:
        return sum(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def main():
    """Run and print JSON."""
    bars = np.load(sys.argv[1])
    index = pd.to_datetime(bars["ts"], unit="ns")
    names = ("open", "high", "low", "close", "volume")
    data = pd.DataFrame({name: bars[name] for name in names}, index=index)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=data))
    cerebro.addstrategy(Cross, want=bars["want"], size=float(bars["size"]))
    cerebro.broker.setcash(float(bars["cash"]))
    cerebro.broker.setcommission(commission=float(bars["fee"]))
    cerebro.broker.set_coc(True)
    wall, cpu = time.perf_counter(), time.process_time()
    (strategy,) = cerebro.run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    out = {"wall_s": wall, "cpu_s": cpu, "peak_rss_mb": peak_rss_mb(), "bars": len(data)}
    out |= {
        "fills": strategy.fills,
        "equity": cerebro.broker.getvalue(),
        "fees": strategy.fees,
        "open": strategy.position.size,
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main()
