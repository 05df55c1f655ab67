"""Sections 1, 2 and 9 of firn.v1: how a function dials, is taken or refused, and stops."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import components as c
import grpc
import pytest
from conftest import command, connected, stopped
from fake_firn import FakeFirn
from google.protobuf.descriptor_pb2 import FileDescriptorSet

import firn
from firn._function import Address
from firn.v1 import function_pb2 as pb

HERE = Path(__file__).resolve().parent


async def test_hello_introduces_the_function() -> None:  # R2
    async with FakeFirn() as fake:
        world = await connected(fake, c.function(version="1.2", commands=7, stop_seconds=0.5))
        hello = world.hello
        assert (hello.info.name, hello.info.version) == ("tests", "1.2")
        assert hello.info.runtime.startswith("python 3.") and hello.info.sdk.startswith("firn-python ")
        assert len(hello.info.process) == 32
        assert (hello.commands, hello.call_messages, hello.frame_bytes) == (7, 16, 16 << 20)
        value, events, actor, scores, action = hello.contract.components
        assert (value.model, value.state, list(value.id)) == (pb.MODEL_VALUE, "test.Total", ["id"])
        assert (list(events.events), events.snapshot_every) == (["test.Added"], 3)
        assert actor.durability == pb.DURABILITY_WRITE_BEHIND
        assert scores.data == pb.DATA_TYPE_COUNTER_MAP
        assert (list(action.headers), list(action.id)) == (["x-given"], [])
        files = FileDescriptorSet.FromString(hello.contract.descriptors)
        assert [file.name for file in files.file][:2] == ["test/value.proto", "test/events.proto"]
        assert world.function.client_address == "127.0.0.1:9000"
        await stopped(world)
        assert world.function.client_address is None


async def test_the_token_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:  # R3
    async with FakeFirn() as fake:
        monkeypatch.setenv("FIRN_TOKEN", "from-environment")
        monkeypatch.setenv("FIRN_ADDRESS", fake.address)
        for token, expected in (("given", "Bearer given"), (None, "Bearer from-environment")):
            function = c.function(stop_seconds=0.5)
            starting = asyncio.create_task(function.start(token=token))
            link = await fake.accept()
            assert link.authorization == expected
            await link.welcome()
            await starting
            link.end()
            await function.stop()


async def test_a_wrong_token_is_a_refusal() -> None:  # R3
    async with FakeFirn() as fake:
        starting = asyncio.create_task(c.function().start(fake.address))
        (await fake.accept()).end(grpc.StatusCode.UNAUTHENTICATED, "the token is wrong", "FIRN-2025")
        with pytest.raises(firn.Refused, match="FIRN-2025 the token is wrong: give the token"):
            await starting


async def test_a_refusal_is_told_with_all_its_findings() -> None:  # R4
    findings = [pb.Finding(code=f"FIRN-200{n}", text=f"wrong {n}", remedy="mend it") for n in (3, 4)]
    async with FakeFirn() as fake:
        starting = asyncio.create_task(c.function().start(fake.address))
        link = await fake.accept()
        await link.receive()
        link.send(pb.Refusal(findings=findings))
        link.end(grpc.StatusCode.FAILED_PRECONDITION, "refused")
        with pytest.raises(firn.Refused) as refused:
            await starting
        assert [str(one) for one in refused.value.findings] == [
            "FIRN-2003 wrong 3: mend it",
            "FIRN-2004 wrong 4: mend it",
        ]


async def test_a_refused_function_dials_again_and_tells_once(caplog: pytest.LogCaptureFixture) -> None:  # R4
    async with FakeFirn() as fake:
        function = c.function(stop_seconds=0.5)
        serving = function._start(fake.address, None, None, raise_refusal=False)
        for _ in range(2):
            link = await fake.accept()
            await link.receive()
            link.send(pb.Refusal(findings=[pb.Finding(code="FIRN-2003", text="wrong")]))
            link.end(grpc.StatusCode.FAILED_PRECONDITION)
        link = await fake.accept()
        await link.welcome()
        assert isinstance(await link.command(**command(c.double, 1)), pb.Decision)
        link.end()
        await function.stop()
        assert serving.done()
    assert caplog.text.count("FIRN-2003 wrong") == 1


@pytest.mark.parametrize("how", ["ended", "status", "damaged"])
async def test_a_lost_connection_is_dialed_anew(how: str) -> None:  # R7
    async with FakeFirn() as fake:
        world = await connected(fake, c.function(stop_seconds=0.5))
        await world.link.command(**command(c.add, 1), incarnation=1, opening=pb.Opening(entity_id="a"))
        calling = asyncio.create_task(world.function.call(c.double(c.Ask())))
        assert isinstance(await world.link.receive(), pb.Call)
        if how == "ended":
            world.link.end()
        elif how == "status":
            world.link.end(grpc.StatusCode.INVALID_ARGUMENT, "cannot be decoded", "FIRN-3040")
        else:
            world.link.send_bytes(b"\x0a\xff\xff\xff\xff")
        with pytest.raises(firn.ConnectionLost):
            await calling
        link = await fake.accept()
        await link.welcome()
        link.send(link.next_command(**command(c.add, 1), incarnation=1))
        decision = await link.command(**command(c.double, 1))
        assert decision.command == 2, "nothing of the old connection counts any more"
        world.link = link
        await stopped(world)


async def test_a_firn_that_is_not_there_yet_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:  # R7
    async with FakeFirn() as fake:
        await fake.close()
        function = c.function(stop_seconds=0.5)
        starting = asyncio.create_task(function.start(fake.address))
        while "no connection to Firn" not in caplog.text:
            await asyncio.sleep(0.01)
        await fake.listen(f"127.0.0.1:{fake.port}")
        link = await fake.accept()
        await link.welcome()
        await starting
        link.end()
        await function.stop()


async def test_pauses_grow_and_begin_anew_after_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:  # R7
    pauses: list[float] = []

    async def wait(event: asyncio.Event, seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr("firn._function._wait", wait)
    async with FakeFirn() as fake:
        function = c.function(stop_seconds=0.5)
        starting = asyncio.create_task(function.start(fake.address))
        for _ in range(8):
            (await fake.accept()).end(grpc.StatusCode.UNAVAILABLE)
        link = await fake.accept()
        await link.welcome()
        await starting
        link.end(grpc.StatusCode.INTERNAL)
        (await fake.accept()).end()
        await fake.accept()
        await function.stop()
        assert pauses[:10] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 0.05, 0.1]


async def test_a_function_that_is_not_connected_stops_at_once() -> None:
    async with FakeFirn() as fake:
        function = c.function()
        starting = asyncio.create_task(function.start(fake.address))
        await fake.accept()
        await function.stop()
        await starting
        starting = asyncio.create_task(function.start(fake.address))
        link = await fake.accept()
        starting.cancel()
        await asyncio.wait((starting,))
        assert starting.cancelled()
        await link.until_ended()


async def test_a_socket_can_be_dialed(tmp_path: Path) -> None:
    async with FakeFirn(f"unix:{tmp_path}/firn.sock") as fake:
        await stopped(await connected(fake, c.function(stop_seconds=0.5)))


async def test_tls_trusts_the_authority_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = HERE / "certificates/server.pem"
    async with FakeFirn(tls=True) as fake:
        function = c.function(stop_seconds=0.5)
        starting = asyncio.create_task(function.start(fake.address, authority=authority, token="t"))
        link = await fake.accept()
        assert link.authorization == "Bearer t"
        await link.welcome()
        await starting
        link.end()
        await function.stop()
        monkeypatch.setenv("FIRN_CA", str(authority))
        await stopped(await connected(fake, c.function(stop_seconds=0.5)))


async def test_stop_says_goodbye_and_finishes_what_is_open() -> None:  # R90
    async with FakeFirn() as fake:
        world = await connected(fake, c.function())
        link = world.link
        call = await link.command(**command(c.slowly, 1), incarnation=1, opening=pb.Opening(entity_id="a"))
        stopping = asyncio.create_task(world.function.stop())
        assert await link.receive() == pb.Goodbye()
        link.send(pb.CallResult(id=call.id, reply=c_told(1)), pb.Close(incarnation=2))
        assert (await link.receive()).version == 1
        link.send(pb.Close(incarnation=1))
        assert await link.receive() == pb.Closed(incarnation=1)
        assert not stopping.done()
        link.end()
        await stopping


def c_told(number: int) -> bytes:
    from conftest import told

    return told.encode(c.Told(number))


async def test_stop_is_bounded(caplog: pytest.LogCaptureFixture) -> None:  # R90
    async with FakeFirn() as fake:
        world = await connected(fake, c.function(stop_seconds=0.05))
        world.link.send(world.link.next_command(**command(c.wait)))
        began = time.monotonic()
        await world.function.stop()
        assert time.monotonic() - began < 5
        assert "not everything was finished" in caplog.text
        await world.link.until_ended()


async def test_a_firn_that_stops_is_served_to_the_end() -> None:  # R91
    async with FakeFirn() as fake:
        world = await connected(fake, c.function(stop_seconds=0.5))
        link = world.link
        call = await link.command(**command(c.slowly, 1), incarnation=1, opening=pb.Opening(entity_id="a"))
        link.send(pb.Goodbye())
        link.send(pb.CallResult(id=call.id, reply=c_told(1)))
        assert isinstance(await link.receive(), pb.Decision)
        link.send(pb.Close(incarnation=1))
        assert await link.receive() == pb.Closed(incarnation=1)
        await link.command(**command(c.double, 2))
        link.end()
        world.link = await fake.accept()
        await world.link.welcome()
        await stopped(world)


async def test_a_process_stops_in_order_at_sigterm(tmp_path: Path) -> None:  # R90
    async with FakeFirn() as fake:
        script = "import components; components.function().run()"
        environment = {**os.environ, "FIRN_ADDRESS": fake.address, "PYTHONPATH": str(HERE)}
        process = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE)
        try:
            link = await fake.accept()
            await link.welcome()
            await link.command(**command(c.double, 1))
            process.send_signal(signal.SIGTERM)
            assert await link.receive() == pb.Goodbye()
            link.end()
            _, errors = await asyncio.to_thread(process.communicate, timeout=10)
            assert process.returncode == 0, errors
            assert b"connected to Firn fake" in errors
        finally:
            process.kill()
            process.wait()


async def test_run_raises_a_refusal_if_asked() -> None:
    async with FakeFirn() as fake:
        running = asyncio.create_task(c.function()._run(fake.address, None, None, True))
        link = await fake.accept()
        link.send(pb.Refusal(findings=[pb.Finding(code="FIRN-2003", text="wrong")]))
        link.end(grpc.StatusCode.FAILED_PRECONDITION)
        with pytest.raises(firn.Refused):
            await running


async def test_a_function_serves_once_at_a_time() -> None:
    async with FakeFirn() as fake:
        world = await connected(fake, c.function(stop_seconds=0.5))
        with pytest.raises(RuntimeError, match="serves already"):
            await world.function.start(fake.address)
        await stopped(world)
        with pytest.raises(firn.ConnectionLost):
            await world.function.call(c.double(c.Ask()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:9001", Address("127.0.0.1:9001", secure=False)),
        ("https://firn.example:443", Address("firn.example:443", secure=True)),
        ("https://firn.example", Address("firn.example:443", secure=True)),
        ("http://[::1]:9001", Address("[::1]:9001", secure=False)),
        ("localhost:9001", Address("localhost:9001", secure=False)),
        ("unix:/run/firn.sock", Address("unix:/run/firn.sock", secure=False)),
    ],
)
def test_addresses_are_read(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected


@pytest.mark.parametrize("text", ["ftp://host:1", "http://", "http://host:1/path"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        Address.parse(text)


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "firn")
