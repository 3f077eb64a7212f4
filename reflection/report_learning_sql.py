"""The queries of the report about learning, over the diary's views and over `truth` and `drift`."""

# What is missing in a world's truth is null; without a world `truth` is empty.
TRUTH = ("event", "nature", "pays")

# From here on decisions are those of the run's own policy: a canary routes by another table. It hides the view.
OWN = "CREATE TEMP TABLE decisions AS SELECT * FROM main.decisions WHERE policy_hash = ? ORDER BY ts"

ROUTES = """
    WITH met AS (SELECT d.decision, d.regime, d.exec_topo, t.nature, t.pays
                 FROM decisions d ASOF LEFT JOIN truth t ON d.instrument = t.instrument AND d.ts >= t.ts),
         outcomes AS (SELECT decision, {markout} AS mo FROM expost WHERE fills > 0)
    SELECT regime, nature, pays, exec_topo, count(*) AS n, count(mo) AS traded,
           coalesce(sum(mo), 0)::DOUBLE AS total
    FROM met LEFT JOIN outcomes USING (decision) GROUP BY ALL ORDER BY ALL
"""

SWITCHES = """
    SELECT count(*) FILTER (exec_topo <> before) FROM (
        SELECT exec_topo, lag(exec_topo) OVER (PARTITION BY instrument ORDER BY ts) AS before FROM decisions)
"""

SCORES = """
    SELECT slice, tactic, avg(score) FILTER (NOT isnan(score)) AS score
    FROM (SELECT ((ts - {start}) // {width})::INT AS slice, unnest(candidates) AS tactic, unnest(scores) AS score
          FROM decisions WHERE instrument = ?)
    WHERE slice IS NOT NULL AND tactic IS NOT NULL GROUP BY ALL ORDER BY ALL
"""

# A spell of rows with the same event is one event: within it, the two numbers of a row differ by the same.
PLANTED = """
    WITH numbered AS (SELECT instrument, ts, event,
                             row_number() OVER (PARTITION BY instrument ORDER BY ts)
                             - row_number() OVER (PARTITION BY instrument, event ORDER BY ts) AS spell FROM truth)
    SELECT instrument, event, min(ts) AS first_ts, max(ts) AS last_ts
    FROM numbered WHERE event <> '' GROUP BY instrument, event, spell ORDER BY ALL
"""

NORMS = """
    SELECT slice, min(sigma_norm) AS low, avg(sigma_norm) AS mean, max(sigma_norm) AS high, avg(sigma_rank) AS rank
    FROM (SELECT ((ts - {start}) // {width})::INT AS slice, sigma_norm, sigma_rank FROM decisions
          WHERE instrument = ? AND sigma_norm IS NOT NULL)
    GROUP BY slice ORDER BY slice
"""

CLAMPED = """
    SELECT avg((sigma_norm >= {bound})::INT) FROM decisions WHERE sigma_norm IS NOT NULL
"""

PROBED = "SELECT ts, {value}::DOUBLE AS y FROM decisions WHERE instrument = ? AND {value} IS NOT NULL ORDER BY ts"

CHARTS = """
    CREATE TEMP VIEW charts AS
    SELECT ts, instrument, stream, cusum_up, cusum_down, page_hinkley, threshold,
           greatest(cusum_down, page_hinkley) AS worst
    FROM drift WHERE level <> 'learning' AND NOT isnan(threshold)
"""

STREAMS = """
    SELECT instrument, stream, count(*) AS outcomes, avg(value) AS mean, first(level ORDER BY ts DESC) AS level,
           max(greatest(cusum_down, page_hinkley)) FILTER (level <> 'learning') AS largest,
           max(threshold) FILTER (level <> 'learning') AS threshold,
           count(*) FILTER (level <> 'learning' AND greatest(cusum_down, page_hinkley) > threshold) AS alarms
    FROM drift GROUP BY ALL ORDER BY instrument, stream
"""

ALARMS = "SELECT ts / 1e6 AS t, worst AS y FROM charts WHERE instrument = ? AND stream = ? AND worst > threshold"
