//! Tickets: value entities that delete themselves.

use http::Method;
use serde_json::{Value, json};
use tonic::Code;

use crate::rig::{LEAVES, Rig};

/// A ticket's key is drawn by Firn; with its last use it deletes itself.
pub(crate) async fn have_generated_keys(rig: &Rig) {
    let first = rig.ok("Ticket.Open", json!({ "uses": 2 })).await;
    let body = json!({ "uses": 1 });
    let second = rig.http_ok(Method::POST, "/tickets", Some(body)).await;
    let id = first["ticketId"].as_str().expect("a key").to_owned();
    assert_eq!(id.len(), 36, "{id} is no UUID");
    assert_ne!(second["ticketId"], id);

    let ticket = json!({ "ticketId": id });
    let left = rig.ok("Ticket.Use", ticket.clone()).await;
    assert_eq!(left["usesLeft"], 1);
    let path = format!("/tickets/{id}/use");
    let left = rig.http_ok(Method::POST, &path, None).await;
    assert_eq!(left["usesLeft"], 0);
    let none = rig.fails("Ticket.Use", ticket).await;
    assert_eq!(
        (none.code(), none.message()),
        (Code::NotFound, "no such ticket")
    );
    let answer = rig.http(Method::POST, &path, None).await;
    assert_eq!((answer.status(), answer.text()), (404, "no such ticket"));
}

/// A ticket with a key of the legacy option leaves memory when its own idle time is over, which is
/// far shorter than Firn's, and comes back as it was.
pub(crate) async fn leave_by_their_own_option(rig: &mut Rig) {
    let open = json!({ "uses": 2 });
    let opened: Value = rig.http_ok(Method::POST, "/tickets/mine", Some(open)).await;
    assert_eq!(opened, json!({ "ticketId": "mine", "usesLeft": 2 }));
    rig.firn.wait_for_log(LEAVES);
    let ticket = json!({ "ticketId": "mine" });
    for left in [1, 0] {
        let used = rig.ok("Ticket.Use", ticket.clone()).await;
        assert_eq!(used["usesLeft"], left);
    }
    rig.fails_with("Ticket.Use", ticket, "no such ticket").await;
}
