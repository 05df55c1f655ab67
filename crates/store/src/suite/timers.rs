//! The cases of timers. Their names are the promises.

use std::time::Duration;

use firn_model::decision::{Effect, Forward};
use firn_model::id::{EffectId, EntityKey, SlotSequence};
use firn_model::metadata::Metadata;

use super::subject::{Subject, key, payload};
use crate::commit::{Change, Outcome};
use crate::entity::Timestamp;
use crate::timer::{DueTimer, Timer, TimerId, TimerName, TimerWrite};

const NEVER: Timestamp = Timestamp(u64::MAX);

fn call(text: &str) -> Forward {
    let mut metadata = Metadata::default();
    metadata.push_text("k", "v");
    Forward {
        service: "test.Cart".into(),
        method: "Remind".into(),
        payload: payload(text),
        metadata,
    }
}

fn timer(due: u64, text: &str) -> Timer {
    Timer {
        due: Timestamp(due),
        call: call(text),
        repeat: None,
        hops: 0,
    }
}

fn own(name: &str) -> TimerName {
    TimerName::Own(name.into())
}

fn id(key: &EntityKey, name: TimerName) -> TimerId {
    let key = key.clone();
    TimerId { key, name }
}

fn set(name: &str, timer: Timer) -> TimerWrite {
    TimerWrite {
        name: own(name),
        timer: Some(timer),
    }
}

fn removed(name: TimerName) -> TimerWrite {
    TimerWrite { name, timer: None }
}

async fn write(subject: &mut Subject, key: &EntityKey, timers: Vec<TimerWrite>) {
    let mut commit = subject.next(key.slot());
    commit.key = Some(key.clone());
    commit.timers = timers;
    subject.land(vec![commit]).await;
}

async fn stands(subject: &Subject, key: &EntityKey, name: &str) -> Option<Timer> {
    let timer = subject.store().timer(&id(key, own(name))).await;
    timer.expect("a timer can be read")
}

async fn due(subject: &Subject, until: Timestamp) -> Vec<DueTimer> {
    let timers = subject.store().due_timers(until, None, usize::MAX).await;
    timers.expect("timers can be read")
}

/// Times and names of all timers.
async fn all(subject: &Subject) -> Vec<(u64, TimerName)> {
    let timers = due(subject, NEVER).await.into_iter();
    timers.map(|found| (found.due.0, found.id.name)).collect()
}

pub(super) async fn timers_are_set_replaced_and_cancelled(mut subject: Subject) {
    let cart = key("cart", "a");
    let other = key("cart", "b");
    let mut with_state = subject.change(&cart, Change::Set(payload("state")));
    with_state.timers = vec![set("one", timer(10, "1")), set("two", timer(20, "2"))];
    subject.land(vec![with_state]).await;
    write(&mut subject, &other, vec![set("one", timer(30, "other"))]).await;
    subject.reopen().await;
    assert_eq!(subject.load(&cart).await.state, Some(payload("state")));
    assert_eq!(stands(&subject, &cart, "one").await, Some(timer(10, "1")));
    let repeating = Timer {
        repeat: Some(Duration::from_millis(1500)),
        hops: 3,
        ..timer(40, "again")
    };
    let changes = vec![set("one", repeating.clone()), removed(own("two"))];
    write(&mut subject, &cart, changes).await;
    subject.reopen().await;
    assert_eq!(stands(&subject, &cart, "one").await, Some(repeating));
    assert_eq!(stands(&subject, &cart, "two").await, None);
    assert_eq!(
        stands(&subject, &other, "one").await,
        Some(timer(30, "other"))
    );
    assert_eq!(all(&subject).await, [(30, own("one")), (40, own("one"))]);
    // In one commit the last of a name counts, and what is not there can be cancelled.
    let changes = vec![
        set("three", timer(1, "3")),
        removed(own("three")),
        removed(own("never")),
        removed(own("one")),
        set("one", timer(2, "last")),
    ];
    write(&mut subject, &cart, changes).await;
    write(&mut subject, &other, vec![removed(own("one"))]).await;
    subject.reopen().await;
    assert_eq!(all(&subject).await, [(2, own("one"))]);
}

pub(super) async fn a_timer_fires_in_one_commit(mut subject: Subject) {
    let cart = key("cart", "a");
    let delayed = TimerName::Delayed(EffectId {
        slot: cart.slot(),
        sequence: SlotSequence(1),
        index: 0,
    });
    let once = TimerWrite {
        name: delayed.clone(),
        timer: Some(timer(10, "once")),
    };
    write(
        &mut subject,
        &cart,
        vec![once, set("again", timer(10, "again"))],
    )
    .await;
    let mut fired = subject.next(cart.slot());
    fired.key = Some(cart.clone());
    fired.effects = vec![Effect {
        call: call("once"),
        synchronous: false,
        delay: None,
    }];
    fired.timers = vec![removed(delayed), set("again", timer(20, "again"))];
    let sequence = fired.sequence;
    subject.land(vec![fired]).await;
    subject.reopen().await;
    assert_eq!(all(&subject).await, [(20, own("again"))]);
    let outbox = subject.store().outbox(None, 2).await.expect("an outbox");
    let [pending] = &outbox[..] else {
        panic!("{outbox:?}")
    };
    assert_eq!(pending.id.sequence, sequence);
    assert_eq!(pending.effect.call, call("once"));
    assert_eq!(pending.sender, cart);
}

pub(super) async fn timers_are_found_in_the_order_of_their_times(mut subject: Subject) {
    const COUNT: u64 = 50;
    for number in 0..COUNT {
        let cart = key("cart", &(number % 7).to_string());
        let due = 1000 + (number * 17) % COUNT;
        let name = format!("timer {number}");
        write(&mut subject, &cart, vec![set(&name, timer(due, &name))]).await;
    }
    subject.reopen().await;
    let mut after: Option<DueTimer> = None;
    let mut found = Vec::new();
    loop {
        let until = Timestamp(1000 + COUNT - 11);
        let page = subject.store().due_timers(until, after.as_ref(), 8).await;
        let page = page.expect("timers can be read");
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        found.extend(page.iter().map(|timer| timer.due.0));
    }
    assert_eq!(found, Vec::from_iter(1000..1000 + COUNT - 10));
    assert_eq!(due(&subject, Timestamp(999)).await, []);
    assert_eq!(due(&subject, NEVER).await.len(), COUNT as usize);
    // A time can be the last that there is.
    let cart = key("cart", "0");
    write(&mut subject, &cart, vec![set("never", timer(u64::MAX, ""))]).await;
    assert_eq!(due(&subject, NEVER).await.len(), COUNT as usize + 1);
}

pub(super) async fn timers_outlive_their_entity(mut subject: Subject) {
    let cart = key("cart", "a");
    write(&mut subject, &cart, vec![set("one", timer(10, "1"))]).await;
    subject.apply(&cart, Change::Set(payload("state"))).await;
    subject.apply(&cart, Change::Delete { until: None }).await;
    subject.reopen().await;
    assert_eq!(stands(&subject, &cart, "one").await, Some(timer(10, "1")));
    let until = Some(Timestamp(5));
    subject.apply(&cart, Change::Delete { until }).await;
    subject.apply(&cart, Change::Clean).await;
    subject.reopen().await;
    assert_eq!(all(&subject).await, [(10, own("one"))]);
}

pub(super) async fn odd_names_of_timers_keep_apart(mut subject: Subject) {
    let long = "x".repeat(40_000);
    let keys = [
        key("s", "a"),
        key("s", "a\0"),
        key("s", &long),
        key("s\0", "a"),
    ];
    let names = ["", "\0", "\u{1}", "b", &long];
    for (entity, cart) in keys.iter().enumerate() {
        for (number, name) in names.iter().enumerate() {
            let timer = timer((entity * 10 + number) as u64, "");
            write(&mut subject, cart, vec![set(name, timer)]).await;
        }
    }
    subject.reopen().await;
    for (entity, cart) in keys.iter().enumerate() {
        for (number, name) in names.iter().enumerate() {
            let due = (entity * 10 + number) as u64;
            let found = subject.store().timer(&id(cart, own(name))).await;
            assert_eq!(found, Ok(Some(timer(due, ""))));
        }
    }
    let all = due(&subject, NEVER).await;
    assert_eq!(all.len(), keys.len() * names.len());
    assert!(all.iter().all(|found| keys.contains(&found.id.key)));
}

pub(super) async fn refused_timers_leave_no_trace(mut subject: Subject) {
    let cart = key("cart", "a");
    let mut of_nobody = subject.next(cart.slot());
    of_nobody.timers = vec![set("one", timer(10, "1"))];
    let mut of_the_past = of_nobody.clone();
    of_the_past.key = Some(cart.clone());
    of_the_past.sequence = SlotSequence(7);
    for commit in [of_nobody, of_the_past] {
        let outcomes = subject.store().commit(vec![commit]).await;
        assert!(matches!(outcomes[0].outcome, Outcome::Refused { .. }));
    }
    subject.take_back(cart.slot());
    subject.reopen().await;
    assert_eq!(all(&subject).await, []);
}
