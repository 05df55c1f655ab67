"""Commands per second of processor time: a function of this SDK against a bare grpc.aio echo.

`python bench/echo.py` runs each server in a process of its own, with 64 calls in flight, several times
in turn, and prints both figures and their ratio. The processor time is that of the server alone.

`echo.py serve bare` and `echo.py serve sdk` serve until they are killed: on `PORT`, and Firn at
`FIRN_ADDRESS`. The bench of the repository runs them behind a real Firn.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import firn
from firn.v1 import function_pb2 as pb

IN_FLIGHT = 64
CALLS = 20_000
ROUNDS = 3


def request() -> bytes:
    """What is sent: a generated message in both cases, so that only the hop differs."""
    return pb.Info(name="a" * 32).SerializeToString()


def report(server: str) -> None:
    """Tells the processor time so far when asked, in a line."""
    for _ in sys.stdin:
        print(json.dumps({"server": server, "cpu": time.process_time()}), flush=True)


async def bare_server(port: int = 0) -> None:
    """A unary echo in grpc.aio."""

    async def echo(message: pb.Info, context: Any) -> pb.Info:
        return pb.Info(name=message.name)

    handler = grpc.unary_unary_rpc_method_handler(echo, pb.Info.FromString, pb.Info.SerializeToString)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler}),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    if port:
        await server.wait_for_termination()
    print(bound, flush=True)
    await asyncio.to_thread(report, "bare")


ECHO = firn.Action("bench.Echo")


@ECHO.handler
def echo(request: pb.Info, ctx: firn.ActionContext) -> pb.Info:
    """Echoes."""
    return pb.Info(name=request.name)


COUNTER = firn.EventSourcedEntity(
    "bench.Counter", id="name", state=pb.Credit, events=[pb.Cancel], apply=lambda state, event: state
)


@COUNTER.handler
def count(request: pb.Info, ctx: firn.EventSourcedContext[pb.Credit]) -> pb.Info:
    """Appends an event."""
    ctx.emit(pb.Cancel(id=1))
    return pb.Info(name=request.name)


FUNCTION = firn.Function("bench", ECHO, COUNTER)


async def sdk_server(address: str) -> None:
    """The same as a function."""
    await FUNCTION.start(address)
    await asyncio.to_thread(report, "sdk")


class Server:
    """A server in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def cpu(self) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(json.loads(self.process.stdout.readline())["cpu"])

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


async def drive_bare() -> float:
    server = Server("bare")
    assert server.process.stdout is not None
    port = int(await asyncio.to_thread(server.process.stdout.readline))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/bench.Echo/Echo")
        data = request()

        async def worker(count: int) -> None:
            for _ in range(count):
                await call(data)

        await asyncio.gather(*(worker(10) for _ in range(IN_FLIGHT)))
        before = server.cpu()
        await asyncio.gather(*(worker(CALLS // IN_FLIGHT) for _ in range(IN_FLIGHT)))
        spent = server.cpu() - before
    server.stop()
    return CALLS // IN_FLIGHT * IN_FLIGHT / spent


async def drive_sdk(kind: str, in_flight: int, calls: int) -> float:
    from fake_firn import FakeFirn

    async with FakeFirn() as firn_side:
        server = Server("sdk", firn_side.address)
        link = await firn_side.accept()
        await link.welcome()
        data = request()
        incarnations = 1000 if kind == "events" else 0

        def command(number: int) -> pb.FirnFrame:
            message = pb.Command(id=number, component=int(kind == "events"), message=data, timeout_ms=60_000)
            if incarnations:
                message.incarnation = number % incarnations + 1
                if number <= incarnations:
                    message.opening.entity_id = "a"
                    message.opening.history.SetInParent()
            return pb.FirnFrame(command=message)

        sent = received = 0

        async def run(until: int) -> None:
            # As Firn does: what may go goes at once, in one batch.
            nonlocal sent, received
            while received < until:
                batch = pb.FirnBatch()
                while sent < until and sent - received < in_flight:
                    sent += 1
                    batch.frames.append(command(sent))
                if batch.frames:
                    link.send_bytes(batch.SerializeToString())
                await link.receive()
                received += 1
                while link.frames:
                    frame = link.frames.popleft()
                    assert frame.decision.HasField("reply"), frame
                    received += 1

        await run(2000)
        before = server.cpu()
        await run(2000 + calls)
        spent = server.cpu() - before
        server.stop()
    return calls / spent


async def measure() -> None:
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, rate in (
            ("bare grpc.aio echo, 64 in flight", await drive_bare()),
            ("action, 64 in flight", await drive_sdk("action", IN_FLIGHT, CALLS * 2)),
            ("action, 1024 in flight", await drive_sdk("action", 1024, CALLS * 4)),
            ("event sourced, 64 in flight", await drive_sdk("events", IN_FLIGHT, CALLS * 2)),
        ):
            best[name] = max(best.get(name, 0), rate)
    bare = next(iter(best.values()))
    for name, rate in best.items():
        print(f"{name:36} {rate:10,.0f} per second of processor time   {rate / bare:5.1f}x")


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        asyncio.run(bare_server())
    elif sys.argv[1:2] == ["sdk"]:
        asyncio.run(sdk_server(sys.argv[2]))
    elif sys.argv[1:] == ["serve", "bare"]:
        asyncio.run(bare_server(int(os.environ["PORT"])))
    elif sys.argv[1:] == ["serve", "sdk"]:
        FUNCTION.run()
    else:
        asyncio.run(measure())
