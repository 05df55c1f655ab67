//! Many entities at once.

use std::sync::Arc;

use serde_json::json;

use crate::cart::{self, contents, item};
use crate::rig::Rig;
use crate::sdk::Sdk;

/// Entities that are busy at the same time: more than any SDK has threads.
const ENTITIES: usize = 50;

/// Each of many entities answers each of its commands, and none has lost or mixed up anything.
pub(crate) async fn is_served(sdk: &'static Sdk) {
    let rig = Arc::new(Rig::start(sdk).await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..ENTITIES {
        let rig = rig.clone();
        tasks.spawn(async move {
            let cart = format!("cart-{number}");
            let quantity = i64::try_from(number).expect("small") + 1;
            rig.ok("Cart.AddItem", item(&cart, "pen", quantity)).await;
            // Two at once for one entity: they are served one after the other.
            tokio::join!(
                rig.ok("Cart.AddItem", item(&cart, "ink", 1)),
                rig.ok("Cart.AddItem", item(&cart, "pen", 1)),
            );
            let remove = json!({ "cartId": cart, "productId": "ink" });
            rig.ok("Cart.RemoveItem", remove).await;
            let expected = contents([("pen", quantity + 1)]);
            assert_eq!(cart::look(&rig, &cart).await, expected);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("an entity that is served");
    }
}
