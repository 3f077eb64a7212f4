"""``report.html``: one self-contained page about one run, from the files in its folder only."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from alphatrade.reflection import report_learning as learning
from alphatrade.reflection import report_plots as plots
from alphatrade.reflection import report_tables as tables
from alphatrade.reflection.report_blocks import Block, Section, empty, figure, filled
from alphatrade.reflection.report_data import ReportData, load
from alphatrade.reflection.report_stats import DRAWS
from alphatrade.risk.errors import RunDirError

TEMPLATE = "report.html.j2"
DRAWN_INSTRUMENTS = 8


def write_report(run_dir: Path) -> Path:
    """
    Write ``report.html`` into the folder of a finished run and return its path.

    Raises
    ------
    RunDirError
        If the folder is not that of a finished run, a file in it is damaged or foreign, or the page cannot be
        written.
    """
    run_dir = Path(run_dir)
    data = load(run_dir)
    try:
        page = _page(data)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {error}"[:200]
        raise RunDirError(str(run_dir), what, "files as `alphatrade sim` writes them") from error
    out, temporary = run_dir / "report.html", run_dir / "report.html.tmp"
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(out)
    except OSError as error:
        raise RunDirError(str(out), str(error), "a writable folder with free space") from error
    return out


def render(figures: bool = True, eyebrow: str = "run report", **parts: Any) -> str:
    """
    Return a page of the template; it loads nothing from elsewhere.

    Parameters
    ----------
    figures : bool
        Whether there are any: the library that draws them takes megabytes.
    eyebrow : str
        What kind of page it is.
    **parts
        ``title``, ``facts``, ``tags``, ``killed``, ``cards``, ``sections`` and ``tearsheet``, for the template.
    """
    # Markup is only what this package made itself; whatever comes from files is escaped by the template.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(TEMPLATE).render(
        eyebrow=eyebrow, plotly=Markup(get_plotlyjs() if figures else ""), font=Markup(plots.FONT), **parts
    )


def _page(data: ReportData) -> str:
    summary, named = data.texts.summary, tables.tapes(data).rows
    instruments = list(data.prices) or ["no prices"]
    tags = [f"environment {tables.environment(data)}"]
    tags += ["simulated venue"] if tables.environment(data) == "sim" else []
    tags += ["synthetic tape"] if tables.synthetic(data) else []
    tags += ["assumed half spread"] if data.assumed else []
    return render(
        title=f"{', '.join(instruments)} on {', '.join(row[0] for row in named) or 'an unnamed tape'}",
        facts=[
            f"{tables.moment(data.span[0])} to {tables.moment(data.span[1])} UTC",
            f"run {str(summary.get('run_id', '?'))[:12]}",
            f"policy {str(summary.get('policy_hash', '?'))[:12]}",
            f"seed {summary.get('seed', '?')}",
        ],
        tags=tags,
        killed=summary.get("killed"),
        cards=tables.cards(data),
        sections=_sections(data),
        tearsheet=(data.run_dir / "tearsheet.html").exists(),
    )


def _sections(data: ReportData) -> list[Section]:
    return [
        _equity(data), *_prices(data), _topologies(data), _attribution(data), _belief(data),
        *learning.sections(data), _law(data), _costs(data), _latency(data), _tape(data), _identity(data),
    ]  # fmt: skip


def _equity(data: ReportData) -> Section:
    lead = (
        "Marked at the mid price in every event-time minute that has an event and at every fill, after fees. "
        "The dotted lines are the capital at the start."
    )
    title = "Equity and drawdown"
    if data.equity.empty:
        return Section("equity", title, lead, empty("No equity: equity.parquet has no rows."))
    ratio = data.sharpe
    text = ratio.basis
    if ratio.value is not None:
        interval = f"95 % interval {tables.number(ratio.low)} to {tables.number(ratio.high)}"
        how = f"stationary bootstrap, {DRAWS:,} draws"
        text = f"{tables.number(ratio.value)}, {interval} ({how}); {ratio.basis}; no risk-free rate"
    blocks = [figure(plots.equity(data)), Block("note", f"Sharpe ratio: {text}.")]
    return Section("equity", title, lead, blocks)


def _prices(data: ReportData) -> list[Section]:
    title = "Price, regimes and fills"
    if not data.prices:
        return [Section("price", title, "", empty("No prices: neither a decision nor a mark was recorded."))]
    drawn = list(data.prices)[:DRAWN_INSTRUMENTS]
    sections = [_price(data, at, instrument) for at, instrument in enumerate(drawn)]
    left = len(data.prices) - len(drawn)
    if left > 0:
        text = f"{left} more instruments are not drawn; they are in the diary and in fills.parquet."
        sections.append(Section("price-left", "Further instruments", "", empty(text)))
    return sections


def _price(data: ReportData, at: int, instrument: str) -> Section:
    lead = "Behind the price: the most frequent regime of each slice of time."
    names = plots.regimes(data.regimes[instrument])
    blocks = [figure(plots.price(data, at, instrument))]
    blocks.append(
        Block("key", [(name, plots.tint(name)) for name in names])
        if names
        else Block("note", "No regimes: this run had no perception for this instrument.")
    )
    fills = int((data.fills["instrument"] == instrument).sum())
    if not fills:
        blocks.append(Block("note", "No fills in this instrument."))
    elif fills > plots.MANY_FILLS:
        blocks.append(Block("note", "Each short tick is one fill: sells point up from their price, buys down."))
    return Section(f"price-{at}", f"Price, regimes and fills: {instrument}", lead, blocks)


def _topologies(data: ReportData) -> Section:
    title = "Topologies over time"
    if data.shares.empty:
        return Section("topologies", title, "", empty("No decisions were recorded in this run."))
    note = (
        "Mark-outs are net of spread, slippage and fees, over decisions that traded, "
        "with a 95 % interval that takes them as independent."
    )
    blocks = [figure(plots.topologies(data)), Block("table", tables.topologies(data)), Block("note", note)]
    lead = "Which execution topology was in charge: its share of the decisions in each slice of time."
    return Section("topologies", title, lead, blocks)


def _attribution(data: ReportData) -> Section:
    title = "PnL by topology and regime"
    if data.cells.empty:
        return Section("attribution", title, "", empty("No fills, so there is no PnL to attribute."))
    lead = (
        "Realised PnL belongs to the decision whose fill closed the position, each fee to the decision "
        "that caused it. Open positions are not included."
    )
    blocks = [figure(plots.attribution(data))]
    currencies = sorted(set(data.fills["currency"]))
    if len(currencies) > 1:
        blocks.append(Block("note", f"Amounts in {', '.join(currencies)} are added up without conversion."))
    return Section("attribution", title, lead, blocks)


def _belief(data: ReportData) -> Section:
    belief, title = data.belief, "Belief: sparsity and activity"
    if belief is None:
        why = "No beliefs: this run had no perception, or it never became warm."
        return Section("belief", title, "", empty(why))
    active = float((belief.counts["active"] * belief.counts["steps"]).sum()) / belief.steps
    silent = belief.n - int((belief.share > 0).any(axis=1).sum())
    text = (
        f"On average {tables.number(active, 1)} of {belief.n} units are active at a step "
        f"({tables.percent(active / belief.n, 1)}); {silent} never in {belief.steps:,} steps."
    )
    lead = "Left: in how many steps of a slice of time each unit was active. Right: units active at once."
    return Section("belief", title, lead, [figure(plots.belief(data, belief)), Block("note", text)])


def _law(data: ReportData) -> Section:
    lead = "By limit, denied orders and denied modifications. A near-miss used most of a limit and was still lawful."
    blocks = empty("Nothing was denied and no limit came near.")
    if len(data.denied):
        blocks = [figure(plots.denials(data))]
    if len(data.notable):
        blocks.append(Block("heading", "Breaches, state changes and other events"))
        blocks.append(Block("table", tables.notable(data)))
    return Section("law", "The law: denials and near-misses", lead, blocks)


def _costs(data: ReportData) -> Section:
    blocks = empty("No fills, so nothing was paid.")
    if len(data.fills):
        blocks = [Block("table", tables.costs(data))]
    blocks.append(Block("heading", "The same run with dearer costs and slower orders"))
    if data.texts.stress:
        blocks.append(Block("table", tables.stress(data.texts.stress, data.currency)))
        blocks.append(
            Block("note", " ".join(["Each cell is a full replay: PnL, return and number of fills.", *_unlike(data)]))
        )
    else:
        blocks += empty("Not run: the folder has no stress.json, which output.stress=true makes.")
    return Section("costs", "Costs and turnover", "", blocks)


def _unlike(data: ReportData) -> list[str]:
    """Return in what else than costs the cells of the stress table differ."""
    venue, facts = data.texts.run.get("venue") or {}, (data.texts.run.get("instruments") or {}).values()
    if not venue.get("liquidity_consumption") or not facts or any(fact.get("kind") != "quotes" for fact in facts):
        return []
    return [
        "Beyond the quoted costs the book is simulated, so shown size is not used up there as it is at 1"
        f"{tables.TIMES}, where quotes have sizes: fills differ for that reason too."
    ]


def _latency(data: ReportData) -> Section:
    lead = "Monotonic wall clock of the machine that replayed; outside the digests."
    blocks = [filled(tables.latency(data), "No latencies: latency.json is absent or empty.")]
    return Section("latency", "Latency", lead, blocks)


def _tape(data: ReportData) -> Section:
    blocks = [
        filled(tables.tapes(data), "The summary names no tape."),
        Block("heading", "Audit on load"),
        filled(tables.audit(data), "The summary holds no tape audit."),
        Block("heading", "What is simulated or assumed"),
        Block("list", tables.assumptions(data)),
    ]
    return Section("tape", "Tape and assumptions", "", blocks)


def _identity(data: ReportData) -> Section:
    lead = "The same policy, tape, seed and code give the same digests."
    return Section("identity", "Identity", lead, [Block("table", tables.identity(data))])
