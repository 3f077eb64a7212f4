"""Latency counters as HDR histograms: wall-clock figures, kept in a file of their own and out of every digest."""

from collections.abc import Iterable

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_NS, HIGHEST_NS, DIGITS = 1, 60_000_000_000, 3


class Latency:
    """Durations, counted in buckets of three digits: what it takes does not grow with them."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)

    def record(self, samples: Iterable[int]) -> None:
        """Count durations, ns, all at once: the library takes 2 µs for each."""
        values = np.fromiter(samples, np.int64).clip(LOWEST_NS, HIGHEST_NS)
        if not len(values):
            return
        histogram, half = self._histogram, self._histogram.sub_bucket_half_count_magnitude
        bits = np.frexp(values | histogram.sub_bucket_mask)[1]
        bucket = bits - (half + 1)
        np.add.at(np.frombuffer(histogram.counts, np.uint64), (bucket << half) + (values >> bucket), 1)
        histogram.total_count += len(values)
        histogram.min_value = min(histogram.min_value, int(values.min()))
        histogram.max_value = max(histogram.max_value, int(values.max()))

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._histogram.get_total_count())

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many there are in each bucket, for :meth:`since`."""
        return np.array(self._histogram.counts, np.int64)

    def since(self, counts: NDArray[np.int64]) -> "Latency":
        """Return those that came after there were `counts`."""
        later, histogram = Latency(), self._histogram
        fresh = self.counts - counts
        for bucket in np.flatnonzero(fresh):
            later._histogram.record_value(histogram.get_value_from_index(int(bucket)), int(fresh[bucket]))
        return later

    def quantiles(self) -> dict[str, int]:
        """Return count, p50, p99, p99.9 and maximum, ns; zeros where there is no sample."""
        histogram = self._histogram
        count = histogram.get_total_count()
        if not count:
            return dict.fromkeys(("count", "p50_ns", "p99_ns", "p999_ns", "max_ns"), 0)
        reached = np.cumsum(histogram.counts)  # the library walks over its 20,000 buckets one by one

        def at(percentile: float) -> int:
            bucket = int(np.searchsorted(reached, histogram.get_target_count_at_percentile(percentile)))
            return int(histogram.get_highest_equivalent_value(histogram.get_value_from_index(bucket)))

        return {
            "count": count,
            "p50_ns": at(50.0),
            "p99_ns": at(99.0),
            "p999_ns": at(99.9),
            "max_ns": histogram.get_max_value(),
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
