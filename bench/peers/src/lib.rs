//! What the peers of the bench are asked, whatever they are made of.

use serde::{Deserialize, Serialize};

/// The command of the bench: so many more of a product for an entity.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The entity.
    pub cart_id: String,
    /// The product.
    pub product_id: String,
    /// Its name for people.
    pub name: String,
    /// How many more.
    pub quantity: i32,
}

impl Item {
    /// One more of the only product in the cart with this number.
    pub fn to(cart: u64) -> Self {
        Self {
            cart_id: format!("cart-{cart:06}"),
            product_id: "tea".to_owned(),
            name: "Tea, green".to_owned(),
            quantity: 1,
        }
    }
}
