"""``make drills``: things that go wrong, each a real run of processes on loopback, with a verdict and how long it took.

A drill is a :class:`~benchmarks.drills.record.Drill` in the list of :mod:`benchmarks.drills.__main__`: a function that
does it once in a folder of its own and returns a :class:`~benchmarks.drills.record.Trial`. What has gone wrong is
decided by a function of facts alone, so that a test can plant each fault.
"""
