"""Durations are counted all at once in the places where the library of the histogram puts them one by one."""

import random

import pytest
from hdrh.histogram import HdrHistogram

from alphatrade.nodes.latency import DIGITS, HIGHEST_NS, LOWEST_NS, Latency


@pytest.mark.parametrize("seed", range(3))
def test_all_at_once_is_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    edges = [(1 << bit) + off for bit in range(36) for off in (-1, 0, 1)]
    samples = [-5, 0, HIGHEST_NS, HIGHEST_NS + 1, 2**62, *edges, *(int(2 ** rng.uniform(0, 36)) for _ in range(20_000))]
    wanted, latency = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS), Latency()
    for sample in samples:
        assert wanted.record_value(min(max(sample, LOWEST_NS), HIGHEST_NS))
    for at in range(0, len(samples), 1000):
        latency.record(samples[at : at + 1000])
    latency.record([])
    found = latency._histogram
    assert list(found.counts) == list(wanted.counts)
    assert (found.total_count, found.min_value, found.max_value) == (
        wanted.total_count,
        wanted.min_value,
        wanted.max_value,
    )
    for name, percentile in (("p50_ns", 50.0), ("p99_ns", 99.0), ("p999_ns", 99.9)):
        assert latency.quantiles()[name] == wanted.get_value_at_percentile(percentile)
