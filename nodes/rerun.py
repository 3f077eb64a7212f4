"""A finished run's own inputs once more: its policy, its run spec and its tapes, for replays that compare with it."""

from pathlib import Path

from alphatrade.nodes.refusals import checked
from alphatrade.nodes.settings import RunSpec
from alphatrade.nodes.sim import load_tapes
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.query import read_mapping
from alphatrade.risk.errors import RunDirError
from alphatrade.strategies.policy import Policy


def policy_of(run_dir: Path) -> Policy:
    """Return the policy of a run."""
    return checked(Policy, read_mapping(run_dir, "policy.json"), "policy.json")


def run_spec_of(run_dir: Path, state: Path) -> RunSpec:
    """Return the run spec of a folder, with nothing switched on that would be in the way of a plain replay."""
    record = read_mapping(run_dir, "run.yaml")
    if "tapes" not in record:
        raise RunDirError(str(run_dir), "no run.yaml with tapes", "the folder of a run")
    specs = [tape["spec"] for tape in record["tapes"]]
    kept = {name: record[name] for name in ("env", "venue", "seed", "flat_at_end")}
    quiet, tapes = {"stress": False, "report": False}, specs if len(specs) > 1 else []
    plain = {**kept, "tape": specs[0], "tapes": tapes, "output": quiet, "paths": {"state": str(state)}}
    return checked(RunSpec, plain, "run.yaml")


def tapes_of(run_dir: Path, run: RunSpec) -> list[Tape]:
    """
    Return the tapes of a run.

    Raises
    ------
    RunDirError
        If one is another now.
    """
    tapes = load_tapes(run)
    for tape, was in zip(tapes, read_mapping(run_dir, "run.yaml")["tapes"], strict=True):
        if tape.tape_hash != was["tape_hash"]:
            raise RunDirError(f"tape {tape.name}", tape.tape_hash[:12], f"the one of the run, {was['tape_hash'][:12]}")
    return tapes
