"""Latency counters as HDR histograms: wall-clock figures, kept in a file of their own and out of every digest."""

from collections.abc import Iterable

from hdrh.histogram import HdrHistogram

LOWEST_NS, HIGHEST_NS, DIGITS = 1, 60_000_000_000, 3


def quantiles(samples: Iterable[int]) -> dict[str, int]:
    """
    Return count, p50, p99, p99.9 and maximum of durations in nanoseconds; zeros where there is no sample.

    Parameters
    ----------
    samples : iterable of int
        Durations, ns.
    """
    histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    for sample in samples:
        histogram.record_value(min(max(sample, LOWEST_NS), HIGHEST_NS))
    count = histogram.get_total_count()
    at = histogram.get_percentile_to_value_dict([50.0, 99.0, 99.9]) if count else {}
    return {
        "count": count,
        "p50_ns": at.get(50.0, 0),
        "p99_ns": at.get(99.0, 0),
        "p999_ns": at.get(99.9, 0),
        "max_ns": histogram.get_max_value() if count else 0,
    }
