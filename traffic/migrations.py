"""The store's schema as ordered steps, each named after what it does.

A step that has been released is never edited: a database remembers the names it has seen in the table `migrations`.
Names that this program does not know mean that a newer one wrote the file; it is refused before anything is touched.

Conventions: message and call ids are UUID columns (16 bytes); times are Unix seconds (DOUBLE) in columns named `*_at`.
A message's primary key is what keeps it stored once; a call's is what makes ingest idempotent.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import duckdb

from .errors import StoreTooNew
from .sums import DAY_TABLES, DAY_VIEWS, TABLES, VIEWS, count_by_batch_sql, rebuild_days_sql, rebuild_sql


class Migration(NamedTuple):
    """One step: a name that is recorded for good, and the statements it runs."""

    name: str
    sql: str


_CREATE_TABLES = """
CREATE TABLE messages (
    message_id UUID PRIMARY KEY, parent_id UUID NOT NULL, depth INTEGER NOT NULL, role VARCHAR NOT NULL,
    body VARCHAR NOT NULL
);
CREATE TABLE toolsets (toolset_id UUID PRIMARY KEY, body VARCHAR NOT NULL, names VARCHAR[] NOT NULL);
CREATE TABLE calls (
    call_id UUID PRIMARY KEY, started_at DOUBLE NOT NULL, endpoint VARCHAR, caller VARCHAR, route VARCHAR,
    reason VARCHAR, fallback VARCHAR, student VARCHAR, model VARCHAR, pattern_id VARCHAR, agent_id VARCHAR,
    trajectory_id VARCHAR, turn INTEGER, session VARCHAR, hint VARCHAR, request_tail UUID, response_id UUID,
    toolset_id UUID, params VARCHAR, status INTEGER, stream BOOLEAN, cancelled BOOLEAN, error VARCHAR,
    finish_reason VARCHAR, prompt_tokens BIGINT, completion_tokens BIGINT, cached_tokens BIGINT,
    first_byte_ms DOUBLE, latency_ms DOUBLE, retry INTEGER, confidence DOUBLE, request_id VARCHAR,
    request_raw BLOB, response_raw BLOB
);
CREATE TABLE trajectories (
    trajectory_id VARCHAR PRIMARY KEY, explicit BOOLEAN NOT NULL, agent_id VARCHAR, caller VARCHAR, session VARCHAR,
    first_at DOUBLE NOT NULL, last_at DOUBLE NOT NULL, calls INTEGER NOT NULL, success BOOLEAN,
    success_source VARCHAR NOT NULL, finished BOOLEAN NOT NULL
);
CREATE TABLE patterns (
    pattern_id VARCHAR PRIMARY KEY, agent_id VARCHAR, name VARCHAR, version INTEGER, role VARCHAR,
    body VARCHAR NOT NULL, created_at DOUBLE NOT NULL
);
CREATE TABLE comparisons (
    call_id UUID, student VARCHAR, kind VARCHAR, pattern_id VARCHAR, trajectory_id VARCHAR, loss DOUBLE NOT NULL,
    reason VARCHAR, comparator INTEGER, teacher VARCHAR, student_answer VARCHAR, "at" DOUBLE NOT NULL,
    student_ms DOUBLE, student_prompt_tokens BIGINT, student_completion_tokens BIGINT, teacher_prompt_tokens BIGINT,
    teacher_completion_tokens BIGINT, PRIMARY KEY (call_id, student, kind)
);
CREATE TABLE route_events (
    seq BIGINT PRIMARY KEY, "at" DOUBLE NOT NULL, pattern_id VARCHAR, student VARCHAR, kind VARCHAR NOT NULL,
    detail VARCHAR NOT NULL, actor VARCHAR
);
CREATE TABLE journal_positions (segment VARCHAR PRIMARY KEY, position BIGINT NOT NULL);
CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL);
"""

_ADD_PROXY_KEYS = """
CREATE TABLE proxy_keys (
    key_id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, hash VARCHAR NOT NULL, slot INTEGER NOT NULL,
    created_at DOUBLE NOT NULL, expires_at DOUBLE NOT NULL, revoked_at DOUBLE NOT NULL, rate DOUBLE NOT NULL,
    burst INTEGER NOT NULL, budget_usd DOUBLE NOT NULL, budget_tokens BIGINT NOT NULL, period VARCHAR NOT NULL,
    models VARCHAR NOT NULL
);
"""

_ADD_ATTEMPTS = """
ALTER TABLE calls ADD COLUMN retry_of UUID;
ALTER TABLE calls ADD COLUMN retried BOOLEAN;
ALTER TABLE calls ADD COLUMN upstream_id VARCHAR;
ALTER TABLE calls ADD COLUMN reasoning_tokens BIGINT;
ALTER TABLE calls ADD COLUMN teacher VARCHAR;
"""

# Left to itself, DuckDB does not compress texts at all when one of them is long, and a single long prompt is enough.
_COMPRESS_BODIES = """
CREATE TABLE compressed (
    message_id UUID PRIMARY KEY, parent_id UUID NOT NULL, depth INTEGER NOT NULL, role VARCHAR NOT NULL,
    body VARCHAR NOT NULL USING COMPRESSION zstd
);
INSERT INTO compressed SELECT message_id, parent_id, depth, role, body FROM messages;
DROP TABLE messages;
ALTER TABLE compressed RENAME TO messages;
"""

_ADD_FEEDBACK = """
CREATE TABLE feedback (
    feedback_id VARCHAR PRIMARY KEY, "at" DOUBLE NOT NULL, caller VARCHAR NOT NULL, kind VARCHAR NOT NULL,
    target VARCHAR NOT NULL, metric VARCHAR NOT NULL, flag BOOLEAN, number DOUBLE, text VARCHAR,
    source VARCHAR NOT NULL, comment VARCHAR NOT NULL, call_id UUID, trajectory_id VARCHAR, look_at DOUBLE,
    judged BOOLEAN NOT NULL
);
CREATE TABLE verifications (
    trajectory_id VARCHAR, verifier VARCHAR, version VARCHAR NOT NULL, calls INTEGER NOT NULL,
    last_at DOUBLE NOT NULL, "at" DOUBLE NOT NULL, error VARCHAR NOT NULL, PRIMARY KEY (trajectory_id, verifier)
);
"""

_ADD_PATTERN_EDITS = """
CREATE TABLE pattern_edits (
    seq BIGINT PRIMARY KEY, "at" DOUBLE NOT NULL, detail VARCHAR NOT NULL, actor VARCHAR NOT NULL
);
"""

# `loss` and `reason` of a comparison are what counts now; what the rules had said stays beside it, and every later
# verdict is a row of `verdicts`.
_ADD_VERDICTS = """
ALTER TABLE comparisons ADD COLUMN policy VARCHAR;
ALTER TABLE comparisons ADD COLUMN ruled_loss DOUBLE;
ALTER TABLE comparisons ADD COLUMN ruled_reason VARCHAR;
ALTER TABLE comparisons ADD COLUMN decided_by VARCHAR;
ALTER TABLE comparisons ADD COLUMN waits BOOLEAN;
ALTER TABLE comparisons ADD COLUMN changed_at DOUBLE;
UPDATE comparisons SET policy = '', ruled_loss = loss, ruled_reason = reason, decided_by = 'rules', waits = FALSE,
    changed_at = comparisons."at";
CREATE TABLE verdicts (
    seq BIGINT PRIMARY KEY, "at" DOUBLE NOT NULL, call_id UUID NOT NULL, student VARCHAR NOT NULL,
    kind VARCHAR NOT NULL, pattern_id VARCHAR NOT NULL, source VARCHAR NOT NULL, who VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL, loss DOUBLE, reason VARCHAR NOT NULL, comparator INTEGER, policy VARCHAR,
    asked INTEGER NOT NULL, prompt_tokens BIGINT, completion_tokens BIGINT, usd DOUBLE
);
CREATE TABLE tool_rules (
    seq BIGINT PRIMARY KEY, "at" DOUBLE NOT NULL, pattern_id VARCHAR NOT NULL, tool VARCHAR NOT NULL,
    source VARCHAR NOT NULL, detail VARCHAR NOT NULL, actor VARCHAR NOT NULL, reason VARCHAR NOT NULL
);
CREATE TABLE teacher_repeats (
    call_id UUID PRIMARY KEY, pattern_id VARCHAR NOT NULL, trajectory_id VARCHAR NOT NULL, loss DOUBLE NOT NULL,
    reason VARCHAR NOT NULL, comparator INTEGER NOT NULL, policy VARCHAR NOT NULL, answer VARCHAR NOT NULL,
    "at" DOUBLE NOT NULL, latency_ms DOUBLE, prompt_tokens BIGINT, completion_tokens BIGINT
);
"""

_ADD_SCORES = "ALTER TABLE comparisons ADD COLUMN score DOUBLE"

_ADD_PARENTS = "ALTER TABLE trajectories ADD COLUMN parent_id VARCHAR"

# `lookup.NAME_KEY`, as it was when this step was released.
_ADD_NAME_KEYS = """
ALTER TABLE calls ADD COLUMN upstream_key USMALLINT;
UPDATE calls SET upstream_key = CAST(md5_number_lower(upstream_id) & 65535 AS USMALLINT)
    WHERE upstream_id IS NOT NULL;
"""

# Its keys are hashes: each new one touched another part of the index, and nothing ever asks for one of them alone.
_RUNS_WITHOUT_INDEX = """
CREATE TABLE unindexed (key UBIGINT NOT NULL, pattern_id VARCHAR NOT NULL, trajectory_id VARCHAR NOT NULL);
INSERT INTO unindexed SELECT key, pattern_id, trajectory_id FROM counted_runs;
DROP TABLE counted_runs;
ALTER TABLE unindexed RENAME TO counted_runs;
"""

MIGRATIONS: tuple[Migration, ...] = (
    Migration("create_the_first_tables", _CREATE_TABLES),
    Migration("add_proxy_keys", _ADD_PROXY_KEYS),
    Migration("tell_attempts_of_one_action_apart", _ADD_ATTEMPTS),
    Migration("compress_message_bodies", _COMPRESS_BODIES),
    Migration("add_feedback_and_verifications", _ADD_FEEDBACK),
    Migration("add_edits_of_patterns", _ADD_PATTERN_EDITS),
    Migration("add_verdicts_tool_rules_and_teacher_repeats", _ADD_VERDICTS),
    Migration("link_runs_to_their_parents", _ADD_PARENTS),
    Migration("keep_the_score_of_a_compared_answer", _ADD_SCORES),
    Migration("keep_sums_of_calls", TABLES + rebuild_sql() + ";\n" + VIEWS),
    Migration("keep_sums_by_day", DAY_TABLES + rebuild_days_sql() + ";\n" + DAY_VIEWS),
    Migration("find_answers_by_a_short_key", _ADD_NAME_KEYS),
    Migration("count_new_calls_by_batch", count_by_batch_sql()),
    Migration("keep_counted_runs_without_an_index", _RUNS_WITHOUT_INDEX),
)


def migrate(connection: duckdb.DuckDBPyConnection, steps: Sequence[Migration] = MIGRATIONS) -> list[str]:
    """Bring a database up to date; returns the names of the steps that ran.

    Each step is a transaction of its own: DuckDB cannot alter a table in the transaction that has updated its rows. A
    step that fails leaves the database as the one before it did, and the next start goes on from there.

    Raises:
        StoreTooNew: the database has steps that this program does not know.
    """
    connection.execute("CREATE TABLE IF NOT EXISTS migrations (name VARCHAR PRIMARY KEY, applied_at DOUBLE NOT NULL)")
    check_known(connection, steps)
    applied = _applied(connection)
    missing = [step for step in steps if step.name not in applied]
    for step in missing:
        connection.begin()
        try:
            connection.execute(step.sql)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", [step.name, time.time()])
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
    return [step.name for step in missing]


def check_known(connection: duckdb.DuckDBPyConnection, steps: Sequence[Migration] = MIGRATIONS) -> None:
    """Raises StoreTooNew when the database has seen a step that this program does not know."""
    unknown = sorted(_applied(connection) - {step.name for step in steps})
    if unknown:
        raise StoreTooNew(
            f"The store was written by a newer version of tutelage: it has the schema change {unknown[0]!r}, which "
            "this version does not know. Upgrade tutelage, or choose another data folder with --data."
        )


def _applied(connection: duckdb.DuckDBPyConnection) -> set[str]:
    found = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'migrations'").fetchone()
    return {name for (name,) in connection.execute("SELECT name FROM migrations").fetchall()} if found else set()
