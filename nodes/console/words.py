"""What a look at a node says in words: each panel of the console as lines of one width, which a fixed font aligns."""

import time
from collections.abc import Iterable

from alphatrade.nodes.beats import Beat
from alphatrade.nodes.console.actions import Place
from alphatrade.nodes.console.watch import Seen

TILES = ("equity", "drawdown", "position", "regime", "topology", "orders", "feed", "beat")
STALE_S = 5.0  # a beat that is older is of a node that does not run
_NONE = "–"


def words(seen: Seen, place: Place, now: int) -> dict[str, str]:
    """Return the text of each label of the page; `now` is UTC ns."""
    said = {
        "scores": _lines(f"{name:<24}{value:>+14.2f}" for name, value in seen.scores[:6]),
        "exposure": _exposure(seen), "drift": _drift(seen), "latency": _latency(seen.beat),
        "alarms": "" if seen.alarms else "none" if place.alertmanager else "no Alertmanager was named",
        "last orders": "" if seen.orders else "none", "proposals": "" if seen.proposals else "none",
        "ledger": "" if seen.ledger else "no entries",
    }  # fmt: skip
    return said | _tiles(seen, place, now)


def _tiles(seen: Seen, place: Place, now: int) -> dict[str, str]:
    beat, whose = seen.beat, f"{place.env}/{place.account}"
    if beat is None:
        return dict.fromkeys(TILES, _NONE) | {"state": "", "note": f"no node has run for {whose}"}
    age, facts = (now - beat.ts) / 1e9, beat.facts
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(beat.ts / 1e9))
    note = f"no node runs for {whose}; its last beat was at {at} UTC" if age > STALE_S else seen.trouble
    if seen.stranger:
        note = f"{note} · the metrics are of another node, {seen.stranger}: --metrics".removeprefix(" · ")
    asked = " · kill requested" if seen.latch is not None and seen.latch.request_pending else ""
    frozen = " · exploration frozen" if "frozen" in facts else ""
    drop = dict((name, rows[0][1]) for name, rows in seen.metrics.items() if rows).get("alphatrade_drawdown_ratio")
    return {
        "state": beat.kill + asked + frozen, "note": note,
        "equity": f"{float(facts['equity']):,.2f}" if "equity" in facts else _NONE,
        "drawdown": _NONE if drop is None else f"{drop:.2%}",
        "position": _held(facts.get("positions", "")),
        "regime": facts.get("regime", _NONE), "topology": facts.get("tactic", _NONE),
        "orders": f"{beat.orders:,} · {beat.fills:,} fills", "beat": f"{age:.1f} s ago",
        "feed": "closed" if beat.feed_age_s is None else f"{beat.feed_age_s + age:.1f} s old",
    }  # fmt: skip


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
    return _lines(lines, "the node shows no metrics")


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
    return _lines(line for _, line in sorted(rows, reverse=True)[:6])


def _latency(beat: Beat | None) -> str:
    stages = {} if beat is None else {name: one for name, one in beat.stages.items() if one.get("count")}
    rows = [f"{name.replace('_', ' to '):<24}{_ms(one, 'p50_ns')}{_ms(one, 'p99_ns')}" for name, one in stages.items()]
    return _lines([f"{'ms':<24}{'median':>10}{'p99':>10}", *rows] if rows else ())


def _ms(stage: dict[str, int], name: str) -> str:
    return f"{stage[name] / 1e6:>10.2f}"


def _lines(lines: Iterable[str], otherwise: str = "none") -> str:
    return "\n".join(lines) or otherwise
