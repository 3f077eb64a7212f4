"""``alphatrade tape``: bring market data of an exchange here, as a file that any run reads."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from alphatrade.nodes.download import Report, Venue
    from alphatrade.nodes.download_plan import Wish

app = typer.Typer(help="Market data.", no_args_is_help=True)
_SHOWN = 5  # gaps that are printed


@app.callback()
def tape() -> None:
    """Keep `download` a verb of its own."""


@app.command()
def download(
    symbol: Annotated[str, typer.Argument(help="as the venue writes it: BTCUSDT")],
    start: Annotated[str, typer.Option("--from", help="first day, UTC: 2025-01-01")],
    end: Annotated[str, typer.Option("--to", help="first day left out; at most tomorrow")],
    kind: Annotated[str, typer.Option(help="klines, aggTrades, trades")] = "klines",
    interval: Annotated[str | None, typer.Option(help="of klines, 1s to 1d; none: 1m")] = None,
    out: Annotated[Path, typer.Option(help="folder of the tape")] = Path("tapes"),
    venue: Annotated[str, typer.Option(help="a file of conf/download")] = "binance",
    base_url: Annotated[str, typer.Option(help="of a mirror of the archive; also for REST")] = "",
    rest_url: Annotated[str, typer.Option(help="of the REST interface alone")] = "",
    catalog: Annotated[Path | None, typer.Option(help="also write a Nautilus catalog here, an empty folder")] = None,
) -> None:
    """
    Download klines or trades into one Parquet file; stopped at any moment, the same command goes on.

    Days and months come from the venue's archive and are checked against its checksums; what the archive does not have
    yet comes from its REST interface. The manifest beside the file names every part, its hash and its gaps.
    """
    from alphatrade.risk.errors import ConfigError

    try:
        from alphatrade.nodes.download import venue_of
    except ImportError:
        raise ConfigError("aiohttp", "not installed", "the extra paper: pip install 'alphatrade[paper]'") from None
    from alphatrade.nodes.download_plan import make_wish

    wish = make_wish(symbol, kind, interval, start, end, datetime.now(UTC).date())
    place = venue_of(venue, base_url, rest_url)
    if catalog is not None:
        _vacant(catalog, wish)
    report = _run(wish, place, out)
    print("\n".join(told(wish, report)))
    if catalog is not None:
        _to_catalog(report.path, wish, catalog)
        print(f"catalog {catalog}: alphatrade sim tape=catalog tape.path={catalog}")


def _run(wish: "Wish", venue: "Venue", out: Path) -> "Report":
    import asyncio

    import aiohttp

    from alphatrade.nodes.download import download as fetch
    from alphatrade.nodes.download_http import Asker

    async def job() -> "Report":
        patience = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
        async with aiohttp.ClientSession(timeout=patience) as session:
            return await fetch(wish, venue, out, Asker(session, venue.weight_per_minute))

    try:
        return asyncio.run(job())
    except KeyboardInterrupt:
        print("stopped; what was had is kept, the same command goes on")
        raise typer.Exit(130) from None


def told(wish: "Wish", report: "Report") -> list[str]:
    """Return what a download is summed up in, and how a run reads it."""
    result, gaps = report.result, report.result.gaps
    lines = [f"{report.path}  {result.rows} rows, {report.fetched} parts fetched, {report.kept} were there"]
    lines += [f"sha256 {result.sha256}"]
    if report.damaged:
        lines += [f"damaged parts of an earlier download were dropped: {', '.join(report.damaged)}"]
    what = "bars" if wish.step else "trades"
    if gaps:
        known = sum(gap.missing for gap in gaps)
        lines += [f"{len(gaps)} gaps, {known} {what} missing; all of them are in {report.path.stem}.json and in:"]
    for gap in gaps[:_SHOWN]:
        missing = f"{gap.missing} {what}" if gap.missing else f"no {what}"
        lines += [f"  {_utc(gap.after)} to {_utc(gap.before)}: {missing}"]
    pair = wish.pair()
    named = "" if pair is None else f" tape.instrument={pair}"
    lines += [f"alphatrade sim tape=file tape.path={report.path}{named or ' tape.instrument=BASE/QUOTE'}"]
    return lines


def _utc(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}"


def _vacant(folder: Path, wish: "Wish") -> None:
    """Refuse a catalog's place that is taken, before anything is fetched."""
    from alphatrade.risk.errors import ConfigError

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("--catalog", str(folder), "an absent or empty folder")
    if wish.pair() is None:
        raise ConfigError("--catalog", wish.symbol, "a symbol that ends with a known currency")


def _to_catalog(path: Path, wish: "Wish", folder: Path) -> None:
    """Write the tape as a Nautilus catalog, whole or not at all."""
    from alphatrade.nodes import feed
    from alphatrade.nodes.app import state_root
    from alphatrade.nodes.tape_spec import FileTape
    from alphatrade.nodes.tapes import load_tape
    from alphatrade.risk.errors import TapeError

    found = load_tape(FileTape(path=str(path), instrument=wish.pair()), state_root() / "cache")
    work = folder.with_name(folder.name + ".tmp")
    try:
        shutil.rmtree(work, ignore_errors=True)
        feed.catalog(found, work)
        work.rename(folder)
    except OSError as error:
        raise TapeError("--catalog", str(folder), f"a folder that can be written ({error.strerror})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
