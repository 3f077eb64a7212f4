"""What a paper node was given comes back from its journal: every event, every moment, in their order."""

from pathlib import Path

import pytest
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, BarType, InstrumentStatus, QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide, MarketStatusAction
from nautilus_trader.model.identifiers import InstrumentId, TradeId
from nautilus_trader.model.objects import Price, Quantity

from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.inputs import ROWS, Recorder

NAMES = ["ABC/USD.SIM", "EUR/USD.SIM"]
ABC, EUR = (InstrumentId.from_str(name) for name in NAMES)


def quote(at: int) -> QuoteTick:
    bid, size = Price(1.10001 + at / 1e5, 5), Quantity(1_500_000 + at, 2)
    return QuoteTick(EUR if at % 3 else ABC, bid, Price(1.10003 + at / 1e5, 5), size, Quantity(0.25, 2), at, at + 1)


def trade(at: int) -> TradeTick:
    return TradeTick(ABC, Price(99.01, 2), Quantity(3, 0), AggressorSide.SELLER, TradeId(f"T-{at}"), at, at)


def bar(at: int) -> Bar:
    prices = [Price(value, 2) for value in (10.0, 12.0, 9.0, 11.0)]
    return Bar(BarType.from_str("ABC/USD.SIM-1-MINUTE-LAST-EXTERNAL"), *prices, Quantity(7.5, 1), at, at)


def halt(at: int) -> InstrumentStatus:
    return InstrumentStatus(EUR, MarketStatusAction.HALT, at, at, is_trading=False)


def given() -> list[Data | int]:
    """Return quotes in rows of all lengths around that of a record, with all else between them."""
    quotes = map(quote, range(1_000_000))
    between = [trade, bar, halt, int]
    return [
        event
        for count in (0, 1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 5)
        for other in between
        for event in (*(next(quotes) for _ in range(count)), other(count + 1))
    ]


def plain(event: Data | int) -> object:
    return event if isinstance(event, int) else (type(event).__name__, event.to_dict(event))


def kept(folder: Path, events: list[Data | int]) -> Journal:
    journal = Journal.open(folder, {"format": 1})
    recorder = Recorder(journal, NAMES)
    for event in events:
        if isinstance(event, int):
            recorder.tick(event)
        else:
            recorder.market(event)
    recorder.flush()
    return journal


def read(journal: Journal) -> list[object]:
    recorder = Recorder(journal, NAMES)
    return [plain(event) for _, kind, payload in journal.records() for event in recorder.read(kind, payload)]


def test_all_comes_back_in_its_order(tmp_path: Path) -> None:
    with kept(tmp_path, given()) as journal:
        assert read(journal) == [plain(event) for event in given()]


@pytest.mark.parametrize("count", [1, ROWS - 1, ROWS, ROWS + 3])
def test_after_a_flush_all_quotes_are_in_the_file(tmp_path: Path, count: int) -> None:
    journal = kept(tmp_path, [quote(at) for at in range(count)])
    (file,) = tmp_path.glob("*.journal")
    left = file.read_bytes()  # as kill -9 leaves it
    journal.close()
    file.write_bytes(left)
    with Journal.open(tmp_path, {"format": 1}) as again:
        assert len(read(again)) == count
        assert again.torn is None
