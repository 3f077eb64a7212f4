"""What the peer scripts share: bars of an .npz file in, one line of JSON out. Imports nothing of AlphaTrade."""

import json
import sys
import time

import numpy as np
import pandas as pd

COLUMNS = ("open", "high", "low", "close", "volume")


def load():
    """Return the file named on the command line: its bars as a data frame, the rule and the other facts as arrays."""
    facts = np.load(sys.argv[1])
    index = pd.to_datetime(facts["ts"], unit="ns")
    return pd.DataFrame({name: facts[name] for name in COLUMNS}, index=index), facts


def timed(run):
    """Return what `run` gives, and its times as figures."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return result, {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def tell(figures, bars, **results):
    """Print all figures of a run over `bars` as JSON."""
    print(json.dumps(figures | {"peak_rss_mb": peak_rss_mb(), "bars": len(bars)} | results))


def peak_rss_mb():
    """Return this process's own peak memory in MB; ru_maxrss would be the parent's."""
    with open("/proc/self/status") as status:
        return sum(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
