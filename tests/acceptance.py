"""The long acceptance checks: ``make accept`` runs all, ``make dod M=1`` those of one roadmap milestone.

Each row is a command that anyone can run; the table says which roadmap rows it shows.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
FRESH = str(Path(tempfile.gettempdir()) / f"alphatrade-acceptance-{os.getpid()}")  # nothing of a run before counts
PYTEST = (sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Check:
    """One acceptance check: the roadmap rows it shows, what it is, and the command."""

    rows: tuple[str, ...]
    what: str
    command: tuple[str, ...]


def _tests(*names: str, long: bool = False) -> tuple[str, ...]:
    return (*PYTEST, *(["-m", "long or not long"] if long else []), *names)


OF_LIVE = tuple(f"--ignore-glob=tests/venue/test_{name}*" for name in ("pilot", "live_door", "preflight", "rights"))  # in rows of M5

CHECKS = (
    Check(("M0.C", "C1"), "the embedded tape replays by one command", _tests("tests/nodes/test_sim.py")),
    Check(("M0.1", "M0.A"), "rogue orders: command path x invariant, 10,000 orders", _tests("tests/risk/test_rogue.py", long=True)),
    Check(("M0.1", "M0.A"), "kill switch, latch and release", _tests("tests/risk/test_kill.py", "tests/risk/test_losses.py", "tests/risk/test_gate.py", long=True)),
    Check(("M0.1",), "the gate under stock nodes, live queue race included", _tests("tests/risk/test_live_gate.py", "tests/nodes/test_plugins.py", long=True)),
    Check(("M0.2", "M0.4"), "flags refuse without a mechanism; the documents name every flag", _tests("tests/nodes/test_settings.py", "tests/test_docs.py")),
    Check(("M0.3",), "heartbeat and latency counters of a run", _tests("tests/nodes/test_sim.py", "-k", "latency or heartbeat")),
    Check(("M1.1", "M1.2"), "features, belief and regime", _tests("tests/actors")),
    Check(("M1.5",), "diary: coverage, SQL, explanation, kill -9", _tests("tests/reflection")),
    Check(("M1.5",), "kill -9 at 20 random moments, digests of the rerun", _tests("tests/nodes/test_crash.py", long=True)),
    Check(("M1.A",), "byte-identical runs across hash seeds, time zones, CPUs and threads", _tests("tests/nodes/test_determinism.py", long=True)),
    Check(("M1.E", "C5"), "real tapes: no violation by the auditor", _tests("tests/nodes/test_real_tapes.py", long=True)),
    Check(("M1.3",), "linear attention: equations, rivals, what is known when", _tests("tests/strategies/test_attention.py", "tests/strategies/test_shadow.py", "tests/strategies/test_adaptation.py")),
    Check(("M1.4", "M1.D"), "fast weights: rule, bound, state to the last bit", _tests("tests/strategies/test_fast_weights.py", "tests/nodes/test_learning.py", "-k", "not flips")),
    Check(("M1.6", "M1.D", "Q2"), "probes find planted events; every order has belief, probes and explanation", _tests("tests/reflection/test_probes.py", "tests/nodes/test_world_events.py", "tests/reflection/test_coverage.py")),
    Check(("M1.7", "M1.C"), "drift sentry: alarms, actions within one step, theory packets", _tests("tests/actors/test_drift.py", "tests/nodes/test_sentry.py", "tests/reflection/test_packets.py")),
    Check(("M1.8", "Q3"), "graph diagnostics: collapse and over-smoothing are alerts", _tests("tests/reflection/test_graph.py")),
    Check(("M1.B",), "planted regime flips are routed in time; label-only flips do nothing", _tests("tests/nodes/test_learning.py", "-k", "flips", long=True)),
    Check(("B4",), "hidden Markov regime: filter, collapse, fit", _tests("tests/actors/test_hmm.py", "tests/nodes/test_regime_fit.py", long=True)),
    Check(("Q1",), "red team: no order on bad data, each scenario red without its mechanism", _tests("tests/nodes/test_red_team.py", long=True)),
    Check(("M1.8", "M4.5"), "nightly: idempotent, survives kill -9", _tests("tests/nodes/test_nightly.py", long=True)),
    Check(("M2.1", "M2.2", "M2.3"), "genotypes, operators, 100,000 chains that loosen nothing", _tests("tests/evolution/test_genotype.py", "tests/evolution/test_operators.py", "tests/risk/test_tightness.py", long=True)),
    Check(("M2.4", "M2.5", "B1", "B2"), "search, archive, transcript, fair order, race", _tests("tests/evolution/test_search.py", "tests/evolution/test_archive.py", "tests/evolution/test_grid.py", "tests/evolution/test_fitness.py")),
    Check(("M2.6",), "one search by any launcher; kill -9 of workers and driver", _tests("tests/nodes/test_evolve.py", long=True)),
    Check(("M2.7", "M2.8", "M2.9", "M2.B", "B3"), "exploration: budget, guardrail, freeze, why not the other", _tests("tests/risk/test_exploration.py", "tests/strategies/test_exploring.py", "tests/nodes/test_exploring.py", "tests/nodes/test_whynot.py", long=True)),
    Check(("M2.10", "M2.12"), "ledger, stages, leakage, the gate and its cheats", _tests("tests/reflection/test_ledger.py", "tests/reflection/test_stages.py", "tests/reflection/test_trials.py", "tests/nodes/test_counting.py", "tests/nodes/test_leakage.py", "tests/evolution", long=True)),
    Check(("M2.A", "M2.11", "C3"), "search, judgement, dossier, a stranger; a policy by its hash", _tests("tests/nodes/test_dossier.py", "tests/nodes/test_stranger.py", "tests/nodes/test_judge.py", "tests/nodes/test_policy_app.py", long=True)),
    Check(("M2.D",), "decision latency, exploration off, against the code before it", (sys.executable, "-W", "ignore", "-m", "benchmarks.evolve", "--only", "cost", "--pairs", "5")),
    Check(("M3.1",), "edits and proposals: what can be said, and nothing loosens", _tests("tests/reflection/test_edits.py", "tests/reflection/test_proposals.py", "tests/reflection/test_slices.py")),
    Check(("M3.1",), "the models of the reflection job: labels, engines, the same bytes on another CPU", _tests("tests/nodes/test_rim_train.py", "tests/reflection/test_engines.py", long=True)),
    Check(("M3.2", "M3.C"), "governance: each condition refuses; 1,000 adversarial proposals", _tests("tests/reflection/test_governance.py", "tests/reflection/test_uplift.py", "tests/nodes/test_rim_adversarial.py", long=True)),
    Check(("M3.3", "M3.A", "C4"), "the reflection job: applied by rule, in stages; kill -9 at 20 moments", _tests("tests/nodes/test_rim.py", "tests/nodes/test_rim_stages.py", "tests/nodes/test_rim_crash.py", long=True)),
    Check(("M3.A", "M3.B"), "a policy that is wrong for its market, from the diary to the policy in force", ("sh", "scripts/rim-demo", str(Path(sys.executable).parent))),
    Check(("M3.3",), "the canary's cap in the law, and the auditor", _tests("tests/risk/test_caps.py", "tests/nodes/test_canary.py")),
    Check(("M3.4", "M3.B"), "the ledger of proposals: nothing unlawful is an entry, every change is traced", _tests("tests/reflection/test_feedback.py", "tests/nodes/test_ledger_app.py")),
    Check(("C2", "M0.B", "M4.3"), "paper is the replay to the byte, and goes on after 50 kill -9", _tests("tests/nodes/test_paper.py", "tests/nodes/test_paper_kill.py", "tests/nodes/test_journal.py", "tests/nodes/test_sessions.py", long=True)),
    Check(("C2", "Q4"), "bad input around a paper node, a disk that fills under it", _tests("tests/nodes/test_full_disk.py", "tests/nodes/test_paper_bad_input.py", long=True)),
    Check(("C2",), "a policy on paper by its entry in the ledger", _tests("tests/nodes/test_paper_entry.py")),
    Check(("M4.3",), "Redis as the cache's copy: foreign keys, kill -9, a server that is lost", _tests("tests/nodes/test_redis.py", long=True)),
    Check(("M4.4", "Q2"), "metrics of a node: its own records, red when the loop is stuck, held up by nobody", _tests("tests/nodes/test_metrics.py", "tests/nodes/test_metrics_server.py", long=True)),
    Check(("M4.3",), "an exchange on loopback, its books, its faults, the bundled adapter; paper nodes that hear it, lose it and are killed", _tests("tests/venue", *OF_LIVE, long=True)),
    Check(("M4.3",), "a node at an exchange: faults, kill -9, strangers, outages; its books", _tests("tests/nodes/test_broker.py", "tests/nodes/test_faults_judge.py", "tests/risk/test_base_fees.py", "tests/venue/test_orders.py", long=True)),
    Check(("C2",), "killed from outside, restarted, keys and heartbeat", _tests("tests/nodes/test_kill_direct.py", "tests/nodes/test_kill_door.py", "tests/nodes/test_supervise.py", "tests/nodes/test_secrets.py", "tests/nodes/test_canary_scan.py", "tests/nodes/test_beats.py", "tests/nodes/test_units.py", long=True)),
    Check(("C2", "M4.A"), "memory of a node stays bounded; leaks and changed checkpoints are found", _tests("tests/nodes/test_soak.py", "tests/nodes/test_stages.py", "tests/risk/test_record.py", long=True)),
    Check(("C2", "M4.A"), "a short soak: checkpoints that are signed, nothing that the auditor finds", (sys.executable, "-W", "ignore", "-m", "benchmarks.soak", "--hours", "0.02")),
    Check(("C2",), "drills: kill, flood, runaway, an exchange past a trader that hangs or is dead, restart, drift; each judge fails where it should", _tests("tests/nodes/test_drills.py", long=True)),
    Check(("M4.4", "B5"), "alerts, routes and dashboards: sound, each alert fires on its cause and not below it; alarms acknowledged", _tests("tests/deploy/test_alerts.py", "tests/nodes/test_alarms.py", "tests/nodes/test_rules.py", long=True)),
    Check(("M4.4", "M4.B", "B5"), "every alert fires in a drill, arrives and is acknowledged; a dead channel is noticed", _tests("tests/nodes/test_alert_drill.py", long=True)),
    Check(("M4.2",), "tapes of files and of an exchange: resumable, checked, damage refused", _tests("tests/nodes/test_tapes.py", "tests/nodes/test_download.py", "tests/nodes/test_download_crash.py", "tests/nodes/test_download_door.py", long=True)),
    Check(("M4.4", "M4.5"), "console: 500 attacks without effect, who and why in the ledger, a node that is frozen", _tests("tests/nodes/test_console_guard.py", "tests/nodes/test_console_attacks.py", "tests/nodes/test_console_watch.py", "tests/nodes/test_operator.py", "tests/nodes/test_freeze.py", long=True)),
    Check(("M4.4", "M4.5"), "make run-paper at a terminal: a Ctrl-C and a hang-up end the node flat, and the console after it", _tests("tests/nodes/test_run_paper.py", long=True)),
    Check(("M4.4", "M4.5"), "console in Chromium: live figures, every action by clicks, scripts stay text; nothing old looks as if it were of now; kill -9 of it changes nothing", _tests("tests/nodes/test_console_page.py", "tests/nodes/test_console_clicks.py", "tests/nodes/test_console_session.py", "tests/nodes/test_console_running.py", long=True)),
    Check(("M4.5", "M4.C", "B6"), "deployment files, units, retention, the playbook's sections", _tests("tests/test_deploy.py", "tests/nodes/test_units.py", "tests/nodes/test_retain.py", "tests/test_docs.py")),
    Check(("M4.1",), "a running diary stays few files, and loses nothing when a join is killed at any step", _tests("tests/reflection/test_segments.py", long=True)),
    Check(("M2.C", "K1", "K2", "K5"), "key figures from the ledger alone", _tests("tests/reflection/test_kpi.py")),
    Check(("M5.1",), "the last door: nothing leaves that was not approved, whatever is called; what a start has to find at the exchange", _tests("tests/nodes/test_door.py", "tests/nodes/test_door_broker.py", "tests/nodes/test_live_checks.py", "tests/nodes/test_live_settings.py", "tests/venue/test_live_door.py", "tests/venue/test_preflight.py", "tests/venue/test_rights.py", long=True)),
    Check(("M5.1", "M5.A"), "a live node, its door and its guardian at an exchange on loopback", _tests("tests/venue/test_live_door_node.py", "tests/venue/test_pilot.py", "tests/nodes/test_guardian.py", "tests/nodes/test_live_parts.py", long=True)),
    Check(("M5.A",), "a live node leaves what it holds to the next one, which takes it over under its own law, once, whoever dies", _tests("tests/risk/test_handover.py", "tests/nodes/test_handover_file.py", "tests/nodes/test_handover_broker.py", "tests/nodes/test_handover_input.py", "tests/nodes/test_handover_end.py", "tests/venue/test_pilot_handover.py", long=True)),
    Check(("M5.1",), "keys: where they may lie, another one while it trades, none in whatever is written", _tests("tests/nodes/test_secrets.py", "tests/nodes/test_redact.py", "tests/nodes/test_canary_scan.py", "tests/venue/test_pilot_keys.py", long=True)),
    Check(("M5.2",), "permits: two persons, a ledger that is believed, looks at it, clocks; what is not as it has to be permits nothing", _tests("tests/nodes/test_permits.py", "tests/nodes/test_permit_app.py", "tests/nodes/test_permit_input.py", "tests/reflection/test_permits.py", "tests/risk/test_permit.py", long=True)),
    Check(("M5.2", "M5.B", "K3"), "the law of live: approvals, caps on capital and loss, nothing explored; the auditor holds a run against its permit", _tests("tests/risk/test_approval.py", "tests/risk/test_live_law.py", "tests/risk/test_exploration.py", "tests/risk/test_audit_permit.py", "tests/risk/test_usage.py", "tests/risk/test_near.py", long=True)),
    Check(("M5.2", "M5.B"), "caps of a permit in the exchange's own books, each with the cap off as well", _tests("tests/venue/test_pilot_caps.py", long=True)),
    Check(("M5.B", "K2", "K3", "K4"), "promises as figures: promotions without a dossier, violations, orders without belief and probes", _tests("tests/reflection/test_kpi.py", "tests/risk/test_audit.py", "tests/risk/test_audit_brute.py", "tests/reflection/test_coverage.py", long=True)),
    Check(("M5.A",), "books: three sides compared, what is only on its way is no difference, a stranger's order is left alone", _tests("tests/nodes/test_reconcile.py", "tests/nodes/test_full.py", long=True)),
    Check(("M5.A",), "back to the policy before by one command; alerts of a live node fire on their causes and not below", _tests("tests/nodes/test_live_rollback.py", "tests/deploy/test_alerts.py", "-k", "live or rollback or Reconcile or UnknownOrder or Permit or LossCap or Preflight", long=True)),
    Check(("M5.3",), "audit archive: verified by Python alone, each check red without it, 200 changed bytes found, no secret, control map", _tests("tests/nodes/test_audit_verify.py", "tests/nodes/test_audit_export.py", "tests/nodes/test_audit_controls.py", long=True)),
    Check(("M5.2", "M5.A", "M5.B"), "judges of the live drill; attempts of every kind past the last door, each mechanism off gets one through", _tests("tests/nodes/test_live_drill.py", "tests/nodes/test_live_judge.py", "tests/nodes/test_live_steps.py", long=True)),
    Check(("M5.A", "M5.B", "K3"), "one run of the live drill: a node with a permit of two persons, from no entry to the archive; 10,000 attempts past its door; by the exchange's books", (sys.executable, "-W", "ignore", "-m", "benchmarks.live", "--runs", "1", "--out", FRESH)),
    Check(("Q4",), "bad input is one line and exit code 2", _tests("tests/nodes/test_bad_input.py", "tests/nodes/test_console_bad_input.py", long=True)),
    Check(("Q4",), "a wheel in an empty environment beside a user's own strategies/", _tests("tests/test_wheel.py", long=True)),
)  # fmt: skip


def _unshown(milestone: str, marks: str) -> list[str]:
    """Return the rows of a roadmap milestone with one of these marks that no check shows."""
    told = (ROOT / "docs" / "ROADMAP.md").read_text("utf-8")
    shown = {row for check in CHECKS for row in check.rows}
    rows = re.findall(rf"^- \[[{marks}]\] \*\*(M{milestone or 'none'}\.\w+)\*\*", told, re.M)
    return [row for row in rows if row not in shown]


def main() -> int:
    """Run the chosen checks and print the table; exit code 1 if any fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--milestone", default="", help="0 to 5: only the rows of that roadmap milestone")
    milestone = parser.parse_args().milestone
    known = sorted({row[1] for check in CHECKS for row in check.rows if row.startswith("M")})
    if milestone and milestone not in known:
        print(f"dod: M={milestone}: expected one of {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [c for c in CHECKS if not milestone or any(row.startswith(f"M{milestone}.") for row in c.rows)]
    claimed, still = (_unshown(milestone, marks) for marks in ("x", " ~"))
    table = Table("rows", "what", "result", "s", title="acceptance", title_justify="left", box=None)
    failed = bool(claimed)
    for row in claimed:
        table.add_row(row, "claimed in docs/ROADMAP.md, and no check shows it", "FAIL", "")
    for row in still:
        table.add_row(row, "open in docs/ROADMAP.md", "-", "")
    for check in tqdm(chosen, desc="acceptance", unit="check", disable=not sys.stderr.isatty()):
        started = time.monotonic()
        done = subprocess.run(check.command, cwd=ROOT, capture_output=True, text=True, check=False)
        last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), f"exit {done.returncode}")
        failed |= done.returncode != 0
        mark = "pass" if done.returncode == 0 else "FAIL"
        table.add_row(" ".join(check.rows), check.what, f"{mark}: {last.strip()}", f"{time.monotonic() - started:.0f}")
        if done.returncode:
            print(done.stdout[-4000:], done.stderr[-2000:], file=sys.stderr)
    shutil.rmtree(FRESH, ignore_errors=True)
    Console(soft_wrap=True, width=180).print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
