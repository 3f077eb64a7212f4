"""``alphatrade stage``, ``kpi`` and ``rebuild-policy``: what the ledger decides, comes to, and gives back."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alphatrade.nodes.ledger_app import Folder
from alphatrade.nodes.ledger_app import app as ledger_app
from alphatrade.nodes.ledger_home import PERSON, existing, key_file, ledger_dir
from alphatrade.nodes.live.permit_app import app as permit_app
from alphatrade.nodes.terminal import console
from alphatrade.risk.errors import ConfigError, LedgerError

if TYPE_CHECKING:
    from alphatrade.reflection.ledger_chain import Entry
    from alphatrade.reflection.stages import Stages

stage_app = typer.Typer(help="Stages of policies: experiment, paper, pilot, limited_live.", no_args_is_help=True)

Hash = Annotated[str, typer.Argument(help="policy_hash, 64 hexadecimal digits")]
Why = Annotated[str, typer.Option(help="why; recorded")]
Key = Annotated[Path | None, typer.Option(help="private key; a person's, else keys/person.pem in the state folder")]
Noticed = Annotated[str, typer.Option(help="when the reason was known, ISO (UTC) or UTC ns; recorded")]
NOT_SAID = ""


def attach(app: typer.Typer) -> None:
    """Give the front door the verbs of the ledger."""
    app.add_typer(ledger_app, name="ledger")
    app.add_typer(stage_app, name="stage")
    app.add_typer(permit_app, name="permit")
    app.command()(kpi)
    app.command("rebuild-policy")(rebuild_policy)


@stage_app.command()
def promote(
    policy_hash: Hash,
    why: Why,
    dossier: Annotated[Path, typer.Option(help="its dossier, as `alphatrade judge` writes it")],
    key: Key = None,
    folder: Folder = None,
) -> None:
    """Judge a dossier again; if it is sound and the verdict holds, its policy goes one stage up. Signed by a person."""
    from alphatrade.nodes.promote_stage import promote_stage

    try:
        data = dossier.read_bytes()
    except OSError as error:
        raise LedgerError("--dossier", str(dossier), f"a file ({error.strerror or error})") from None
    home = existing(key or key_file(PERSON), folder)
    entry = promote_stage(data, policy_hash, why, home)
    _tell(entry, home.ledger.chain.stages, entry.body["to"])


@stage_app.command()
def demote(
    policy_hash: Hash,
    why: Why,
    to: Annotated[str, typer.Option(help="experiment, paper or pilot")] = "experiment",
    noticed: Noticed = NOT_SAID,
    key: Key = None,
    folder: Folder = None,
) -> None:
    """Take a policy down to a lower stage. Signed by a person or a service."""
    home = existing(key or key_file(PERSON), folder)
    origin = home.ledger.chain.stages.stage_of(policy_hash)
    if to == origin:
        raise LedgerError("--to", to, f"a lower stage than {origin}, where the policy is")
    body = {"policy_hash": policy_hash, "from": origin, "to": to, "why": why, "dossier": "", "noticed": _ns(noticed)}
    _tell(home.append_stage(body), home.ledger.chain.stages, origin)


@stage_app.command()
def rollback(
    stage: Annotated[str, typer.Argument(help="paper, pilot or limited_live")],
    why: Why,
    noticed: Noticed = NOT_SAID,
    key: Key = None,
    folder: Folder = None,
) -> None:
    """Put the policy before in charge of a stage again; the incumbent goes a stage down. Signed by a person."""
    home = existing(key or key_file(PERSON), folder)
    back = home.ledger.chain.stages.previous(stage)
    if not back:
        raise LedgerError("stage", stage, "a stage with a predecessor to go back to; see `alphatrade stage show`")
    body = {"policy_hash": back, "from": stage, "to": stage, "why": why, "dossier": "", "noticed": _ns(noticed)}
    _tell(home.append_stage(body), home.ledger.chain.stages, stage)


@stage_app.command()
def show(
    policy_hash: Annotated[str, typer.Argument(help="of one policy; none: all stages")] = "", folder: Folder = None
) -> None:
    """Show who is in which stage, who is in charge, and how it came to that."""
    from rich.table import Table

    from alphatrade.reflection.kpi import when
    from alphatrade.reflection.ledger import Ledger
    from alphatrade.reflection.stages import STAGES

    stages = Ledger(ledger_dir(folder)).chain.stages
    screen = console()
    if policy_hash:
        screen.print(f"{policy_hash} is in {stages.stage_of(policy_hash)}")
    else:
        for stage in STAGES[1:]:
            screen.print(f"{stage:13} {stages.incumbent(stage) or 'nobody'}")
            if stages.previous(stage):
                screen.print(f"{'':13} {stages.previous(stage)} before")
    moves = [move for move in stages.history if policy_hash in ("", move.body.policy_hash)]
    table = Table("entry", "when", "policy", "", "to", "by", "why", box=None, padding=(0, 2, 0, 0))
    for move in moves:
        body = move.body
        table.add_row(str(move.seq), when(move.ts), body.policy_hash[:12], move.kind, body.to, move.key, body.why)
    screen.print(table if moves else "nothing was promoted yet")


def kpi(
    folder: Folder = None,
    artifacts: Annotated[Path, typer.Option(help="root of the dated folders")] = Path("artifacts"),
    date: Annotated[str, typer.Option(help="of the folder, 2026-03-01; none: of the last entry")] = "",
) -> None:
    """Recompute evolution's key figures from the ledger alone: artifacts/<date>/kpi.json and kpi.html."""
    from datetime import date as day

    from rich.table import Table

    from alphatrade.reflection.kpi_page import HTML, rows, write_kpis
    from alphatrade.reflection.ledger import Ledger
    from alphatrade.reflection.trials import read

    try:
        named = day.fromisoformat(date).isoformat() if date else ""
    except ValueError:
        raise ConfigError("--date", date, "a day such as 2026-03-01") from None
    out, found = write_kpis(read(Ledger(ledger_dir(folder))), artifacts, named)
    table = Table("", "figure", "value", "target", "", "n", "not told", box=None, padding=(0, 2, 0, 0))
    for row in rows(found):
        table.add_row(*row)
    screen = console(wide=True)
    screen.print(table)
    screen.print(f"page  {out / HTML}")


def rebuild_policy(
    policy_hash: Hash,
    out: Annotated[Path | None, typer.Option(help="file to write; none: standard output")] = None,
    dossier: Annotated[Path | None, typer.Option(help="look in this dossier, and in no ledger")] = None,
    folder: Folder = None,
) -> None:
    """Write the policy of a hash, byte for byte, from the ledger; run it with `alphatrade sim policy_file=FILE`."""
    from alphatrade.evolution.rebuild import policy_file, rebuild_strategy
    from alphatrade.risk.disk import write_whole

    ledger = None if dossier is not None and folder is None else ledger_dir(folder)
    data = policy_file(rebuild_strategy(policy_hash, ledger, dossier))
    if out is None:
        sys.stdout.write(data.decode())
        return
    try:
        write_whole(out, data.decode())
    except OSError as error:
        raise ConfigError("--out", str(out), f"a file that can be written ({error.strerror or error})") from error
    print(out)


def _ns(text: str) -> str:
    from alphatrade.nodes.tape_time import parse_moment

    moment = parse_moment(int(text) if text.isdecimal() else text, "--noticed") if text else None
    return "" if moment is None else str(moment)


def _tell(entry: "Entry", stages: "Stages", stage: str) -> None:
    policy = entry.body["policy_hash"]
    print(f"entry {entry.seq} {entry.hash}")
    print(f"{policy} is in {stages.stage_of(policy)}; in charge of {stage}: {stages.incumbent(stage) or 'nobody'}")
