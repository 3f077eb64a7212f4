"""The weekly job: the red team, and the auditor over every run of the last seven days; one summary page."""

from collections.abc import Callable
from pathlib import Path

from alphatrade.nodes.artifacts import RunFolder, recent_runs
from alphatrade.nodes.nightly import audited
from alphatrade.nodes.red_team import red_team
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import simulate
from alphatrade.nodes.steps import Row, as_json, isolated, page

NAME = "weekly"
DAYS = 7


def weekly(settings: Settings) -> tuple[Path, list[Row]]:
    """
    Attack the policy, then audit every finished run of the last seven days, or a fresh one where there is none.

    Returns
    -------
    Path
        ``artifacts/<date>/weekly``.
    list of Row

    Raises
    ------
    RunDirError
        If the folder cannot be written, or another weekly job is writing it.
    """
    artifacts = settings.run.paths.artifacts
    with RunFolder(artifacts, NAME) as folder:
        rows = [isolated("red team", lambda: _attack(settings))]
        runs = recent_runs(artifacts, DAYS)
        if not runs:
            spec = settings.run.output.model_copy(update={"stress": False, "ack_fd": None})
            fresh = settings.model_copy(update={"run": settings.run.model_copy(update={"output": spec})})
            rows.append(isolated("fresh run", lambda: _fresh(fresh, runs)))
        root = artifacts.expanduser()
        rows += [isolated(f"audit {run.relative_to(root)}", _audit(run, root)) for run in runs]
        folder.write_json("weekly.json", as_json(rows, days=DAYS, policy_hash=settings.policy.policy_hash))
        facts = [f"{len(runs)} runs of {DAYS} days", f"policy {settings.policy.policy_hash[:12]}"]
        links = {"red team": "../red-team/red-team.html", "what was checked, as data": "weekly.json"}
        folder.write_text("index.html", page("The week's drills", NAME, facts, rows, folder.path, links))
        return folder.publish(latest=False), rows


def _attack(settings: Settings) -> Row:
    _, outcomes = red_team(settings)
    wrong = [one.title for one in outcomes if not one.passed]
    told = f"{len(outcomes) - len(wrong)} of {len(outcomes)} scenarios passed"
    return Row("red team", told, f"failed: {', '.join(wrong)}" if wrong else "", not wrong)


def _fresh(settings: Settings, runs: list[Path]) -> Row:
    """Make a run, for there is none to audit, and add it to `runs`."""
    result = simulate(settings)
    runs.append(result.path)
    return Row("fresh run", f"{result.summary['decisions']:,} decisions", "no run of the last days was there", True)


def _audit(run: Path, root: Path) -> Callable[[], Row]:
    return lambda: audited(run)._replace(check=f"audit {run.relative_to(root)}")
