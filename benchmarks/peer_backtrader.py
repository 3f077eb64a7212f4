"""Peer run in the bench venv: backtrader on the bars of an .npz file. ``python peer_backtrader.py BARS.npz``.

Standalone: imports nothing of AlphaTrade or Nautilus. Orders fill at the close of the bar that decided (``coc``), as
Nautilus fills them.
"""

import backtrader as bt
from peer_data import load, tell, timed


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


def main():
    """Run and print JSON."""
    bars, facts = load()
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=bars))
    cerebro.addstrategy(Cross, want=facts["want"], size=float(facts["size"]))
    cerebro.broker.setcash(float(facts["cash"]))
    cerebro.broker.setcommission(commission=float(facts["fee"]))
    cerebro.broker.set_coc(True)
    (strategy,), figures = timed(cerebro.run)
    equity = cerebro.broker.getvalue()
    tell(figures, bars, fills=strategy.fills, equity=equity, fees=strategy.fees, open=strategy.position.size)


if __name__ == "__main__":
    main()
