"""The control map: what a regulation asks for, which code does it, which test shows it, when it was last drilled."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from alphatrade.nodes.refusals import read_yaml
from alphatrade.strategies.policy import Spec

FILE = "controls.yaml"
RESULTS = ("drills/drills.json", "bench/live-drill.json")  # below the artifacts: what drills have come to
NEVER = "never"


class Control(Spec):
    """
    One control.

    Attributes
    ----------
    regulation, article : str
        ``RTS 6`` or ``SEC 15c3-5``, and where in it.
    asks : str
        What it asks for, in our words.
    control : str
        What there is.
    code : tuple of str
        Where: ``module:name``.
    tests : tuple of str
        Which show it.
    drill : str
        Row of the drills' results; empty where a test is all.
    lacks : str
        What is not there; empty where nothing is known to be missing.
    """

    regulation: str
    article: str
    asks: str
    control: str
    code: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    drill: str = ""
    lacks: str = ""


_CONTROLS: TypeAdapter[tuple[Control, ...]] = TypeAdapter(tuple[Control, ...])


@cache
def controls() -> tuple[Control, ...]:
    """Return the control map."""
    return _CONTROLS.validate_python(read_yaml(Path(str(files("alphatrade.nodes"))) / "data" / FILE))


def drilled(artifacts: Path) -> list[dict[str, Any]]:
    """Return the last result of each drill, as it was written down; of a file that cannot be read, nothing."""
    found: list[dict[str, Any]] = []
    for name in RESULTS:
        try:
            told = json.loads((artifacts / name).read_bytes())
        except (OSError, ValueError):
            continue
        found += [{k: v for k, v in one.items() if k not in ("trials", "machine")} for one in told]
    return found


def mapped(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the control map with the last drill of each control, ``never`` where there is none."""
    known = {str(one["id"]): one for one in results}
    return [one.model_dump(mode="json") | {"last": _last(known, one.drill)} for one in controls()]


def _last(known: Mapping[str, Mapping[str, Any]], drill: str) -> dict[str, Any]:
    if not drill:
        return {}
    one = known.get(drill)
    if one is None:
        return {"when": NEVER, "figure": "", "holds": None}
    return {"when": one["measured_at"], "figure": f"{one['figure']} {one['unit']}".strip(), "holds": one["holds"]}
