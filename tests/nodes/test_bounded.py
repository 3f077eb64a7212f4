"""``venue.bounded_market``: nothing is opened without a price, nothing is modified, and paper is as sim all the same."""

from pathlib import Path

import pandas as pd
import pytest

from alphatrade.nodes.identity import identify
from alphatrade.strategies.dispatcher import Dispatcher
from tests.nodes.make_paper import digests, flown, replayed, settings

WORDS = ("tape.end=2026-08-18T06:00:00Z",)
BOUNDED = (*WORDS, "venue.bounded_market=true")


def orders(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "orders.parquet")


def test_what_would_open_at_the_market_has_a_price_near_it_and_ends_at_once(tmp_path: Path) -> None:
    own = settings(*BOUNDED)
    replayed(own, tmp_path / "sim")
    found = orders(tmp_path / "sim")
    sent = found[found["event"] == "submitted"]
    assert not (sent["type"] == "MARKET")[~sent["reduce_only"]].any()
    assert (sent["type"] == "MARKET").any(), "a position is closed at the market"
    assert "modify_approved" not in set(found["event"])
    marks = pd.read_parquet(tmp_path / "sim" / "marks.parquet").sort_values("ts")
    taking = sent[(sent["type"] == "LIMIT") & (sent["side"] == "BUY")].sort_values("ts")
    mid = (marks["bid"].astype(float) + marks["ask"].astype(float)) / 2
    at = pd.merge_asof(taking, pd.DataFrame({"ts": marks["ts"], "mid": mid}), on="ts")
    above = at["price"].astype(float) / at["mid"] - 1
    crossing = above[above > 0.01]
    assert len(crossing) > 2
    assert crossing.between(0.0149, 0.0151).all(), "half the price collar"


def test_on_paper_it_is_the_same(tmp_path: Path) -> None:
    own = settings(*BOUNDED)
    replayed(own, tmp_path / "sim")
    flown(own, tmp_path / "paper")
    assert digests(tmp_path / "paper") == digests(tmp_path / "sim")


def test_where_it_is_off_a_run_has_the_name_that_it_had(tmp_path: Path) -> None:
    plain, on = (settings(*words).run.identity() for words in (WORDS, BOUNDED))
    assert "bounded_market" not in plain["venue"]
    assert identify("p", ["t"], plain).run_id != identify("p", ["t"], on).run_id


def test_without_the_bound_it_opens_at_the_market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Dispatcher._make
    monkeypatch.setattr(Dispatcher, "_make", lambda self, one: (self._bounds.clear(), real(self, one))[1])  # mutation
    replayed(settings(*BOUNDED), tmp_path / "sim")
    found = orders(tmp_path / "sim")
    sent = found[found["event"] == "submitted"]
    assert (sent["type"] == "MARKET")[~sent["reduce_only"]].any()
