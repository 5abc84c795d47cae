"""A stage as a child process of this machine, and the same worker inline.

A child that dies takes nothing with it: the driver keeps the tokens, and a new child replays them.
"""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Listener
from typing import Protocol

from ..paths import child_environment
from .messages import Message, Reply, Working
from .worker import Worker

__all__ = ["ChildStage", "Heard", "InlineStage", "Stage", "StageDied"]

#: Told of a load while it goes on; what it raises ends the load.
Heard = Callable[[Working], None]


class StageDied(Exception):
    """The engine process ended in the middle of a request; `killed` if a signal ended it."""

    def __init__(self, reason: str, killed: bool) -> None:
        super().__init__(reason)
        self.killed = killed


class Stage(Protocol):
    """Something that answers messages."""

    def request(self, message: Message) -> Reply:
        """Return the reply to `message`; StageDied when the process behind it ended."""

    def close(self) -> None:
        """End the stage and return its memory."""


class InlineStage:
    """The worker in this process, for debugging."""

    def __init__(self, heard: Heard | None = None) -> None:
        self._worker = Worker(heard)

    def request(self, message: Message) -> Reply:
        """Return the worker's reply."""
        return self._worker.handle(message)

    def close(self) -> None:
        """Free the weights."""
        self._worker.close()


class ChildStage:
    """The worker in a child process; `pid` is its process id."""

    def __init__(self, heard: Heard | None = None) -> None:
        self._heard = heard
        key = secrets.token_bytes(32)
        with Listener(("127.0.0.1", 0), authkey=key) as listener:
            self._process = self._launch(listener.address[1], key)
            self._connection = self._accept(listener)
        self.pid = self._process.pid
        self._receive()  # "ready"

    @staticmethod
    def _launch(port: int, key: bytes) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "llmdist.stage.child", str(port)],
            stdin=subprocess.PIPE,
            env=child_environment(),
        )
        assert process.stdin is not None
        process.stdin.write(key.hex().encode() + b"\n")
        process.stdin.close()
        return process

    def _accept(self, listener: Listener) -> Connection:
        # A child that dies before it connects must not leave the driver waiting.
        listener._listener._socket.settimeout(0.2)  # type: ignore[attr-defined]
        while True:
            try:
                return listener.accept()
            except TimeoutError:
                if self._process.poll() is not None:
                    raise self._died() from None

    def request(self, message: Message) -> Reply:
        """Send `message` and return the reply; an interrupt while waiting drops the child."""
        try:
            self._connection.send(message)
        except (OSError, ValueError):
            raise self._died() from None
        return self._receive()

    def _receive(self) -> Reply:
        try:
            while isinstance(reply := self._next(), Working):
                if self._heard is not None:
                    self._heard(reply)
            return reply
        except (EOFError, OSError):
            raise self._died() from None
        except BaseException:
            self.close()  # the reply would answer the wrong request later
            raise

    def _next(self) -> Reply | Working:
        while not self._connection.poll(0.1):
            pass
        said: Reply | Working = self._connection.recv()
        return said

    def _died(self) -> StageDied:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
            return StageDied(f"the engine process was ended by {name}{hint}", killed=True)
        return StageDied(f"the engine process ended with exit code {code}", killed=False)

    def close(self) -> None:
        """End the process; its memory goes back to the system."""
        self._connection.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
