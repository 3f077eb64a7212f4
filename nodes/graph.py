"""``alphatrade graph``: the health of a run's fast weights, with the settings of ``conf/graph.yaml``."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from alphatrade.nodes.overrides import CONFIG_MODULE
from alphatrade.nodes.refusals import checked, read_yaml
from alphatrade.nodes.terminal import console
from alphatrade.reflection.graph import GraphSpec, Health
from alphatrade.reflection.graph_files import diagnose_run, write_graph
from alphatrade.reflection.graph_plots import HEAD, facts, page
from alphatrade.risk.errors import ConfigError


def graph_settings(file: Path | None = None) -> GraphSpec:
    """
    Return the shipped settings, with the keys that a file of the user's replaces.

    Raises
    ------
    ConfigError
        If the file cannot be read or a value is wrong.
    """
    plain = yaml.safe_load(files(CONFIG_MODULE).joinpath("graph.yaml").read_text())
    if file is not None:
        own = _read(file)
        plain |= own | ({"bands": plain["bands"] | own["bands"]} if isinstance(own.get("bands"), dict) else {})
    return checked(GraphSpec, plain, "graph")


def _read(file: Path) -> dict[str, Any]:
    own = read_yaml(file) or {}
    if not isinstance(own, dict):
        raise ConfigError("--settings", str(file), "a YAML file with keys of conf/graph.yaml")
    return own


def graph_command(run_dir: Path, file: Path | None) -> bool:
    """Measure the graphs of a run, write them beside it, show them, and return whether there is no alert."""
    spec = graph_settings(file)
    found = diagnose_run(run_dir, spec)
    write_graph(run_dir, found, spec, page(found))
    screen = console()
    for name, (_, health) in found.items():
        _show(screen, name, health)
    screen.print(f"{run_dir / 'graph.html'}, {run_dir / 'graph.json'}")
    return not any(health.alerts for _, health in found.values())


def _show(screen: Console, name: str, health: Health) -> None:
    table = Table(*HEAD, title=name, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for row in facts(health):
        table.add_row(*row)
    screen.print(table)
    for line in health.alerts:
        screen.print(f"ALERT {line}")
