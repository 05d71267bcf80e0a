"""The statements that make the sums of `rollup`: tables, what a row of each is, and how rows are added to rows.

`{source}` is the table `calls`, or anything with its columns; `{sign}` is empty, or a minus to take rows out again.
"""

from collections.abc import Mapping, Sequence

STEPS = 8
"""Steps of latency to a power of two: a step is 9 % wide, so a percentile is within 4.5 % of the truth."""

TABLES = """
CREATE TABLE counted_traffic (
    hour INTEGER, pattern_id VARCHAR, route VARCHAR, model VARCHAR, student VARCHAR, status INTEGER, meant BOOLEAN,
    attempts BIGINT NOT NULL, calls BIGINT NOT NULL, failed BIGINT NOT NULL, fallback_calls BIGINT NOT NULL,
    fell_back BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL, completion_tokens BIGINT NOT NULL,
    metered BIGINT NOT NULL, first_at DOUBLE, last_at DOUBLE,
    PRIMARY KEY (hour, pattern_id, route, model, student, status, meant)
);
CREATE TABLE counted_latencies (
    day INTEGER, pattern_id VARCHAR, route VARCHAR, model VARCHAR, step SMALLINT, attempts BIGINT NOT NULL,
    PRIMARY KEY (day, pattern_id, route, model, step)
);
CREATE TABLE counted_callers (
    day INTEGER, caller VARCHAR, route VARCHAR, model VARCHAR, attempts BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL, completion_tokens BIGINT NOT NULL, metered BIGINT NOT NULL,
    unmetered BIGINT NOT NULL, PRIMARY KEY (day, caller, route, model)
);
CREATE TABLE counted_runs (key UBIGINT PRIMARY KEY, pattern_id VARCHAR NOT NULL, trajectory_id VARCHAR NOT NULL);
CREATE TABLE uncounted (call_id UUID NOT NULL);
CREATE TABLE changes (revision BIGINT NOT NULL, trajectory_id VARCHAR NOT NULL, pattern_id VARCHAR);
"""
DAY_TABLES = """
CREATE TABLE counted_days (
    day INTEGER, pattern_id VARCHAR, route VARCHAR, model VARCHAR, student VARCHAR, status INTEGER, meant BOOLEAN,
    attempts BIGINT NOT NULL, calls BIGINT NOT NULL, failed BIGINT NOT NULL, fallback_calls BIGINT NOT NULL,
    fell_back BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL, completion_tokens BIGINT NOT NULL,
    metered BIGINT NOT NULL, first_at DOUBLE, last_at DOUBLE,
    PRIMARY KEY (day, pattern_id, route, model, student, status, meant)
);
CREATE TABLE counted_sessions (pattern_id VARCHAR PRIMARY KEY, runs BIGINT NOT NULL);
"""
"""What a later step added: years are read by day, and nobody counts millions of runs to list the patterns."""

_TRAFFIC = """
SELECT CAST(floor(started_at / {length}) AS INTEGER) AS {unit}, coalesce(pattern_id, '') AS pattern_id,
    coalesce(route, '') AS route, coalesce(model, '') AS model, coalesce(student, '') AS student,
    coalesce(status, -1) AS status,
    coalesce(model, '') <> '' OR coalesce(endpoint, '') LIKE '%/chat/completions' AS meant,
    {{sign}}count(*) AS attempts, {{sign}}count(*) FILTER (retried IS NOT TRUE) AS calls,
    {{sign}}count(*) FILTER (retried IS NOT TRUE AND (cancelled OR status >= 400 OR status = 0)) AS failed,
    {{sign}}count(*) FILTER (retried IS NOT TRUE AND fallback <> '') AS fallback_calls,
    {{sign}}count(*) FILTER (fallback <> '') AS fell_back,
    {{sign}}coalesce(sum(prompt_tokens), 0)::BIGINT AS prompt_tokens,
    {{sign}}coalesce(sum(completion_tokens), 0)::BIGINT AS completion_tokens, {{sign}}count(prompt_tokens) AS metered,
    min(started_at) FILTER (pattern_id IS NOT NULL) AS first_at,
    max(started_at) FILTER (pattern_id IS NOT NULL) AS last_at
FROM {{source}} GROUP BY ALL
"""
SUMS, DAYS = (_TRAFFIC.format(unit=unit, length=length) for unit, length in (("hour", 3_600), ("day", 86_400)))
"""Rows of `traffic_hours` and of `traffic_days`. `meant`: a model was asked, or the call was a chat; the rest is lists
of models and such. Without a pattern no times are kept: calls leave that row once they have one.
"""

LATENCIES = f"""
SELECT CAST(floor(started_at / 86400) AS INTEGER) AS day, coalesce(pattern_id, '') AS pattern_id,
    coalesce(route, '') AS route, coalesce(model, '') AS model,
    CASE WHEN latency_ms < 1 THEN -1 ELSE CAST(floor({STEPS} * log2(latency_ms)) AS SMALLINT) END AS step,
    {{sign}}count(*) AS attempts
FROM {{source}} WHERE latency_ms >= 0 AND latency_ms < 1e12 GROUP BY ALL
"""
"""Rows of `latency_days`: step s holds 2^(s/8) ms and more, less than 2^((s+1)/8); step -1 less than 1 ms."""

CALLERS = """
SELECT CAST(floor(started_at / 86400) AS INTEGER) AS day, coalesce(caller, '') AS caller, coalesce(route, '') AS route,
    coalesce(model, '') AS model, {sign}count(*) AS attempts,
    {sign}coalesce(sum(prompt_tokens), 0)::BIGINT AS prompt_tokens,
    {sign}coalesce(sum(completion_tokens), 0)::BIGINT AS completion_tokens,
    {sign}count(*) FILTER (prompt_tokens IS NOT NULL OR completion_tokens IS NOT NULL) AS metered,
    {sign}count(*) FILTER (prompt_tokens IS NULL AND completion_tokens IS NULL AND status = 200 AND route <> 'none'
        AND (model <> '' OR endpoint LIKE '%/chat/completions')) AS unmetered
FROM {source} GROUP BY ALL
"""
RUNS = """
SELECT DISTINCT md5_number_lower(concat(pattern_id, ' ', trajectory_id)) AS key, pattern_id, trajectory_id FROM {source}
WHERE pattern_id IS NOT NULL AND trajectory_id IS NOT NULL
"""
SESSIONS = f"SELECT pattern_id, count(*) AS runs FROM ({RUNS}) GROUP BY ALL"

NEW = "(SELECT * FROM calls WHERE intake IN (SELECT intake FROM uncounted WHERE calls > 0))"
"""The calls that are in no table of sums yet."""
NEW_BY_ID = "(SELECT * FROM calls WHERE call_id IN (SELECT call_id FROM uncounted))"
"""The same in databases that listed the calls one by one."""
_NEW_RUNS = f"({RUNS}) AS fresh ANTI JOIN counted_runs USING (key)"
_NEW_SESSIONS = f"SELECT pattern_id, count(*) AS runs FROM {_NEW_RUNS} GROUP BY ALL"

_VIEWS = {
    "traffic_hours": ("counted_traffic", SUMS),
    "latency_days": ("counted_latencies", LATENCIES),
    "caller_days": ("counted_callers", CALLERS),
    "pattern_runs": ("counted_runs", f"FROM {_NEW_RUNS}"),
}
_DAY_VIEWS = {"traffic_days": ("counted_days", DAYS), "pattern_sessions": ("counted_sessions", _NEW_SESSIONS)}


def _made(views: Mapping[str, tuple[str, str]], new: str) -> str:
    """What has been counted, and beside it what is new, counted on the spot: so a key may have two rows."""
    return "\n".join(
        f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM {table} UNION ALL BY NAME {rows.format(source=new, sign='')};"
        for name, (table, rows) in views.items()
    )


VIEWS, DAY_VIEWS = _made(_VIEWS, NEW_BY_ID), _made(_DAY_VIEWS, NEW_BY_ID)
"""Of the steps that made these tables; `count_by_batch_sql` has made the views anew."""


def _adding(table: str, rows: str, sums: Sequence[str]) -> str:
    """A statement that adds rows to those of the same key."""
    added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in sums)
    return f"INSERT INTO {table} BY NAME {rows} ON CONFLICT DO UPDATE SET {added}"


def _adding_traffic(table: str, rows: str) -> str:
    counts = ("attempts", "calls", "failed", "fallback_calls", "fell_back", *_TOKENS)
    first = f"first_at = least({table}.first_at, excluded.first_at)"
    return f"{_adding(table, rows, counts)}, {first}, last_at = greatest({table}.last_at, excluded.last_at)"


_TOKENS = ("prompt_tokens", "completion_tokens", "metered")
ADD_TRAFFIC = _adding_traffic("counted_traffic", SUMS)
ADD_DAYS = _adding_traffic("counted_days", DAYS)
ADD_LATENCIES = _adding("counted_latencies", LATENCIES, ("attempts",))
ADD_CALLERS = _adding("counted_callers", CALLERS, ("attempts", *_TOKENS, "unmetered"))
ADD_SESSIONS = _adding("counted_sessions", _NEW_SESSIONS, ("runs",))
"""Comes before `ADD_RUNS`: it counts what that is going to add."""
ADD_RUNS = f"INSERT INTO counted_runs BY NAME FROM {_NEW_RUNS}"

_DAYS_OF_HOURS = """
INSERT INTO counted_days BY NAME
SELECT CAST(floor(hour / 24) AS INTEGER) AS day, * EXCLUDE (hour, attempts, calls, failed, fallback_calls, fell_back,
        prompt_tokens, completion_tokens, metered, first_at, last_at),
    sum(attempts)::BIGINT AS attempts, sum(calls)::BIGINT AS calls, sum(failed)::BIGINT AS failed,
    sum(fallback_calls)::BIGINT AS fallback_calls, sum(fell_back)::BIGINT AS fell_back,
    sum(prompt_tokens)::BIGINT AS prompt_tokens, sum(completion_tokens)::BIGINT AS completion_tokens,
    sum(metered)::BIGINT AS metered, min(first_at) AS first_at, max(last_at) AS last_at
FROM counted_traffic WHERE {which} GROUP BY ALL
"""


def days_again(days: Sequence[int] | None = None) -> str:
    """Statements that make the sums of some days, or of all, from those of their hours."""
    which = "TRUE" if days is None else f"list_contains({list(days)}, {{unit}})"
    gone, hours = which.format(unit="day"), which.format(unit="CAST(floor(hour / 24) AS INTEGER)")
    return f"DELETE FROM counted_days WHERE {gone}; {_DAYS_OF_HOURS.format(which=hours)}"


def rebuild_sql() -> str:
    """Statements that make all sums from the calls but those by day: for a database that had none."""
    whole = ((ADD_TRAFFIC, "counted_traffic"), (ADD_LATENCIES, "counted_latencies"), (ADD_CALLERS, "counted_callers"))
    made = [f"DELETE FROM {table}; {text.format(source='calls', sign='')}" for text, table in whole]
    return ";\n".join([*made, "DELETE FROM counted_runs", ADD_RUNS.format(source="calls")])


def rebuild_days_sql() -> str:
    """Statements that make the sums by day, and the numbers of runs, from the other sums."""
    runs = "INSERT INTO counted_sessions SELECT pattern_id, count(*) AS runs FROM counted_runs GROUP BY ALL"
    return f"{days_again()};\nDELETE FROM counted_sessions; {runs}"


COUNT = (ADD_TRAFFIC, ADD_DAYS, ADD_LATENCIES, ADD_CALLERS, ADD_SESSIONS, ADD_RUNS)
"""Statements that add calls to all tables, in this order."""
COUNTED = "DELETE FROM uncounted WHERE intake < (SELECT max(intake) FROM uncounted); UPDATE uncounted SET calls = 0"
"""No call is new any more. The last number stays, for the next batch to go on from."""


def count_by_batch_sql() -> str:
    """Statements for a database that listed new calls one by one: now they wait by the number of their batch."""
    counted = [statement.format(source=NEW_BY_ID, sign="") for statement in COUNT]
    tables = (
        "DROP TABLE uncounted",
        "CREATE TABLE uncounted (intake INTEGER NOT NULL, calls INTEGER NOT NULL)",
        "ALTER TABLE calls ADD COLUMN intake INTEGER",
    )
    return ";\n".join([*counted, *tables, _made(_VIEWS, NEW), _made(_DAY_VIEWS, NEW)])
