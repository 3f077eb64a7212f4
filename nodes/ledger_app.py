"""``alphatrade ledger``: keys, the roster, and the check that a stranger makes."""

import time
from pathlib import Path
from typing import Annotated

import typer

from alphatrade.nodes.ledger_home import ledger_dir

app = typer.Typer(help="The policy ledger: who may sign what, what was tried and decided.", no_args_is_help=True)

Folder = Annotated[Path | None, typer.Option(help="its folder; $ALPHATRADE_LEDGER, else ledger/ in the state folder")]
KeyFile = Annotated[Path, typer.Option(help="private key file, as `ledger key` makes it")]
Name = Annotated[str, typer.Argument(help="of a member of the roster")]


@app.command()
def key(file: Annotated[Path, typer.Argument(help="file to write; only its owner can read it")]) -> None:
    """Make a signing key and print its public part."""
    from alphatrade.reflection.keys import SigningKey

    print(SigningKey.generate(file).public)


@app.command()
def init(name: Name, key: KeyFile, folder: Folder = None) -> None:
    """Make a ledger whose roster has one root, and print the fingerprint to keep elsewhere."""
    from alphatrade.reflection.keys import SigningKey
    from alphatrade.reflection.ledger import Ledger

    made = Ledger.create(ledger_dir(folder), SigningKey.load(key), name, time.time_ns())
    print(f"ledger       {made.folder}")
    print(f"fingerprint  {made.chain.fingerprint}")


@app.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help="root, person or service")],
    public: Annotated[str, typer.Option(help="public key, 64 hexadecimal digits")],
    key: KeyFile,
    of: Annotated[str, typer.Option(help="of a service: the person that it works for")] = "",
    folder: Folder = None,
) -> None:
    """Add a member to the roster; signed by a root."""
    member = {"name": name, "role": role, "public": public}
    _change(folder, {"add": member | ({"of": of} if of else {})}, key)


@app.command()
def revoke(name: Name, key: KeyFile, folder: Folder = None) -> None:
    """Let a member sign no more; what was signed before stands. Signed by a root."""
    _change(folder, {"revoke": name}, key)


@app.command()
def head(folder: Folder = None) -> None:
    """Print number and hash of the last entry: kept elsewhere, it shows rewriting and a cut-off end."""
    from alphatrade.reflection.ledger import Ledger

    last = Ledger(ledger_dir(folder)).chain.head
    print(f"{last.seq}:{last.hash}")


@app.command()
def verify(
    folder: Folder = None,
    trust: Annotated[str | None, typer.Option(help="fingerprint that was kept elsewhere")] = None,
    head: Annotated[str | None, typer.Option(help="an older head, NUMBER:HASH, that was kept elsewhere")] = None,
) -> None:
    """Check form, chain, signatures, roster and trials of the whole ledger; exit code 1 if anything is wrong."""
    from alphatrade.nodes.app import EXIT_VIOLATION
    from alphatrade.reflection.ledger_chain import head_of
    from alphatrade.reflection.ledger_check import verify as check

    found = check(ledger_dir(folder), trust, None if head is None else head_of(head))
    print(f"entries      {found.entries:,}, {found.trials:,} trials")
    print(f"fingerprint  {found.fingerprint or 'none'}")
    print(f"head         {found.head.seq}:{found.head.hash}")
    print(f"roster       {', '.join(found.members)}")
    for problem in found.problems:
        print(f"WRONG        {problem}")
    if found.problems:
        raise typer.Exit(EXIT_VIOLATION)
    known = "" if trust and head else " in itself; --trust and --head tell whether it is the one that was known"
    print(f"nothing wrong{known}")


@app.command()
def trace(
    name: Annotated[str, typer.Argument(help="id of a proposal or hash of a policy that one made, or how it begins")],
    folder: Folder = None,
) -> None:
    """Show one change of a policy: diary rows, proposal, ruling, sign-off, phases, and what runs now."""
    from alphatrade.nodes.trace import trace as lines
    from alphatrade.reflection.ledger import Ledger

    chain, entries = Ledger(ledger_dir(folder)).read()
    print("\n".join(lines(chain, entries, name)))


@app.command()
def home() -> None:
    """Make the keys and the ledger of this machine, unless they are there, and print where they are."""
    from alphatrade.nodes.ledger_home import PERSON, SERVICE, key_file
    from alphatrade.nodes.ledger_home import home as opened

    own = opened()
    print(f"ledger       {own.ledger.folder}")
    print(f"fingerprint  {own.ledger.chain.fingerprint}")
    print(f"keys         {key_file(PERSON)} to promote, {key_file(SERVICE)} to record")


@app.command()
def export(
    folder: Folder = None,
    artifacts: Annotated[Path, typer.Option(help="root of the dated folders")] = Path("artifacts"),
) -> None:
    """Copy the ledger into artifacts/<date>/ledger/, whole, with its head and roster to read."""
    from alphatrade.nodes.ledger_export import export_ledger

    print(export_ledger(ledger_dir(folder), artifacts))


def _change(folder: Path | None, body: dict[str, object], key: Path) -> None:
    from alphatrade.reflection.keys import SigningKey
    from alphatrade.reflection.ledger import Ledger

    ledger = Ledger(ledger_dir(folder))
    entry = ledger.append("roster", body, SigningKey.load(key), time.time_ns())
    print(f"entry {entry.seq} {entry.hash}")
    print(f"roster {', '.join(f'{m.name} ({m.role})' for m in ledger.chain.roster.members)}")
