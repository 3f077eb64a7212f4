"""What ``alphatrade live --help`` says."""

PAGE = """\
Usage: alphatrade live [--check] [overrides]

Run a policy of the ledger with real orders, in a Nautilus TradingNode. It has to be in stage limited_live, and a permit
of two persons has to stand: alphatrade permit. The ledger is the one that this machine's anchor names.
  every check, and no order           alphatrade live --check
  the exchange's testnet              alphatrade live
  money                               alphatrade live broker.net=mainnet feed.testnet=false

It trades what the permit lets it, and nothing else. Ctrl-C or SIGTERM cancels what rests, closes what is held and
writes the run folder. After kill -9 the same command goes on where it was. From another terminal: alphatrade kill,
alphatrade status, alphatrade release. No word here switches a check off.

Exit codes: 0 the run is over, or was stopped; 1 it crashed; 2 bad input, no permit, a check that does not hold, a
latched kill switch, an account in use.
Groups, GROUP=CHOICE:
  policy/risk is the policy's own; feed  binance; broker  live
Keys, KEY=VALUE: account, policy_entry, feed.symbols, feed.kind, feed.testnet, broker.net, broker.secrets_dir,
  guard.reconcile_min, sessions.calendar, paths.artifacts, metrics.port
The whole configuration, with the overrides given: alphatrade live --cfg job. Hydra's own options: --hydra-help.
"""
