"""What another node has left is an input of a live node: judged by its law, in its journal, and the same run is made of it."""

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.paper.assembly import Parts
from alphatrade.nodes.paper.inputs import Recorder
from alphatrade.nodes.paper.take_over import TakeOver
from alphatrade.nodes.paper.venue import PaperVenue
from alphatrade.nodes.sim import identity_of, load_tapes, write_inputs
from alphatrade.risk.approval import plain
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import JournalError
from alphatrade.risk.handover import HandOver, Part
from alphatrade.risk.limits import ALLOWED
from alphatrade.risk.units import ATTO, from_nano
from tests.nodes.make_paper import digests
from tests.nodes.make_permit import CAPITAL, flown_live, own, permit_for

MADE = own()
(TAPE,) = load_tapes(MADE.run)
NAME = TAPE.instrument.id


@pytest.fixture(autouse=True)
def announced(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """Let the paper venue be told what comes, and buy it, in the place of the broker of a live node."""
    found: list[Part] = []
    monkeypatch.setattr(PaperVenue, "announce", lambda self, parts: found.extend(parts), raising=False)
    return found


FIRST = from_nano(int(TAPE.columns["close"][0]))


def left(*shares: str, beyond: str = "1.005") -> HandOver:
    """Return orders that are worth so much of the capital, at a price a little beyond the first one of the tape."""
    at = (FIRST * Decimal(beyond)).quantize(Decimal(TAPE.instrument.tick), ROUND_DOWN)
    lot, parts = Decimal(TAPE.instrument.lot), list[Part]()
    for number, share in enumerate(shares, 1):
        qty = Decimal(share) * CAPITAL / at // lot * lot
        parts.append(Part(f"HANDOVER-{number}", NAME, plain(f"{qty:f}"), plain(f"{at:f}")))
    return HandOver("ab12", 1, tuple(parts))


def begun(what: HandOver, **permit: Any) -> Callable[[Parts], None]:
    def give(parts: Parts) -> None:
        parts.intake.handover(what)
        parts.intake.permit(permit_for(MADE, **permit))

    return give


def flown(folder: Path, give: Callable[[Parts], None] | None) -> Path:
    with Journal.open(folder.parent / "journal", {"format": 1}) as journal:
        flown_live(MADE, folder, give, journal=journal)
    write_inputs(Folder(folder), MADE, [TAPE], identity_of(MADE, [TAPE]), [{}])
    return folder


def orders(folder: Path) -> pd.DataFrame:
    found = pd.read_parquet(folder / "orders.parquet")
    return found[found["order_id"].str.startswith("HANDOVER-")]


def test_the_journal_gives_it_back(tmp_path: Path) -> None:
    what = left("0.1", "0.05")
    with Journal.open(tmp_path / "journal", {"format": 1}) as journal:
        recorder = Recorder(journal, [NAME])
        recorder.handover(what)
        recorder.flush()
        found = [one for _, kind, payload in journal.records() for one in recorder.read(kind, payload)]
    assert found == [what]


def test_it_is_bought_part_by_part_after_the_first_price_and_told(tmp_path: Path, announced: list[Part]) -> None:
    what = left("0.1", "0.05")
    folder = flown(tmp_path / "run", begun(what))
    assert announced == list(what.parts)
    mine = orders(folder)
    assert list(dict.fromkeys(mine[mine["event"] == "filled"]["order_id"])) == ["HANDOVER-1", "HANDOVER-2"]
    stamps = mine[mine["event"] == "submitted"]["ts"].tolist()
    assert stamps[1] - stamps[0] >= 500_000_000
    events = pd.read_parquet(folder / "risk_events.parquet")
    told = events[events["kind"] == "handover"]
    assert list(told["order_id"]) == ["HANDOVER-1", "HANDOVER-2"]
    assert not events["kind"].isin(["kill", "tripwire"]).any()
    report = audit(folder)
    assert not report.integrity
    assert {one.detail for one in report.violations} == {"a fee for what no exchange has sold"}, "that of the paper venue"


def test_a_run_is_made_again_from_its_journal(tmp_path: Path) -> None:
    was, again = flown(tmp_path / "was", begun(left("0.1", "0.05"))), flown(tmp_path / "again", None)
    assert digests(again) == digests(was)
    assert len(orders(again)) > 0


def test_mutation_what_is_not_journalled_makes_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "handover", lambda *_: None)
    was, again = flown(tmp_path / "was", begun(left("0.1"))), flown(tmp_path / "again", None)
    assert digests(again) != digests(was)


DENIED: dict[str, tuple[HandOver, dict[str, Any], str]] = {
    "larger than an order may be": (left("0.5"), {}, "ORDER_NOTIONAL"),
    "more than the capital of the permit": (left("0.1"), {"capital": 50 * ATTO}, "CAPITAL_CAP"),
    "another instrument": (left("0.1"), {"instruments": ("OTHER.SIM",)}, "PERMIT_SCOPE"),
    "too far from the market": (
        left("0.1", beyond="1.2"), {}, "PRICE_COLLAR",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DENIED)
def test_what_the_law_denies_stops_trading_and_is_bought_by_nobody(tmp_path: Path, name: str) -> None:
    what, permit, code = DENIED[name]
    folder = flown(tmp_path / "run", begun(what, **permit))
    mine = orders(folder)
    assert set(mine["event"]) == {"initialized", "denied"}
    events = pd.read_parquet(folder / "risk_events.parquet")
    (kill,) = events[events["kind"] == "kill"].to_dict("records")
    assert kill["limit"] == "HANDOVER"
    assert code in kill["detail"]
    assert pd.read_parquet(folder / "fills.parquet").empty


def test_mutation_past_the_law_a_position_that_is_too_large_gets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = TakeOver._send

    def unjudged(self: TakeOver, part: Part, ts: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(type(self._gate.law), "check", lambda *_: ALLOWED)
            send(self, part, ts)

    monkeypatch.setattr(TakeOver, "_send", unjudged)
    folder = flown(tmp_path / "run", begun(left("0.5")))
    assert "filled" in set(orders(folder)["event"])
    assert "ORDER_NOTIONAL" in {one.code for one in audit(folder).violations}, "and the auditor finds it"


def test_what_the_disk_does_not_confirm_stops_trading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Any) -> None:
        raise JournalError("journal", "no space", "a disk")

    found: list[bool] = []

    def give(parts: Parts) -> None:
        found.append(parts.intake.sync())
        monkeypatch.setattr(Recorder, "sync", fails)
        found.append(parts.intake.sync())

    folder = flown(tmp_path / "run", give)
    assert found == [True, False]
    events = pd.read_parquet(folder / "risk_events.parquet")
    assert list(events[events["kind"] == "kill"]["limit"]) == ["STATE_UNWRITABLE"]
