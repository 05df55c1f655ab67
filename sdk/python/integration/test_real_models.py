"""Every model behind a real Firn: what the fake one cannot show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import components as c
import grpc
import grpc.aio
import pytest
from fake_firn import CERTIFICATES

import firn
from firn._codec import codec_of
from firn.testing import LocalFirn

ask, told = codec_of(c.Ask), codec_of(c.Told)


class Client:
    """Calls the tests' components from outside."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    async def call(self, method: str, id: str, number: int = 0, text: str = "", **options: Any) -> c.Told:
        call = self.channel.unary_unary(f"/test.{method}", ask.encode, told.decode)
        reply: c.Told = await call(c.Ask(id, number, text), timeout=30, **options)
        return reply


@pytest.fixture
async def function(local: LocalFirn) -> AsyncIterator[firn.Function]:
    function = c.function()
    await function.start(local.function_address)
    await local.serves("test.Value")
    yield function
    await function.stop()


@pytest.fixture
async def outside(local: LocalFirn, function: firn.Function) -> AsyncIterator[Client]:
    options = [("grpc.max_receive_message_length", 16 << 20)]
    async with grpc.aio.insecure_channel(local.client_address, options) as channel:
        yield Client(channel)


async def test_one_hot_entity_counts_every_command_once(outside: Client) -> None:
    await asyncio.gather(*(outside.call("Value/Add", "a", 1) for _ in range(300)))
    assert (await outside.call("Value/Get", "a")).number == 300


async def test_events_are_folded_anew_by_another_process(
    outside: Client, function: firn.Function, local: LocalFirn
) -> None:
    for number in range(1, 6):
        await outside.call("Events/Append", "a", number)
    with pytest.raises(grpc.aio.AioRpcError, match="would be 10"):
        await outside.call("Events/Append", "a", -5)
    assert (await outside.call("Events/Append", "a", 1)).number == 16, "after it was let go of"
    await function.stop()
    await function.start(local.function_address)
    assert (await outside.call("Events/Append", "a", 1)).number == 17


async def test_an_actor_keeps_state_and_tags(
    local: LocalFirn, outside: Client
) -> None:
    if "test.Actor" not in await local.logged("serving test.Value"):
        # A Firn that does not serve actors yet says so, and refuses their commands.
        with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
            await outside.call("Actor/Act", "a", 2, "x")
        return
    await outside.call("Actor/Act", "a", 2, "x")
    assert await outside.call("Actor/Act", "a", 3) == c.Told(5, "x")


async def test_handlers_call_through_firn(outside: Client, function: firn.Function) -> None:
    assert (await outside.call("Value/Slowly", "a", 4)).number == 8
    results = [outside.call("Value/Slowly", f"e{number % 7}", 1) for number in range(100)]
    await asyncio.gather(*results)
    assert (await function.call(c.get(c.Ask("e0")), timeout=30)).number == 30


async def test_large_messages_travel_in_chunks_beside_small_ones(outside: Client) -> None:
    text = "x" * (2 << 20)
    calls = [outside.call("Action/Double", "", 1, text) for _ in range(3)]
    calls += [outside.call("Action/Double", "", number) for number in range(100)]
    replies = await asyncio.gather(*calls)
    assert all(reply.text == text for reply in replies[:3])
    assert [reply.number for reply in replies[3:]] == [2 * number for number in range(100)]


async def test_an_action_streams_in_all_shapes(outside: Client) -> None:
    channel = outside.channel
    count = channel.unary_stream("/test.Action/Count", ask.encode, told.decode)
    numbers = [reply.number async for reply in count(c.Ask(number=100), timeout=30)]
    assert numbers == list(range(100)), "more than the credit to begin with"

    async def requests() -> AsyncIterator[c.Ask]:
        for number in range(100):
            yield c.Ask(number=number)

    sum_up = channel.stream_unary("/test.Action/SumUp", ask.encode, told.decode)
    assert (await sum_up(requests(), timeout=30)).number == 4950
    echo = channel.stream_stream("/test.Action/Echo", ask.encode, told.decode)
    assert [reply.number async for reply in echo(requests(), timeout=30)] == list(range(100))


async def test_replicated_data_is_watched_and_changed_at_the_end(outside: Client) -> None:
    watch = outside.channel.unary_stream("/test.Scores/Watch", ask.encode, told.decode)
    watching = watch(c.Ask("a", text="ann"), timeout=30)
    assert (await watching.read()).number == 0
    await outside.call("Scores/Score", "a", 5, "ann")
    assert (await watching.read()).number == 5
    assert (await outside.call("Scores/ScoreSlowly", "a", 2, "ann")).number == 7
    assert (await watching.read()).number == 7
    watching.cancel()
    # The end of the stream is on its way; the change that it makes is seen by a new one.
    second = watch(c.Ask("a", text="left"), timeout=30)
    while (await second.read()).number == 0:
        pass
    second.cancel()


async def test_headers_go_both_ways_and_failures_have_their_code(outside: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await outside.call("Value/Add", "a", -1)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as crashed:
        await outside.call("Value/Crash", "a")
    assert crashed.value.code() is grpc.StatusCode.INTERNAL
    assert (await outside.call("Value/Get", "a")).number == 0


async def test_a_token_is_needed_where_firn_says_so(firn_bin: str) -> None:
    async with LocalFirn(firn_bin, token="secret") as local:
        with pytest.raises(firn.Refused, match="FIRN-2025"):
            await c.function().start(local.function_address, token="wrong")
        function = c.function()
        await function.start(local.function_address, token="secret")
        await function.stop()


async def test_tls_is_spoken(firn_bin: str) -> None:
    flags = ("--function-tls-cert", CERTIFICATES / "server.pem", "--function-tls-key", CERTIFICATES / "server.key")
    async with LocalFirn(firn_bin, *map(str, flags)) as local:
        function = c.function()
        address = local.function_address.replace("http:", "https:")
        await function.start(address, authority=CERTIFICATES / "server.pem")
        await local.serves("test.Value")
        assert (await function.call(c.double(c.Ask(number=2)), timeout=30)).number == 4
        await function.stop()


async def test_a_function_outlives_its_firn(firn_bin: str, tmp_path: Any) -> None:
    socket = f"unix:{tmp_path}/firn.sock"
    function = c.function()
    async with LocalFirn(firn_bin, function_listen=socket) as local:
        await function.start(local.function_address)
        await local.serves("test.Value")
        await function.call(c.add(c.Ask("a", 1)), timeout=30)
    async with LocalFirn(firn_bin, function_listen=socket) as local:
        await local.serves("test.Value")
        await function.connected()
        assert (await function.call(c.add(c.Ask("a", 2)), timeout=30)).number == 2
        await function.stop()
