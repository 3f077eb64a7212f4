"""Sections of the report about learning: routing, attention, probes, fast weights, their graph, drift."""

from typing import Any

import pandas as pd

from alphatrade.reflection import graph_plots
from alphatrade.reflection import report_learning_plots as plots
from alphatrade.reflection.graph import GraphSpec, Health, diagnose
from alphatrade.reflection.report_blocks import Block, Section, empty, figure, filled
from alphatrade.reflection.report_data import ReportData
from alphatrade.reflection.report_learning_data import AFTER, MOST, MOST_CHARTS, Learning
from alphatrade.reflection.report_tables import DASH, TIMES, Table, moment, number, percent
from alphatrade.risk.errors import ConfigError

NULLS, MOST_PACKETS = 100, 20


def sections(data: ReportData) -> list[Section]:
    """Return them all; one without anything to show says why."""
    return [_routing(data), _attention(data), _probes(data), _synapses(data), _graph(data), _drift(data)]


def _of(instrument: str, several: bool) -> list[Block]:
    return [Block("heading", instrument)] if several else []


def _left(data: ReportData) -> list[Block]:
    left = len(data.prices) - MOST
    return [Block("note", f"{left} more instruments are not drawn; they are in the diary.")] if left > 0 else []


# -- who was in charge ------------------------------------------------------------------------------------------


def _routing(data: ReportData) -> Section:
    title, learning = "Routing: the table's choice against who was in charge", data.learning
    if learning.routes.empty:
        return Section("routing", title, "", empty("No decisions were recorded in this run."))
    lead = (
        "Rows: the regime, as it was believed. Columns: the tactic in charge, its share of the row's decisions, and "
        "the mean mark-out net of costs over those that traded. Framed: what the table would choose at once."
    )
    routes, total = learning.routes, int(learning.routes["n"].sum())
    framed = {regime: [tactic] for regime, tactic in learning.table.items()}
    blocks = [figure(plots.routing(_counted(routes, routes["regime"]), framed, "routing"))]
    agreed = routes[routes["exec_topo"] == routes["regime"].map(learning.table)]["n"].sum() / total
    words = f"In {percent(agreed, 1)} of {number(total, 0)} decisions the table's choice was in charge"
    why = "it holds a tactic for some steps" if learning.router == "table" else "the router learns, and holds a tactic"
    blocks.append(Block("note", f"{words}; {why}. {number(learning.switches, 0)} switches."))
    return Section("routing", title, lead, [*blocks, *_paid(learning)])


def _counted(routes: pd.DataFrame, row: pd.Series) -> pd.DataFrame:
    return routes.assign(row=row).groupby(["row", "exec_topo"], as_index=False)[["n", "traded", "total"]].sum()


def _paid(learning: Learning) -> list[Block]:
    """Return who was in charge against what pays, where the truth of a world says so."""
    known = learning.routes.dropna(subset="pays")
    if known.empty:
        return []
    row = known["nature"].fillna("?") + ": " + known["pays"] + " pays"
    paying = {str(name): str(pays) for name, pays in zip(row, known["pays"], strict=True)}
    framed = {name: [tactic for tactic, kind in learning.kinds.items() if kind == pays]
              for name, pays in paying.items()}  # fmt: skip
    total = int(known["n"].sum())
    kinds, tabled = known["exec_topo"].map(learning.kinds), known["regime"].map(learning.table).map(learning.kinds)
    right, by_table = (float(known["n"][found == known["pays"]].sum()) / total for found in (kinds, tabled))
    words = (
        f"A tactic that pays was in charge in {percent(right, 1)} of {number(total, 0)} decisions; the table, followed "
        f"at once, would have had one in {percent(by_table, 1)}. Nothing that decides knows this truth."
    )
    return [
        Block("heading", "Against what pays in this world"),
        figure(plots.routing(_counted(known, row), framed, "routing-paid")),
        Block("note", words),
    ]


def _attention(data: ReportData) -> Section:
    title, learning = "Attention: what each tactic is expected to earn", data.learning
    if not learning.scores:
        why = "Nothing learns to route: linear_attention off, router.kind table."
        return Section("attention", title, "", empty(why))
    lead = (
        f"Score that the learning router ({learning.router}) gives each tactic, bps of a clip, before it chooses; "
        "means of slices of time. It stays near zero while memory is thin: then the table routes."
    )
    blocks: list[Block] = []
    for at, (instrument, frame) in enumerate(learning.scores.items()):
        blocks += _of(instrument, len(learning.scores) > 1)
        blocks.append(figure(plots.scores(data, at, frame)))
    return Section("attention", title, lead, blocks + _left(data))


# -- probes -----------------------------------------------------------------------------------------------------


def _probes(data: ReportData) -> Section:
    title, learning = "Probes", data.learning
    found = {name: probes for name, probes in learning.probes.items() if probes}
    if not found:
        why = "No probe has a value in the diary: the tape lacks what they need, or the run has none."
        return Section("probes", title, "", empty(why))
    world = not learning.planted.empty
    lead = "Value of each probe at the decisions. Dashed: its threshold; dots: it has fired."
    lead += " Yellow: planted events that it is for; grey: planted events of other kinds." if world else ""
    blocks: list[Block] = []
    for at, (instrument, probes) in enumerate(found.items()):
        blocks += _of(instrument, len(found) > 1)
        blocks.append(figure(plots.probes(data, at, instrument)))
        rows = []
        for name, p in probes.items():
            facts = learning.thresholds[name]
            row = [name.replace("_", " "), str(facts.get("unit", DASH)), number(facts["threshold"]),
                   number(p.steps, 0), number(p.fired, 0)]  # fmt: skip
            rows.append([*row, number(p.planted, 0), number(p.caught, 0), number(p.outside, 0)] if world else row)
        more = ["planted", "fired in", "fired elsewhere"] if world else []
        blocks.append(Block("table", Table(["probe", "unit", "threshold", "steps", "fired", *more], rows, 2)))
        lacking = sorted(set(learning.thresholds) - set(probes))
        if lacking:
            words = ", ".join(name.replace("_", " ") for name in lacking)
            blocks.append(Block("note", f"Without a value, since the tape lacks what they need: {words}."))
    if world:
        words = f"Fired elsewhere: decisions in no planted event, nor within {AFTER} steps after one."
        blocks.append(Block("note", words))
    return Section("probes", title, lead, blocks + _left(data))


# -- fast weights -----------------------------------------------------------------------------------------------


def _synapses(data: ReportData) -> Section:
    title, learning = "Fast weights", data.learning
    if not learning.norms and not learning.sigmas:
        return Section("sigma", title, "", empty(_nothing(learning)))
    lead = (
        "Left: Frobenius norm of the synapses (mean, lowest and highest of each slice of time), and participation "
        "ratio of their factors: how many carry the weight. Right: the synapses at the end."
    )
    blocks, left = [], dict(learning.sigmas)
    for at, (instrument, norms) in enumerate(learning.norms.items()):
        blocks += _of(instrument, len(learning.norms) > 1)
        sigma = left.pop(instrument.replace("/", "-"), None)
        blocks.append(figure(plots.synapses(data, str(at), norms, sigma)))
        if sigma is None:
            blocks.append(Block("note", "The synapses at the end were not written."))
        elif len(sigma) > plots.MOST_UNITS:
            blocks.append(Block("note", "Each cell is the strongest synapse of a block of units."))
    if learning.norms:
        words = f"The norm was at its bound of {number(learning.bound)} in {percent(learning.clamped, 1)} of decisions."
        blocks.append(Block("note", words))
    for at, (name, sigma) in enumerate(list(left.items())[:MOST], len(learning.norms)):
        blocks += [*_of(name, True), figure(plots.synapses(data, str(at), None, sigma))]
        blocks.append(Block("note", "The diary has no norm of these over time."))
    return Section("sigma", title, lead, blocks + _left(data))


def _nothing(learning: Learning) -> str:
    if learning.fast_weights:
        return "fast_weights on, but no synapses were recorded: nothing was decided, or the mechanism was switched off."
    return "fast_weights off."


def _graph(data: ReportData) -> Section:
    title, learning = "Graph of the fast weights", data.learning
    if not learning.sigmas:
        return Section("graph", title, "", empty(_nothing(learning)))
    lead = (
        "The strongest synapses at the end that carry most of the weight. Blue excites, orange inhibits; a unit's size "
        "is its strength, its colour its community. Right: edges of a unit."
    )
    spec = GraphSpec(nulls=NULLS, bound=learning.bound)
    blocks: list[Block] = []
    for at, (name, sigma) in enumerate(list(learning.sigmas.items())[:MOST]):
        blocks += _of(name, len(learning.sigmas) > 1)
        try:
            health = diagnose(sigma, spec)
            blocks.append(figure(graph_plots.net(sigma, health, str(at))))
        except (ConfigError, ImportError) as error:
            blocks += empty(f"Not measured: {error}")
            continue
        blocks += _measured(health)
    note = f"Chance: {NULLS} null graphs. `alphatrade graph RUN_DIR` takes more, and the bands of its configuration."
    return Section("graph", title, lead, [*blocks, Block("note", note), *_left(data)])


def _measured(health: Health) -> list[Block]:
    alerts = [Block("alarm", line) for line in health.alerts]
    return [*alerts, Block("table", Table(graph_plots.HEAD, graph_plots.facts(health), 5))]


# -- drift ------------------------------------------------------------------------------------------------------


def _drift(data: ReportData) -> Section:
    title, learning = "Drift", data.learning
    if learning.streams.empty and not learning.watched:
        why = "No sentry watched this run: drift.parquet and drift.json are absent."
        return Section("drift", title, "", empty(why))
    lead = (
        "Charts of standardised outcomes, and of the belief's calibration, against the threshold that all streams "
        "share; beyond it, a chart begins anew."
    )
    blocks = [figure(plots.drift(data, learning.charts))] if learning.charts else []
    if not blocks:
        blocks = empty("No stream had outcomes enough to be watched: all of them are still learning what is usual.")
    shown = int(learning.streams["threshold"].notna().sum()) if len(learning.streams) else 0
    if shown > MOST_CHARTS:
        blocks.append(Block("note", f"{shown - MOST_CHARTS} more streams are not drawn; they are in the table."))
    blocks.append(filled(_streams(learning), "drift.parquet is absent, so no stream is listed."))
    if learning.watched:
        blocks.append(Block("note", _design(learning.watched)))
    blocks += [Block("alarm", f"The sentry had a fault: {fault}") for fault in learning.watched.get("faults") or []]
    count = len(learning.packets)
    blocks.append(Block("heading", f"Theory packets ({count}), in packets/"))
    blocks.append(filled(_packets(learning), "None: no alarm acted."))
    if count > MOST_PACKETS:
        blocks.append(Block("note", f"The first {MOST_PACKETS} are listed."))
    return Section("drift", title, lead, blocks)


def _streams(learning: Learning) -> Table:
    several = len(learning.streams) > 0 and learning.streams["instrument"].nunique() > 1
    rows = []
    for row in learning.streams.itertuples():
        name = f"{row.instrument} {row.stream}" if several else row.stream
        ready = row.threshold == row.threshold
        rows.append([name, "watched" if ready else "still learning", number(row.outcomes, 0), number(row.mean, 2, True),
                     number(row.largest if ready else None), number(row.threshold if ready else None),
                     number(row.alarms if ready else None, 0)])  # fmt: skip
    head = ["stream", "state", "outcomes", "mean", "largest chart", "threshold", "times beyond"]
    return Table(head, rows, 2)


def _design(watched: dict[str, Any]) -> str:
    run = number(watched.get("design_run_length"), 0)
    words = [f"Family-wise design: one false alarm in {run} outcomes of all streams together"]
    days = watched.get("days_between_false_alarms")
    words.append(f", {number(days, 1)} days at this run's rate. " if days is not None else ". ")
    if watched.get("threshold") is not None:
        words.append(f"Calibrated on {number(watched.get('calibrated_on'), 0)} outcomes of this run. ")
    signals = watched.get("signals") or {}
    words.append("Signals: " + ", ".join(f"{number(count, 0)} {name}" for name, count in signals.items()) + ".")
    return "".join(words)


def _packets(learning: Learning) -> Table:
    rows = []
    for packet in learning.packets[:MOST_PACKETS]:
        what, since, evidence = (packet[name] for name in ("what", "since", "evidence"))
        moved = [f"{row['name']} {number(row['d'], 1, True)}" for row in packet["shifts"] if row["d"] is not None]
        rows.append([
            str(packet["file"]).removesuffix(".json"), str(what["level"]), moment(packet["at"]["ts"]),
            f"{what['chart']} {number(what['statistic'])} > {number(what['threshold'])}", moment(since["ts"]),
            ", ".join(moved[:2]) or DASH, number(evidence["rows"], 0), number(packet["action"]["factor"], 1),
        ])  # fmt: skip
    head = ["packet", "level", "alarm (UTC)", "chart", "since about", "moved with it (Cohen's d)", "decisions"]
    return Table([*head, f"size {TIMES}"], rows, 6)
