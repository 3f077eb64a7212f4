"""``alphatrade retain``: say which runs would go from the artifacts folder, one line each; ``--apply`` removes them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def retain(
    artifacts: Annotated[Path, typer.Option(help="root of the run folders")] = Path("artifacts"),
    settings: Annotated[Path | None, typer.Option(help="YAML with keys of conf/retain.yaml to replace")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="remove them; else nothing is changed")] = False,
) -> None:
    """Remove old runs: never one that the ledger, a dossier or `latest` names, nor one that is being written."""
    from alphatrade.nodes.ledger_home import ledger_dir
    from alphatrade.nodes.retain import remove, retention, ruled, swept

    spec, root = retention(settings), artifacts.expanduser()
    rulings = ruled(root, spec, datetime.now(UTC).date(), ledger_dir())
    for folder in swept(root) if apply else ():
        print(f"removed   {folder.relative_to(root)}, which was left half removed")
    gone = 0
    for one in rulings:
        what, why = "would go", ""
        if apply:
            what = "removed"
        if one.stays or (apply and not remove(one.folder)):
            what, why = "stays", f": {one.stays or 'being written'}"
        else:
            gone += one.size
        told = f"{one.age_days} days old, {one.size / 1e6:,.1f} MB"
        print(f"{what:<9} {one.folder.relative_to(root)}, {told}{why}", flush=True)
    print(f"{gone / 1e6:,.1f} MB " + ("removed" if apply else "would go; --apply removes it"))
