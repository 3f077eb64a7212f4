"""Rules of alerts: whether a folder of them is sound, and what is wrong in which file if it is not.

``promtool`` knows Prometheus's language, but neither which metrics a node has nor what an alert has to say, and a
Prometheus that is given a bad file says so in its log and nowhere else.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from alphatrade.nodes.metrics import NAMES
from alphatrade.risk.errors import ConfigError

SEVERITIES = ("page", "ticket", "watchdog")
NOTES = ("summary", "runbook")  # what `alphatrade alarms` shows of one
_GROUP = ("name", "interval", "query_offset", "limit", "labels", "rules")
_RULE = ("alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations")
_PATIENCE_S = 60.0


class Rule(NamedTuple):
    """A rule: its file, and what is in it."""

    file: Path
    body: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return the name of the alert, or of the series that it makes."""
        return str(self.body.get("alert") or self.body.get("record") or "a rule without a name")


def check(folder: Path) -> tuple[list[Rule], bool]:
    """
    Return all rules of a folder, and whether promtool was there to read their expressions.

    Parameters
    ----------
    folder : Path
        Of files ``*.yml``.

    Raises
    ------
    ConfigError
        For the first thing that is wrong: a file that is no YAML, a key that Prometheus does not know, an alert without
        severity or runbook, a metric that no node has, an expression that cannot be parsed.
    """
    files = sorted(folder.glob("*.yml"))
    if not files:
        raise ConfigError("rules", str(folder), "a folder with rules of Prometheus, *.yml")
    rules = [rule for file in files for rule in _read(file)]
    made = {str(rule.body["record"]) for rule in rules if "record" in rule.body}
    for rule in rules:
        _complete(rule)
        for name in sorted(metrics_of(str(rule.body["expr"])) - made - set(NAMES)):
            raise _wrong(rule.file, rule.name, name, "a metric that a node has or a rule makes")
    return rules, all([_parsed(file) for file in files])


def metrics_of(expression: str) -> set[str]:
    """Return the names of ours that an expression asks for, without the parts of a histogram."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", expression)
    names = re.findall(r"\balphatrade[\w:]*", bare)
    return {re.sub(r"(stage_duration_seconds)_(bucket|count|sum)$", r"\1", name) for name in names}


def _read(file: Path) -> Iterator[Rule]:
    try:
        plain = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise _wrong(file, f"YAML{line}", error.problem, "YAML") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _wrong(file, "YAML", type(error).__name__, "a file of YAML that can be read") from None
    _keys(file, "the file", plain, ("groups",))
    for group in _list(file, "groups", plain.get("groups")):
        _keys(file, "a group", group, _GROUP)
        for body in _list(file, f"group {group.get('name')}", group.get("rules")):
            _keys(file, "a rule", body, _RULE)
            yield Rule(file, body)


def _complete(rule: Rule) -> None:
    """Refuse a rule without an expression or a name, and an alert that does not say how urgent it is or what to do."""
    body = rule.body
    if ("alert" in body) == ("record" in body) or not isinstance(body.get("expr"), str | int | float):
        raise _wrong(rule.file, rule.name, ", ".join(body), "alert or record, and expr")
    if "record" in body:
        return
    labels, notes = ({} if body.get(part) is None else body[part] for part in ("labels", "annotations"))
    for part in (labels, notes):
        if not isinstance(part, dict):
            raise _wrong(rule.file, rule.name, part, "names and texts")
    if labels.get("severity") not in SEVERITIES:
        raise _wrong(rule.file, rule.name, labels.get("severity"), f"a label severity, one of {', '.join(SEVERITIES)}")
    for name in NOTES:
        if not str(notes.get(name) or "").strip():
            raise _wrong(rule.file, rule.name, notes.get(name), f"an annotation {name}")


def _parsed(file: Path) -> bool:
    """Let promtool read a file; return whether it is installed."""
    if shutil.which("promtool") is None:
        return False
    command = ["promtool", "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if str(file) in line]
        found = next((line for line in said if not line.startswith("Checking")), "an error")
        raise _wrong(file, "promtool", found.removeprefix(f"{file}:").strip(), "rules that it can read")
    return True


def _keys(file: Path, what: str, body: object, known: tuple[str, ...]) -> None:
    if not isinstance(body, dict):
        raise _wrong(file, what, body, f"keys, of {', '.join(known)}")
    for key in body:
        if key not in known:
            name = body.get("alert") or body.get("record") or body.get("name")
            raise _wrong(file, str(name or what), key, f"a known key, one of {', '.join(known)}")


def _list(file: Path, what: str, found: object) -> list[Any]:
    if not isinstance(found, list):
        raise _wrong(file, what, found, "a list")
    return found


def _wrong(file: Path, where: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"{file}, {where}", value if len(repr(value)) <= 300 else "…", expected)
