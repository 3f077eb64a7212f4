"""``alphatrade permit``: two persons let a policy trade real money; one of them, or a service, takes that back.

::

    alphatrade permit draft HASH … --out permit.json     what is asked for, by anybody
    alphatrade permit cosign permit.json --name ben …    the second person, with a key and on a machine of their own
    alphatrade permit enter permit.json --why …          the first person, into the ledger
"""

import json
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alphatrade.nodes.ledger_app import Folder
from alphatrade.nodes.ledger_home import PERSON, existing, key_file, ledger_dir
from alphatrade.nodes.terminal import console
from alphatrade.risk.errors import ConfigError, InUseError, LedgerError

if TYPE_CHECKING:
    from alphatrade.reflection.permit_entries import Terms

app = typer.Typer(help="Permits to trade real money, each signed by two persons.", no_args_is_help=True)

VENUES = "mainnet", "testnet", "sandbox"
HOUR_NS = 3_600 * 10**9
NAME = re.compile(r"\S(.{0,198}\S)?")  # of a member of a roster
Why = Annotated[str, typer.Option(help="why; recorded")]
Key = Annotated[Path | None, typer.Option(help="private key; a person's, else keys/person.pem in the state folder")]
File = Annotated[Path, typer.Argument(help="file of the permit, as `permit draft` writes it")]


@app.command()
def draft(
    policy_hash: Annotated[str, typer.Argument(help="policy_hash of a policy in pilot, 64 hexadecimal digits")],
    venue: Annotated[str, typer.Option(help="as the node names it: mainnet, testnet and sandbox are three")],
    account: Annotated[str, typer.Option(help="as the node names it")],
    symbols: Annotated[str, typer.Option(help="ids of instruments, with commas: BTCUSDT.BINANCE")],
    capital: Annotated[str, typer.Option(help="most that may be out at any time, in the currency")],
    loss: Annotated[str, typer.Option(help="most that may be lost")],
    hours: Annotated[int, typer.Option(help="from its begin to its end", min=1, max=31 * 24)],
    out: Annotated[Path, typer.Option(help="file to write")],
    currency: Annotated[str, typer.Option(help="of capital and loss")] = "USDT",
    begins: Annotated[str, typer.Option(help="ISO time (UTC) or UTC ns; none: now")] = "",
    folder: Folder = None,
) -> None:
    """Write what is asked for, for this code and this ledger; nothing is signed."""
    from alphatrade.nodes.identity import code_hash
    from alphatrade.nodes.live.permits import margin_of
    from alphatrade.nodes.tape_time import parse_moment
    from alphatrade.reflection.ledger import Ledger
    from alphatrade.reflection.permits import BEFORE

    ledger = Ledger(ledger_dir(folder))
    stage = ledger.chain.stages.stage_of(policy_hash)
    if stage not in BEFORE:
        raise LedgerError("policy_hash", f"{policy_hash}, in stage {stage}", f"a policy in {' or '.join(BEFORE)}")
    if why := margin_of(ledger, policy_hash):
        raise LedgerError("policy_hash", policy_hash, f"a policy for a cash account: {why}")
    if venue not in VENUES:
        raise ConfigError("--venue", venue, f"{', '.join(VENUES)}: no node calls its own anything else")
    start = parse_moment(begins, "--begins") if begins else time.time_ns()
    assert start is not None
    if start + hours * HOUR_NS <= time.time_ns():
        raise ConfigError("--hours", hours, "an end that is not over already")
    terms = {
        "policy_hash": policy_hash, "code_hash": code_hash(), "venue": venue, "account": account,
        "symbols": sorted({one.strip() for one in symbols.split(",")}), "currency": currency, "capital": capital,
        "loss": loss, "begins": str(start), "ends": str(start + hours * HOUR_NS), "ledger": ledger.chain.fingerprint,
        "nonce": secrets.token_hex(16),
    }  # fmt: skip
    _write(out, {"terms": _terms(terms, "permit").model_dump()})
    _tell(_terms(terms, "permit"))
    print(f"{out}: to be cosigned by a second person, with `alphatrade permit cosign`")


@app.command()
def cosign(
    file: File,
    name: Annotated[str, typer.Option(help="yours, in the roster of the ledger")],
    key: Annotated[Path, typer.Option(help="your private key")],
) -> None:
    """Sign the terms of a permit, as the second person; the ledger need not be at hand. Read what is shown first."""
    from alphatrade.reflection.keys import SigningKey
    from alphatrade.reflection.permits import cosigned

    terms, signing = _terms(_read(file).get("terms"), str(file)), SigningKey.load(key)
    if not NAME.fullmatch(name):
        raise ConfigError("--name", name, "your name in the roster of the ledger")
    _tell(terms)
    _write(file, {"terms": terms.model_dump(), "cosign": {"key": name, "sig": cosigned(terms, signing)}})
    print(f"{file}: cosigned by {name}, to be entered by another person, with `alphatrade permit enter`")


@app.command()
def enter(file: File, why: Why, key: Key = None, folder: Folder = None) -> None:
    """Enter a permit that somebody else has cosigned; its policy is in limited_live then. Signed by a person."""
    plain = _read(file)
    if "cosign" not in plain:
        raise LedgerError(str(file), "no second signature", "a permit that `alphatrade permit cosign` has signed")
    home = existing(key or key_file(PERSON), folder)
    entry = home.append("limited_live", {"terms": plain.get("terms"), "cosign": plain["cosign"], "why": why})
    granted = home.ledger.chain.permits.all[-1]
    _tell(granted.terms)
    print(f"entry {entry.seq} {entry.hash}")
    print(f"permit {granted.id}, by {granted.first} and {granted.second}")


@app.command()
def revoke(
    permit: Annotated[str, typer.Argument(help="id, or its first 8 digits or more")],
    why: Why,
    key: Key = None,
    folder: Folder = None,
) -> None:
    """Take a permit back, for good, and stop the node of its account, if one runs. Signed by a person or a service."""
    home = existing(key or key_file(PERSON), folder)
    home.entries()
    there = [one for one in home.ledger.chain.permits.all if len(permit) >= 8 and one.id.startswith(permit)]
    if len(there) != 1:
        raise LedgerError("permit", permit, "the id of one permit; see `alphatrade permit show`")
    entry = home.append("revocation", {"permit": there[0].id, "why": why})
    print(f"entry {entry.seq} {entry.hash}")
    print(f"permit {there[0].id} is revoked")
    if _stopped(there[0].terms.account, entry.key, f"permit {permit} revoked: {why}"):
        print(f"the node of live/{there[0].terms.account} is stopping")


@app.command()
def show(folder: Folder = None) -> None:
    """Show all permits, and whether they stand."""
    from rich.table import Table

    from alphatrade.reflection.ledger import Ledger
    from alphatrade.reflection.permits import moment

    chain = Ledger(ledger_dir(folder)).chain
    names = "permit", "policy", "venue", "account", "symbols", "capital", "loss", "begins", "ends", "by", "stands"
    table = Table(*names, box=None, padding=(0, 2, 0, 0))
    now = str(time.time_ns())
    for one in chain.permits.all:
        terms = one.terms
        why = chain.permits.standing(one.id, chain.roster, chain.stages)
        stands = why or ("no: it has ended" if int(terms.ends) <= int(now) else "yes")
        table.add_row(
            one.id[:12], terms.policy_hash[:12], terms.venue, terms.account, ", ".join(terms.symbols),
            f"{terms.capital} {terms.currency}", terms.loss, moment(terms.begins), moment(terms.ends),
            f"{one.first}, {one.second}", stands,
        )  # fmt: skip
    console(wide=True).print(table if chain.permits.all else "nothing is permitted")


@app.command()
def anchor(folder: Folder = None) -> None:
    """Pin state folder, ledger and fingerprint of this machine, where no word or variable changes them."""
    from alphatrade.nodes.app import state_root
    from alphatrade.nodes.live.anchor import Anchor, pin
    from alphatrade.reflection.ledger import Ledger

    ledger = Ledger(ledger_dir(folder))
    place = pin(Anchor(state_root().resolve(), ledger.folder.resolve(), ledger.chain.fingerprint))
    print(f"anchor       {place}")
    print(f"fingerprint  {ledger.chain.fingerprint}")


def _stopped(account: str, who: str, why: str) -> bool:
    """Ask the node of an account to stop at once, rather than at its next look at the ledger; False: none runs here."""
    from alphatrade.nodes.app import state_root
    from alphatrade.nodes.live.anchor import read
    from alphatrade.risk.disk import FolderLock
    from alphatrade.risk.kill import latch_dir, request_kill

    try:
        state = read().state
    except ConfigError:
        state = state_root()
    if not latch_dir(state, "live", account).is_dir():
        return False
    try:
        FolderLock(latch_dir(state, "live", account)).release()
    except InUseError:
        request_kill(state, "live", account, who, why, time.time_ns())
        return True
    return False


def _terms(plain: object, where: str) -> "Terms":
    from pydantic import ValidationError

    from alphatrade.reflection.ledger_fields import refusal
    from alphatrade.reflection.permit_entries import Terms

    try:
        return Terms.model_validate(plain)
    except ValidationError as error:
        raise refusal(error, "terms", where) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        plain = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "no JSON"
        raise LedgerError(str(file), why, "a permit, as `alphatrade permit draft` writes it") from None
    if not isinstance(plain, dict):
        raise LedgerError(str(file), type(plain).__name__, "a permit, as `alphatrade permit draft` writes it")
    return plain


def _write(file: Path, plain: dict[str, Any]) -> None:
    from alphatrade.risk.disk import write_whole

    try:
        write_whole(file, json.dumps(plain, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise LedgerError(str(file), error.strerror or str(error), "a file that can be written") from None


def _tell(terms: "Terms") -> None:
    from alphatrade.reflection.permits import moment, permit_id

    print(f"permit    {permit_id(terms)}")
    print(f"policy    {terms.policy_hash}")
    print(f"code      {terms.code_hash}")
    print(f"where     {terms.venue}, account {terms.account}, {', '.join(terms.symbols)}")
    print(f"money     {terms.capital} {terms.currency}, of which {terms.loss} may be lost")
    print(f"when      {moment(terms.begins)} to {moment(terms.ends)}")
    print(f"ledger    {terms.ledger}")
