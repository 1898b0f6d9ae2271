"""pgsluice itself: started on a free port, watched through /proc, stopped at the end."""

import os
import re
import subprocess
import time
import urllib.error
import urllib.request

START_SECONDS = 60
STOP_SECONDS = 30
# Whatever proxy there is, it is not for a service on this machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Service:
    """A context manager around one `pgsluice serve`."""

    def __init__(self, binary, cluster, log, flags=(), url=None):
        self.binary, self.cluster, self.log = binary, cluster, log
        self.flags, self.url = flags, url or cluster.url

    def __enter__(self):
        command = [self.binary, "serve", "--listen", "127.0.0.1:0"]
        command += ["--database-url", self.url, *self.flags]
        env = self.cluster.environment()
        # A setting of the caller's must not change what is measured.
        env = {name: value for name, value in env.items() if not name.startswith("PGSLUICE_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=env, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self.base = self._wait_for("its address", self._address)
            self._wait_for("/readyz", self._ready)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        self._stop()

    def cpu_seconds(self):
        """User and system time of all its threads since it started."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            # The command's name, in brackets, may itself contain blanks.
            fields = stat.read().rpartition(")")[2].split()
        user, system = int(fields[11]), int(fields[12])
        return (user + system) / TICKS_PER_SECOND

    def peak_rss(self):
        """The most memory that it ever had, in bytes."""
        with open(f"/proc/{self.process.pid}/status") as status:
            kib = re.search(r"^VmHWM:\s+(\d+) kB", status.read(), re.MULTILINE).group(1)
        return int(kib) * 1024

    def counter(self, name):
        """One of its metrics, over all labels."""
        with DIRECT.open(f"{self.base}/metrics", timeout=30) as answer:
            return sum(map(float, re.findall(rf"^{name}(?:{{.*}})? (\S+)$", answer.read().decode(), re.MULTILINE)))

    def _address(self):
        found = re.search(r"listening on (http://\S+)", self.log.read_text(errors="replace"))
        return found and found.group(1).rstrip("/")

    def _ready(self):
        try:
            with DIRECT.open(f"{self.base}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _wait_for(self, what, probe):
        deadline = time.monotonic() + START_SECONDS
        while True:
            found = probe()
            if found:
                return found
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = self.log.read_text(errors="replace")
                raise RuntimeError(f"pgsluice did not come to {what}:\n{log}")
            time.sleep(0.05)

    def _stop(self):
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
