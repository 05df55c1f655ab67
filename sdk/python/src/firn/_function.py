"""A function: its components, and the connection on which it serves them."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import signal
import uuid
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from firn._component import Component
from firn._contract import contract_of
from firn._errors import ConnectionLost, DeclarationError, Finding, Refused
from firn._method import Target
from firn._session import Hooks, Limits, Session
from firn.v1 import function_pb2 as pb

log = logging.getLogger("firn")
Rep = TypeVar("Rep")

MINOR = 0
DEFAULT_ADDRESS = "http://127.0.0.1:9001"
# R7: pauses between attempts to dial, in seconds.
PAUSE_MIN, PAUSE_MAX = 0.05, 2.0
# A batch is of 1 MiB, or of one frame in one piece.
MESSAGE_BYTES = 8 << 20
CONNECT = "/firn.v1.Functions/Connect"
END: Any = grpc.aio.EOF  # type: ignore[attr-defined]
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    # Each attempt is a connection of its own: we count the pauses.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # A peer that has gone without a word is found out.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]


@dataclass(frozen=True)
class Address:
    """Where Firn listens for functions."""

    target: str
    """The address as gRPC writes it."""
    secure: bool
    """Whether to use TLS."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path`."""
        if text.startswith("unix:"):
            return cls(text, secure=False)
        parts = urlsplit(text if "//" in text else f"http://{text}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(
                f'"{text}" is not an address: use http://HOST:PORT, https://HOST:PORT or unix:/path/to/socket'
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(f"{host}:{port}", secure=parts.scheme == "https")


class Function:
    """A function: a named set of components that Firn serves.

    `run()` serves until the process is told to stop. In tests, `async with function:` serves for a
    while; `start` and `stop` are its two halves.
    """

    def __init__(
        self,
        name: str,
        *components: Component[Any],
        version: str = "",
        commands: int = 1024,
        call_messages: int = 16,
        frame_bytes: int = 16 << 20,
        incarnations: int = 100_000,
        stop_seconds: float = 10.0,
        hooks: Hooks | None = None,
    ) -> None:
        """`name` and `version` are for people.

        - `commands`: how many commands may be open at once.
        - `call_messages`: how many messages of a streamed call may wait to be taken.
        - `frame_bytes`: the largest command that the function takes, with its state.
        - `incarnations`: how many entities are kept in memory; those idle longest give way.
        - `stop_seconds`: how long a stop waits for what is open.
        """
        self.name = name
        self.version = version
        self.components: list[Component[Any]] = []
        self.stop_seconds = stop_seconds
        self._limits = Limits(commands, call_messages, frame_bytes, incarnations)
        self._hooks = hooks
        self._process = uuid.uuid4().hex
        self._serving: asyncio.Task[None] | None = None
        self._stopping: asyncio.Event | None = None
        self._connected: asyncio.Event | None = None
        self._session: Session | None = None
        self.add(*components)

    def add(self, *components: Component[Any]) -> Self:
        """Adds components."""
        for component in components:
            if any(component.service == known.service for known in self.components):
                raise DeclarationError(f"{component.service} was added already")
            self.components.append(component)
        return self

    # Running.

    def run(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        authority: str | os.PathLike[str] | None = None,
        raise_refusal: bool = False,
    ) -> None:
        """Serves until the process gets SIGTERM or SIGINT; see `start` for the arguments.

        With `raise_refusal` it raises `Refused` if Firn does not take the function; otherwise that is
        logged and tried again. If nobody set logging up, it is, so that people see what happens.
        """
        if not logging.getLogger().handlers and not log.handlers:
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        asyncio.run(self._run(address, token, authority, raise_refusal))

    async def _run(
        self,
        address: str | None,
        token: str | None,
        authority: str | os.PathLike[str] | None,
        raise_refusal: bool,
    ) -> None:
        loop = asyncio.get_running_loop()
        serving = self._start(address, token, authority, raise_refusal)
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            try:
                loop.add_signal_handler(number, self._ask_to_stop)
            except NotImplementedError:  # where the system has no signals, Ctrl-C ends asyncio.run
                pass
        try:
            await serving
        finally:
            for number in signals:
                try:
                    loop.remove_signal_handler(number)
                except NotImplementedError:
                    pass
            if self._stopping is not None and self._stopping.is_set():
                # The process ends in order; being told once more must not make it look like a failure.
                signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def start(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        authority: str | os.PathLike[str] | None = None,
    ) -> None:
        """Starts to serve, and returns when Firn has taken the function; raises `Refused` if it does not.

        - `address`: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path/to/socket`; otherwise
          FIRN_ADDRESS, or the port of a Firn on this machine.
        - `token`: what Firn asks of functions; otherwise FIRN_TOKEN.
        - `authority`: the file with the certificate of the authority that Firn's certificate is from;
          otherwise FIRN_CA, or those that gRPC knows.
        """
        serving = self._start(address, token, authority, raise_refusal=True)
        assert self._connected is not None, "_start has made it"
        connected = asyncio.create_task(self._connected.wait())
        try:
            await asyncio.wait((serving, connected), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            serving.cancel()
            self._serving = None
            raise
        finally:
            connected.cancel()
        if serving.done():
            self._serving = None
            serving.result()

    def _start(
        self,
        address: str | None,
        token: str | None,
        authority: str | os.PathLike[str] | None,
        raise_refusal: bool,
    ) -> asyncio.Task[None]:
        if self._serving is not None and not self._serving.done():
            raise RuntimeError(f"{self.name} serves already")
        dial = _Dial(
            Address.parse(address or os.environ.get("FIRN_ADDRESS") or DEFAULT_ADDRESS),
            token if token is not None else os.environ.get("FIRN_TOKEN", ""),
            authority or os.environ.get("FIRN_CA"),
            raise_refusal,
        )
        hello = self._hello()
        self._stopping, self._connected = asyncio.Event(), asyncio.Event()
        self._serving = asyncio.get_running_loop().create_task(self._serve(dial, hello))
        return self._serving

    async def stop(self) -> None:
        """Stops: takes nothing new, finishes what is open, at most `stop_seconds` long (R90)."""
        if self._serving is None:
            return
        self._ask_to_stop()
        serving, self._serving = self._serving, None
        try:
            await serving
        except Refused:
            pass

    def _ask_to_stop(self) -> None:
        if self._stopping is not None:
            self._stopping.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def client_address(self) -> str | None:
        """Where clients reach Firn, as `host:port`; none while there is no connection."""
        session = self._session
        return session.welcome.client_address if session is not None and session.welcome is not None else None

    async def connected(self) -> None:
        """Waits until Firn has taken the function, also again after its connection was lost."""
        if self._connected is None:
            raise ConnectionLost(f"{self.name} does not serve: start it")
        await self._connected.wait()

    async def call(self, target: Target[Rep], *, timeout: float | None = None) -> Rep:
        """Calls a method of any connected function through Firn, outside of a handler.

        Gives its reply, or raises its `Failure`; `ConnectionLost` if there is no connection.
        """
        if self._session is None:
            raise ConnectionLost(f"{self.name} is not connected to Firn")
        return await self._session.call(target, 0, timeout)

    # The connection.

    def _hello(self) -> pb.FunctionFrame:
        contract = contract_of(self.components)
        info = pb.Info(
            name=self.name,
            version=self.version,
            runtime=f"python {platform.python_version()}",
            sdk=f"firn-python {_sdk_version()}",
            process=self._process,
        )
        hello = pb.Hello(
            minor=MINOR,
            info=info,
            contract=contract,
            commands=self._limits.commands,
            call_messages=self._limits.call_messages,
            frame_bytes=self._limits.frame_bytes,
        )
        return pb.FunctionFrame(hello=hello)

    async def _serve(self, dial: _Dial, hello: pb.FunctionFrame) -> None:
        assert self._stopping is not None and self._connected is not None, "_start has made them"
        pause = PAUSE_MIN
        told: object = None
        while not self._stopping.is_set():
            try:
                session, problem = await self._connection(dial, hello)
            finally:
                self._session = None
                self._connected.clear()
            if session.welcome is not None:
                # R7: the pauses grow from the beginning again
                pause, told = PAUSE_MIN, None
            if isinstance(problem, Refused):
                self._tell(problem, told)
                if dial.raise_refusal:
                    raise problem
            elif problem is not None and str(problem) != str(told):
                log.warning("no connection to Firn at %s: %s; trying again", dial.address.target, problem)
            told = problem
            if not self._stopping.is_set():
                await _wait(self._stopping, pause)
                pause = min(pause * 2, PAUSE_MAX)

    def _tell(self, refused: Refused, told: object) -> None:
        # R4: people are told what is wrong, once and not at every attempt
        if isinstance(told, Refused) and told.findings == refused.findings:
            return
        for finding in refused.findings:
            log.error("Firn refuses the function: %s", finding)
            if self._hooks is not None:
                self._hooks.finding(finding)

    async def _connection(
        self, dial: _Dial, hello: pb.FunctionFrame
    ) -> tuple[Session, Refused | ConnectionLost | None]:
        """Serves one connection until it ends, and says what was wrong if it did not end in order."""
        assert self._stopping is not None and self._connected is not None, "_start has made them"
        async with dial.channel() as channel:
            connect = channel.stream_stream(CONNECT)
            # R3
            headers = (("authorization", f"Bearer {dial.token}"),) if dial.token else None
            stream = connect(metadata=headers)
            ready = asyncio.Event()
            session = Session(self.components, self._limits, ready.set, self._hooks)
            session.outbox.send(hello)  # R2
            writing = asyncio.create_task(_write(stream, session, ready))
            stopping = asyncio.create_task(self._leave(stream, session))
            problem: Refused | ConnectionLost | None = None
            try:
                await self._read(stream, session)
                problem = session.refused
            except ConnectionLost as error:
                problem = error
            finally:
                writing.cancel()
                stopping.cancel()
                await asyncio.wait((writing, stopping))
                stream.cancel()
                await session.close()
            return session, problem

    async def _read(self, stream: Any, session: Session) -> None:
        assert self._connected is not None, "_start has made it"
        try:
            while (data := await stream.read()) is not END:  # R84
                try:
                    session.receive(data)
                except DecodeError as error:
                    raise ConnectionLost(f"Firn sent what cannot be read: {error}") from error
                except Exception as error:
                    # A fault of the SDK ends this connection, not the process.
                    log.exception("the connection is given up: a fault of the SDK")
                    raise ConnectionLost(f"a fault of the SDK: {error!r}") from error
                if self._session is None and session.welcome is not None:
                    self._session = session
                    self._connected.set()
                    log.info("connected to Firn %s", session.welcome.firn)
            code, details = await stream.code(), await stream.details()
            trailers = await stream.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            code, details, trailers = error.code(), error.details(), error.trailing_metadata()
        except asyncio.CancelledError:
            # The call was cancelled by `_leave`, or this very task from outside.
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            return
        if session.refused is not None or code is grpc.StatusCode.OK:
            return
        firn_code = next((value for key, value in trailers or () if key == "firn-code"), "")
        text = details or "no reason given"
        if code is grpc.StatusCode.UNAUTHENTICATED:
            remedy = "give the token that Firn asks of functions, as an argument or in FIRN_TOKEN"
            session.refused = Refused([Finding(str(firn_code), text, remedy)])
            return
        if firn_code:
            log.error("Firn ended the connection: %s %s", firn_code, text)
        raise ConnectionLost(f"{code.name}: {text}" if code is not None else text)

    async def _leave(self, stream: Any, session: Session) -> None:
        """Says goodbye when the function is to stop, and waits no longer than it may."""
        assert self._stopping is not None, "_start has made it"
        await self._stopping.wait()
        if session.welcome is not None:
            session.say_goodbye()
            await asyncio.sleep(self.stop_seconds)
            log.warning("%s stops although not everything was finished in %g s", self.name, self.stop_seconds)
        stream.cancel()


@dataclass(frozen=True)
class _Dial:
    """How to reach Firn."""

    address: Address
    token: str
    authority: str | os.PathLike[str] | None
    raise_refusal: bool

    def channel(self) -> Any:
        if self.address.target.startswith("unix:"):
            # gRPC would send the path as the authority, which is none, and which Firn refuses.
            options = [*CHANNEL_OPTIONS, ("grpc.default_authority", "localhost")]
            return grpc.aio.insecure_channel(self.address.target, options)
        if not self.address.secure:
            return grpc.aio.insecure_channel(self.address.target, CHANNEL_OPTIONS)
        roots = Path(self.authority).read_bytes() if self.authority else None
        credentials = grpc.ssl_channel_credentials(roots)
        return grpc.aio.secure_channel(self.address.target, credentials, CHANNEL_OPTIONS)


async def _write(stream: Any, session: Session, ready: asyncio.Event) -> None:
    """Sends what waits, all of it in one batch at a time (R8)."""
    try:
        while True:
            await ready.wait()
            ready.clear()
            while batch := session.outbox.next_batch():
                await stream.write(batch)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        # The reader hears of it as well, with the reason.
        log.debug("cannot write any more: %r", error)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        pass


def _sdk_version() -> str:
    try:
        return metadata.version("firn-sdk")
    except metadata.PackageNotFoundError:
        return "from source"
