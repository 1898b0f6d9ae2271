"""The data sets as files: made once, kept in the work folder, loaded once for their truth."""

import itertools
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 1 << 20
AMOUNT_FLAG = {"lineitem": "--scale", "sensor": "--rows"}


@dataclass
class Input:
    """One file that a peer loads, and what the table must hold afterwards."""

    path: Path
    rows: int
    checksum: str
    part: bool = False

    @property
    def size(self):
        return self.path.stat().st_size

    def warm(self):
        """Reads the file, so that no load has to wait for the disk to read its input."""
        with self.path.open("rb", buffering=0) as file:
            while file.read(READ_BYTES):
                pass


class Maker:
    """Makes the files of a data set."""

    def __init__(self, generator, folder, cluster):
        self.generator, self.folder, self.cluster = generator, folder, cluster
        self.folder.mkdir(parents=True, exist_ok=True)

    def inputs(self, table, amount, slow_rows, kinds):
        """The wanted kinds of file: csv, arrow, binary, and slice (the first rows of the CSV).

        PostgreSQL's own COPY of the CSV says what the right content is. It also leaves written
        WAL segments behind for the first timed load, as every load does for the next one.
        """
        csv = self.generate(table, amount, "csv")
        rows, checksum = self._load(table, csv)
        made = {"csv": Input(csv, rows, checksum)}
        if "binary" in kinds:
            made["binary"] = Input(self._dump_binary(table, csv), rows, checksum)
        if "arrow" in kinds:
            made["arrow"] = Input(self.generate(table, amount, "arrow"), rows, checksum)
        if "slice" in kinds:
            whole = slow_rows >= rows
            made["slice"] = made["csv"] if whole else self._slice(table, csv, slow_rows)
        return made

    def generate(self, table, amount, form):
        """The path of a generated file; an old one will do if it is newer than the generator."""
        path = self.folder / f"{table}-{amount}.{form}"
        if path.exists() and path.stat().st_mtime > self.generator.stat().st_mtime:
            return path
        unfinished = path.with_name(f"{path.name}.part")
        command = [self.generator, table, AMOUNT_FLAG[table], str(amount)]
        subprocess.run([*command, "--format", form, "--out", unfinished], check=True)
        os.replace(unfinished, path)
        return path

    def _slice(self, table, csv, rows):
        path = csv.with_name(f"{csv.stem}-first-{rows}.csv")
        with csv.open("rb") as whole, path.open("wb") as out:
            out.writelines(itertools.islice(whole, rows + 1))
        return Input(path, *self._load(table, path), part=True)

    def _load(self, table, csv):
        truncate(self.cluster, table)
        self.cluster.sql(f"\\copy {table} FROM '{csv}' (FORMAT csv, HEADER)")
        return count(self.cluster, table), checksum(self.cluster, table)

    def _dump_binary(self, table, csv):
        path = csv.with_suffix(".binary")
        self.cluster.sql(f"\\copy {table} TO '{path}' (FORMAT binary)")
        return path


def truncate(cluster, table):
    """Empties the table and writes out all that earlier loads left in memory."""
    cluster.sql("SET lock_timeout = '30s'", f"TRUNCATE {table}", "CHECKPOINT")


def count(cluster, table):
    return int(cluster.sql(f"SELECT count(*) FROM {table}"))


def checksum(cluster, table):
    """A sum over the text of every row: the same rows in any order give the same number."""
    return cluster.sql(f"SELECT sum(hashtextextended(t::text, 0)) FROM {table} t")
