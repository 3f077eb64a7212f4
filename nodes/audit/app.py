"""``alphatrade audit-export``: the archive for an auditor."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from alphatrade.nodes.ledger_app import Folder
from alphatrade.nodes.ledger_home import SERVICE, key_file, ledger_dir
from alphatrade.risk.errors import ConfigError

app = typer.Typer()


@app.command("audit-export")
def audit_export(
    first: Annotated[str, typer.Option("--from", help="first day, 2026-11-01")],
    last: Annotated[str, typer.Option("--to", help="last day, 2026-11-30; both are in it")],
    artifacts: Annotated[Path, typer.Option(help="root of the dated folders")] = Path("artifacts"),
    key: Annotated[list[Path] | None, typer.Option(help="private key of a person who signs it, too")] = None,
    secrets_dir: Annotated[list[Path] | None, typer.Option(help="folder of secrets that must not be in it")] = None,
    folder: Folder = None,
) -> None:
    """Write one archive of ledger, runs, sign-offs and drills that verifies itself; exit code 1: a rule was broken."""
    from alphatrade.nodes.app import EXIT_VIOLATION, state_root
    from alphatrade.nodes.audit.export import Places, export
    from alphatrade.nodes.audit.tables import Span
    from alphatrade.reflection.keys import SigningKey

    span = Span(_day(first, "--from"), _day(last, "--to"))
    if not span.first <= span.last <= datetime.now(UTC).date():
        raise ConfigError("--to", last, "a day that is not before --from, and not after today")
    places = Places(artifacts.expanduser(), state_root(), ledger_dir(folder))
    signers = [SigningKey.load(path) for path in (key_file(SERVICE), *(key or ()))]
    found = export(span, places, signers, secrets_dir or ())
    if not secrets_dir:
        print("not looked for: keys of an exchange; name their folder with --secrets-dir")
    for line in found.left_out:
        print(f"left out   {line}")
    print(found.said)
    print(f"archive    {found.path}\nsha256     {found.sha256}\nverify.py  {found.verifier}")
    if not found.kept:
        raise typer.Exit(EXIT_VIOLATION)


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(option, text, "a day such as 2026-11-01") from None
