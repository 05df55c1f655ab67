//! The link to a function that a test plays.

use std::sync::Arc;

use firn_link::watch::{Event, Watch};
use firn_link::{Asker, Family, Function, Identification};
use firn_testkit::function::{self, within};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Connects to a function; what comes second ends that when it is dropped.
pub(crate) async fn linked(function: &function::Function) -> (Function, DropGuard) {
    let watch = Watch {
        address: function.address().to_string(),
        family: Family::Auto,
        asker: Asker {
            version: "0",
            dev_mode: true,
            host: "127.0.0.1".to_owned(),
            port: 1,
            offer_old_names: false,
            identification: Identification {
                header: "h".to_owned(),
                token: "t".to_owned(),
            },
        },
        message_bytes_max: 1 << 20,
        check: Arc::new(|_| Vec::new()),
        hurry: Arc::default(),
    };
    let (sender, mut events) = mpsc::channel(4);
    let stop = CancellationToken::new();
    tokio::spawn(watch.run(sender, stop.clone()));
    match within("the function", events.recv()).await {
        Some(Event::Serving { function, .. }) => (function, stop.drop_guard()),
        _ => panic!("the function is not served"),
    }
}
