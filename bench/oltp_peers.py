"""The query behind `GET /v1/jobs/{id}`, by a Python driver's own pool: run as a program, prints JSON.

    python bench/oltp_peers.py asyncpg|psycopg IDS_FILE SECONDS TASKS CONNECTIONS

As many tasks as wrk has connections, each with one query after the other. They do nothing with the row, not even JSON.
"""

import asyncio
import json
import random
import resource
import sys
import time
from pathlib import Path

# As src/jobs/store.rs has it.
COLUMNS = """id, table_name, state, reason, format, mode, rows_received, rows_loaded, rows_rejected, bytes_received,
    bytes_decoded, timings_ms, error, rejected_by_column,
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), idempotency_key"""


async def asyncpg_pool(connections):
    import asyncpg

    sql = f"SELECT {COLUMNS} FROM pgsluice.jobs WHERE id = $1"
    pool = await asyncpg.create_pool(min_size=connections, max_size=connections)

    async def query(job):
        async with pool.acquire() as connection:
            return await connection.fetchrow(sql, job)

    return query, pool.close


async def psycopg_pool(connections):
    from psycopg_pool import AsyncConnectionPool

    sql = f"SELECT {COLUMNS} FROM pgsluice.jobs WHERE id = %s"
    pool = AsyncConnectionPool(min_size=connections, max_size=connections, open=False, kwargs={"autocommit": True})
    await pool.open(wait=True)

    async def query(job):
        async with pool.connection() as connection:
            cursor = await connection.execute(sql, (job,))
            return await cursor.fetchone()

    return query, pool.close


async def run(peer, ids, seconds, tasks, connections):
    query, close = await {"asyncpg": asyncpg_pool, "psycopg": psycopg_pool}[peer](connections)
    latencies = []

    async def ask(until):
        while (begun := time.perf_counter()) < until:
            row = await query(random.choice(ids))
            latencies.append(time.perf_counter() - begun)
            if row is None:
                raise RuntimeError("a job is missing")

    async def together(duration):
        until = time.perf_counter() + duration
        await asyncio.gather(*(ask(until) for _ in range(tasks)))

    # Statements are prepared, and psycopg does so only after some uses.
    await together(0.5)
    latencies.clear()
    begun, cpu = time.perf_counter(), used_cpu()
    await together(seconds)
    took = time.perf_counter() - begun
    cpu = used_cpu() - cpu
    await close()
    latencies.sort()
    at = lambda part: latencies[min(int(len(latencies) * part), len(latencies) - 1)]
    return {"rate": len(latencies) / took, "p50": at(0.5), "p99": at(0.99), "cpu": cpu / took}


def used_cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    peer, ids_file, seconds, tasks, connections = sys.argv[1:]
    ids = Path(ids_file).read_text().split()
    print(json.dumps(asyncio.run(run(peer, ids, float(seconds), int(tasks), int(connections)))))
