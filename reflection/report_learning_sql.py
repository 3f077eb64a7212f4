"""The queries of the report about learning, over the diary's views and over `truth` and `drift`."""

# What is missing in a world's truth is null; without a world `truth` is empty.
TRUTH = ("event", "nature", "pays")

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

# A spell of rows with the same event is one event.
PLANTED = """
    WITH marked AS (SELECT instrument, ts, event,
                           event IS DISTINCT FROM lag(event) OVER (PARTITION BY instrument ORDER BY ts) AS begins
                    FROM truth),
         numbered AS (SELECT *, count(*) FILTER (begins) OVER (PARTITION BY instrument ORDER BY ts
                                                               ROWS UNBOUNDED PRECEDING) AS spell FROM marked)
    SELECT instrument, event, min(ts) AS first_ts, max(ts) AS last_ts
    FROM numbered WHERE event <> '' GROUP BY instrument, event, spell ORDER BY ALL
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
