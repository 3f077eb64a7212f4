"""``python -m benchmarks``: every benchmark in turn, each with its own table and JSON file (about an hour)."""

import argparse
import subprocess
import sys

from benchmarks.figures import ROOT

TARGETS = ("throughput", "gate_cost", "order_heavy", "peers", "first_run")


def main() -> int:
    """Run the chosen benchmarks; exit code 1 if one of them could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=list(TARGETS))
    failed = 0
    for target in parser.parse_args().targets:
        print(f"-- {target}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", f"benchmarks.{target}"], cwd=ROOT, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
