"""A store as years of traffic leave it, written straight into the tables: the ground of `benchmarks.store_queries`.

The shapes are those of recorded agent runs: three kinds of agents (home assistant: 2 calls a run; office: 4; customer
service: 12, up to 60), messages of 60 to 1,200 characters with a long tail, system prompts that all runs of an agent
share, half of the calls made by a tenth of the agents. Names of messages are hashes of their place instead of their
content, so `store verify` would not be happy; nothing else tells them from real ones. Everything follows from the seed.

Runs start evenly over `DAYS` days and are written a day at a time, in the order of their calls, as ingest would.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from tutelage.traffic import rollup
from tutelage.traffic.lookup import NAME_KEY
from tutelage.traffic.patterns import PatternEntry
from tutelage.traffic.rows import patterns_table
from tutelage.traffic.store import Store

DAYS = 90
AGENTS = 40
CALLERS = 150
END = 1_800_000_000.0 // 86_400 * 86_400
"""Unix seconds at which the traffic ends."""
START = END - DAYS * 86_400
STUDENT = "tiny@0123456789ab"
_CALLS_A_RUN = 4.63
"""Mean of the draw below."""


class Agent(NamedTuple):
    """One agent: two patterns (after a user's word, after a tool's), and how its runs look."""

    number: int

    @property
    def agent_id(self) -> str:
        return f"a_{self.number:010x}"

    def pattern(self, role: str) -> str:
        return f"p_{self.number * 2 + (role == 'tool'):010x}"


def build(path: Path, calls: int, seed: int, progress: Callable[[int], None] = lambda day: None) -> None:
    """Make a store with about so many calls at `path`, which must not exist; `progress` is told the days done."""
    with Store(path) as store:
        # A checkpoint writes the indexes anew; one a day would take most of the time.
        store.execute("SET checkpoint_threshold = '2GB'")
        _write_agents(store, calls, seed)
        per_day = round(calls / _CALLS_A_RUN / DAYS)
        for day in range(DAYS):
            _write_day(store, day, per_day, seed)
            progress(day + 1)
        _write_evidence(store)
        rollup.recount(store)
        store.checkpoint()


def _write_agents(store: Store, calls: int, seed: int) -> None:
    entries = [
        PatternEntry(
            pattern_id=Agent(number).pattern(role),
            agent_id=Agent(number).agent_id,
            name=f"agent-{number}",
            version=1,
            role=role,
            agent_key=f"key{number}",
            created_at=START,
            tool_names=("lookup", "update"),
            skeleton=(f"You are agent {number}.",),
        )
        for number in range(AGENTS)
        for role in ("user", "tool")
    ]
    store.bulk("INSERT INTO patterns BY NAME SELECT * FROM batch", patterns_table(entries))
    tool = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object", "properties": {}}}}
    body = msgspec.json.encode([tool]).decode()
    store.execute(
        f"INSERT INTO toolsets SELECT md5('tools/' || n)::UUID, '{body}', ['lookup', 'update'] "
        f"FROM range({AGENTS}) t(n)"
    )
    # Prompts with a clock or a list of devices in them come in many forms, the others in one.
    store.execute(f"""
        INSERT INTO messages SELECT md5(concat('system/', n, '/', v))::UUID, '00000000-0000-0000-0000-000000000000', 0,
            'system', concat('{{"content":"You are agent ', n, '. ', repeat('Follow the policy of this desk. ', 150),
            ' State ', v, '.","role":"system"}}')
        FROM range({AGENTS}) a(n), range(200) b(v) WHERE n % 3 = 0 OR v = 0
    """)


# h(x, salt): a number in [0, 1) that follows from the run, the turn and the seed.
_MACRO = """
CREATE OR REPLACE TEMP MACRO h(x, salt) AS (hash(x, salt, {seed}) >> 11)::DOUBLE / 9007199254740992.0
"""
_RUNS = """
CREATE OR REPLACE TEMP TABLE runs AS
SELECT run, agent, CASE WHEN agent % 3 <> 0 THEN 0 ELSE (200 * h(run, 'v'))::INTEGER % 200 END AS variant, began,
    (CASE agent % 5 WHEN 0 THEN 1 + round(3 * -ln(1 - h(run, 'n')))::INTEGER
        WHEN 1 THEN least(60, 4 + round(8 * -ln(1 - h(run, 'n')))::INTEGER) ELSE 1 + (2.2 * h(run, 'n'))::INTEGER END)
        AS turns,
    ('caller' || lpad(floor({callers} * pow(h(run, 'c'), 2))::INTEGER::VARCHAR, 12, '0')) AS caller,
    h(run, 'x') < 0.2 AS explicit, agent % 8 = 2 AND h(run, 's') < 0.7 AND began > {start} + 30 * 86400 AS served
FROM (
    SELECT run, floor({agents} * pow(h(run, 'a'), 3))::INTEGER AS agent, {begin} + 86400 * h(run, 't') AS began
    FROM range({first}, {last}) r(run)
)
"""
_CALLS = """
CREATE OR REPLACE TEMP TABLE made AS
SELECT *, concat(substr(stamp, 1, 8), '-', substr(stamp, 9, 4), '-7', substr(tail, 1, 3), '-8', substr(tail, 4, 3), '-',
    substr(tail, 7, 12)) AS id, concat(run, '/', turn) AS place
FROM (
    SELECT r.*, turn, began + turn * (2.0 + 20 * h(run, 'gap')) AS started_at, h(run, turn) AS luck,
        exp(6.5 + 1.1 * sqrt(-2 * ln(1 - h(run * 100 + turn, 'l'))) * cos(6.2832 * h(run * 100 + turn, 'm'))) AS ms,
        format('{{:012x}}', (1000 * (began + turn * (2.0 + 20 * h(run, 'gap'))))::BIGINT) AS stamp,
        md5(concat(run, '/', turn, '/{seed}')) AS tail
    FROM runs r, range(60) t(turn) WHERE turn < turns
)
"""
_WRITE = (
    """
INSERT INTO calls BY NAME
SELECT id::UUID AS call_id, started_at, '/v1/chat/completions' AS endpoint, caller,
    CASE WHEN served AND luck >= 0.01 THEN 'student' ELSE 'teacher' END AS route,
    CASE WHEN served THEN 'assigned' ELSE 'observe' END AS reason,
    CASE WHEN served AND luck < 0.01 THEN 'student_timeout' ELSE '' END AS fallback,
    CASE WHEN served THEN '{student}' ELSE '' END AS student, 'default' AS teacher,
    CASE WHEN served AND luck >= 0.01 THEN '{student}' ELSE ['gpt-4o-2024-08-06', 'gpt-4.1', 'claude-sonnet-4-5',
        'gpt-4o-mini', 'own-model'][1 + agent % 5] END AS model,
    CASE WHEN agent < {agents} - 1 THEN format('p_{{:010x}}', agent * 2 + (turn > 0)::INTEGER) END AS pattern_id,
    CASE WHEN agent < {agents} - 1 THEN format('a_{{:010x}}', agent) END AS agent_id,
    trajectory_id, turn, concat('s', run) AS session, '' AS hint,
    md5(concat(run, '/', 1 + 2 * turn))::UUID AS request_tail,
    CASE WHEN luck > 0.985 THEN NULL ELSE md5(concat(run, '/', 2 + 2 * turn))::UUID END AS response_id,
    md5('tools/' || agent)::UUID AS toolset_id, '{{"model":"teacher","temperature":0}}' AS params,
    CASE WHEN luck > 0.99 THEN 500 ELSE 200 END AS status, luck < 0.5 AS stream,
    luck BETWEEN 0.985 AND 0.99 AS cancelled, CASE WHEN luck > 0.99 THEN 'no_data' ELSE '' END AS error,
    CASE WHEN turn + 1 < turns THEN 'tool_calls' ELSE 'stop' END AS finish_reason,
    CASE WHEN luck > 0.985 THEN NULL ELSE (1200 + 700 * turn + 900 * luck)::BIGINT END AS prompt_tokens,
    CASE WHEN luck > 0.985 THEN NULL ELSE (10 + 120 * luck)::BIGINT END AS completion_tokens, 0 AS cached_tokens,
    ms / 4 AS first_byte_ms, ms AS latency_ms, 0 AS retry, concat('req_', id) AS request_id,
    concat('chatcmpl-', tail) AS upstream_id, {key} AS upstream_key, luck > 0.99 AND turn + 1 < turns AS retried
FROM found ORDER BY started_at
""",
    """
INSERT INTO messages
SELECT md5(concat(run, '/', depth))::UUID, CASE WHEN depth = 1 THEN md5(concat('system/', agent, '/', variant))::UUID
    ELSE md5(concat(run, '/', depth - 1))::UUID END, depth, role, body
FROM (
    SELECT run, turn, agent, variant, started_at, 1 + 2 * turn AS depth,
        CASE WHEN turn = 0 THEN 'user' ELSE 'tool' END AS role,
        CASE WHEN turn = 0
            THEN concat('{{"content":"Please look after order ', tail, ' of customer ', run, '. ',
                repeat('It was late. ', (luck * 12)::INTEGER), '","role":"user"}}')
            ELSE concat('{{"content":"{{\\"status\\":\\"open\\",\\"rows\\":[',
                repeat(concat('{{\\"id\\":\\"', substr(tail, 1, 8), '\\",\\"amount\\":', (luck * 1000)::INTEGER, '}},'),
                    1 + (luck * 30)::INTEGER),
                ']}}","role":"tool","tool_call_id":"call_', turn - 1, '"}}') END AS body
    FROM found
    UNION ALL
    SELECT run, turn, agent, variant, started_at, 2 + 2 * turn, 'assistant', CASE WHEN turn + 1 < turns
        THEN concat('{{"role":"assistant","tool_calls":[{{"function":{{"arguments":{{"order":"', substr(tail, 1, 12),
            '","page":', (luck * 9)::INTEGER, '}},"name":"', CASE WHEN luck < 0.7 THEN 'lookup' ELSE 'update' END,
            '"}},"id":"call_', turn, '","type":"function"}}]}}')
        ELSE concat('{{"content":"Order ', tail, ' is done. ', repeat('Anything else? ', (luck * 9)::INTEGER),
            '","role":"assistant"}}') END
    FROM found WHERE luck <= 0.985
) ORDER BY started_at
""",
    """
INSERT INTO trajectories BY NAME
SELECT trajectory_id, explicit,
    any_value(CASE WHEN agent < {agents} - 1 THEN format('a_{{:010x}}', agent) END) AS agent_id,
    any_value(caller) AS caller, any_value(concat('s', run)) AS session, min(started_at) AS first_at,
    max(started_at) AS last_at, count(*) AS calls, arg_max(luck, turn) < 0.9 AS success,
    CASE WHEN run % 11 = 0 THEN 'verifier:ok' ELSE 'heuristic' END AS success_source, TRUE AS finished
FROM found GROUP BY run, trajectory_id, explicit
""",
    """
INSERT INTO comparisons BY NAME
SELECT id::UUID AS call_id, '{student}' AS student, CASE WHEN served THEN 'audit' ELSE 'shadow' END AS kind,
    format('p_{{:010x}}', agent * 2 + (turn > 0)::INTEGER) AS pattern_id, trajectory_id,
    CASE WHEN h(run, 'loss') < 0.03 THEN 1.0 ELSE 0.0 END AS loss, 'same' AS reason, 1 AS comparator,
    concat('{{"role":"assistant","content":"Order ', tail, ' is done."}}') AS teacher,
    concat('{{"role":"assistant","content":"Order ', tail, ' is done."}}') AS student_answer, started_at + 5 AS "at",
    ms / 5 AS student_ms, 300 AS student_prompt_tokens, 40 AS student_completion_tokens, 1500 AS teacher_prompt_tokens,
    60 AS teacher_completion_tokens
FROM found WHERE luck BETWEEN 0.01 AND 0.985 AND NOT (luck > 0.99 AND turn + 1 < turns)
    AND ((agent % 8 = 2 AND NOT served AND h(run, 'sh') < 0.4) OR (served AND h(run, 'au') < 0.05))
""",
    """
INSERT INTO feedback BY NAME
SELECT concat(caller, '/', run) AS feedback_id, max(started_at) + 60 AS "at", caller, 'trajectory' AS kind,
    trajectory_id AS target, 'success' AS metric, max(luck) < 0.95 AS flag, 'user' AS source, '' AS comment,
    trajectory_id, TRUE AS judged
FROM found WHERE h(run, 'fb') < 0.02 GROUP BY run, caller, trajectory_id
""",
    """
INSERT INTO verifications
SELECT trajectory_id, 'checks:resolved', '1', count(*), max(started_at), max(started_at) + 90, ''
FROM found WHERE run % 11 = 0 GROUP BY trajectory_id
""",
)


def _write_day(store: Store, day: int, runs: int, seed: int) -> None:
    values = {"seed": seed, "agents": AGENTS, "callers": CALLERS, "start": START, "student": STUDENT}
    values["key"] = NAME_KEY.format(name="concat('chatcmpl-', tail)")
    span = {"begin": START + 86_400 * day, "first": day * runs, "last": (day + 1) * runs}
    with store.transaction():
        store.execute(_MACRO.format(**values))
        store.execute(_RUNS.format(**values, **span))
        store.execute(_CALLS.format(**values))
        store.execute("""
            CREATE OR REPLACE TEMP TABLE found AS SELECT *, CASE WHEN explicit THEN concat('x:', md5(run::VARCHAR))
                ELSE first_value(id) OVER (PARTITION BY run ORDER BY turn) END AS trajectory_id FROM made
        """)
        for statement in _WRITE:
            store.execute(statement.format(**values))


def _write_evidence(store: Store) -> None:
    """The event log: sessions that were evidence, and the transitions that followed."""
    store.execute(f"""
        INSERT INTO route_events SELECT row_number() OVER (ORDER BY last), last, pattern_id, '{STUDENT}', 'session',
            concat('{{"event":"session","at":', last, ',"kind":"shadow","session":"', trajectory_id, '","loss":', loss,
                ',"calls":', n, '}}'), 'control'
        FROM (SELECT pattern_id, trajectory_id, max(comparisons."at") AS last, avg(loss) AS loss, count(*) AS n
            FROM comparisons WHERE kind = 'shadow' GROUP BY ALL ORDER BY last LIMIT 200000)
    """)
