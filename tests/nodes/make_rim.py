"""A planted world for the reflection job: a policy whose tactic cannot earn where prices come back, run by run."""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from alphatrade.nodes import rim as job_module
from alphatrade.nodes.ledger_home import Home, home
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.rim_settings import RimSettings
from alphatrade.nodes.settings import PathSpec, compose_settings
from alphatrade.nodes.sim import simulate
from alphatrade.nodes.steps import Row
from alphatrade.reflection.feedback import Case, Feedback
from alphatrade.reflection.ledger_chain import Entry
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.rim.engines import Inputs, Prediction
from alphatrade.reflection.rim.inputs import COLUMNS
from alphatrade.reflection.rim.proposals import Proposal
from benchmarks.rim_runs import settings_of

WORLD = ("tape=reverting", "policy=chaser", "~policy.features.vol_ratio", "output.stress=false", "output.report=false")
RULE = (
    "governance.periods=12", "governance.moved=6", "governance.level=0.9", "governance.shadow_periods=3", "governance.canary_periods=3",
    "rim.most=2",
)  # fmt: skip
SPANS = ("06T00", "08T00", "08T10", "08T20", "09T06")  # edges of the runs one after the other


class Knows:
    """An engine that knows what is wrong in this world: prices come back."""

    name, model_hash = "ridge", "5" * 64

    def predict(self, inputs: Inputs) -> Prediction:
        """Return a high confidence for a route to reversion, and a low one for all else."""
        edit = np.asarray(inputs.edit)
        at = [COLUMNS.index(name) for name in ("edit_route_weight", "to_passive_reversion")]
        right = (edit[:, at[0]] > 0) & (edit[:, at[1]] > 0)
        return Prediction(np.where(right, 2.0, 0.1), np.where(right, 0.9, 0.6))


@cache
def _own(words: tuple[str, ...]) -> RimSettings:
    return settings_of(Path("x"), Path("x"), *RULE, *words)


@cache
def _proposed(run: Path) -> tuple[job_module.Read, tuple[Proposal, ...]]:
    """Return what a job has read of a run, and what the engine that knows proposes."""
    own = _own(())._replace(run_dir=run)
    read, made = job_module._read(own), job_module.Made(job_module.code_hash(), own.config_hash)
    return read, job_module.propose(read.part, own.bounds, Knows(), own.rim, made)


class Place:
    """A machine of its own: a state with a ledger, and artifacts."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.state = root, root / "state"
        patch.setenv("ALPHATRADE_STATE", str(self.state))
        patch.delenv("ALPHATRADE_LEDGER", raising=False)

    def sim(self, n: int, *words: str) -> RunResult:
        """Run the policy over part `n` of the world."""
        part = [f"tape.{name}=2025-01-{SPANS[n + at]}:00:00Z" for at, name in enumerate(("start", "end"))]
        return simulate(
            compose_settings([*WORLD, *part, f"paths.artifacts={self.root}/runs", f"paths.state={self.state}", *words])
        )

    def own(self, run: Path, *words: str) -> RimSettings:
        """Return the settings of a job, governed feedback on."""
        return _own(words)._replace(run_dir=run, paths=PathSpec(artifacts=self.root / "artifacts", state=self.state))

    def job(self, run: Path, *words: str) -> list[Row]:
        """Let the job read a run."""
        return job_module.rim(self.own(run, *words))[1]

    def open(self, run: Path, *words: str) -> job_module.Job:
        """Return the job as it is before it rules."""
        read, found = _proposed(run)
        return job_module.Job(self.own(run, *words), read, home(), found)

    @property
    def keeper(self) -> Home:
        return home()

    @property
    def feedback(self) -> Feedback:
        return self.keeper.ledger.chain.feedback

    def entries(self, *kinds: str) -> list[Entry]:
        """Return the entries of some kinds, of a ledger that verifies."""
        assert verify(self.state / "ledger").problems == ()
        return [entry for entry in self.keeper.entries() if entry.kind in kinds]

    def begun(self) -> Case:
        """Return the one change that was begun."""
        (case,) = [case for case in self.feedback.cases.values() if case.applied]
        return case


def placed(root: Path, state: Path, patch: pytest.MonkeyPatch) -> Place:
    """Return a machine with a copy of a state."""
    shutil.copytree(state, root / "state")
    return Place(root, patch)


def knowing(patch: pytest.MonkeyPatch) -> None:
    """Let jobs of this process have the engine that knows."""
    patch.setattr(job_module, "load", lambda *_: Knows())
