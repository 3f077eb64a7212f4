"""``alphatrade alarms``: what an Alertmanager has; ``ack`` acknowledges one, ``check`` looks at their rules."""

from pathlib import Path
from typing import Annotated

import typer

from alphatrade.nodes.alarms import LONGEST_H, URL

app = typer.Typer(help="Alarms of an Alertmanager.")

Url = Annotated[str, typer.Option(envvar="ALPHATRADE_ALERTMANAGER", help="address of the Alertmanager")]


@app.callback(invoke_without_command=True)
def show(context: typer.Context, url: Url = URL) -> None:
    """List what is firing, and who has acknowledged it."""
    if context.invoked_subcommand is not None:
        return
    from alphatrade.nodes.alarms import WATCHDOG, alarms

    firing = [alarm for alarm in alarms(url) if alarm.severity != WATCHDOG]
    for alarm in firing:
        print(f"{alarm.severity:<6} {alarm.name} since {alarm.since[:19]}Z: {alarm.notes.get('summary', '')}")
        if runbook := alarm.notes.get("runbook"):
            print(f"       {runbook}")
        for line in alarm.acknowledged:
            print(f"       acknowledged by {line}")
        if alarm.inhibited:
            print("       nobody is told: it follows from another one")
    if not firing:
        print("nothing is firing")


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="of rules, *.yml")] = Path("deploy/prometheus/rules")) -> None:
    """Say what is wrong with the rules of alerts, before a Prometheus is given them."""
    try:
        from alphatrade.nodes.rules import check as read
    except ImportError as error:
        from alphatrade.risk.errors import ConfigError

        raise ConfigError("check", error.name, "the extra paper: pip install 'alphatrade[paper]'") from None
    rules, parsed = read(folder)
    alerts = sum("alert" in rule.body for rule in rules)
    print(f"{alerts} alerts and {len(rules) - alerts} series in {len({rule.file for rule in rules})} files are sound")
    if not parsed:
        print("their expressions were not parsed: promtool is not installed")


@app.command()
def ack(
    name: Annotated[str, typer.Argument(help="of the alarm, as the list has it")],
    who: Annotated[str, typer.Option(help="who does this; recorded")],
    why: Annotated[str, typer.Option(help="why; recorded")],
    hours: Annotated[float, typer.Option(help=f"for how long nobody is told again; {LONGEST_H:g} at most")] = 4.0,
    instance: Annotated[str, typer.Option(help="of this node only; none: of all")] = "",
    url: Url = URL,
) -> None:
    """Acknowledge an alarm: nobody is told of it again for some hours; the ledger says who and why."""
    from alphatrade.nodes import operator

    labels = {"alertname": name} | ({"instance": instance} if instance else {})
    done = operator.acknowledge(url, labels, who, why, hours)
    print(done.words)
    print(f"recorded: entry {done.entry} of the ledger")
