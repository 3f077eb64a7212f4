"""What no word may switch on where money is at stake, and where a live node takes its policy from."""

from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from alphatrade.nodes.live import run, settings
from alphatrade.nodes.live.anchor import Anchor
from alphatrade.nodes.live.exchange import LiveExchange
from alphatrade.nodes.live.preflight import AwayError
from alphatrade.nodes.live.settings import LiveSettings, live_settings
from alphatrade.nodes.overrides import completed, composed
from alphatrade.nodes.paper.entry import Entered
from alphatrade.nodes.settings import compose_settings
from alphatrade.risk.approval import Approvals, fresh_key
from alphatrade.risk.errors import ConfigError, LedgerError
from alphatrade.risk.permit import NONE, Permit

ANCHOR = Anchor(Path("/state"), Path("/ledger"), "f" * 64)
ENTRY = {"policy_hash": "a" * 64, "stage": "limited_live", "seq": 1, "hash": "", "ledger": "f" * 64}
LOCAL = (
    "feed.http=http://127.0.0.1:1",
    "feed.ws=ws://127.0.0.1:1",
    "broker.http=http://127.0.0.1:1",
    "broker.ws_api=ws://127.0.0.1:1",
)


@pytest.fixture(scope="module")
def policy() -> Any:
    return compose_settings([]).policy


@pytest.fixture(autouse=True)
def ledger(monkeypatch, policy):
    monkeypatch.setattr(settings, "entered", lambda name, folder: Entered(policy, ENTRY))
    stages = SimpleNamespace(incumbent=lambda _: "a" * 64)
    monkeypatch.setattr(settings, "Ledger", lambda _: SimpleNamespace(chain=SimpleNamespace(stages=stages)))


def told(*words: str) -> LiveSettings:
    return live_settings(composed(completed(words, "live"), "live"), ANCHOR)


def test_as_it_is_a_live_node_runs_the_policy_of_the_ledger_at_the_testnet(policy):
    live = told()
    assert live.own.settings.policy == policy
    assert (live.broker.venue, live.broker.keys, live.own.account) == ("testnet", "binance_testnet", "PILOT")
    assert live.own.settings.run.venue.bounded_market
    real = told("broker.net=mainnet", "feed.testnet=false")
    assert (real.broker.venue, real.broker.keys) == ("mainnet", "binance_live")
    assert (told(*LOCAL).broker.venue, told(*LOCAL).broker.keys) == ("sandbox", "binance_testnet")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("exploration=true",), "exploration"),
        (("governed_feedback=true",), "governed_feedback"),
        (("policy_file=mine.json",), "policy_file"),
        (("learned=state",), "learned"),
        (("policy_entry=null",), "policy_entry"),
        (("journal=false",), "journal"),
        (("venue.account=margin",), "venue.account"),
        (("venue.bounded_market=false",), "venue.bounded_market"),
        (("broker=simulated",), "broker.kind"),
        (("feed=replay", "~feed.testnet"), "broker"),
        (("env=paper",), "env.name"),
        (("broker.net=mainnet",), "feed.testnet"),
        (("feed.testnet=false",), "feed.testnet"),
        (("broker.net=moon",), "broker.net"),
        (("broker.http=http://10.0.0.1:80",), "broker.http"),
        (("broker.http=http://127.0.0.1:1",), "broker.ws_api"),
        ((*LOCAL, "broker.net=mainnet"), "broker.net"),  # else a sandbox's permit lets real keys sign
        (("guard.reconcile_min=1000",), "guard.reconcile_min"),
        (("guard.look_s=600",), "guard.look_s"),
    ],
)
def test_what_no_live_node_may_be_told_is_refused_by_its_name(words, field):
    with pytest.raises(ConfigError) as error:
        told(*words)
    assert error.value.field.startswith(field)


@pytest.mark.parametrize("net", ["testnet", "mainnet"])
def test_a_kill_past_the_node_finds_the_keys_with_which_it_trades(net):
    known = yaml.safe_load(files("alphatrade.conf").joinpath("kill.yaml").read_text())
    broker = settings.LiveBrokerSpec(net=net)
    exchange = LiveExchange(
        None, None, (), broker.keys, approvals=Approvals(fresh_key(), int), mainnet=net == "mainnet"
    )
    assert known[broker.keys]["rest"] == exchange.rest


@pytest.mark.parametrize("part", ["features", "topologies"])
def test_a_policy_with_a_plug_in_is_refused_as_no_permit_names_its_file(monkeypatch, policy, part):
    name, one = next(iter(getattr(policy, part).items()))
    mine = policy.model_copy(
        update={part: {**getattr(policy, part), name: one.model_copy(update={"kind": "mine:Own"})}}
    )
    monkeypatch.setattr(settings, "entered", lambda name, folder: Entered(mine, ENTRY))
    monkeypatch.setattr(settings, "node_settings", _as_they_are(settings.node_settings, mine))
    with pytest.raises(ConfigError, match="no plug-in trades real money"):
        told()


def _as_they_are(node_settings: Any, policy: Any) -> Any:
    """Return what takes a policy as it is: a plug-in's module is not there in a test."""

    def found(*given: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(settings, "entered", lambda name, folder: Entered(compose_settings([]).policy, ENTRY))
            own = node_settings(*given)
        return own._replace(settings=own.settings.model_copy(update={"policy": policy}))

    return found


@pytest.mark.parametrize("change", [{"stage": "pilot"}, {"ledger": "0" * 64}])
def test_a_policy_of_another_stage_or_another_ledger_does_not_run(monkeypatch, policy, change):
    monkeypatch.setattr(settings, "entered", lambda name, folder: Entered(policy, ENTRY | change))
    with pytest.raises(LedgerError):
        told()


def test_without_a_policy_in_charge_there_is_no_incumbent(monkeypatch):
    stages = SimpleNamespace(incumbent=lambda _: "")
    monkeypatch.setattr(settings, "Ledger", lambda _: SimpleNamespace(chain=SimpleNamespace(stages=stages)))
    for odd, words in ((), "no policy in stage limited_live"), (("entry 14: 9 bytes without an end",), "entry 14: 9 bytes"):
        monkeypatch.setattr(settings, "verify", lambda *_, odd=odd: SimpleNamespace(problems=odd))
        with pytest.raises(LedgerError, match=words):
            told()


def test_each_look_at_the_ledger_says_what_was_spent_before_and_what_is_wrong_with_the_start():
    begun = start(None, Permit(entry="e", capital=7))
    assert run._looker(begun, 5, 3, "")() == Permit(entry="e", capital=7, spent=5, fee=3)
    assert run._looker(begun, 5, 3, "a right too many")().refused == "a right too many"
    assert run._looker(start(None, Permit(refused="revoked")), 5, 3, "a right too many")().refused == "revoked"


def start(first: Permit | None, now: Permit = NONE) -> Any:
    return SimpleNamespace(first=first, permit=now, watch=SimpleNamespace(look=lambda: now), taking=None, live=None)


def test_a_new_run_does_not_start_where_a_check_fails_and_one_that_goes_on_sends_nothing_new(monkeypatch):
    def fails(error: ConfigError) -> Any:
        def preflight(*_: Any) -> Any:
            raise error

        return preflight

    slept: list[float] = []
    monkeypatch.setattr(run.time, "sleep", slept.append)
    monkeypatch.setattr(run, "_folder", lambda _: Path("none"))
    monkeypatch.setattr(run, "_preflight", fails(ConfigError("enableWithdrawals", "true", "false")))
    with pytest.raises(ConfigError):
        run._judged(start(None), *[None] * 2)  # type: ignore[arg-type]
    found, odd = run._judged(start(Permit()), *[None] * 2)  # type: ignore[arg-type]
    assert (found.spent, slept) == (Decimal(0), [])
    assert "enableWithdrawals" in odd
    monkeypatch.setattr(run, "_preflight", fails(AwayError("status 503", "an exchange that answers")))
    assert "exchange" in run._judged(start(Permit()), *[None] * 2)[1]  # type: ignore[arg-type]
    assert sum(slept) == run.AGAIN_S * (run.TRIES - 1)
