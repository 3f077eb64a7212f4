"""A Binance spot venue on loopback: the bundled adapter connects to it unmodified, and it keeps its own books.

::

    tape ──▶ market ──quote──▶ matching ──▶ books (balances, orders, trades)
               │ trades, candles    │ reports
               ▼                    ▼
            streams (/stream, /ws)  ws_api (/ws-api/v3)      rest (/api/v3, /sapi)
               └───────── sockets, through faults ─────────────┘
                               control, on a port of its own: reads the books, injects faults

`server.Venue` puts it together; ``python -m tests.venue`` runs it as a process that survives the node it serves. A test
takes one from `make_venue.running` (in a thread, the price moves on command) or `make_venue.spawned` (a process), and a
stock node on it from `make_node.drive`::

    with running() as venue:
        venue.quote(30000, 30001)
        venue.order("BUY", "MARKET", "0.1")             # signed REST, without a node
        venue.fault("drop", where="user")               # the table of faults is in `faults`
        venue.look("books")["audit"]                    # what does not add up: nothing

What the bundled adapter does when things go wrong is written down in `test_adapter_facts`.
"""
