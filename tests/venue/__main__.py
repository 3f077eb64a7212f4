"""The venue as a process of its own: prints one line of JSON with its ports and runs until it is stopped."""

import argparse
import asyncio
import json
import signal
from pathlib import Path

from tests.venue.market import Feed, load, walk
from tests.venue.rules import Rules
from tests.venue.server import Venue
from tests.venue.tied import tied

START = {"BTCUSDT": 30_000.0, "ETHUSDT": 2_000.0, "EURUSDT": 1.1}
DEPOSITS = ("USDT=1000000", "BTC=10", "ETH=100", "EUR=100000")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.venue", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--tape", action="append", default=[], metavar="SYMBOL[:BASE:QUOTE:TICK:LOT]=FILE",
        help="quotes, .npy or .parquet (see market.load); without FILE a seeded random walk",
    )  # fmt: skip
    parser.add_argument(
        "--speed", type=float, default=1.0, help="0: only quotes set through control; inf: as fast as is listened"
    )
    parser.add_argument("--deposit", action="append", default=[], metavar="ASSET=AMOUNT")
    parser.add_argument("--fee", default="0.001")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, help="folder for ports and the log of requests")
    parser.add_argument("--tied", action="store_true", help="end with the process that has started it")
    return parser.parse_args()


def feeds(asked: list[str], seed: int) -> list[Feed]:
    made = []
    for text in asked or ["BTCUSDT"]:
        name, _, path = text.partition("=")
        rules = Rules.parse(name)
        made.append(load(path, rules) if path else walk(rules, START.get(rules.symbol, 100.0), 20_000, seed))
    return made


async def main(options: argparse.Namespace) -> None:
    if options.tied:
        tied()
    if options.state is not None:
        options.state.mkdir(parents=True, exist_ok=True)
    deposits = dict(entry.split("=") for entry in options.deposit or DEPOSITS)
    venue = Venue(
        feeds(options.tape, options.seed), deposits, options.speed,
        maker_fee=options.fee, taker_fee=options.fee, port=options.port, state=options.state,
    )  # fmt: skip
    await venue.start()
    line = json.dumps({"port": venue.port, "control": venue.control_port})
    if options.state is not None:
        (options.state / "ports.json").write_text(line)
    print(line, flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await venue.stop()


if __name__ == "__main__":
    asyncio.run(main(parse()))
