"""Losses outlive a restart: the file beside the latch, what a release does to it, and the lock on the folder."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.model.enums import AccountType, OrderSide

from alphatrade.nodes.app import main
from alphatrade.risk import losses
from alphatrade.risk.disk import FolderLock
from alphatrade.risk.errors import ConfigError, InUseError, LatchedError
from alphatrade.risk.exposure import BUY, SELL
from alphatrade.risk.gate_losses import Memory
from alphatrade.risk.kill import RELEASES, latch_dir, release, request_kill, status
from alphatrade.risk.law import Law
from alphatrade.risk.losses import LOSSES, LossFile, read_losses
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO, NANO
from tests.risk.rig import BTCUSDT, CAPITAL, SECOND, START, Scripted, audited, engine, gate_of, quote

ROOT = Path(__file__).parents[2]
DAY = 86_400 * SECOND
MIDNIGHT = START // DAY * DAY
NAMES = ("A", "B")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = latch_dir(tmp_path, "sim", "SIM")
    made.mkdir(parents=True, exist_ok=True)
    return made


# -- one law that is never stopped, against one that is


class Market:
    """Random prices, fills and pauses, the same for every law that follows them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ts = MIDNIGHT
        self.mid = dict.fromkeys(NAMES, 100 * NANO)
        self.position = dict.fromkeys(NAMES, 0)

    def step(self) -> tuple[str, int, int, int, int]:
        """Return instrument, bid, ask, a signed quantity to trade (often none) and its price."""
        name = self.random.choice(NAMES)
        self.ts += self.random.choice((SECOND, 3600 * SECOND))
        self.mid[name] += self.random.randint(-2 * NANO, 2 * NANO)
        half = self.random.randint(1, 1000)
        qty = self.random.choice((0, 0, 0, 1, -1)) * self.random.randint(1, 5 * NANO)
        self.position[name] += qty
        return name, self.mid[name] - half, self.mid[name] + half, qty, self.mid[name] + self.random.randint(-99, 99)


def law(capital: int = 10_000) -> Law:
    return Law(RiskTemplate(), capital * ATTO)


def follow(made: Law, market: Market, steps: int, file: LossFile | None = None) -> None:
    for _ in range(steps):
        name, bid, ask, qty, price = market.step()
        made.on_mark(name, bid, ask, market.ts)
        if file is not None:
            file.keep(made, "X")
        if qty:
            made.on_fill("", name, BUY if qty > 0 else SELL, abs(qty), price, 12_345, "me")
            if file is not None:
                file.keep(made, "X")
            made.on_mark(name, bid, ask, market.ts)
            if file is not None:
                file.keep(made, "X")


def figures(made: Law) -> tuple[int, ...]:
    return made.equity2, made.peak2 or 0, made.day, made.day_start2, made.calm2


def restarted(folder: Path, market: Market, last: Law, price: int) -> Law:
    """Return a new law with the positions taken over at some average price, and one mark of each."""
    made = law()
    for name, position in market.position.items():
        if position:
            made.exposure.adopt(name, position, price, paid=False, owner=name)
    LossFile(folder, fixed=True, released=0).resume(made)
    for name in NAMES:
        held = last.exposure.holdings.get(name)
        if held is not None and held.mark_ts >= 0:
            made.on_mark(name, held.bid, held.ask, market.ts)
    return made


def cut(folder: Path, seed: int) -> tuple[Law, Law]:
    """Return a law that saw everything, and the last of four that each saw a part."""
    whole, market, twin = law(), Market(seed), Market(seed)
    follow(whole, market, 400)
    made = law()
    for turn in range(4):
        file = LossFile(folder, fixed=True, released=0)
        if turn:
            made = restarted(folder, twin, made, price=(90 + turn) * NANO)
            file.resume(made)
        else:
            file.resume(made)
        follow(made, twin, 100, file)
        file.keep(made, "X", last=True)
    return whole, made


@pytest.mark.parametrize("seed", range(8))
def test_restarts_change_nothing(folder: Path, seed: int) -> None:
    whole, made = cut(folder, seed)
    assert figures(made) == figures(whole)
    assert whole.equity2 != whole.peak2


def test_without_the_file_they_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LossFile, "resume", lambda self, law: False)
    whole, made = cut(folder, 0)
    assert figures(made) != figures(whole), "the mutant"


@pytest.mark.parametrize("seed", [0, 1, *[pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 8)]])
def test_what_a_kill_9_takes_with_it_is_bounded(folder: Path, seed: int) -> None:
    made, market, file = law(), Market(seed), LossFile(folder, fixed=True, released=0)
    file.resume(made)
    writes = []
    for _ in range(1000):
        before = file.kept
        follow(made, market, 1, file)
        writes.append(file.kept is not before)
        kept = read_losses(folder)
        if kept is None:  # nothing has been marked yet
            continue
        assert 0 <= 1000 * ((made.peak2 or 0) - kept.peak2) < 2 * 10_000 * ATTO
        assert (kept.cash, kept.day, kept.day_start2) == (made.exposure.cash, made.day, made.day_start2)
        assert {name: left[0] for name, left in kept.positions.items()} == {
            name: position for name, position in market.position.items() if position
        }
    quiet = law()
    file = LossFile(folder / "other", fixed=True, released=0)
    file.path.parent.mkdir()
    file.resume(quiet)
    quiet.on_fill("", "A", BUY, NANO, 100 * NANO, 0, "me")
    quiet.on_mark("A", 100 * NANO, 100 * NANO, START)
    file.keep(quiet, "X")
    first = file.kept
    for cents in range(1, 1000):  # ten in price, a thousandth of the capital: one less than that writes nothing
        quiet.on_mark("A", 100 * NANO + cents * NANO // 100, 100 * NANO + cents * NANO // 100, START)
        file.keep(quiet, "X")
    assert file.kept is first
    quiet.on_mark("A", 110 * NANO, 110 * NANO, START)
    file.keep(quiet, "X")
    assert file.kept is not first


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (2, 10_000 - 2 * 10),  # as it was left: two of it have lost ten each
        (0, 10_000 - 2 * 11),  # sold while nobody looked: at the last bid
        (3, 10_000 - 3 * 10 - 1 + 10),  # one more: bought at the last ask
    ],
)
def test_a_position_found_other_than_it_was_left(folder: Path, found: int, expected: int) -> None:
    made, file = law(), LossFile(folder, fixed=True, released=0)
    file.resume(made)
    made.on_mark("A", 99 * NANO, 101 * NANO, START)
    made.on_fill("", "A", BUY, 2 * NANO, 100 * NANO, 0, "me")
    made.on_mark("A", 89 * NANO, 91 * NANO, START)
    file.keep(made, "X", last=True)
    again = law()
    if found:
        again.exposure.adopt("A", found * NANO, 55 * NANO, paid=False, owner="P")
    LossFile(folder, fixed=True, released=0).resume(again)
    again.on_mark("A", 89 * NANO, 91 * NANO, START)
    assert again.equity == expected * ATTO
    assert again.peak == 10_000 * ATTO


def test_opposite_positions_that_net_to_nothing_are_not_counted_twice(folder: Path) -> None:
    made, file = law(), LossFile(folder, fixed=True, released=0)
    file.resume(made)
    made.on_mark("A", 100 * NANO, 100 * NANO, START)
    made.on_fill("", "A", BUY, NANO, 100 * NANO, 0, "one")
    made.on_fill("", "A", SELL, NANO, 110 * NANO, 0, "two")
    file.keep(made, "X", last=True)
    again = law()
    again.exposure.adopt("A", NANO, 100 * NANO, paid=False, owner="one")
    again.exposure.adopt("A", -NANO, 110 * NANO, paid=False, owner="two")
    LossFile(folder, fixed=True, released=0).resume(again)
    assert again.equity == made.equity == 10_010 * ATTO


def test_another_configured_capital_keeps_what_was_lost(folder: Path) -> None:
    made, file = law(), LossFile(folder, fixed=True, released=0)
    file.resume(made)
    made.on_mark("A", 100 * NANO, 100 * NANO, START)
    made.on_fill("", "A", BUY, NANO, 100 * NANO, 300 * ATTO, "me")
    made.on_mark("A", 100 * NANO, 100 * NANO, START)
    made.on_fill("", "A", SELL, NANO, 100 * NANO, 0, "me")
    file.keep(made, "X", last=True)
    again = law(20_000)
    LossFile(folder, fixed=True, released=0).resume(again)
    assert (again.equity, again.peak, again.day_loss()) == (19_700 * ATTO, 20_000 * ATTO, 300 * ATTO)


def test_a_balance_is_absolute(folder: Path) -> None:
    made, file = law(), LossFile(folder, fixed=False, released=0)
    file.resume(made)
    made.on_mark("A", 100 * NANO, 100 * NANO, START)
    made.on_fill("", "A", BUY, NANO, 100 * NANO, 300 * ATTO, "me")
    file.keep(made, "X", last=True)
    again = law(9_700)  # the balance lacks the fee already
    again.exposure.adopt("A", NANO, 100 * NANO, paid=False, owner="P")
    LossFile(folder, fixed=False, released=0).resume(again)
    again.on_mark("A", 100 * NANO, 100 * NANO, START)
    assert (again.equity, again.peak, again.day_loss()) == (9_700 * ATTO, 10_000 * ATTO, 300 * ATTO)
    with pytest.raises(ConfigError, match="capital: got 'configured', expected none"):
        LossFile(folder, fixed=True, released=0)


# -- the gate


TEMPLATE = {"jump_max": 1, "daily_loss_max": 0.01, "drawdown_max": 0.5, "repeat_max": 99, "duplicate_window_s": 0}
BUY_ONE = {4: lambda s: s.submit_order(s.order_factory.market(BTCUSDT.id, OrderSide.BUY, BTCUSDT.make_qty(1.0)))}
Act = Callable[[Scripted], None]


def close(strategy: Scripted) -> None:
    strategy.close_all_positions(BTCUSDT.id)


def session(
    tmp_path: Path, fall: float = 6_000, start: int = START, script: dict[int, Act] | None = None, **gate: Any
) -> BacktestEngine:
    """Buy one, lose `fall`, sell it: of one session, on the state folder."""
    data = [quote(BTCUSDT, 50_000 - fall * min(i, 20) / 20, start + i * SECOND) for i in range(40)]
    config = {"state_dir": str(tmp_path), "capital": str(CAPITAL), "template": TEMPLATE, **gate}
    built = engine(data, [Scripted(script or {**BUY_ONE, 30: close})], config)
    built.run()
    return built


def cause(built: BacktestEngine) -> str | None:
    tripped = gate_of(built).switch.trip_cause
    built.dispose()
    return None if tripped is None else tripped.code


def test_a_restart_is_no_way_around_the_daily_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cause(session(tmp_path)) is None
    assert cause(session(tmp_path, start=START + 60 * SECOND)) == "DAILY_LOSS"
    monkeypatch.setattr(Memory, "resume", lambda self: None)
    other = tmp_path / "mutant"
    assert [cause(session(other)), cause(session(other, start=START + 60 * SECOND))] == [None, None], "the mutant"


def test_the_next_day_starts_afresh_and_the_peak_does_not(tmp_path: Path) -> None:
    assert cause(session(tmp_path)) is None
    assert cause(session(tmp_path, start=START + DAY)) is None
    template = {**TEMPLATE, "daily_loss_max": 1, "drawdown_max": 0.015}
    assert cause(session(tmp_path, start=START + 2 * DAY, template=template)) == "DRAWDOWN"


def test_a_balance_that_was_lost_counts_too(tmp_path: Path) -> None:
    """The simulated account begins at its full balance again: as after a deposit of what was lost."""
    assert cause(session(tmp_path, capital=None)) is None
    kept = read_losses(latch_dir(tmp_path, "sim", "SIM"))
    assert kept is not None
    raised = {**json.loads((latch_dir(tmp_path, "sim", "SIM") / LOSSES).read_text()), "peak2": 3 * CAPITAL * ATTO}
    (latch_dir(tmp_path, "sim", "SIM") / LOSSES).write_text(json.dumps(raised))
    template = {**TEMPLATE, "daily_loss_max": 1, "drawdown_max": 0.3}
    assert cause(session(tmp_path, capital=None, start=START + DAY, template=template)) == "DRAWDOWN"


DIES = """
import os, sys
from pathlib import Path
from tests.risk import test_losses as t
t.session(Path(sys.argv[1]), start=t.START + 21 * t.SECOND, script={**t.BUY_ONE, 30: lambda s: os.kill(os.getpid(), 9)})
"""


def died(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False, env=environment, cwd=ROOT)
    assert done.returncode == -9


def test_a_kill_9_is_no_way_around_either(tmp_path: Path) -> None:
    """It dies with the position open; whoever closed it then, the loss at the last look is in the next session."""
    died(tmp_path)
    kept = read_losses(latch_dir(tmp_path, "sim", "SIM"))
    assert kept is not None
    assert kept.positions["BTCUSDT.BINANCE"][0] == NANO
    assert cause(session(tmp_path, start=START + 60 * SECOND)) == "DAILY_LOSS"  # the dead process holds no lock


def test_a_fill_is_on_disk_before_a_strategy_hears_of_it(tmp_path: Path, folder: Path) -> None:
    heard = []

    def listen(strategy: Scripted) -> None:
        strategy.on_fill = lambda event: heard.append((read_losses(folder), event.last_qty))

    session(tmp_path, script={1: listen, **BUY_ONE}).dispose()
    assert len(heard) == 1
    assert heard[0][0] is not None
    assert heard[0][0].positions["BTCUSDT.BINANCE"][0] == NANO


def test_a_stop_writes_the_peak_however_little_it_rose(tmp_path: Path, folder: Path) -> None:
    built = session(tmp_path, fall=-500, script=BUY_ONE)
    kept = read_losses(folder)
    assert kept is not None
    assert kept.peak2 == gate_of(built).law.peak2
    assert CAPITAL * ATTO < kept.peak2 // 2 < CAPITAL * ATTO * 1001 // 1000
    built.dispose()


@pytest.mark.parametrize("capital", [None, str(CAPITAL)])
def test_what_a_position_cost_is_missing_in_a_cash_balance_only(capital: str | None) -> None:
    data = [quote(BTCUSDT, 50_000, START + i * SECOND) for i in range(9)]
    built = engine(data, [Scripted(BUY_ONE)], {"capital": capital}, account=AccountType.CASH)
    built.run()
    gate = gate_of(built)
    before = gate.law.equity
    gate.events.adopt()
    assert gate.law.exposure.cash == (0 if capital is None else -gate.law.exposure.holding("BTCUSDT.BINANCE").basis)
    gate.market.look("BTCUSDT.BINANCE")
    assert abs(gate.law.equity - before) < 100 * ATTO  # the fee, where the capital is configured
    built.dispose()


def test_the_record_says_where_a_session_went_on_and_the_audit_can_follow(tmp_path: Path) -> None:
    session(tmp_path).dispose()
    second = session(tmp_path, fall=10, start=START + 60 * SECOND)
    gate = gate_of(second)
    row = next(row for row in gate.record.risk_events if row[2] == "resumed")
    opening = row[6]
    assert CAPITAL - 5_200 < float(str(opening)) < CAPITAL - 5_100
    assert "peak equity 1000000" in str(row[8])
    run = tmp_path / "run"
    audited(gate, run, TEMPLATE, long_only=False)
    audited(gate, run, TEMPLATE, long_only=False, opening=str(opening))
    for other in (str(CAPITAL), str(float(str(opening)) + 1)):
        with pytest.raises(AssertionError, match="EQUITY"):
            audited(gate, run, TEMPLATE, long_only=False, opening=other)
    second.dispose()


def test_a_replay_remembers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "write_whole", lambda *_: pytest.fail("a replay writes nothing"))
    monkeypatch.setattr(Memory, "keep", lambda *_, **__: None)
    for start in (START, START + 60 * SECOND):
        built = session(tmp_path, start=start, state_dir=None)
        assert gate_of(built).memory.file is None
        assert cause(built) is None
    assert not list(tmp_path.iterdir())


def test_reset_goes_on_from_the_disk(tmp_path: Path) -> None:
    built = session(tmp_path)
    strategy = built.trader.strategies()[0]
    built.reset()
    strategy.n = 0
    built.run()
    assert cause(built) == "DAILY_LOSS"


def test_another_currency_is_denied(tmp_path: Path, folder: Path) -> None:
    session(tmp_path).dispose()
    kept = json.loads((folder / LOSSES).read_text())
    (folder / LOSSES).write_text(json.dumps({**kept, "currency": "EUR"}))
    built = session(tmp_path, start=START + 60 * SECOND)
    denied = next(iter(built.trader.strategies()[0].denied.values()))
    assert denied.startswith("NO_ACCOUNT: losses are kept in EUR, the law counts in USDT")
    built.dispose()


# -- a disk that fails


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("when", [1, 6, 30])
def test_losses_that_cannot_be_written_stop_trading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int) -> None:
    script: dict[int, Act] = {**BUY_ONE, 35: BUY_ONE[4]}
    script[when] = lambda s: monkeypatch.setattr(losses, "write_whole", full)
    built = session(tmp_path, script=script)
    strategy = built.trader.strategies()[0]
    assert "No space left on device" in gate_of(built).switch.trip_cause.reason
    assert not built.cache.positions_open()
    assert strategy.denied
    if when == 1:
        assert not strategy.fills, "the very order whose price could not be noted is denied"
    assert cause(built) == "STATE_UNWRITABLE"
    with pytest.raises(LatchedError, match="STATE_UNWRITABLE"):
        session(tmp_path)


# -- a file that makes no sense


def damage(**other: Any) -> str:
    good = {
        "currency": "USDT", "fixed": True, "capital": ATTO, "cash": 0, "peak2": 2 * ATTO, "day": 1,
        "day_start2": 2 * ATTO, "released": 0, "positions": {"A": [1, 2, 3]},
    }  # fmt: skip
    return json.dumps({**good, **other})


def test_the_good_one_is_good(folder: Path) -> None:
    (folder / LOSSES).write_text(damage())
    assert read_losses(folder) is not None


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "null", "[]", "{}", "\x00\xff", damage(more=1), damage(currency=""), damage(fixed=1), damage(capital=0),
        damage(cash=1.5), damage(cash=None), damage(peak2="1"), damage(peak2=1), damage(peak2=True), damage(day=-1),
        damage(day=10**9), damage(positions=[]), damage(positions={"A": 1}), damage(positions={"A": [1, 2]}),
        damage(positions={"A": [1, 0, 3]}), damage(positions={"A": [1, 2, 3.5]}),
    ],
)  # fmt: skip
def test_unreadable_losses_refuse_the_start(tmp_path: Path, folder: Path, content: str) -> None:
    (folder / LOSSES).write_text(content, encoding="latin-1")
    with pytest.raises(LatchedError, match=r"STATE_UNREADABLE, .*losses\.json: .*release it first") as caught:
        session(tmp_path)
    assert "\n" not in str(caught.value)
    seen = status(tmp_path, "sim", "SIM")
    assert (seen.state, seen.losses) == ("HALTED", None)
    released = release(tmp_path, "sim", "SIM", "Ann", "the disk was full", 7)
    assert released.code == "STATE_UNREADABLE"
    assert not (folder / LOSSES).exists()
    assert cause(session(tmp_path)) is None


# -- a release


@pytest.fixture
def tripped(tmp_path: Path) -> Path:
    session(tmp_path).dispose()
    session(tmp_path, start=START + 60 * SECOND).dispose()
    assert status(tmp_path, "sim", "SIM").state == "HALTED"
    return tmp_path


def test_a_release_of_a_loss_limit_goes_on_from_the_equity_there_is(tripped: Path) -> None:
    release(tripped, "sim", "SIM", "Ann", "the strategy is repaired", 5)
    line = json.loads((latch_dir(tripped, "sim", "SIM") / RELEASES).read_text())
    assert (line["rebase"], line["released"]["code"]) == (True, "DAILY_LOSS")
    built = session(tripped, fall=10, start=START + 120 * SECOND)
    law = gate_of(built).law
    assert law.peak < (CAPITAL - 10_000) * ATTO  # what was lost is still lost
    assert law.peak - law.equity < 200 * ATTO
    assert cause(built) is None
    kept = read_losses(latch_dir(tripped, "sim", "SIM"))
    assert kept is not None
    assert (kept.released, kept.peak2) == (5, law.peak2)
    assert cause(session(tripped, start=START + 180 * SECOND)) is None  # counted from there, not afresh each time
    assert cause(session(tripped, start=START + 240 * SECOND)) == "DAILY_LOSS"


def test_without_the_rebase_it_would_trip_at_once(tripped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alphatrade.risk.kill._REBASING", ())
    release(tripped, "sim", "SIM", "Ann", "the strategy is repaired", 5)
    assert cause(session(tripped, fall=10, start=START + 120 * SECOND)) == "DAILY_LOSS", "the mutant"


def test_a_release_beside_a_node_that_still_writes(tmp_path: Path) -> None:
    session(tmp_path).dispose()
    halted = session(tmp_path, start=START + 60 * SECOND)
    with pytest.raises(InUseError, match="trades on this account"):  # it would stay halted, or latch again
        release(tmp_path, "sim", "SIM", "Ann", "the strategy is repaired", 5)
    assert status(tmp_path, "sim", "SIM").trip is not None
    halted.dispose()  # writes its losses once more
    release(tmp_path, "sim", "SIM", "Ann", "the strategy is repaired", 5)
    assert cause(session(tmp_path, fall=10, start=START + 120 * SECOND)) is None


def test_an_operators_kill_released_forgets_no_loss(tmp_path: Path) -> None:
    session(tmp_path).dispose()
    request_kill(tmp_path, "sim", "SIM", "Bob", "drill", 1)
    release(tmp_path, "sim", "SIM", "Bob", "drill", 2)
    assert cause(session(tmp_path, start=START + 60 * SECOND)) == "DAILY_LOSS"


def test_a_damaged_line_of_releases_releases_no_loss(tripped: Path, folder: Path) -> None:
    release(tripped, "sim", "SIM", "Ann", "x", 5)
    log = folder / RELEASES
    log.write_text(log.read_text().replace('"rebase"', '"re') + "null\n")
    assert cause(session(tripped, fall=10, start=START + 120 * SECOND)) == "DAILY_LOSS"


# -- one node at a time


def test_a_second_node_on_one_account_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = session(tmp_path)
    words = f"is in use: a node of process {os.getpid()} trades on this account"
    with pytest.raises(InUseError, match=words) as caught:
        session(tmp_path)
    assert "\n" not in str(caught.value)
    session(tmp_path, account="OTHER").dispose()
    assert not request_kill(tmp_path, "sim", "NEW", "Bob", "x", 1)
    assert request_kill(tmp_path, "sim", "SIM", "Bob", "x", 1)
    assert status(tmp_path, "sim", "SIM").request_pending
    with monkeypatch.context() as patch:
        patch.setattr("alphatrade.risk.disk.fcntl.flock", lambda *_: None)
        release(tmp_path, "sim", "SIM", "Bob", "x", 2)
        session(tmp_path, start=START + 60 * SECOND).dispose()
    first.dispose()


def test_dispose_frees_the_folder_and_so_does_a_start_that_is_refused(tmp_path: Path) -> None:
    session(tmp_path).dispose()
    request_kill(tmp_path, "sim", "SIM", "Bob", "x", 1)
    with pytest.raises(LatchedError) as _kept:  # the traceback keeps the gate that was not built
        session(tmp_path)
    release(tmp_path, "sim", "SIM", "Bob", "x", 2)
    session(tmp_path, fall=10, start=START + 60 * SECOND).dispose()


def test_a_record_that_cannot_be_written_frees_the_folder_all_the_same(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gate_of(session(tmp_path))
    monkeypatch.setattr(gate, "save", full)
    with pytest.raises(OSError, match="No space"):
        gate.on_dispose()
    FolderLock(folder).release()


# -- the front door


def door(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["alphatrade", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    seen = capsys.readouterr()
    return int(str(left.value.code)), seen.out, seen.err


@pytest.mark.parametrize("verb", [("kill",), ("release", "--who", "me", "--why", "x"), ("status",)])
def test_an_environment_that_does_not_exist_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path))
    code, out, err = door(monkeypatch, capsys, *verb, "--env", "papr")
    assert (code, out) == (2, "")
    assert err == "alphatrade: env: got 'papr', expected one of sim, paper, live-shadow, live\n"
    assert not list(tmp_path.iterdir())


def test_an_operator_sees_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path))
    place = ("--env", "sim", "--account", "SIM")
    code, out, _ = door(monkeypatch, capsys, "kill", *place)
    assert (code, out.count("no node has used sim/SIM here yet")) == (0, 1)
    with pytest.raises(LatchedError):
        session(tmp_path)
    assert "rebase" not in door(monkeypatch, capsys, "release", *place, "--who", "me", "--why", "x")[1]
    session(tmp_path).dispose()
    out = door(monkeypatch, capsys, "status", *place)[1]
    assert "losses count from a peak of 1000000.00 and, on 2023-11-14 UTC, from 1000000.00 USDT" in out
    session(tmp_path, start=START + 60 * SECOND).dispose()
    out = door(monkeypatch, capsys, "release", *place, "--who", "me", "--why", "x")[1]
    assert "it was DAILY_LOSS: from the next start on, losses are counted from the equity found then" in out
    code, out, _ = door(monkeypatch, capsys, "kill", *place)
    assert (code, "no node has used" in out) == (0, False)


def test_a_state_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / "file"))
    code, _, err = door(monkeypatch, capsys, "kill", "--env", "paper")
    assert (code, err.count("\n")) == (2, 1)
    assert "state_dir" in err


# -- what else could make a loss forgotten, or the folder unusable


def test_a_lost_line_of_releases_forgets_no_loss(tripped: Path, folder: Path) -> None:
    release(tripped, "sim", "SIM", "Ann", "the strategy is repaired", 5)
    session(tripped, fall=1_000, start=START + 120 * SECOND).dispose()
    before = read_losses(folder)
    (folder / RELEASES).unlink()
    session(tripped, fall=10, start=START + 180 * SECOND).dispose()
    after = read_losses(folder)
    assert before is not None
    assert after is not None
    assert (after.released, after.peak2) == (5, before.peak2)


def test_a_stored_day_of_the_future_begins_anew(folder: Path) -> None:
    made = law()
    file = LossFile(folder, fixed=True, released=0)
    file.resume(made)
    made.on_mark("A", 99 * NANO, 101 * NANO, MIDNIGHT + 70_000 * DAY)
    file.keep(made, "X", last=True)
    for today, day in ((MIDNIGHT // DAY, -1), (MIDNIGHT // DAY + 70_000, MIDNIGHT // DAY + 70_000)):
        again = law()
        LossFile(folder, fixed=True, released=0).resume(again, today)
        assert (again.day, again.peak2) == (day, made.peak2)


def test_a_price_from_the_future_counts_as_of_now() -> None:
    data = [quote(BTCUSDT, 50_000, START + i * SECOND) for i in range(60)]
    late = data[20]
    data[20] = type(late)(
        late.instrument_id, late.bid_price, late.ask_price, late.bid_size, late.ask_size, START + DAY, late.ts_init
    )
    built = engine(data, [Scripted({**BUY_ONE, 40: close})], {"template": TEMPLATE})
    built.run()
    made = gate_of(built).law
    assert made.day == START // DAY
    assert made.exposure.holdings[str(BTCUSDT.id)].mark_ts <= START + 60 * SECOND
    built.dispose()


def test_losses_of_another_currency_are_not_written_over(folder: Path) -> None:
    made = law()
    file = LossFile(folder, fixed=True, released=0)
    file.resume(made)
    made.on_mark("A", 99 * NANO, 101 * NANO, MIDNIGHT)
    file.keep(made, "EUR", last=True)
    before = (folder / LOSSES).read_bytes()
    made.on_mark("A", 99 * NANO, 101 * NANO, MIDNIGHT + DAY)
    file.keep(made, "USDT", last=True)
    assert (folder / LOSSES).read_bytes() == before
    file.keep(made, "EUR", last=True)
    assert (folder / LOSSES).read_bytes() != before


@pytest.mark.parametrize("capital", ["abc", "nan", "inf", "1e400", "0", "-5", ""])
def test_a_capital_that_is_none_is_refused_and_locks_nothing(tmp_path: Path, capital: str) -> None:
    with pytest.raises(ConfigError, match=r"^capital: got .*, expected a positive amount of money"):
        session(tmp_path, capital=capital)
    session(tmp_path).dispose()


def test_a_child_that_ends_leaves_the_lock_and_other_files_alone(folder: Path) -> None:
    program = f"""
import os, sys
from pathlib import Path
from alphatrade.risk.disk import FolderLock
from alphatrade.risk.errors import InUseError
lock = FolderLock(Path({str(folder)!r}))
if os.fork() == 0:
    taken = os.open("/dev/null", os.O_RDONLY)  # by now of the same number as the lock had
    lock.release()
    os.fstat(taken)
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
try:
    FolderLock(Path({str(folder)!r}))
except InUseError:
    print("held")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\nheld\n", "")


def test_a_child_of_a_node_does_not_hold_its_folder(folder: Path) -> None:
    program = f"""
import os, time
from pathlib import Path
from alphatrade.risk.disk import FolderLock
lock = FolderLock(Path({str(folder)!r}))
if os.fork() == 0:
    print("forked", flush=True)
    time.sleep(60)
time.sleep(60)
"""
    done = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert done.stdout is not None
        assert done.stdout.readline() == b"forked\n"
        done.kill()
        done.wait()
        FolderLock(folder).release()
    finally:
        os.killpg(done.pid, 9)
