"""Faults and kill -9 for a paper node whose orders go to an exchange, judged in the exchange's own books.

::

    tests.venue (a process) ◀── faults, on command ── place ── kill -9, start ──▶ alphatrade paper (a process)
        │ books: orders, fills, balances               │                              │ beats: what it believes
        └──────────────────────────────▶ judge ◀───────┴──────────────────────────────┘

After each fault and each kill the market stands still until the node's beat says what the exchange's books say. When a
segment is over the node is stopped, and its record is compared with the books, order by order and fill by fill.
"""
