"""Latency counters as HDR histograms: wall-clock figures, kept in a file of their own and out of every digest."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_NS, HIGHEST_NS, DIGITS = 1, 60_000_000_000, 3


class Reached(NamedTuple):
    """How many durations are within each bound, how many there are at all, and their sum, ns."""

    within: tuple[int, ...]
    all: int
    total_ns: int

    def since(self, before: "Reached") -> "Reached":
        """Return what has come since an earlier moment."""
        within = tuple(now - then for now, then in zip(self.within, before.within, strict=True))
        return Reached(within, self.all - before.all, self.total_ns - before.total_ns)


class Latency:
    """Durations, counted in buckets of three digits: what it takes does not grow with them."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
        self._total_ns = 0

    def record(self, samples: Iterable[int]) -> None:
        """Count durations, ns, all at once: the library takes 2 µs for each."""
        values = np.fromiter(samples, np.int64).clip(LOWEST_NS, HIGHEST_NS)
        if not len(values):
            return
        histogram = self._histogram
        np.add.at(np.frombuffer(histogram.counts, np.uint64), self._places(values), 1)
        self._total_ns += int(values.sum())
        histogram.total_count += len(values)
        histogram.min_value = min(histogram.min_value, int(values.min()))
        histogram.max_value = max(histogram.max_value, int(values.max()))

    def _places(self, values: NDArray[np.int64]) -> Any:
        """Return the bucket of each duration, ns."""
        histogram, half = self._histogram, self._histogram.sub_bucket_half_count_magnitude
        bucket = np.frexp(values | histogram.sub_bucket_mask)[1] - (half + 1)
        return (bucket << half) + (values >> bucket)

    def reached(self, bounds: Sequence[int]) -> Reached:
        """
        Return how many durations are within each of some bounds; one in the bucket of a bound is within it.

        Parameters
        ----------
        bounds : sequence of int
            Ascending, ns.
        """
        places = self._places(np.asarray(bounds, np.int64))
        counts = np.frombuffer(self._histogram.counts, np.uint64)
        parts = np.add.reduceat(counts, np.concatenate([[0], places + 1]))  # the last: beyond all bounds
        return Reached(tuple(np.cumsum(parts[:-1]).tolist()), self.count, self._total_ns)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._histogram.get_total_count())

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many there are in each bucket, for :meth:`quantiles`."""
        return np.array(self._histogram.counts, np.int64)

    def quantiles(self, since: NDArray[np.int64] | None = None) -> dict[str, int]:
        """
        Return count, p50, p99, p99.9 and maximum, ns; zeros where there is no sample.

        Parameters
        ----------
        since : ndarray of int64, optional
            `counts` of an earlier moment: only those that came later are told of.
        """
        histogram, counts = self._histogram, self.counts
        reached = np.cumsum(counts if since is None else counts - since)  # the library walks over 20,000 buckets
        count = int(reached[-1])
        if not count:
            return dict.fromkeys(("count", "p50_ns", "p99_ns", "p999_ns", "max_ns"), 0)

        def at(share: float) -> int:
            bucket = int(np.searchsorted(reached, max(int(share * count / 100.0 + 0.5), 1)))
            return int(histogram.get_highest_equivalent_value(histogram.get_value_from_index(bucket)))

        return {
            "count": count,
            "p50_ns": at(50.0),
            "p99_ns": at(99.0),
            "p999_ns": at(99.9),
            "max_ns": at(100.0),
        }


def quantiles(samples: Iterable[int]) -> dict[str, int]:
    """
    Return count, p50, p99, p99.9 and maximum of durations in nanoseconds; zeros where there is no sample.

    Parameters
    ----------
    samples : iterable of int
        Durations, ns.
    """
    latency = Latency()
    latency.record(samples)
    return latency.quantiles()
