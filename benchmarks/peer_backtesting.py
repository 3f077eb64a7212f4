"""Peer run in the bench venv: backtesting.py on the bars of an .npz file. ``python peer_backtesting.py BARS.npz``.

Standalone: imports nothing of AlphaTrade or Nautilus. Orders fill at the close of the bar that decided
(``trade_on_close``), as Nautilus fills them. It trades whole units only: prices are scaled so that one unit is one
order size.
"""

from backtesting import Strategy
from backtesting.lib import FractionalBacktest
from peer_data import load, tell, timed


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


def main():
    """Run and print JSON."""
    bars, facts = load()
    test = FractionalBacktest(
        bars.rename(columns=str.capitalize),
        Cross,
        fractional_unit=float(facts["size"]),
        cash=float(facts["cash"]),
        commission=float(facts["fee"]),
        trade_on_close=True,
        exclusive_orders=True,
        finalize_trades=True,
    )
    want = facts["want"].tolist()
    result, figures = timed(lambda: test.run(want=want))
    equity, fees = float(result["Equity Final [$]"]), float(result["Commissions [$]"])
    tell(figures, bars, fills=2 * len(result["_trades"]), equity=equity, fees=fees, open=0.0)


if __name__ == "__main__":
    main()
