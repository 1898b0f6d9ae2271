"""The Python peers: each one loads a CSV file the way its documentation shows.

    python bench/pyloads.py NAME TABLE FILE

prints {"seconds": …, "client_cpu": …} for one load, from connecting to having committed. Every
load is a process of its own, so that no peer inherits another one's interpreter. The connection
comes from libpq's environment variables.
"""

import asyncio
import csv
import functools
import importlib
import itertools
import json
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

READ_BYTES = 256 * 1024
INSERT_ROWS = 1000

COLUMN_TYPES = {
    "lineitem": (
        "int8 int8 int8 int4 numeric numeric numeric numeric text text date date date "
        "text text text"
    ).split(),
    "sensor": "timestamptz int4 float8 float8 float8 int8 bool".split(),
}

PYTHON_VALUE = {
    "int4": int,
    "int8": int,
    "float8": float,
    "numeric": Decimal,
    "text": str,
    "date": date.fromisoformat,
    "timestamptz": datetime.fromisoformat,
    "bool": "true".__eq__,
}


def psycopg_copy(table, path):
    """The file's own bytes, block by block: the server parses the CSV."""
    import psycopg

    with psycopg.connect() as connection, connection.cursor() as cursor, open(path, "rb") as file:
        with cursor.copy(f"COPY {table} FROM STDIN (FORMAT csv, HEADER)") as copy:
            while block := file.read(READ_BYTES):
                copy.write(block)


def psycopg_rows(table, path):
    """Rows of the csv module, as the strings that it gives: the server parses the values."""
    import psycopg

    with psycopg.connect() as connection, connection.cursor() as cursor:
        with open_rows(path) as rows, cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def psycopg_insert(table, path):
    """INSERT … VALUES with 1,000 rows a statement, all of them in one transaction.

    The raw cursor sends the statement as it is. The usual one looks for `%s` in its 16,000
    placeholders each time, which makes the load four times slower: that would be a straw man.
    """
    import psycopg

    with psycopg.connect(cursor_factory=psycopg.RawCursor) as connection:
        with connection.cursor() as cursor, open_rows(path) as rows:
            while chunk := list(itertools.islice(rows, INSERT_ROWS)):
                statement = insert_statement(table, len(chunk), len(chunk[0]))
                cursor.execute(statement, list(itertools.chain.from_iterable(chunk)))


@functools.cache
def insert_statement(table, rows, columns):
    numbers = (f"${number}" for number in itertools.count(1))
    row_values = (",".join(itertools.islice(numbers, columns)) for _ in range(rows))
    return f"INSERT INTO {table} VALUES ({'),('.join(row_values)})"


def asyncpg_records(table, path):
    """Typed records: asyncpg encodes them to the binary COPY format itself."""
    asyncio.run(copy_records(table, path))


async def copy_records(table, path):
    import asyncpg

    convert = [PYTHON_VALUE[name] for name in COLUMN_TYPES[table]]

    async def records(rows):
        for row in rows:
            yield [to_value(text) for to_value, text in zip(convert, row)]

    connection = await asyncpg.connect()
    try:
        with open_rows(path) as rows:
            await connection.copy_records_to_table(table, records=records(rows))
    finally:
        await connection.close()


def adbc_ingest(table, path):
    """Arrow's CSV reader, told the table's types, streamed into ADBC's bulk ingest."""
    import pyarrow as pa
    import pyarrow.csv
    from adbc_driver_postgresql import dbapi

    arrow_type = {
        "int4": pa.int32(),
        "int8": pa.int64(),
        "float8": pa.float64(),
        "numeric": pa.decimal128(15, 2),
        "text": pa.string(),
        "date": pa.date32(),
        "timestamptz": pa.timestamp("us", tz="UTC"),
        "bool": pa.bool_(),
    }
    types = [arrow_type[name] for name in COLUMN_TYPES[table]]
    options = pa.csv.ConvertOptions(column_types=dict(zip(header(path), types)))
    with dbapi.connect("postgresql://") as connection, connection.cursor() as cursor:
        with pa.csv.open_csv(path, convert_options=options) as reader:
            cursor.adbc_ingest(table, reader, mode="append")
        connection.commit()


@dataclass(frozen=True)
class Load:
    run: Callable[[str, str], None]
    modules: list


LOADS = {
    "psycopg_copy": Load(psycopg_copy, ["psycopg"]),
    "psycopg_rows": Load(psycopg_rows, ["psycopg"]),
    "psycopg_insert": Load(psycopg_insert, ["psycopg"]),
    "asyncpg_records": Load(asyncpg_records, ["asyncpg"]),
    "adbc_ingest": Load(adbc_ingest, ["pyarrow.csv", "adbc_driver_postgresql.dbapi"]),
}


def header(path):
    with open(path, newline="") as file:
        return next(csv.reader(file))


@contextmanager
def open_rows(path):
    """The records of a CSV file, without its header."""
    with open(path, newline="") as file:
        rows = csv.reader(file)
        next(rows)
        yield rows


def main(name, table, path):
    load = LOADS[name]
    # What an import costs is not part of a load.
    for module in load.modules:
        importlib.import_module(module)
    wall, cpu = time.perf_counter(), time.process_time()
    load.run(table, path)
    seconds, client_cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "client_cpu": client_cpu}))


if __name__ == "__main__":
    main(*sys.argv[1:])
