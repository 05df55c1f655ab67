/** The shopping cart: an event sourced entity. */

import { Code, eventSourcedEntity, Failure } from "firn-sdk";
import { Cart, ContentsSchema, type Contents } from "./generated/shop/cart_pb.js";
import { CheckedOutSchema, ItemAddedSchema, ItemRemovedSchema } from "./generated/shop/cart_events_pb.js";

export const cart = eventSourcedEntity(Cart, {
  id: "cart_id",
  state: ContentsSchema,
  events: [ItemAddedSchema, ItemRemovedSchema, CheckedOutSchema],
  snapshotEvery: 50,

  apply(cart, event) {
    switch (event.$typeName) {
      case "shop.ItemAdded": {
        const present = cart.items.find((it) => it.productId === event.item?.productId);
        if (present !== undefined) present.quantity += event.item?.quantity ?? 0;
        else if (event.item !== undefined) cart.items.push(event.item);
        break;
      }
      case "shop.ItemRemoved":
        cart.items = cart.items.filter((it) => it.productId !== event.productId);
        break;
      case "shop.CheckedOut":
        cart.checkedOut = true;
        break;
    }
  },

  handlers: {
    addItem({ productId, name, quantity }, context) {
      mustBeOpen(context.state);
      if (quantity <= 0) {
        throw new Failure(Code.InvalidArgument, `the quantity must be positive, not ${quantity}`);
      }
      context.emit(ItemAddedSchema, { item: { productId, name, quantity } });
    },

    removeItem({ productId }, context) {
      mustBeOpen(context.state);
      if (!context.state.items.some((it) => it.productId === productId)) {
        throw new Failure(Code.NotFound, `product "${productId}" is not in the cart`);
      }
      context.emit(ItemRemovedSchema, { productId });
    },

    getCart: (_, context) => context.state,

    checkout(_, context) {
      mustBeOpen(context.state);
      if (context.state.items.length === 0) {
        throw new Failure(Code.FailedPrecondition, "the cart is empty");
      }
      context.emit(CheckedOutSchema, {});
      return context.state;
    },
  },
});

function mustBeOpen(cart: Contents): void {
  if (cart.checkedOut) throw new Failure(Code.FailedPrecondition, "the cart is checked out already");
}
