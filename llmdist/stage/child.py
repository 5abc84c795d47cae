"""The child process of a local stage: connects back to the driver and serves its messages until it hangs up.

It leaves interrupts to the driver, and offers itself first when the system runs out of memory.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from multiprocessing.connection import Client
from pathlib import Path

__all__ = ["serve"]


def serve(port: int, key: bytes) -> None:
    """Answer messages from the driver at loopback `port` until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with Client(("127.0.0.1", port), authkey=key) as connection:
        from .worker import Worker

        worker = Worker(connection.send)
        try:
            connection.send("ready")
            while True:
                connection.send(worker.handle(connection.recv()))
        except (EOFError, ConnectionError):
            pass  # the driver hung up
        finally:
            worker.close()  # threads that still read when the interpreter ends would abort it


if __name__ == "__main__":
    serve(int(sys.argv[1]), bytes.fromhex(sys.stdin.readline().strip()))
