"""Benchmarks: each module measures one claim and writes ``artifacts/bench/<target>.json`` (``python -m benchmarks.<name>``).

Everything is measured in the run that prints it: what is compared runs in interleaved pairs, each run in a process of
its own, and medians are reported with a bootstrap interval. `benchmarks.figures` has the rows and the helpers.
"""
