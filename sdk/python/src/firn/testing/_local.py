"""A real Firn for integration tests."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_SECONDS = 30.0
STOP_SECONDS = 15.0


class FirnNotFound(Exception):
    """There is no Firn to start."""


class LocalFirn:
    """Firn on free ports of this machine, with nothing stored: `with LocalFirn() as firn`.

    It is ready when the block begins, and stopped when it ends. Where a function runs in the same event
    loop, use `async with`: a Firn that stops waits for its functions.
    """

    def __init__(
        self,
        binary: str | os.PathLike[str] | None = None,
        *arguments: str,
        token: str = "",
        function_listen: str = "127.0.0.1:0",
    ) -> None:
        """`binary` is the program; otherwise FIRN_BIN, or `firn` on the PATH. `arguments` are added.

        `token` is what functions must send, and `function_listen` where they dial in, also `unix:/path`.
        """
        self._binary = binary
        self._arguments = arguments
        self._token = token
        self._function_listen = function_listen
        self._process: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lines: list[str] = []
        self._up: dict[str, Any] | None = None
        self._ready = threading.Event()
        self._news = threading.Condition()
        self._reader: threading.Thread | None = None
        self.function_address = ""
        """What a function dials: `Function.start(firn.function_address)`."""
        self.client_address = ""
        """Where clients reach the services, as `host:port`."""
        self.admin_address = ""
        """Where health and metrics are, as `host:port`."""

    def start(self) -> Self:
        """Starts Firn and waits until it is up."""
        program = self._binary or os.environ.get("FIRN_BIN") or shutil.which("firn")
        if not program:
            raise FirnNotFound("set FIRN_BIN to the firn program, or put it on the PATH")
        self._folder = tempfile.TemporaryDirectory(prefix="firn-")
        command = [os.fspath(program), "proxy", "--family", "firn", "--store", "memory:"]
        command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        command += ["--function-listen", self._function_listen]
        if self._token:
            command += ["--function-token", self._token]
        # Settings of this process's surroundings are not those of the test.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FIRN_")}
        self._process = subprocess.Popen(
            [*command, *self._arguments],
            cwd=self._folder.name,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="firn's log", daemon=True)
        self._reader.start()
        self._ready.wait(START_SECONDS)
        if self._up is None:
            log = self.log
            self.stop()
            raise RuntimeError(f"Firn did not start within {START_SECONDS:g} s:\n{log}")
        self.client_address = str(self._up["clients"])
        functions = str(self._up["functions"])
        self.function_address = functions if functions.startswith("unix:") else f"http://{functions}"
        self.admin_address = str(self._up["admin"])
        return self

    def _read(self) -> None:
        process = self._process
        assert process is not None and process.stderr is not None
        for line in process.stderr:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
            if self._up is None and "Firn is up" in line:
                self._up = json.loads(line)
                self._ready.set()
        self._ready.set()

    @property
    def log(self) -> str:
        """What Firn has logged so far: one JSON object for each line."""
        return "".join(self._lines)

    async def serves(self, service: str) -> None:
        """Waits until clients can call a service. A function may have been taken a moment before that."""
        await self.logged(f"{service} (")

    async def logged(self, text: str, seconds: float = START_SECONDS) -> str:
        """Waits until Firn has logged a line with this text, and gives the line."""

        def wait() -> str:
            with self._news:
                self._news.wait_for(lambda: any(text in line for line in self._lines), seconds)
                found = [line for line in self._lines if text in line]
            if not found:
                raise TimeoutError(f'Firn did not log "{text}" within {seconds:g} s:\n{self.log}')
            return found[0]

        return await asyncio.to_thread(wait)

    def stop(self) -> None:
        """Stops Firn, and waits until it has ended."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if self._reader is not None:
                self._reader.join(STOP_SECONDS)
            assert process.stderr is not None
            process.stderr.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @property
    def folder(self) -> Path:
        """The folder that Firn runs in."""
        assert self._folder is not None, "Firn runs"
        return Path(self._folder.name)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)
