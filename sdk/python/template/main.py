"""{{name}}: a counter for each name."""

from dataclasses import dataclass

import firn


@dataclass
class Value:
    """What is stored of a counter, and shown of it."""

    value: int = 0


@dataclass
class IncreaseRequest:
    """Adds to a counter."""

    counter_id: str
    by: int = 0


@dataclass
class GetRequest:
    """Asks for a counter."""

    counter_id: str


counter = firn.ValueEntity("demo.Counter", id="counter_id", state=Value)


@counter.handler(http="POST /counters/{counter_id}/increase")
def increase(request: IncreaseRequest, ctx: firn.ValueContext[Value]) -> Value:
    """Adds to the counter."""
    if request.by < 0:
        raise firn.Failure(firn.Code.INVALID_ARGUMENT, f"a counter cannot grow by {request.by}")
    ctx.set(Value(ctx.state.value + request.by))
    return ctx.state


@counter.handler(http="GET /counters/{counter_id}")
def get(request: GetRequest, ctx: firn.ValueContext[Value]) -> Value:
    """Shows the counter."""
    return ctx.state


function = firn.Function("{{name}}", counter, version="0.1.0")

if __name__ == "__main__":
    function.run()
