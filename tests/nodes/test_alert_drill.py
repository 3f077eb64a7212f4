"""The judge of the drill of alerts: what it lets pass, that each fault fails it; and, long, the drill itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from alphatrade.nodes.alarms import Alarm
from benchmarks.drills import alerts
from benchmarks.drills.alerts import Came, judged, unheard, wanted
from benchmarks.drills.watching import Told, missing, rules

SEVERITIES = {name: rule["labels"]["severity"] for name, rule in rules().items()}
WAYS = {"page": "webhook page", "ticket": "webhook ticket", "watchdog": "deadman watchdog"}


def told() -> list[Told]:
    """Return what arrives if all is well: each alert after a minute, the Watchdog each minute."""
    found = [Told(60.0, WAYS[SEVERITIES[name]], name, at, "firing") for name, at in sorted(wanted())]
    return found + [Told(60.0 * n, "deadman watchdog", "Watchdog", "", "firing") for n in range(5)]


def verdict(
    change: Callable[[list[Told]], object] = lambda _: None,
    left: tuple[Alarm, ...] = (),
    refused: bool = True,
    telegrams: int = 1,
) -> str:
    change(found := told())
    return judged(Came(found, left, refused, telegrams), SEVERITIES, 0.0, 300.0)


def without(name: str) -> Callable[[list[Told]], object]:
    def change(found: list[Told]) -> None:
        found[:] = [one for one in found if one.name != name]

    return change


def test_what_is_as_it_should_be_passes() -> None:
    assert verdict() == ""


@pytest.mark.parametrize("name", sorted(SEVERITIES))
def test_an_alert_that_does_not_arrive_fails_it(name: str) -> None:
    assert verdict(without(name)).startswith("did not arrive")


def test_every_other_fault_fails_it() -> None:
    assert "another way" in verdict(
        lambda found: found.append(Told(1.0, "webhook ticket", "DeadNode", "stopped", "firing"))
    )
    assert "that is well" in verdict(
        lambda found: found.append(Told(1.0, "webhook page", "DeadNode", "calm", "firing"))
    )
    assert "still told of" in verdict(left=(Alarm({"alertname": "Denials"}, {}, ""),))
    assert "could be silenced" in verdict(refused=False)
    assert "no telegram" in verdict(telegrams=0)
    assert "no cause" in judged(Came(told(), (), True, 1), {**SEVERITIES, "New": "page"}, 0.0, 300.0)


def test_a_channel_that_is_dead_fails_it() -> None:
    def dead(found: list[Told]) -> None:
        found[:] = [one for one in found if one.name != "Watchdog" or one.at < 100]

    assert verdict(dead) == "the Watchdog did not arrive for 240 s"
    assert unheard([], 0.0, 121.0)
    assert not unheard([], 0.0, 119.0)


@pytest.mark.long
@pytest.mark.skipif(bool(missing()), reason="needs the Debian packages prometheus and prometheus-alertmanager")
def test_every_alert_fires_arrives_and_is_acknowledged_and_a_dead_channel_is_noticed(tmp_path: Path) -> None:
    trial = alerts.fired(tmp_path, 0)
    assert trial.wrong == ""
    assert trial.seen["missed"] == 1.0  # the silent channel failed, as it should
    assert len(trial.took) >= len(SEVERITIES)
