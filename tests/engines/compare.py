"""Asks DuckDB and ClickHouse about parts that the telemetry sink wrote, and compares with what the sink says.

Usage: compare.py DIRECTORY ANSWERS.json, where DIRECTORY holds `parts`. Prints one line for each question and engine;
ends with 1 when one differs.
"""

import json
import sys

import chdb
import duckdb

# The same text for both engines, but for what the placeholders stand for.
QUESTIONS = {
    "logs.lines": "SELECT concat(service, ' ', level) AS name, count(*) AS n FROM {logs} GROUP BY name",
    "logs.items": "SELECT 'items' AS name, sum({items}) AS n FROM {logs}",
    "logs.trace": "SELECT 'trace' AS name, count(*) AS n FROM {logs} WHERE lower(hex(trace_id)) = '{trace}'",
    "logs.time": "SELECT 'time' AS name, {epoch_ns} AS n FROM {logs}",
    "spans": "SELECT name, count(*) AS n, sum(duration_ns) AS ns, sum(CASE WHEN status = 'error' THEN 1 ELSE 0 END) AS f "
    "FROM {spans} GROUP BY name",
    "metrics": "WITH series AS (SELECT DISTINCT series, labels FROM {metrics} WHERE labels IS NOT NULL) "
    "SELECT concat({label_name}, ' ', {label_instance}) AS name, count(*) AS n, sum(coalesce(CAST(integer AS {double}) / pow(10, coalesce(decimals, 0)), value)) AS s "
    "FROM {metrics} AS m JOIN series ON m.series = series.series WHERE value IS NULL OR NOT isNaN(value) GROUP BY name",
}
TRACE = format(77, "032x")
START_NS = 1_767_323_045 * 1_000_000_000


def expected(answers: dict) -> dict:
    """The sink's answers in the shape of the questions' rows."""
    logs = answers["logs"]
    return {
        "logs.lines": {name: [count] for name, count in logs["lines"].items()},
        "logs.items": {"items": [logs["items"]]},
        "logs.trace": {"trace": [logs["trace"]]},
        "logs.time": {"time": [START_NS]},
        "spans": {name: list(row) for name, row in answers["spans"].items()},
        "metrics": {name: list(row) for name, row in answers["metrics"].items()},
    }


def ask_duckdb(directory: str, question: str) -> dict:
    source = lambda signal: f"read_parquet('{directory}/parts/signal={signal}/*/*.parquet')"
    text = question.format(
        logs=source("logs"), spans=source("spans"), metrics=source("metrics"), trace=TRACE, double="DOUBLE",
        items="CAST(json_extract(attributes, '$.items') AS BIGINT)",
        epoch_ns="min(epoch_ns(time))",
        label_name="json_extract_string(series.labels, '$.__name__')",
        label_instance="json_extract_string(series.labels, '$.instance')",
    )
    return {row[0]: list(row[1:]) for row in duckdb.sql(text).fetchall()}


def ask_clickhouse(directory: str, question: str) -> dict:
    source = lambda signal: f"file('{directory}/parts/signal={signal}/*/*.parquet', Parquet)"
    text = question.format(
        logs=source("logs"), spans=source("spans"), metrics=source("metrics"), trace=TRACE, double="Nullable(Float64)",
        items="JSONExtractInt(assumeNotNull(attributes), 'items')",
        epoch_ns="toUnixTimestamp64Nano(min(time))",
        label_name="JSONExtractString(assumeNotNull(series.labels), '__name__')",
        label_instance="JSONExtractString(assumeNotNull(series.labels), 'instance')",
    )
    answer = str(chdb.query(text, "JSONCompactEachRow"))
    rows = [json.loads(line) for line in answer.splitlines() if line.strip()]
    return {row[0]: [float(cell) if isinstance(cell, str) else cell for cell in row[1:]] for row in rows}


def same(found: dict, wanted: dict) -> bool:
    """Whether all rows are equal; sums of floats may differ in their last digits by the order of adding."""
    if found.keys() != wanted.keys():
        return False
    close = lambda left, right: left == right or abs(left - right) <= 1e-9 * max(abs(left), abs(right))
    return all(
        len(found[name]) == len(wanted[name]) and all(close(float(a), float(b)) for a, b in zip(found[name], wanted[name]))
        for name in wanted
    )


def main() -> int:
    directory, answers = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
    wanted = expected(answers)
    differing = 0
    for engine, ask in (("DuckDB", ask_duckdb), ("ClickHouse", ask_clickhouse)):
        for name, question in QUESTIONS.items():
            found = ask(directory, question)
            agrees = same(found, wanted[name])
            differing += not agrees
            print(f"{engine:<10} {name:<12} {'agrees' if agrees else 'DIFFERS'}, {len(wanted[name])} rows")
            if not agrees:
                print("  wanted", dict(sorted(wanted[name].items())[:3]), "\n  found ", dict(sorted(found.items())[:3]))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
