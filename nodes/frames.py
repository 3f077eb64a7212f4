"""Parquet files of runs as data frames."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq


def read_frame(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """
    Return a Parquet file, or some columns of it.

    ``pandas.read_parquet`` opens the file in Python, and a reader's thread may let go of the last buffer of it while
    the interpreter shuts down, which aborts the process: seen in one exit of ten after a run from Python.

    Parameters
    ----------
    path : Path
    columns : sequence of str, optional
        By default all.
    """
    return pq.read_table(path, columns=None if columns is None else list(columns), partitioning=None).to_pandas()
