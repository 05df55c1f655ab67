package peers.domain;

import com.google.protobuf.Empty;
import java.util.List;
import java.util.stream.Collectors;
import kalix.javasdk.SideEffect;
import kalix.javasdk.eventsourcedentity.EventSourcedEntityContext;
import peers.AddItemRequest;
import peers.AddItemsRequest;
import peers.CartContents;
import peers.CartRequest;
import peers.CartState;
import peers.CheckedOut;
import peers.Item;
import peers.ItemAdded;
import peers.ItemRemoved;
import peers.RemoveItemRequest;
import peers.SetRequest;

/** Cart: event sourced, a snapshot every 5 events. */
public final class Cart extends AbstractCart {
  public Cart(EventSourcedEntityContext context) {}

  @Override
  public CartState emptyState() {
    return CartState.getDefaultInstance();
  }

  @Override
  public Effect<Empty> addItem(CartState state, AddItemRequest request) {
    return add(
        List.of(
            Item.newBuilder()
                .setProductId(request.getProductId())
                .setName(request.getName())
                .setQuantity(request.getQuantity())
                .build()));
  }

  @Override
  public Effect<Empty> addItems(CartState state, AddItemsRequest request) {
    return add(request.getItemsList());
  }

  private Effect<Empty> add(List<Item> items) {
    if (items.stream().anyMatch(item -> item.getQuantity() <= 0)) {
      return effects().error("quantity must be positive");
    }
    List<ItemAdded> events =
        items.stream()
            .map(item -> ItemAdded.newBuilder().setItem(item).build())
            .collect(Collectors.toList());
    return effects().emitEvents(events).thenReply(updated -> Empty.getDefaultInstance());
  }

  @Override
  public Effect<Empty> removeItem(CartState state, RemoveItemRequest request) {
    String productId = request.getProductId();
    if (state.getItemsList().stream().noneMatch(item -> item.getProductId().equals(productId))) {
      return effects().error("no item " + productId);
    }
    return effects()
        .emitEvent(ItemRemoved.newBuilder().setProductId(productId).build())
        .thenReply(updated -> Empty.getDefaultInstance());
  }

  @Override
  public Effect<CartContents> getCart(CartState state, CartRequest request) {
    return effects()
        .reply(
            CartContents.newBuilder()
                .addAllItems(state.getItemsList())
                .setCheckedOut(state.getCheckedOut())
                .build());
  }

  @Override
  public Effect<Empty> checkout(CartState state, CartRequest request) {
    if (state.getCheckedOut()) return effects().error("already checked out");
    return effects()
        .emitEvent(CheckedOut.getDefaultInstance())
        .thenReply(updated -> Empty.getDefaultInstance());
  }

  @Override
  public Effect<Empty> checkoutAndNote(CartState state, CartRequest request) {
    if (state.getCheckedOut()) return effects().error("already checked out");
    SetRequest note =
        SetRequest.newBuilder()
            .setKey("cart-" + request.getCartId())
            .setValue("checked out")
            .build();
    return effects()
        .emitEvent(CheckedOut.getDefaultInstance())
        .thenAddSideEffect(updated -> SideEffect.of(components().keyValue().set(note), true))
        .thenReply(updated -> Empty.getDefaultInstance());
  }

  @Override
  public Effect<Empty> discard(CartState state, CartRequest request) {
    return effects()
        .emitEvent(CheckedOut.getDefaultInstance())
        .deleteEntity()
        .thenReply(updated -> Empty.getDefaultInstance());
  }

  @Override
  public Effect<Empty> addItemThenFail(CartState state, AddItemRequest request) {
    return effects().error("failed after the event");
  }

  @Override
  public Effect<Empty> crash(CartState state, CartRequest request) {
    throw new IllegalStateException("cart crashed");
  }

  @Override
  public CartState itemAdded(CartState state, ItemAdded event) {
    Item added = event.getItem();
    for (int index = 0; index < state.getItemsCount(); index++) {
      Item known = state.getItems(index);
      if (known.getProductId().equals(added.getProductId())) {
        int quantity = known.getQuantity() + added.getQuantity();
        return state.toBuilder()
            .setItems(index, known.toBuilder().setQuantity(quantity))
            .build();
      }
    }
    return state.toBuilder().addItems(added).build();
  }

  @Override
  public CartState itemRemoved(CartState state, ItemRemoved event) {
    List<Item> kept =
        state.getItemsList().stream()
            .filter(item -> !item.getProductId().equals(event.getProductId()))
            .collect(Collectors.toList());
    return state.toBuilder().clearItems().addAllItems(kept).build();
  }

  @Override
  public CartState checkedOut(CartState state, CheckedOut event) {
    return state.toBuilder().setCheckedOut(true).build();
  }
}
