"""From a clone to a report on the screen: the time of the two commands that a newcomer types.

``python -m benchmarks.first_run``

Clones this checkout into a temporary folder, without a virtual environment, and runs ``make run-sim`` there. Packages
come from pip's cache where it has them.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.figures import ROOT, figure, publish

COMMAND = "python -m benchmarks.first_run"


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "alphatrade"
        started = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        cloned = time.perf_counter()
        subprocess.run(["make", "run-sim"], cwd=clone, check=True, capture_output=True)
        done = time.perf_counter()
        assert (clone / "artifacts" / "latest" / "report.html").exists()
    what = "make run-sim: environment, replay, stress, report"
    publish(
        "first_run",
        [
            figure("first_run.clone", "git clone", cloned - started, "s", command=COMMAND),
            figure("first_run.run_sim", what, done - cloned, "s", command=COMMAND),
        ],
    )


if __name__ == "__main__":
    main()
