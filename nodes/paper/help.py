"""What ``alphatrade paper --help`` says: a page of our own; Hydra's would be the whole configuration."""

ASKED = frozenset({"--help", "-h"})
PAGE = """\
Usage: alphatrade paper [overrides]

Run a policy on paper, in a Nautilus TradingNode: live prices or a tape, the law in between, no money at stake.
  a tape as a live feed, no network    alphatrade paper
  as fast as it goes                   alphatrade paper feed.speed=max tape=world
  live prices, public, no key          alphatrade paper feed=binance "feed.symbols=[BTCUSDT,ETHUSDT]"
  orders at the testnet, with keys     alphatrade paper feed=binance feed.testnet=true broker=binance venue.account=cash
  a policy of the ledger, by its hash  alphatrade paper policy_entry=1f3ac09b

Ctrl-C or SIGTERM cancels what rests, closes what is held and writes the run folder. After kill -9 the same command
goes on where it was. From another terminal: alphatrade kill, alphatrade status, alphatrade release.

Exit codes: 0 the run is over, or was stopped; 1 it crashed; 2 bad input, a latched kill switch, an account in use.
Groups, GROUP=CHOICE:
  feed         replay, binance
  broker       simulated, binance (the testnet)
  tape         btcusd_1m, catalog, file, reverting, world
  env          paper, live-shadow
  policy/risk  default, pilot, tight
  cache        memory, redis
Keys, KEY=VALUE: account, seed, policy_file, policy_entry, feed.symbols, feed.kind, feed.speed, feed.testnet,
  broker.secrets_dir, venue.account, sessions.calendar, journal, flat_at_end, paths.artifacts, metrics.port
The whole configuration, with the overrides given: alphatrade paper --cfg job. Hydra's own options: --hydra-help.
"""
