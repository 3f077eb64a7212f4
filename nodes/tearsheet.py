"""Shim: Nautilus's own tearsheet of a finished engine, beside our report."""

from pathlib import Path

from nautilus_trader.analysis.tearsheet import create_tearsheet
from nautilus_trader.backtest.engine import BacktestEngine


def write_tearsheet(engine: BacktestEngine, path: Path) -> None:
    """
    Write the tearsheet of an engine that has run and is not disposed of yet.

    Parameters
    ----------
    engine : BacktestEngine
    path : Path
        One self-contained HTML file.
    """
    cache, analyzer = engine.cache, engine.portfolio.analyzer
    for account in cache.accounts():
        analyzer.calculate_statistics(account, cache.positions())
    create_tearsheet(engine, output_path=str(path), title="Nautilus tearsheet")
