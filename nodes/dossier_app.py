"""``alphatrade verify-policy``: a stranger's check of a dossier."""

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from alphatrade.risk.errors import InputError

app = typer.Typer()


@app.command("verify-policy")
def verify_policy(
    policy_hash: Annotated[str, typer.Argument(help="policy_hash, 64 hexadecimal digits")],
    dossier: Annotated[Path, typer.Option(help="its dossier")],
    trust: Annotated[str, typer.Option(help="public keys that are trusted, with commas, or a file with one a line")],
    tape: Annotated[
        list[str] | None, typer.Option(help="where a tape is here that was read from a file; one for each, in order")
    ] = None,
    fingerprint: Annotated[str, typer.Option(help="of the ledger, as it was kept elsewhere")] = "",
    head: Annotated[str, typer.Option(help="an older head of the ledger, NUMBER:HASH, as it was kept elsewhere")] = "",
    policy: Annotated[Path | None, typer.Option(help="a policy file that has to be the one of the dossier")] = None,
    ledger: Annotated[Path | None, typer.Option(help="folder of a ledger that has to continue the dossier's")] = None,
    spot: Annotated[int, typer.Option(min=0, help="trials to draw and replay again, beside those of the gate")] = 2,
    spot_seed: Annotated[str, typer.Option(help="by which they are drawn; none: one of the system's entropy")] = "",
) -> None:
    """Derive a dossier again, from its own files and this code alone; exit code 1 at the first thing that differs."""
    from tempfile import TemporaryDirectory

    from rich.table import Table

    from alphatrade.nodes.app import EXIT_VIOLATION
    from alphatrade.nodes.terminal import console
    from alphatrade.nodes.verify import Asked, Case, outcome, trusted, verified

    try:
        data = dossier.read_bytes()
    except OSError as error:
        raise InputError("--dossier", str(dossier), f"a file ({error.strerror or error})") from None
    asked = Asked(
        policy_hash, trusted(trust), tuple(tape or ()), fingerprint, head, policy, ledger,
        spot=spot, spot_seed=spot_seed or secrets.token_hex(8),
    )  # fmt: skip
    table = Table("step", "recorded", "found here", "", box=None, padding=(0, 2, 0, 0))
    with TemporaryDirectory(prefix="alphatrade-dossier-") as place:
        case = Case(data, asked, Path(place))
        rows = list(verified(case, sys.stderr.isatty()))
        for row in rows:
            table.add_row(row.step, row.recorded, row.found, "same" if row.holds else "DIFFERS")
        screen = console(wide=True)
        screen.print(table)
        if not rows[-1].holds:
            screen.print(f"DIFFERS at {rows[-1].step}: recorded {rows[-1].recorded}, found {rows[-1].found}")
            raise typer.Exit(EXIT_VIOLATION)
        screen.print(outcome(case))
