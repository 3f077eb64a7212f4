"""A Binance spot venue on loopback: the bundled adapter connects to it unmodified, and it keeps its own books.

::

    tape ──▶ market ──quote──▶ matching ──▶ books (balances, orders, trades)
               │ trades, candles    │ reports
               ▼                    ▼
            streams (/stream, /ws)  ws_api (/ws-api/v3)      rest (/api/v3, /sapi)
               └───────── sockets, through faults ─────────────┘
                               control, on a port of its own: reads the books, injects faults

`server.Venue` puts it together; ``python -m tests.venue`` runs it as a process that survives the node it serves.
"""
