//! A function in a process of its own, on firn.v1 and the SDK for Rust: an action and a value entity
//! that change nothing, a value entity with a state, event sourced entities with and without snapshots.

use anyhow::Result;
use firn_sdk::{Action, Context, EventSourced, Failure, Function, ValueEntity};

use self::contract::{Added, Item, Kept, Total, echo, journal, ledger, register};

#[expect(unreachable_pub, reason = "generated")]
mod contract {
    firn_sdk::include_proto!("bench.own");
}

/// The method of the action.
pub(crate) const ECHO: &str = "/bench.own.Echo/Echo";

/// Those of the value entity: reads it, and fills it.
pub(crate) const READ: &str = "/bench.own.Register/Read";
pub(crate) const FILL: &str = "/bench.own.Register/Fill";

/// That of the event sourced entity: stores one event.
pub(crate) const ADD: &str = "/bench.own.Ledger/Add";

/// Those of the event sourced entity without snapshots: stores one event, and reads it.
pub(crate) const JOURNAL_ADD: &str = "/bench.own.Journal/Add";
pub(crate) const JOURNAL_READ: &str = "/bench.own.Journal/Read";

/// The names that the value entity and that without snapshots are stored under.
pub(crate) const REGISTER: &str = "bench.own.Register";
pub(crate) const JOURNAL: &str = "bench.own.Journal";

/// The type of the value entity's state.
pub(crate) const KEPT: &str = "type.googleapis.com/bench.own.Kept";

/// The size of a state that was filled.
pub(crate) const STATE_BYTES: usize = 100;

/// As often as the cart has one.
const SNAPSHOT_EVERY: u32 = 10;

/// Dials Firn at `FIRN_ADDRESS` and serves.
pub(crate) async fn serve() -> Result<()> {
    let function = Function::new("bench", env!("CARGO_PKG_VERSION"))
        .add(Action::component(echo::SERVICE).on(echo::ECHO, same))
        .add(
            ValueEntity::<Kept>::component(register::SERVICE)
                .id("cart_id")
                .on(register::READ, same)
                .on(register::FILL, fill),
        )
        .add(
            EventSourced::<Total>::component(ledger::SERVICE)
                .id("cart_id")
                .snapshot_every(SNAPSHOT_EVERY)
                .event(added)
                .on(ledger::ADD, add),
        )
        .add(
            EventSourced::<Total>::component(journal::SERVICE)
                .id("cart_id")
                .event(added)
                .on(journal::ADD, add)
                .on(journal::READ, same),
        );
    Ok(function.run().await?)
}

fn same<M: firn_sdk::Model>(item: Item, _: &mut Context<M>) -> Result<Item, Failure> {
    Ok(item)
}

fn fill(item: Item, register: &mut Context<ValueEntity<Kept>>) -> Result<Item, Failure> {
    register.set(Kept {
        value: vec![7; STATE_BYTES],
    });
    Ok(item)
}

fn add(item: Item, ledger: &mut Context<EventSourced<Total>>) -> Result<Item, Failure> {
    ledger.emit(Added {
        quantity: item.quantity,
    });
    Ok(item)
}

fn added(total: &mut Total, event: Added) {
    total.quantity += i64::from(event.quantity);
}
