"""Shim: what a node is given, as records of the journal, and back: market, moments, feed, broker, permit, hand-over."""

from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import Any

import msgspec
from nautilus_trader.core.data import Data
from nautilus_trader.core.message import Event
from nautilus_trader.model.data import Bar, BarType, InstrumentStatus, QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide, MarketStatusAction
from nautilus_trader.model.identifiers import InstrumentId, TradeId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.serialization.serializer import MsgSpecSerializer

from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.feed_switch import FeedChange
from alphatrade.risk.freeze import Freeze
from alphatrade.risk.handover import HandOver, hand_over_of
from alphatrade.risk.permit import Permit, permit_of
from alphatrade.risk.units import RAW_PER_NANO

QUOTES, TRADE, BAR, STATUS, TICK, FEED, BROKER, FREEZE, PERMIT, HANDOVER = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
_QUOTE = Struct("<H4q4B2Q")  # instrument; prices and sizes, nano; their precisions; times
_TRADE = Struct("<H2q3B2Q")
_BAR = Struct("<H5q2B2Q")
_STATUS = Struct("<H2B2Q")
_TICK = Struct("<Q")
_FEED = Struct("<B2Q")
_CHANGES = ("lost", "gap", "source")
_SERIAL = MsgSpecSerializer(encoding=msgspec.msgpack)
ROWS = 16  # quotes of one record at most: framing a record takes longer than packing a quote


class Recorder:
    """
    Keeps market events in a journal; quotes that come in a row share a record.

    Parameters
    ----------
    journal : Journal
    instruments : sequence of str
        Ids, in the order of the journal's head.
    """

    def __init__(self, journal: Journal, instruments: Sequence[str]) -> None:
        self._journal = journal
        self._place = {name: at for at, name in enumerate(instruments)}
        self._ids = [InstrumentId.from_str(name) for name in instruments]
        self._bars: dict[int, BarType] = {}
        self._quotes = bytearray()  # packed, and not in the journal yet
        self._read: dict[int, Callable[[bytes], Data | FeedChange]] = {
            TRADE: self._trade, BAR: self._bar, STATUS: self._status, FEED: self._change,
        }  # fmt: skip

    def market(self, data: Data) -> None:
        """Keep an event; after :meth:`flush` it outlives the process."""
        kind = type(data)
        if kind is QuoteTick:
            name, bid, ask, *digits, bid_size, ask_size, lots, more, ts_event, ts_init = data.__getstate__()
            nano = bid // RAW_PER_NANO, ask // RAW_PER_NANO, bid_size // RAW_PER_NANO, ask_size // RAW_PER_NANO
            self._quotes += _QUOTE.pack(self._place[name], *nano, *digits, lots, more, ts_event, ts_init)
            if len(self._quotes) >= ROWS * _QUOTE.size:
                self._append_quotes()
            return
        self._append_quotes()
        if kind is TradeTick:
            name, price, digits, size, lots, side, own, *times = data.__getstate__()
            parts = price // RAW_PER_NANO, size // RAW_PER_NANO, digits, lots, side
            self._journal.append(TRADE, _TRADE.pack(self._place[name], *parts, *times) + own.encode())
        elif kind is Bar:
            values = (data.open, data.high, data.low, data.close, data.volume)
            parts = *map(_nano, values), data.close.precision, data.volume.precision
            place = self._at(data.bar_type.instrument_id)
            self._journal.append(BAR, _BAR.pack(place, *parts, *_times(data)) + str(data.bar_type).encode())
        else:
            trading = 2 if data.is_trading is None else int(data.is_trading)
            place = self._at(data.instrument_id)
            self._journal.append(STATUS, _STATUS.pack(place, int(data.action), trading, *_times(data)))

    def _append_quotes(self) -> None:
        """Put the quotes that wait into the journal."""
        if self._quotes:
            rows = bytes(self._quotes)
            self._quotes.clear()
            self._journal.append(QUOTES, rows)

    def tick(self, ts: int) -> None:
        """Keep that the node's time went on to `ts` (UTC ns) without an event."""
        self._append_quotes()
        self._journal.append(TICK, _TICK.pack(ts))

    def change(self, change: FeedChange) -> None:
        """Keep what happened to the feed."""
        self._append_quotes()
        head = _FEED.pack(_CHANGES.index(change.kind), change.ts, change.since)
        self._journal.append(FEED, head + change.source.encode())

    def freeze(self, freeze: Freeze) -> None:
        """Keep that an operator lets nothing be explored any more."""
        self._append_quotes()
        self._journal.append(FREEZE, msgspec.msgpack.encode(freeze))

    def permit(self, permit: Permit) -> None:
        """Keep what may be traded from now on."""
        self._append_quotes()
        self._journal.append(PERMIT, msgspec.msgpack.encode(permit.plain()))

    def handover(self, left: HandOver) -> None:
        """Keep what is taken over from another node, as a whole."""
        self._append_quotes()
        self._journal.append(HANDOVER, msgspec.msgpack.encode(left.plain()))

    def broker(self, event: Any) -> None:
        """Keep what a broker says: an event of an order, or the state of an account."""
        self._append_quotes()
        self._journal.append(BROKER, _SERIAL.serialize(event))

    def flush(self) -> None:
        """Hand what was kept to the operating system."""
        self._append_quotes()
        self._journal.flush()

    def sync(self) -> None:
        """Have the disk confirm what was kept: from now on it survives a power cut."""
        self._append_quotes()
        self._journal.sync()

    def read(self, kind: int, payload: bytes) -> Iterator[Data | Event | FeedChange | Freeze | Permit | HandOver | int]:
        """Give the events, the change, the permit or the hand-over of a record, or the moment of one without."""
        if kind == TICK:
            yield int(_TICK.unpack(payload)[0])
        elif kind == QUOTES:
            yield from map(self._quote, _QUOTE.iter_unpack(payload))
        elif kind == BROKER:
            yield event_of(payload)
        elif kind == FREEZE:
            yield Freeze(*msgspec.msgpack.decode(payload))
        elif kind == PERMIT:
            yield permit_of(msgspec.msgpack.decode(payload))
        elif kind == HANDOVER:
            yield hand_over_of(msgspec.msgpack.decode(payload))
        else:
            yield self._read[kind](payload)

    def _at(self, name: InstrumentId) -> int:
        return self._place[name.value]

    def _quote(self, row: tuple[int, ...]) -> QuoteTick:
        at, bid, ask, bid_size, ask_size, *precisions, ts_event, ts_init = row
        prices = (_price(nano, digits) for nano, digits in zip((bid, ask), precisions[:2], strict=True))
        sizes = (_size(nano, digits) for nano, digits in zip((bid_size, ask_size), precisions[2:], strict=True))
        return QuoteTick(self._ids[at], *prices, *sizes, ts_event, ts_init)

    def _trade(self, payload: bytes) -> TradeTick:
        at, price, size, digits, lots, side, ts_event, ts_init = _TRADE.unpack(payload[: _TRADE.size])
        name = TradeId(payload[_TRADE.size :].decode())
        values = _price(price, digits), _size(size, lots), AggressorSide(side), name
        return TradeTick(self._ids[at], *values, ts_event, ts_init)

    def _bar(self, payload: bytes) -> Bar:
        at, *prices, volume, digits, lots, ts_event, ts_init = _BAR.unpack(payload[: _BAR.size])
        if at not in self._bars:
            self._bars[at] = BarType.from_str(payload[_BAR.size :].decode())
        values = [_price(nano, digits) for nano in prices]
        return Bar(self._bars[at], *values, _size(volume, lots), ts_event, ts_init)

    def _change(self, payload: bytes) -> FeedChange:
        kind, ts, since = _FEED.unpack(payload[: _FEED.size])
        return FeedChange(ts, _CHANGES[kind], payload[_FEED.size :].decode(), since)

    def _status(self, payload: bytes) -> InstrumentStatus:
        at, action, trading, ts_event, ts_init = _STATUS.unpack(payload)
        told = None if trading == 2 else bool(trading)
        return InstrumentStatus(self._ids[at], MarketStatusAction(action), ts_event, ts_init, is_trading=told)


def event_of(payload: bytes) -> Event:
    """Return what a broker said, of a record of kind `BROKER`."""
    event: Event = _SERIAL.deserialize(payload)
    return event


def _times(data: Data) -> tuple[int, int]:
    return data.ts_event, data.ts_init


def _nano(value: Any) -> int:
    return int(value.raw // RAW_PER_NANO)


def _price(nano: int, digits: int) -> Price:
    return Price.from_raw(nano * RAW_PER_NANO, digits)


def _size(nano: int, digits: int) -> Quantity:
    return Quantity.from_raw(nano * RAW_PER_NANO, digits)
