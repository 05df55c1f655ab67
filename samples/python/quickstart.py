"""One component of each kind, declared in code: the quick start of the SDK's README."""

# region: types
from dataclasses import dataclass

import firn
from firn.data import Counter


@dataclass
class Balance:
    amount: int = 0


@dataclass
class Change:
    account_id: str
    amount: int = 0


# endregion

# region: value entity
account = firn.ValueEntity("bank.Account", id="account_id", state=Balance)


@account.handler(http="POST /accounts/{account_id}/change")
def change(request: Change, ctx: firn.ValueContext[Balance]) -> Balance:
    amount = ctx.state.amount + request.amount
    if amount < 0:
        raise firn.Failure(firn.Code.FAILED_PRECONDITION, f"only {ctx.state.amount} is there")
    ctx.set(Balance(amount))
    return ctx.state


# endregion


# region: event sourced entity
@dataclass
class Changed:
    amount: int


ledger = firn.EventSourcedEntity("bank.Ledger", id="account_id", state=Balance, snapshot_every=100)


@ledger.event
def changed(state: Balance, event: Changed) -> Balance:
    return Balance(state.amount + event.amount)


@ledger.handler
def book(request: Change, ctx: firn.EventSourcedContext[Balance]) -> Balance:
    ctx.emit(Changed(request.amount))
    return ctx.state  # the event is in it already


# endregion


# region: action
@dataclass
class Transfer:
    source: str
    destination: str
    amount: int


transfers = firn.Action("bank.Transfers")


@transfers.handler
async def transfer(request: Transfer, ctx: firn.ActionContext) -> None:
    await ctx.call(change(Change(request.source, -request.amount)))
    await ctx.call(change(Change(request.destination, request.amount)))


# endregion

# region: replicated counter
visits = firn.ReplicatedEntity("bank.Visits", id="account_id", data=Counter)


@visits.handler
def visit(request: Change, ctx: firn.ReplicatedContext[Counter]) -> Balance:
    ctx.data.add(request.amount)
    return Balance(ctx.data.value)


# endregion

# region: run
function = firn.Function("bank", account, ledger, transfers, visits)

if __name__ == "__main__":
    function.run()
# endregion
