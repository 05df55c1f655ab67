"""A Firn that does what a test says: it listens, lets functions dial in, and sends what it is told.

A `Link` is one connection of a function. `receive` gives its next frame; `send` sends frames in one
batch. Waiting is bounded, so that a test fails instead of hanging.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from firn.v1 import function_pb2 as pb

CERTIFICATES = Path(__file__).resolve().parent / "certificates"
SECONDS = 10.0
"""How long a test waits for what must come at once."""


class Link:
    """One connection of a function."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.frames: deque[pb.FunctionFrame] = deque()
        self.batches: list[int] = []
        """How many frames each batch had."""
        self.ended = False
        """Whether the function has ended its side."""
        self._arrived = asyncio.Event()
        self._out: asyncio.Queue[bytes | tuple[grpc.StatusCode, str, str] | None] = asyncio.Queue()
        self._chunks: dict[int, bytes] = {}
        self._commands = 0

    @property
    def authorization(self) -> str | None:
        """What the function sent as its token."""
        return dict(self.context.invocation_metadata()).get("authorization")

    def send(self, *frames: Message) -> None:
        """Sends frames in one batch; each is a message that a `FirnFrame` can hold."""
        batch = pb.FirnBatch()
        for frame in frames:
            name = type(frame).DESCRIPTOR.name
            field = "call_result" if name == "CallResult" else name.lower()
            getattr(batch.frames.add(), field).CopyFrom(frame)
        self.send_bytes(batch.SerializeToString())

    def send_bytes(self, data: bytes) -> None:
        """Sends what may not even be a batch."""
        self._out.put_nowait(data)

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK, text: str = "", firn_code: str = "") -> None:
        """Ends the call."""
        self._out.put_nowait(None if code is grpc.StatusCode.OK else (code, text, firn_code))

    async def receive_frame(self) -> pb.FunctionFrame:
        """The next frame as it came, chunks not put together."""
        async with asyncio.timeout(SECONDS):
            while not self.frames:
                if self.ended:
                    raise AssertionError("the function ended its side")
                self._arrived.clear()
                await self._arrived.wait()
        return self.frames.popleft()

    async def receive(self) -> Any:
        """The next frame: a `Decision`, a `Closed` and so on, put together where it came in chunks."""
        while True:
            frame = await self.receive_frame()
            kind = frame.WhichOneof("frame")
            if kind != "chunk":
                return getattr(frame, kind or "")
            chunk = frame.chunk
            data = self._chunks.pop(chunk.transfer, b"") + chunk.data
            if chunk.last:
                whole = pb.FunctionFrame.FromString(data)
                return getattr(whole, whole.WhichOneof("frame") or "")
            self._chunks[chunk.transfer] = data

    async def until_ended(self) -> None:
        """Waits until the function has ended its side, or its connection is gone."""
        async with asyncio.timeout(SECONDS):
            while not self.ended:
                self._arrived.clear()
                await self._arrived.wait()

    async def welcome(self, **fields: Any) -> pb.Hello:
        """Receives Hello and answers with Welcome."""
        hello = await self.receive()
        assert isinstance(hello, pb.Hello), hello
        given = {
            "firn": "fake",
            "calls": 64,
            "call_messages": 16,
            "frame_bytes": 16 << 20,
            "chunk_bytes": 256 << 10,
            "client_address": "127.0.0.1:9000",
        }
        self.send(pb.Welcome(**{**given, **fields}))
        return hello

    async def command(self, **fields: Any) -> Any:
        """Sends a command with the next number and gives the frame that comes."""
        self.send(self.next_command(**fields))
        return await self.receive()

    def next_command(self, **fields: Any) -> pb.Command:
        """A command with the next number."""
        self._commands += 1
        return pb.Command(id=self._commands, **fields)


class FakeFirn:
    """Listens for functions on a free port, or on a socket: `async with FakeFirn() as firn`."""

    def __init__(self, socket: str | None = None, *, tls: bool = False) -> None:
        self._socket = socket
        self._tls = tls
        self._links: asyncio.Queue[Link] = asyncio.Queue()
        self._server: Any = None
        self.address = ""
        """What the function is to dial."""

    async def __aenter__(self) -> Self:
        await self.listen("127.0.0.1:0" if self._socket is None else self._socket)
        return self

    async def listen(self, where: str) -> None:
        """Listens."""
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)])
        handler = grpc.stream_stream_rpc_method_handler(self._connect)
        service = grpc.method_handlers_generic_handler("firn.v1.Functions", {"Connect": handler})
        self._server.add_generic_rpc_handlers((service,))
        if self._tls:
            pair = ((CERTIFICATES / "server.key").read_bytes(), (CERTIFICATES / "server.pem").read_bytes())
            port = self._server.add_secure_port(where, grpc.ssl_server_credentials((pair,)))
        else:
            port = self._server.add_insecure_port(where)
        await self._server.start()
        self.port = port
        scheme = "https" if self._tls else "http"
        self.address = where if self._socket is not None else f"{scheme}://127.0.0.1:{port}"

    async def close(self) -> None:
        """Ends every connection, and listens no more."""
        await self._server.stop(None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def accept(self) -> Link:
        """The next connection of a function."""
        async with asyncio.timeout(SECONDS):
            return await self._links.get()

    async def _connect(self, requests: Any, context: Any) -> None:
        link = Link(context)
        self._links.put_nowait(link)
        reading = asyncio.create_task(self._read(requests, link))
        try:
            while isinstance(data := await link._out.get(), bytes):
                await context.write(data)
            if data is not None:
                code, text, firn_code = data
                await context.abort(code, text, (("firn-code", firn_code),) if firn_code else ())
        finally:
            reading.cancel()
            await asyncio.wait((reading,))

    @staticmethod
    async def _read(requests: Any, link: Link) -> None:
        try:
            async for data in requests:
                batch = pb.FunctionBatch.FromString(data)
                link.batches.append(len(batch.frames))
                link.frames.extend(batch.frames)
                link._arrived.set()
        finally:
            link.ended = True
            link._arrived.set()


def packed(message: Message) -> AnyMessage:
    """A message as `Any`."""
    packed = AnyMessage()
    packed.Pack(message)
    return packed
