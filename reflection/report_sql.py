"""The queries of the report over the views of :func:`alphatrade.reflection.query.open_views`."""

SPAN = "SELECT min(ts), max(ts) FROM (SELECT ts FROM equity UNION ALL SELECT ts FROM decisions)"

# Prices at decisions where there are some; a run without perception has only the marks of the law.
PRICES = """
    CREATE TEMP TABLE prices AS
    SELECT instrument, ts, mid FROM decisions WHERE mid IS NOT NULL AND NOT isnan(mid)
    UNION ALL
    SELECT instrument, ts, (bid + ask)::DOUBLE / 2 FROM marks
    WHERE instrument NOT IN (SELECT instrument FROM decisions WHERE mid IS NOT NULL AND NOT isnan(mid))
"""

JOINED = """
    CREATE TEMP TABLE joined AS
    SELECT f.seq, f.ts, f.instrument, f.side, f.qty::DOUBLE AS qty, f.price::DOUBLE AS price, f.fee,
           f.realized, f.liquidity, f.currency, f.order_id,
           coalesce(d.exec_topo, '(no decision)') AS exec_topo, coalesce(d.regime, '(no decision)') AS regime
    FROM fills f LEFT JOIN decisions d ON f.decision = d.decision
"""

FILLS = """
    SELECT ts / 1e6 AS t, * REPLACE (fee::DOUBLE AS fee, realized::DOUBLE AS realized)
    FROM joined ORDER BY seq
"""

CELLS = """
    SELECT exec_topo, regime, count(*) AS fills, sum(realized)::DOUBLE AS realized, sum(fee)::DOUBLE AS fees,
           (sum(realized) - sum(fee))::DOUBLE AS net
    FROM joined GROUP BY ALL ORDER BY ALL
"""

DENIED = """
    SELECT code, sum(denied)::BIGINT AS denied, sum(near)::BIGINT AS near FROM (
        SELECT coalesce(split_part(reason, ':', 1), '(no reason)') AS code, 1 AS denied, 0 AS near
        FROM orders
        WHERE event = 'denied' OR event = 'modify_rejected' AND (order_id, reason) IN (
            SELECT (order_id, detail) FROM risk_events WHERE kind = 'denied')
        UNION ALL
        SELECT coalesce("limit", '(no limit)'), 0, 1 FROM risk_events WHERE kind = 'near_miss')
    GROUP BY code ORDER BY sum(denied + near), code
"""

NOTABLE = """
    SELECT kind, coalesce("limit", '') AS code, count(*) AS events, min(ts) AS first_ts,
           first(detail) AS detail
    FROM risk_events WHERE kind NOT IN ('denied', 'near_miss') GROUP BY ALL ORDER BY first_ts, kind, code
"""

# First, lowest, highest and last point of every slice of time.
THIN = """
    WITH points AS (SELECT ts, {value}::DOUBLE AS y, (ts - {start}) // {width} AS slice FROM {view} {where}),
         kept AS (SELECT unnest([first({{'ts': ts, 'y': y}}), arg_min({{'ts': ts, 'y': y}}, y),
                                 arg_max({{'ts': ts, 'y': y}}, y), last({{'ts': ts, 'y': y}})]) AS p
                  FROM points GROUP BY slice)
    SELECT DISTINCT p.ts / 1e6 AS t, p.y AS y FROM kept ORDER BY t, y
"""

STRIPES = """
    SELECT slice::INT AS slice, arg_max(regime, (n, regime)) AS regime
    FROM (SELECT (ts - {start}) // {width} AS slice, regime, count(*) AS n
          FROM decisions WHERE instrument = ? GROUP BY ALL)
    GROUP BY slice ORDER BY slice
"""

SHARES = """
    WITH made AS (SELECT ((ts - {start}) // {width})::INT AS slice, exec_topo, count(*) AS n
                  FROM decisions GROUP BY ALL)
    SELECT slice, exec_topo, n / sum(n) OVER (PARTITION BY slice) AS share FROM made ORDER BY ALL
"""

TOPOLOGIES = """
    WITH sent AS (SELECT d.exec_topo, count(DISTINCT o.order_id) AS orders
                  FROM orders o JOIN decisions d ON o.decision = d.decision GROUP BY ALL),
         made AS (SELECT d.exec_topo, count(*) AS decisions, avg(x.mo) AS markout,
                         stddev_samp(x.mo) / sqrt(count(x.mo)) AS error, count(x.mo) AS outcomes
                  FROM decisions d
                  LEFT JOIN (SELECT decision, {markout} AS mo FROM expost WHERE fills > 0) x
                  ON d.decision = x.decision GROUP BY ALL),
         paid AS (SELECT exec_topo, count(*) AS fills, sum(realized)::DOUBLE AS realized,
                         sum(fee)::DOUBLE AS fees, sum(qty * price) AS turnover
                  FROM joined GROUP BY ALL)
    SELECT coalesce(made.exec_topo, paid.exec_topo) AS exec_topo, coalesce(decisions, 0) AS decisions,
           coalesce(orders, 0) AS orders, coalesce(fills, 0) AS fills, coalesce(realized, 0) AS realized,
           coalesce(fees, 0) AS fees, coalesce(turnover, 0) AS turnover, markout, error,
           coalesce(outcomes, 0) AS outcomes
    FROM made FULL JOIN paid ON made.exec_topo = paid.exec_topo
    LEFT JOIN sent ON made.exec_topo = sent.exec_topo ORDER BY 1
"""

ACTIVE = """
    SELECT slice, unit, count(*) AS n
    FROM (SELECT ((ts - {start}) // {width})::INT AS slice, unnest(idx)::INT AS unit FROM {source})
    GROUP BY ALL
"""

STEPS = "SELECT ((ts - {start}) // {width})::INT AS slice, count(*) AS n FROM {source} GROUP BY ALL"

COUNTS = "SELECT len(idx) AS active, count(*) AS steps FROM {source} GROUP BY 1 ORDER BY 1"
