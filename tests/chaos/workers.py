"""Worker processes under a small supervisor, which starts another one in place of each that ends."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

RESTART_AFTER = 0.3  # seconds
EXPECTED = {-9: "killed", 70: "ended by a text", 1: "worn out by calls that hang"}


class Supervised:
    """One worker and its successors, all with one log file."""

    def __init__(self, dsn: str, log: Path) -> None:
        self._command = [
            str(Path(sys.executable).with_name("pgsbert")), "worker", "--allow-fake", "--dsn", dsn,
            "--model-timeout", "5",
        ]  # fmt: skip
        self.log = log
        self.ends: Counter[str] = Counter()
        self.most_memory = 0
        self._closing = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self._command, stderr=log, stdin=subprocess.DEVNULL)

    def _supervise(self) -> None:
        while not self._closing.is_set():
            code = self._process.poll()
            if code is None:
                self.most_memory = max(self.most_memory, self.memory)
                self._closing.wait(0.1)
                continue
            self.ends[EXPECTED.get(code, f"exit code {code}")] += 1
            time.sleep(RESTART_AFTER)
            self._process = self._start()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the present process."""
        self._process.send_signal(number)

    @property
    def memory(self) -> int:
        """Resident memory in KiB, 0 if it just ended."""
        try:
            found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self._process.pid}/status").read_text())
        except OSError:
            return 0
        return int(found[1]) if found else 0

    @property
    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    @property
    def crashes(self) -> list[str]:
        """What no worker should do: end by itself, or log a traceback."""
        ends = [f"a worker ended with {end}" for end in self.ends if end not in EXPECTED.values()]
        tracebacks = self.log.read_text(errors="replace").count("Traceback (most recent call last)")
        return ends + [f"{tracebacks} tracebacks in {self.log}"] * bool(tracebacks)

    def close(self) -> None:
        """End it in order."""
        self._closing.set()
        self._thread.join(10)
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
