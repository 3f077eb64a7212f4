"""The graph of fast weights of a run: read from its folder, and written there as ``graph.json`` and ``graph.html``.

A run writes ``sigma.parquet``, or ``sigma-<instrument>.parquet`` for each instrument: a row ``pre, post, weight`` for
every synapse that is not zero. The number of units is in the file's metadata (``n``), else in ``policy.json``.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphatrade.reflection.graph import Floats, GraphSpec, Health, diagnose
from alphatrade.reflection.query import check_run_dir, read_mapping
from alphatrade.risk.errors import RunDirError

COLUMNS = ("pre", "post", "weight")
MOST_UNITS = 4096


def read_sigmas(run_dir: Path) -> dict[str, Floats]:
    """
    Return the synapses of a run, shape (n, n), post x pre, by the name in the file's name; ``sigma`` without one.

    Raises
    ------
    RunDirError
        If there are none, or a file is damaged or holds what no synapses are.
    """
    run_dir = check_run_dir(run_dir)
    files = sorted(run_dir.glob("sigma*.parquet"))
    if not files:
        expected = "a run with policy.flags.fast_weights=true: only that writes its synapses"
        raise RunDirError(str(run_dir), "no sigma.parquet", expected)
    belief = read_mapping(run_dir, "policy.json").get("belief")
    units = belief.get("n") if isinstance(belief, dict) else None
    return {path.stem.partition("-")[2] or "sigma": _read(path, units) for path in files}


def _read(path: Path, units: object) -> Floats:
    try:
        table = pq.read_table(path)
        pre, post = (table[name].to_numpy().astype(np.int64) for name in COLUMNS[:2])
        weight = table["weight"].to_numpy().astype(np.float64)
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        raise RunDirError(str(path), what, f"columns {', '.join(COLUMNS)}") from None
    named = (table.schema.metadata or {}).get(b"n", b"").decode(errors="replace")
    n = int(named) if named.isdigit() else units
    if not isinstance(n, int) or not 2 <= n <= MOST_UNITS:
        raise RunDirError(str(path), n, f"a number of units n, from 2 to {MOST_UNITS}, in it or in policy.json")
    for name, column in (("pre", pre), ("post", post)):
        if len(column) and not 0 <= int(column.min()) <= int(column.max()) < n:
            raise RunDirError(f"{path}, {name}", f"{column.min()} to {column.max()}", f"units from 0 to {n - 1}")
    if not np.isfinite(weight).all():
        raise RunDirError(f"{path}, weight", "NaN or infinity", "finite numbers")
    if len(np.unique(post * n + pre)) < len(pre):
        raise RunDirError(str(path), "a synapse twice", "one row for each")
    sigma = np.zeros((n, n))
    sigma[post, pre] = weight
    return sigma


def bounded(run_dir: Path, spec: GraphSpec) -> GraphSpec:
    """Return `spec` with the bound of the norm that the run's policy says, if it says one."""
    node: Any = read_mapping(run_dir, "policy.json")
    for key in ("learning", "fast_weights", "bound"):
        node = node.get(key) if isinstance(node, dict) else None
    return spec.model_copy(update={"bound": float(node)}) if isinstance(node, int | float) and node > 0 else spec


def diagnose_run(run_dir: Path, spec: GraphSpec) -> dict[str, tuple[Floats, Health]]:
    """Return synapses and their health for each sigma of a run; errors as :func:`read_sigmas`."""
    sigmas = read_sigmas(run_dir)
    bound = bounded(run_dir, spec)
    return {name: (sigma, diagnose(sigma, bound)) for name, sigma in sigmas.items()}


def write_graph(run_dir: Path, found: dict[str, tuple[Floats, Health]], spec: GraphSpec, page: str) -> None:
    """
    Write ``graph.json`` and ``graph.html``, each whole or not at all.

    Raises
    ------
    RunDirError
        If the folder cannot be written.
    """
    plain = {
        "settings": spec.model_dump(mode="json"),
        "graphs": {
            name: health._asdict() | {"measures": {key: one._asdict() for key, one in health.measures.items()}}
            for name, (_, health) in found.items()
        },
    }
    for file, text in (("graph.json", json.dumps(plain, indent=1) + "\n"), ("graph.html", page)):
        out, part = run_dir / file, run_dir / f"{file}.tmp"
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(out)
        except OSError as error:
            raise RunDirError(str(out), str(error), "a writable folder with free space") from None
