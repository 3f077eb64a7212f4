"""Peers: the same EMA-cross rule, bars and fees in our suite, stock Nautilus, backtrader and backtesting.py.

``python -m benchmarks.peers [--bars 100000] [--rounds 3]``

backtrader and backtesting.py live in a venv of their own, ``.venv-peers``, which this bench makes from the hash-pinned
``benchmarks/peers.lock``. Each run is a process of its own; timed is the run alone. Nautilus computes the rule with its
own EMACross; the others get the same decisions precomputed, which only makes them faster.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.figures import ROOT, Figure, child, figure, interleave, publish

COMMAND = "python -m benchmarks.peers"
NAMES = {
    "ours": "our suite under the law",
    "careful": "our suite, conservative venue",
    "stock": "stock Nautilus",
    "backtrader": "backtrader",
    "backtesting": "backtesting.py",
}


def venv_python(name: str) -> str:
    """
    Return the interpreter of a bench venv, made from its lock if it is not there or not of this lock.

    Parameters
    ----------
    name : str
        ``.venv-<name>`` is made from ``benchmarks/<name>.lock``.

    Raises
    ------
    subprocess.CalledProcessError
        If the packages cannot be installed.
    """
    venv, source = ROOT / f".venv-{name}", ROOT / "benchmarks" / f"{name}.lock"
    python, stamp = venv / "bin" / "python", venv / source.name
    lock = source.read_bytes()
    if not stamp.exists() or stamp.read_bytes() != lock:
        print(f"making {venv} from {source.relative_to(ROOT)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        install = [str(python), "-m", "pip", "-q", "install", "--require-hashes", "-r", str(source)]
        subprocess.run(install, check=True)
        stamp.write_bytes(lock)
    return str(python)


def wanted(bars: pd.DataFrame, fast: int, slow: int) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """
    Return the side EMACross holds after each bar: 1 long, -1 short, 0 not yet.

    Nautilus's EMA starts at the first price and is ready after `slow` bars; EMACross leaves out bars of a single price.
    """
    close = bars["close"]
    quick, slower = (close.ewm(span=span, adjust=False).mean() for span in (fast, slow))
    side = pd.Series(np.where(quick >= slower, 1, -1), bars.index, dtype="float64")
    single = bars[["open", "high", "low", "close"]].nunique(axis=1) == 1
    side[single] = np.nan
    side.iloc[: slow - 1] = np.nan
    return side.ffill().fillna(0).to_numpy(np.int8)


def write_bars(path: Path, count: int) -> float:
    """
    Write what the peers need as plain arrays.

    Returns
    -------
    float
        What closing the last position one bar early would change, USD.
    """
    from benchmarks import bars

    data = bars.frame(count)
    columns = {name: data[name].to_numpy() for name in data.columns}
    facts = {"size": float(bars.SIZE), "fee": float(bars.FEE), "cash": float(bars.CASH)}
    want = wanted(data, bars.FAST, bars.SLOW)
    np.savez(path, want=want, **columns, **facts)
    before, last = data["close"].to_numpy()[-2:]
    return float((before - last) * want[-1]) * facts["size"]


def main() -> None:
    """Measure, explain and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    python = venv_python("peers")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.npz"
        early = write_bars(path, args.bars)

        def nautilus(side: str) -> dict[str, Any]:
            return child("benchmarks.order_heavy", "--side", side, "--bars", str(args.bars))

        def peer(name: str) -> dict[str, Any]:
            return child(str(ROOT / "benchmarks" / f"peer_{name}.py"), str(path), python=python)

        sides = {name: lambda name=name: nautilus(name) for name in ("ours", "careful", "stock")}
        sides |= {name: lambda name=name: peer(name) for name in ("backtrader", "backtesting")}
        runs = interleave(sides, args.rounds, "peers")
    publish("peers", _rows(runs))
    print("\n".join(explain({name: sample[0] for name, sample in runs.items()}, early)))


def _rows(runs: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    rows = []
    for name, sample in runs.items():
        rates = [run["bars"] / run["wall_s"] for run in sample]
        rss = [run["peak_rss_mb"] for run in sample]
        label = NAMES[name]
        rows += [
            figure(f"peers.{name}.rate", f"{label}: speed", rates, "bars/s", command=COMMAND),
            figure(f"peers.{name}.fills", f"{label}: fills", sample[0]["fills"], "", command=COMMAND, digits=9),
            figure(
                f"peers.{name}.equity",
                f"{label}: end equity",
                float(sample[0]["equity"]),
                "USD",
                command=COMMAND,
                digits=9,
            ),
            figure(f"peers.{name}.rss", f"{label}: peak RSS", rss, "MB", command=COMMAND),
        ]
    return rows


def explain(runs: dict[str, dict[str, Any]], early: float) -> list[str]:
    """
    Return why the results differ, in words and with the measured numbers.

    Parameters
    ----------
    runs : dict of str to dict
        One measurement of each side.
    early : float
        What closing the last position one bar early changes, USD.
    """
    ours, stock, careful = runs["ours"], runs["stock"], runs["careful"]
    base = float(ours["equity"])
    same = "the same" if ours["digest"] == stock["digest"] else "NOT the same"
    left = "; its last order is still in flight when the bars end" if careful["fills"] % 2 else ""
    lines = [
        f"Our suite and stock Nautilus: {same} {ours['fills']:,} fills, end equity {base:,.2f} and "
        f"{float(stock['equity']):,.2f}.",
        f"Conservative venue: {careful['fills']:,} fills, end equity {float(careful['equity']) - base:+,.2f} against "
        f"that: takers pay the assumed half spread, slip, and arrive 50 ms later{left}.",
    ]
    whys = {
        "backtrader": "one order reverses where Nautilus closes and opens; the last position stays open, without a fee",
        "backtesting": "a reversal is a close and an open, as in Nautilus; the last position is closed at the close "
        f"before the last, which explains {early:+,.2f}",
    }
    for name, why in whys.items():
        run = runs[name]
        gap, fees = float(run["equity"]) - base, ours["fees"] - run["fees"]
        lines.append(
            f"{NAMES[name]}: {run['fills']:,} fills, end equity {gap:+,.2f} against ours, {fees:+,.2f} of it fees "
            f"({run['fees']:,.2f} against {ours['fees']:,.2f}: Nautilus rounds each to cents), {gap - fees:+,.2f} "
            f"prices: {why}."
        )
    return lines


if __name__ == "__main__":
    main()
