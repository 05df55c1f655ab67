//! The cart: an event sourced entity.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use tonic::Code;

use crate::rig::Rig;
use crate::sdk::Sdk;

/// A request for so many of a product.
pub(crate) fn item(cart: &str, product: &str, quantity: i64) -> Value {
    json!({ "cartId": cart, "productId": product, "name": product, "quantity": quantity })
}

/// A request for one each of these products, in one command.
pub(crate) fn items(cart: &str, products: &[&str]) -> Value {
    let items: Vec<Value> = products
        .iter()
        .map(|product| json!({ "productId": product, "name": product, "quantity": 1 }))
        .collect();
    json!({ "cartId": cart, "items": items })
}

/// Quantities by product.
pub(crate) type Contents = BTreeMap<String, i64>;

/// Contents from a few of them.
pub(crate) fn contents<const N: usize>(expected: [(&str, i64); N]) -> Contents {
    expected
        .into_iter()
        .map(|(product, quantity)| (product.to_owned(), quantity))
        .collect()
}

/// Contents from the items of an answer.
fn read(items: &Value) -> Contents {
    let items = items.as_array().expect("items");
    let read = |item: &Value| {
        let product = item["productId"].as_str().expect("a product").to_owned();
        (product, item["quantity"].as_i64().expect("a quantity"))
    };
    items.iter().map(read).collect()
}

/// What is in a cart, by gRPC.
pub(crate) async fn look(rig: &Rig, cart: &str) -> Contents {
    let answer = rig.ok("Cart.GetCart", json!({ "cartId": cart })).await;
    read(&answer["items"])
}

/// Items are added, listed and removed, by gRPC and by HTTP, and both see the same cart.
pub(crate) async fn serves_grpc_and_http(sdk: &'static Sdk) {
    let rig = Rig::start(sdk).await;
    assert!(rig.firn.log().contains(rig.sdk.family));

    rig.ok("Cart.AddItem", item("a", "pen", 2)).await;
    rig.ok("Cart.AddItem", item("a", "pen", 1)).await;
    rig.ok("Cart.AddItems", items("a", &["ink", "cap"])).await;
    let body = json!({ "productId": "pad", "name": "Pad", "quantity": 4 });
    let empty = rig
        .http_ok(Method::POST, "/carts/a/items", Some(body))
        .await;
    assert_eq!(empty, json!({}));
    let expected = contents([("pen", 3), ("ink", 1), ("cap", 1), ("pad", 4)]);
    assert_eq!(look(&rig, "a").await, expected);

    rig.http_ok(Method::DELETE, "/carts/a/items/pen", None)
        .await;
    rig.ok(
        "Cart.RemoveItem",
        json!({ "cartId": "a", "productId": "ink" }),
    )
    .await;
    let removed = "/carts/a/items/cap/remove";
    rig.http_ok(Method::POST, removed, None).await;
    let answer = rig.http_ok(Method::GET, "/carts/a", None).await;
    assert_eq!(read(&answer["items"]), contents([("pad", 4)]));
    let listed = rig.http_ok(Method::GET, "/carts/a/items", None).await;
    assert_eq!(read(&listed), contents([("pad", 4)]));
    let batch = json!({ "items": [{ "productId": "map", "name": "Map", "quantity": 1 }] });
    rig.http_ok(Method::POST, "/carts/a/items:batch", Some(batch))
        .await;
    assert_eq!(look(&rig, "a").await, contents([("pad", 4), ("map", 1)]));

    // Another cart knows nothing of it.
    assert_eq!(look(&rig, "b").await, contents([]));

    refuses(&rig).await;
    says_what_is_not_served(&rig).await;
}

/// Failures reach the caller in the function's words, and leave the cart as it was.
async fn refuses(rig: &Rig) {
    let before = look(rig, "a").await;
    rig.fails_with(
        "Cart.AddItem",
        item("a", "pen", 0),
        "quantity must be positive",
    )
    .await;
    let none = json!({ "cartId": "a", "productId": "nib" });
    rig.fails_with("Cart.RemoveItem", none, "no item nib").await;
    rig.fails_with(
        "Cart.AddItemThenFail",
        item("a", "pen", 1),
        "failed after the event",
    )
    .await;
    let bad = json!({ "productId": "pen", "quantity": -1 });
    let answer = rig.http(Method::POST, "/carts/a/items", Some(bad)).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(
        answer.text(),
        (rig.sdk.failure)("quantity must be positive")
    );
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(look(rig, "a").await, before);

    let crash = rig.fails("Cart.Crash", json!({ "cartId": "a" })).await;
    assert_eq!(crash.code(), Code::Unknown, "{crash:?}");
    assert_eq!(look(rig, "a").await, before);

    let nobody = rig.fails("Cart.GetCart", json!({})).await;
    assert_eq!(nobody.code(), Code::InvalidArgument);
    assert!(nobody.message().contains("cart_id"), "{nobody:?}");
}

/// Views, which a function declares and Firn does not serve yet, are in the log; the rest runs.
async fn says_what_is_not_served(rig: &Rig) {
    let services = rig.peer.description().services.iter();
    let unserved: Vec<&str> = services
        .filter(|service| service.kind == "view")
        .map(|service| service.name.as_str())
        .collect();
    let log = rig.firn.log();
    let warned = log.matches("which is not served yet").count();
    assert_eq!(warned, unserved.len(), "{log}");
    for service in unserved {
        let said = format!("{service} is a component of type");
        assert!(log.contains(&said), "{service}: {log}");
        let path = format!("/{service}/Get");
        let answer = rig.http(Method::POST, &path, None).await;
        assert_eq!(answer.status(), 404, "{}", answer.text());
        let Err(status) = rig.raw(&path).await else {
            panic!("{path} is served");
        };
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    }
}
