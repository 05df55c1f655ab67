//! The samples in memory, with the kit of the SDK.

use firn_sdk::Code;
use firn_sdk::kit::Unit;
use samples::board::{ScoreRequest, ShowRequest, Standings, leaderboard};
use samples::shop::{
    AddItemRequest, CheckoutRequest, GetCartRequest, ItemAdded, RemoveItemRequest, cart,
};

// region: kit
#[tokio::test]
async fn the_same_product_adds_up() {
    let mut unit = Unit::entity(samples::cart::component(), "alice");
    let decided = unit.send(cart::ADD_ITEM, tea(2)).await;
    assert_eq!(decided.events_of::<ItemAdded>().len(), 1);
    unit.send(cart::ADD_ITEM, tea(3)).await.reply();
    unit.read_again();
    let contents = unit
        .send(cart::GET_CART, GetCartRequest::default())
        .await
        .reply();
    assert_eq!(contents.items[0].quantity, 5);
}
// endregion: kit

fn tea(quantity: i32) -> AddItemRequest {
    AddItemRequest {
        cart_id: "alice".into(),
        product_id: "tea".into(),
        name: "Tea".into(),
        quantity,
    }
}

#[tokio::test]
async fn refusals_say_why() {
    let mut unit = Unit::entity(samples::cart::component(), "alice");
    let failure = unit.send(cart::ADD_ITEM, tea(-1)).await.failure();
    assert_eq!(failure.code, Code::InvalidArgument);
    assert_eq!(failure.message, "the quantity must be positive, not -1");
    let remove = RemoveItemRequest {
        product_id: "socks".into(),
        ..RemoveItemRequest::default()
    };
    let failure = unit.send(cart::REMOVE_ITEM, remove).await.failure();
    assert_eq!(failure.code, Code::NotFound);
    assert_eq!(failure.message, "product \"socks\" is not in the cart");
    let checkout = CheckoutRequest::default();
    let failure = unit.send(cart::CHECKOUT, checkout.clone()).await.failure();
    assert_eq!(failure.code, Code::FailedPrecondition);
    assert_eq!(failure.message, "the cart is empty");
    unit.send(cart::ADD_ITEM, tea(1)).await.reply();
    let contents = unit.send(cart::CHECKOUT, checkout).await.reply();
    assert!(contents.checked_out);
    let failure = unit.send(cart::ADD_ITEM, tea(1)).await.failure();
    assert_eq!(failure.message, "the cart is checked out already");
}

#[tokio::test]
async fn a_cart_is_read_from_a_snapshot_and_the_events_after_it() {
    let mut unit = Unit::entity(samples::cart::component(), "alice");
    for _ in 0..12 {
        unit.send(cart::ADD_ITEM, tea(1)).await.reply();
    }
    let snapshot: samples::shop::Contents = unit.state().expect("a snapshot");
    assert_eq!(snapshot.items[0].quantity, 10);
    unit.read_again();
    let contents = unit
        .send(cart::GET_CART, GetCartRequest::default())
        .await
        .reply();
    assert_eq!(contents.items[0].quantity, 12);
}

fn score(player: &str, points: i64) -> ScoreRequest {
    ScoreRequest {
        board_id: "b".into(),
        player: player.into(),
        points,
    }
}

fn places(standings: Standings) -> Vec<(String, i64)> {
    let places = standings.places.into_iter();
    places.map(|place| (place.player, place.points)).collect()
}

#[tokio::test]
async fn replicas_agree_and_watchers_see_it() {
    let component = samples::leaderboard::component;
    let (mut one, mut two) = (
        Unit::entity(component(), "b"),
        Unit::entity(component(), "b"),
    );
    let watching = one.watch(leaderboard::WATCH, ShowRequest::default());
    assert_eq!(
        one.next::<Standings>(watching).await,
        Some(Standings::default())
    );
    two.send(leaderboard::SCORE, score("ann", 3)).await.reply();
    two.tell(&mut one);
    one.send(leaderboard::SCORE, score("bob", 3)).await.reply();
    one.tell(&mut two);
    one.cancel(watching);
    let mut last = Standings::default();
    while let Some(shown) = one.next(watching).await {
        last = shown;
    }
    let expected = [("ann".to_owned(), 3), ("bob".to_owned(), 3)];
    assert!(!last.places.is_empty());
    for unit in [&mut one, &mut two] {
        let shown = unit
            .send(leaderboard::SHOW, ShowRequest::default())
            .await
            .reply();
        assert_eq!(places(shown), expected);
    }
    one.read_again();
    let shown = one.send(leaderboard::SHOW, ShowRequest::default()).await;
    assert_eq!(places(shown.reply()), expected);
    let failure = one.send(leaderboard::SCORE, score("", 1)).await.failure();
    assert_eq!(failure.message, "the player has no name");
}
