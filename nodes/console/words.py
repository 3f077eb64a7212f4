"""What a look at a node says in words: each panel of the console as lines of one width, which a fixed font aligns."""

import time
from collections.abc import Iterable

from alphatrade.nodes.alarms import WATCHDOG
from alphatrade.nodes.beats import Beat
from alphatrade.nodes.console.actions import Place
from alphatrade.nodes.console.watch import STALE_S, Seen

TILES = ("equity", "drawdown", "position", "regime", "topology", "orders", "feed", "beat")
_NONE = "–"


def words(seen: Seen, place: Place, now: int) -> dict[str, str]:
    """Return the text of each label of the page; `now` is UTC ns. What is not of now says so."""
    run = seen.run
    said = {
        "scores": _scores(seen), "exposure": _exposure(seen), "drift": _drift(seen), "latency": _latency(seen, now),
        "alarms": _alarms(seen, place), "last orders": "" if run.orders else "none",
        "proposals": "" if seen.proposals else "none", "ledger": "" if seen.ledger else "no entries",
    }  # fmt: skip
    return said | _tiles(seen, place, now) | {"note": " · ".join(_notes(seen, place, now))}


def stale(seen: Seen, now: int) -> bool:
    """Return whether the node has not told anything of late."""
    return seen.beat is None or (now - seen.beat.ts) / 1e9 > STALE_S


def _notes(seen: Seen, place: Place, now: int) -> Iterable[str]:
    whose = f"{place.env}/{place.account}"
    if not seen.looked:
        yield f"looking for the node of {whose}"
    elif seen.beat is None:
        yield f"no node has run for {whose}"
    elif stale(seen, now):
        yield f"no node runs for {whose}; its last beat was at {_at(seen.beat.ts, '%Y-%m-%d %H:%M:%S')} UTC"
    if seen.stranger:
        yield f"the metrics are of another node, {seen.stranger}: --metrics"
    if seen.trouble:
        yield seen.trouble


def _at(ts: int, form: str = "%H:%M:%S") -> str:
    return time.strftime(form, time.gmtime(ts / 1e9))


def _tiles(seen: Seen, place: Place, now: int) -> dict[str, str]:
    beat = seen.beat
    if beat is None:
        return dict.fromkeys((*TILES, "state"), _NONE) | {"state": ""}
    age, facts, old = (now - beat.ts) / 1e9, beat.facts, stale(seen, now)
    asked = " · kill requested" if seen.latch is not None and seen.latch.request_pending else ""
    frozen = " · exploration frozen" if "frozen" in facts else ""
    drop = dict((name, rows[0][1]) for name, rows in seen.metrics.items() if rows).get("alphatrade_drawdown_ratio")
    told = {
        "state": beat.kill, "equity": f"{float(facts['equity']):,.2f}" if "equity" in facts else _NONE,
        "position": _held(facts.get("positions", "")),
        "regime": facts.get("regime", _NONE), "topology": facts.get("tactic", _NONE),
        "orders": f"{beat.orders:,} · {beat.fills:,} fills",
    }  # fmt: skip
    told = {name: f"was {text}" if old and text != _NONE else text for name, text in told.items()}
    feed = "closed" if beat.feed_age_s is None else f"{beat.feed_age_s + age:.1f} s old"
    return told | {
        "state": told["state"] + asked + frozen, "drawdown": _NONE if drop is None or old else f"{drop:.2%}",
        "feed": _NONE if old else feed, "beat": f"{age:.1f} s ago",
    }  # fmt: skip


def _scores(seen: Seen) -> str:
    """Return the scores, and of when they are: a decision is on the disk some seconds after it was made."""
    lines = [f"{name:<24}{value:>+14.2f}" for name, value in seen.run.scores[:6]]
    return _lines([*lines, f"at the decision of {_at(seen.run.scored)}"] if lines else ())


def _alarms(seen: Seen, place: Place) -> str:
    """Return what is to be said beside the alarms that are listed: above all that they are not known."""
    if not place.alertmanager:
        return "no Alertmanager was named"
    if seen.alarms is None:
        return f"not known: {seen.no_alarms or 'the Alertmanager is being asked'}"
    if not any(one.severity == WATCHDOG for one in seen.alarms):
        return "the Watchdog, which fires always, is missing: nothing reaches this Alertmanager"
    return "" if len(seen.alarms) > 1 else "none"


def _held(positions: str) -> str:
    """Return positions without venues, and in as many digits as can be read at a glance."""
    pairs = [one.rpartition(":") for one in positions.split()]
    return " ".join([f"{_bare(name)} {float(held):+.5g}" for name, _, held in pairs]) or "flat"


def _bare(name: str) -> str:
    return name.rpartition(".")[0] or name


def _exposure(seen: Seen) -> str:
    most = {labels["limit"]: value for labels, value in seen.metrics.get("alphatrade_exposure_limit", ())}
    used = [(labels["limit"], value) for labels, value in seen.metrics.get("alphatrade_exposure", ())]
    rows = [(name.replace("_", " ").lower(), value, most[name]) for name, value in used if name in most]
    lines = [f"{name:<20}{_short(value):>11} of {_short(top):>9}{_share(value, top)}" for name, value, top in rows]
    return _lines(lines, _unmeasured(seen))


def _unmeasured(seen: Seen) -> str:
    """Return why there are no metrics."""
    if seen.stranger or seen.no_metrics:
        return f"not known: {seen.no_metrics or 'the metrics are of another node'}"
    return "none" if seen.metrics else "not known: the node's metrics are being asked for"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.4g}"


def _share(value: float, most: float) -> str:
    return f"{abs(value) / most:>6.0%}" if most else ""


def _drift(seen: Seen) -> str:
    bounds = {tuple(sorted(labels.items())): v for labels, v in seen.metrics.get("alphatrade_drift_threshold", ())}
    rows = []
    for labels, value in seen.metrics.get("alphatrade_drift_statistic", ()):
        bound = bounds.get(tuple(sorted(labels.items())))
        most = "" if bound is None else f" of {_short(bound):>6}{_share(value, bound)}"
        whose = labels["stream"].replace("tactic:", "").split()
        name = " ".join([*map(_bare, whose), labels["detector"]])[:29]
        rows.append((value / bound if bound else 0.0, f"{name:<29}{_short(value):>7}{most}"))
    return _lines([line for _, line in sorted(rows, reverse=True)[:6]], _unmeasured(seen))


def _latency(seen: Seen, now: int) -> str:
    beat: Beat | None = seen.beat
    stages = {} if beat is None else {name: one for name, one in beat.stages.items() if one.get("count")}
    rows = [f"{name.replace('_', ' to '):<24}{_ms(one, 'p50_ns')}{_ms(one, 'p99_ns')}" for name, one in stages.items()]
    head = f"{'was, ms' if stale(seen, now) else 'ms':<24}{'median':>10}{'p99':>10}"
    return _lines([head, *rows] if rows else ())


def _ms(stage: dict[str, int], name: str) -> str:
    return f"{stage[name] / 1e6:>10.2f}"


def _lines(lines: Iterable[str], otherwise: str = "none") -> str:
    return "\n".join(lines) or otherwise
