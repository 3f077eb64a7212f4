"""Benchmarks: ``python -m benchmarks.<name>`` measures one claim and writes ``artifacts/bench/<name>.json``.

Everything is measured in the run that prints it: what is compared runs in interleaved pairs, each run in a process of
its own, and medians are reported with a bootstrap interval. `benchmarks.figures` has the rows and the helpers.
"""
