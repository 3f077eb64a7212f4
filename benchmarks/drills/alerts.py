"""Alerts: each fires on its cause, arrives, and is acknowledged; and a channel that is dead is noticed.

Causes of real paper nodes: kill -9, SIGSTOP, a loop that stands still, ``alphatrade kill``, a feed that falls silent.
Of a real node with a permit (``pilot.py``): a right of its key, an order of somebody else, a permit that is taken back.
A mail server that is not there. All others are planted readings (``causes.py``), some with a past of three days. All
causes are side by side, each at a node of its own name, and one node is well all the time.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from subprocess import Popen, run
from sys import executable
from typing import NamedTuple

from alphatrade.nodes.alarms import Alarm, alarms, silence
from alphatrade.nodes.metrics import Reading
from benchmarks.drills import pilot
from benchmarks.drills.causes import PLANTED, REMEMBERED, past, well
from benchmarks.drills.exchange import trading
from benchmarks.drills.place import MAKER, beat_of, operator_kills, started
from benchmarks.drills.record import Trial
from benchmarks.drills.watching import Ear, Told, Watch, free_port, missing, rules
from benchmarks.figures import ROOT
from tests.nodes.make_paper import Node
from tests.venue.make_venue import until

CALM = "calm"
AT_NODES: dict[str, tuple[str, ...]] = {
    "killed -9": ("DeadNode",), "stopped": ("DeadNode",), "stuck": ("StuckLoop",), "halted": ("KillSwitch",),
    "silent": ("FeedSilent",), "live": pilot.ALERTS,
}  # fmt: skip
OTHERS = {"Watchdog": "", "ChannelFails": "alertmanager"}
QUIET_S, PATIENCE_S = 15.0, 420.0
MISSED_S = 120.0  # without a Watchdog; it is sent each minute, give or take half of one
Wanted = frozenset[tuple[str, str]]


class Came(NamedTuple):
    """What came of it: what was told, what was still open once all was acknowledged, and telegrams."""

    told: Sequence[Told]
    left: Sequence[Alarm]
    refused: bool
    telegrams: int


def wanted() -> Wanted:
    """Return each alert that has a cause, with the node it is at."""
    planted = {(name, name) for name in (*PLANTED, *REMEMBERED)}
    real = {(name, at) for at, names in AT_NODES.items() for name in names}
    return frozenset(planted | real | set(OTHERS.items()))


def judged(came: Came, severities: Mapping[str, str], began: float, ended: float) -> str:
    """
    Return what is wrong with what came of the causes; empty: nothing.

    Parameters
    ----------
    came : Came
    severities : mapping of str to str
        Of each alert of the rules.
    began, ended : float
        Between which the Watchdog had to come, monotonic seconds.
    """
    told = [one for one in came.told if one.status == "firing"]
    found = {(one.name, one.instance): one.way for one in told}
    ways = {"page": "webhook page", "ticket": "webhook ticket", "watchdog": "deadman watchdog"}
    checks: tuple[tuple[str, Iterable[str]], ...] = (
        ("no cause was made for", sorted(set(severities) - {name for name, _ in wanted()})),
        ("did not arrive", sorted(f"{name} at {at or 'all'}" for name, at in wanted() - set(found))),
        ("came another way", sorted(n for (n, _), way in found.items() if way != ways[severities[n]])),
        ("were told of a node that is well", sorted({one.name for one in told if one.instance == CALM})),
        ("are still told of, though acknowledged", sorted({alarm.name for alarm in came.left})),
        ("could be silenced", [] if came.refused else ["Watchdog"]),
        ("reached no telegram", [] if came.telegrams else ["pages"]),
    )
    wrong = next((f"{what}: {', '.join(names)}" for what, names in checks if list(names)), "")
    return wrong or unheard(came.told, began, ended)


def unheard(told: Sequence[Told], began: float, ended: float) -> str:
    """Return whether the Watchdog stayed away for too long; empty: it did not."""
    heard = [began, *(one.at for one in told if one.name == "Watchdog" and began <= one.at <= ended), ended]
    longest = max(after - before for before, after in pairwise(heard))
    return f"the Watchdog did not arrive for {longest:.0f} s" if longest > MISSED_S else ""


def fired(place: Path, number: int) -> Trial:
    """Make all causes, wait for all alerts, acknowledge them, and let the channel die."""
    if absent := missing():
        return Trial(f"not installed: {', '.join(absent)}", {}, {})
    ear = Ear()
    with ExitStack() as stack:
        watch = Watch(place, ear, f"127.0.0.1:{free_port()}")  # no mail server is there
        nodes = _nodes(place, number, stack)
        clock = _stands(ear)
        told = f"127.0.0.1:{ear.port}"
        watch.targets("node", {name: f"{told}/{name}/metrics" for name in ear.stands} | nodes.targets)
        watch.remember(past(int(time.time()) - 5))
        stack.enter_context(watch.running())
        until(lambda: _up(watch) == len(ear.stands) + len(nodes.targets), 60.0, pause=1.0)
        first = time.monotonic()
        time.sleep(QUIET_S)
        causes = _caused(nodes, clock)
        _wait(lambda: wanted() <= {(one.name, one.instance) for one in ear.told if one.status == "firing"})
        refused, left = _acknowledged(watch)
        time.sleep(max(0.0, 90.0 - (time.monotonic() - first)))  # the Watchdog has come twice
        came = Came(tuple(ear.told), left, refused, len(ear.telegrams))
        severities = {name: rule["labels"]["severity"] for name, rule in rules().items()}
        wrong = judged(came, severities, first, time.monotonic())
        ear.deaf()
        deaf = time.monotonic()
        noticed = _wait(lambda: unheard(ear.told, deaf, time.monotonic()), MISSED_S + 10)
        wrong = wrong or ("" if noticed else "the receiver was dead, and nobody noticed")
        took = _took(ear.told, causes) | {"the silent channel is noticed": 1000 * (time.monotonic() - deaf)}
        return Trial(wrong, took, {"alerts": len(rules()), "told": len(came.told), "missed": float(bool(noticed))})


def _took(told: Sequence[Told], causes: Mapping[str, float]) -> dict[str, float]:
    """Return how long each alert took from its cause to its arrival, ms."""
    found = {}
    for name, at in sorted(wanted()):
        if name == "Watchdog":
            continue
        came = min((one.at for one in told if (one.name, one.instance) == (name, at)), default=None)
        if came is not None:
            how = " (past given)" if name in REMEMBERED else " (planted)" if name in PLANTED else f" ({at})"
            found[f"{name}{how}"] = 1000 * max(0.0, came - causes.get(at, causes[""]))
    return found


def _wait(what: Callable[[], object], longest: float = PATIENCE_S) -> bool:
    """Wait until something is true; return whether it was, before it took too long."""
    end = time.monotonic() + longest
    while not (found := bool(what())) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def _up(watch: Watch) -> int:
    return sum(value == 1 for _, value in watch.asked('up{job="alphatrade"}'))


def _acknowledged(watch: Watch) -> tuple[bool, list[Alarm]]:
    """Acknowledge all that fires; return whether the Watchdog could not be, and what would still be told of."""
    command = [executable, "-m", "alphatrade", "alarms", "ack", "KillSwitch", "--who", "drill", "--why", "seen"]
    own = Node(watch.place).env  # the ledger, which is told of it, is the drill's
    run([*command, "--url", watch.url], cwd=ROOT, env=own, check=True, capture_output=True, timeout=60)
    for alarm in alarms(watch.url):
        if alarm.severity != "watchdog" and not alarm.acknowledged:
            silence(watch.url, [alarm], "drill", "seen", 1.0)
    dog = [*command[:5], "Watchdog", *command[6:], "--url", watch.url]
    refused = run(dog, cwd=ROOT, env=own, capture_output=True, timeout=60).returncode == 2
    time.sleep(2.0)  # silences are looked at when alerts are flushed or listed
    left = [one for one in alarms(watch.url) if not one.acknowledged and not one.inhibited]
    return refused, [one for one in left if one.severity != "watchdog"]


# -- causes


class Nodes(NamedTuple):
    """Real nodes: where each is scraped, and what is done to it."""

    targets: dict[str, str]
    harm: dict[str, Callable[[], object]]


def _nodes(place: Path, number: int, stack: ExitStack) -> Nodes:
    """Start a node for each cause that is one's."""
    targets, harm = dict[str, str](), dict[str, Callable[[], object]]()

    def run_one(name: str, node: Node, *words: str, module: str = "") -> "Popen[str]":
        port = free_port()
        node.root.mkdir(exist_ok=True)
        own = (*words, f"metrics.port={port}")
        if module:
            process = node.start("paper", *own, module=module)
            stack.callback(_ended, process)
        else:
            process = stack.enter_context(started(node, *own))
        targets[name] = f"127.0.0.1:{port}"
        return process

    def plain(name: str, module: str = "") -> tuple[Node, "Popen[str]"]:
        node = Node(place / name.replace(" ", ""), *MAKER)
        process = run_one(name, node, "feed.speed=1", module=module)
        beat_of(node, process)
        return node, process

    _, dead = plain("killed -9")
    _, still = plain("stopped")
    _, stuck = plain("stuck", "benchmarks.drills.stalled")
    halted, _ = plain("halted")
    (place / "exchange").mkdir()
    at = stack.enter_context(trading(place / "exchange", number, "broker=simulated"))
    silent = run_one("silent", at.node)
    at.beat(silent)
    targets["live"], harm["live"] = pilot.begun(place / "live", number, stack)
    harm["killed -9"] = lambda: os.killpg(dead.pid, signal.SIGKILL)
    harm["stopped"] = lambda: os.killpg(still.pid, signal.SIGSTOP)
    harm["stuck"] = lambda: os.kill(stuck.pid, signal.SIGUSR1)
    harm["halted"] = lambda: operator_kills(halted)
    harm["silent"] = lambda: at.venue.fault("stall", where="market", seconds=900)
    return Nodes(targets, harm)


def _ended(process: "Popen[str]") -> None:
    process.kill()
    process.communicate()


class Clock:
    """When the causes begin, monotonic seconds; None: not yet."""

    began: float | None = None

    def second(self) -> float:
        """Return how long ago that was; negative before it."""
        return -1.0 if self.began is None else time.monotonic() - self.began


def _stands(ear: Ear) -> Clock:
    """Let stand-ins speak: each is well until the causes begin, but for those that have a past."""
    clock, start = Clock(), time.monotonic()

    def stand(name: str) -> Callable[[], Reading]:
        def reading() -> Reading:
            now, second = well(time.monotonic() - start), clock.second()
            if name in REMEMBERED:
                return REMEMBERED[name](now, time.monotonic() - start)
            if name in PLANTED and second >= 0:
                return PLANTED[name](now, second)
            return now

        return reading

    ear.stands = {name: stand(name) for name in (CALM, *PLANTED, *REMEMBERED)}
    return clock


def _caused(nodes: Nodes, clock: Clock) -> dict[str, float]:
    """Make all causes; return when each was, by node, monotonic seconds; "": the planted ones."""
    clock.began = time.monotonic()
    causes = {"": clock.began}
    for name, harm in nodes.harm.items():
        causes[name] = time.monotonic()
        harm()
    return causes
