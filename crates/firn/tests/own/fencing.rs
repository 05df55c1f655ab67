//! A commit that is refused while more is on the way: nothing of the dead incarnation is ever seen
//! again, on whichever connection (R26, R45, design 3.2).
//!
//! The parts are put together in this process, so that the test can be the other owner who writes
//! into the slot.

use firn_model::code::Code;
use firn_model::id::{EntityKey, Epoch, SlotSequence, StorageName};
use firn_store::{Change, Commit, Outcome, Store, Timestamp};
use firn_testkit::caller::request;
use firn_testkit::own::message::{close, closed, decided, history};
use firn_wire::convert::parts::payload;

use crate::node::{Node, answered, refused};
use crate::world::{JOURNAL, kept, opening, whole};

/// Somebody else writes into the slot: an event of the same entity, and so many more commits that
/// nothing which is on its way fits behind them.
async fn intrude(store: &dyn Store, event: &str) {
    let key = EntityKey::new(StorageName::new("model.Journal"), "a");
    let slot = key.slot();
    let commit = |sequence| {
        let sequence = SlotSequence(sequence);
        Commit::empty(slot, Epoch::default(), sequence, Timestamp(1))
    };
    let mut first = commit(1);
    first.key = Some(key);
    first.change = Some(Change::Append {
        first: 1,
        events: vec![payload(kept(event)).expect("a payload")],
        snapshot: None,
        deleted_until: None,
    });
    let batch = std::iter::once(first).chain((2..20).map(commit)).collect();
    let outcomes = store.commit(batch).await;
    assert_eq!(outcomes[0].outcome, Outcome::Landed);
}

#[tokio::test]
async fn refused_commit_leaves_nothing_of_its_incarnation_on_any_connection() {
    let mut node = Node::start().await;
    let mut first = node.join(&whole()).await;
    let mut calls = Vec::new();
    for text in ["1", "2", "3"] {
        calls.push(node.call("Journal/Process", "a", text));
        // The next is sent before this one is decided.
        first.command().await;
    }
    let mut second = node.join(&whole()).await;
    intrude(&*node.store, "I").await;
    first.send(decided(1).append(&[kept("X")], None).leaving(1));
    first.send(decided(2).append(&[kept("Y")], None).leaving(2));
    for call in calls {
        let status = refused(call).await;
        assert_eq!(status.firn, Some(Code::CommitRefused), "{status}");
    }
    first.expect(close(1)).await;
    // Sent before the word reached it: void, and no reason to complain.
    first.send(decided(3).append(&[kept("Z")], None).leaving(3));

    let call = node.call("Journal/Process", "a", "4");
    let intruder = history("a", None, &[kept("I")]);
    let asked = request("a", "4");
    second
        .expect(opening(1, JOURNAL, 1, &asked, intruder))
        .await;
    second.send(decided(1).append(&[kept("W")], None).leaving(2));
    answered(call).await;

    first.send(closed(1));
    drop(second);
    node.left().await;
    let call = node.call("Journal/Process", "a", "5");
    let stored = history("a", None, &["I", "W"].map(kept));
    let asked = request("a", "5");
    first.expect(opening(4, JOURNAL, 2, &asked, stored)).await;
    first.send(decided(4).leaving(2));
    answered(call).await;
}
