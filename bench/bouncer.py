"""A PgBouncer in transaction mode in front of the cluster: one pool of server connections for all."""

import shutil
import subprocess
import time
from urllib.parse import quote

START_SECONDS = 10


class Bouncer:
    """A context manager around one pgbouncer."""

    def __init__(self, cluster, connections):
        self.cluster, self.connections = cluster, connections
        self.folder = cluster.root / f"bouncer-{connections}"

    def __enter__(self):
        self.folder.mkdir()
        self.folder.chmod(0o755)
        config = self.folder / "pgbouncer.ini"
        config.write_text(self._config())
        if owner := self.cluster.owner:
            shutil.chown(self.folder, owner.pw_uid, owner.pw_gid)
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        self.process = subprocess.Popen([program, "-q", str(config)], **self.cluster.as_owner(), start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while not (self.folder / ".s.PGSQL.6432").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("pgbouncer did not start")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)

    @property
    def url(self):
        return f"postgresql://bench@{quote(str(self.folder), safe='')}:6432/bench"

    def _config(self):
        return f"""[databases]
* = host={self.cluster.root} port=5432 user=bench
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {self.folder}
logfile = {self.folder}/log
auth_type = any
pool_mode = transaction
default_pool_size = {self.connections}
max_client_conn = 200
"""
