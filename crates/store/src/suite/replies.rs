//! The cases of reply records. Their names are the promises.

use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::id::EntityKey;
use firn_model::status::{GrpcCode, Status};

use super::effects::effect;
use super::subject::{HOUR, START, Subject, key, later, payload};
use crate::commit::{Change, ReplyRecord, StoredAnswer};
use crate::entity::Timestamp;

pub(super) fn record(
    idempotency_key: &str,
    expires: Timestamp,
    answer: StoredAnswer,
) -> ReplyRecord {
    ReplyRecord {
        method: "test.Service/Method".into(),
        idempotency_key: idempotency_key.into(),
        request_hash: u128::MAX - 1,
        expires,
        answer,
    }
}

pub(super) fn reply(text: &str) -> StoredAnswer {
    StoredAnswer::Reply(Reply {
        payload: payload(text),
        metadata: effect(0).call.metadata,
    })
}

pub(super) async fn stored(subject: &Subject, key: &EntityKey, name: &str) -> Option<ReplyRecord> {
    let store = subject.store();
    let record = store.reply_record(key, "test.Service/Method", name).await;
    record.expect("records can be read")
}

pub(super) async fn remember(subject: &mut Subject, key: &EntityKey, record: &ReplyRecord) {
    let mut commit = subject.next(key.slot());
    commit.key = Some(key.clone());
    commit.reply_record = Some(record.clone());
    subject.land(vec![commit]).await;
}

pub(super) async fn reply_records_expire(mut subject: Subject) {
    let cart = key("cart", "a");
    let first = record("one", later(START), reply("one"));
    remember(&mut subject, &cart, &first).await;
    subject.reopen().await;
    assert_eq!(stored(&subject, &cart, "one").await, Some(first.clone()));
    assert_eq!(stored(&subject, &cart, "two").await, None);
    assert_eq!(stored(&subject, &key("cart", "b"), "one").await, None);
    let other_method = subject.store().reply_record(&cart, "other", "one").await;
    assert_eq!(other_method, Ok(None));

    let longer = record("one", later(later(START)), reply("again"));
    remember(&mut subject, &cart, &longer).await;
    subject.advance(HOUR);
    // Commits sweep what has expired; the newer record stays.
    let sweeping = subject.next(cart.slot());
    subject.land(vec![sweeping]).await;
    assert_eq!(stored(&subject, &cart, "one").await, Some(longer));
    subject.advance(HOUR);
    assert_eq!(stored(&subject, &cart, "one").await, None);
    let sweeping = subject.next(cart.slot());
    subject.land(vec![sweeping]).await;
    subject.reopen().await;
    assert_eq!(stored(&subject, &cart, "one").await, None);

    let fresh = record("three", later(subject.now()), reply("three"));
    remember(&mut subject, &cart, &fresh).await;
    assert_eq!(stored(&subject, &cart, "three").await, Some(fresh));
    subject.apply(&cart, Change::Clean).await;
    assert_eq!(stored(&subject, &cart, "three").await, None);
}

pub(super) async fn reply_records_hold_any_answer(mut subject: Subject) {
    let cart = key("cart", "a");
    let answers = [
        StoredAnswer::Reply(Reply::default()),
        reply("text"),
        StoredAnswer::Forward(effect(1).call),
        StoredAnswer::Failure(Status::chosen(GrpcCode::NotFound, "no such thing")),
        StoredAnswer::Failure(Status::refused(GrpcCode::Internal, Code::NoReply, "")),
    ];
    for (number, answer) in answers.iter().enumerate() {
        let record = record(&number.to_string(), later(START), answer.clone());
        remember(&mut subject, &cart, &record).await;
    }
    subject.reopen().await;
    for (number, answer) in answers.into_iter().enumerate() {
        let name = number.to_string();
        let expected = record(&name, later(START), answer);
        assert_eq!(stored(&subject, &cart, &name).await, Some(expected));
    }
}
