"""A leaderboard: every node that is asked has a replica of the scores."""

from collections.abc import AsyncIterator

import firn
from board import leaderboard_pb2
from board.leaderboard_pb2 import Place, Player, ScoreRequest, ShowRequest, Standings
from firn.data import CounterMap
from google.protobuf.empty_pb2 import Empty

Scores = CounterMap[Player]
Context = firn.ReplicatedContext[Scores]

leaderboard = firn.ReplicatedEntity(
    leaderboard_pb2.DESCRIPTOR.services_by_name["Leaderboard"],
    id="board_id",
    data=Scores,
    storage="leaderboard",
)


@leaderboard.handler
def score(request: ScoreRequest, ctx: Context) -> Empty:
    """Adds points to a player's score, or takes some."""
    if not request.player:
        raise firn.Failure(firn.Code.INVALID_ARGUMENT, "the player has no name")
    ctx.data.add(Player(name=request.player), request.points)
    return Empty()


@leaderboard.handler
def show(request: ShowRequest, ctx: Context) -> Standings:
    """Shows the standings."""
    return standings(ctx.data)


@leaderboard.handler
async def watch(request: ShowRequest, ctx: Context) -> AsyncIterator[Standings]:
    """Shows the standings now, and after every change."""
    yield standings(ctx.data)
    async for _ in ctx.changes():
        yield standings(ctx.data)


def standings(scores: Scores) -> Standings:
    """The most points first, equal ones by name."""
    ordered = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0].name))
    return Standings(places=[Place(player=player.name, points=points) for player, points in ordered])
