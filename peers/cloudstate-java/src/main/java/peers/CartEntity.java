package peers;

import com.google.protobuf.Empty;
import io.cloudstate.javasupport.ServiceCallRef;
import io.cloudstate.javasupport.eventsourced.CommandContext;
import io.cloudstate.javasupport.eventsourced.CommandHandler;
import io.cloudstate.javasupport.eventsourced.EventHandler;
import io.cloudstate.javasupport.eventsourced.EventSourcedEntity;
import io.cloudstate.javasupport.eventsourced.EventSourcedEntityCreationContext;
import io.cloudstate.javasupport.eventsourced.Snapshot;
import io.cloudstate.javasupport.eventsourced.SnapshotHandler;
import java.util.LinkedHashMap;
import java.util.Map;

/** Cart: event sourced, a snapshot every 5 events. */
@EventSourcedEntity(persistenceId = "cart", snapshotEvery = 5)
public final class CartEntity {
  private final ServiceCallRef<SetRequest> set;
  private final Map<String, Item> items = new LinkedHashMap<>();
  private boolean checkedOut;

  public CartEntity(EventSourcedEntityCreationContext context) {
    set = context.serviceCallFactory().lookup("peers.KeyValue", "Set", SetRequest.class);
  }

  @CommandHandler
  public Empty addItem(AddItemRequest request, CommandContext context) {
    emitAdded(
        Item.newBuilder()
            .setProductId(request.getProductId())
            .setName(request.getName())
            .setQuantity(request.getQuantity())
            .build(),
        context);
    return Empty.getDefaultInstance();
  }

  @CommandHandler
  public Empty addItems(AddItemsRequest request, CommandContext context) {
    request.getItemsList().forEach(item -> emitAdded(item, context));
    return Empty.getDefaultInstance();
  }

  private static void emitAdded(Item item, CommandContext context) {
    if (item.getQuantity() <= 0) throw context.fail("quantity must be positive");
    context.emit(ItemAdded.newBuilder().setItem(item).build());
  }

  @CommandHandler
  public Empty removeItem(RemoveItemRequest request, CommandContext context) {
    if (!items.containsKey(request.getProductId())) {
      throw context.fail("no item " + request.getProductId());
    }
    context.emit(ItemRemoved.newBuilder().setProductId(request.getProductId()).build());
    return Empty.getDefaultInstance();
  }

  @CommandHandler
  public CartContents getCart() {
    return CartContents.newBuilder().addAllItems(items.values()).setCheckedOut(checkedOut).build();
  }

  @CommandHandler
  public Empty checkout(CartRequest request, CommandContext context) {
    if (checkedOut) throw context.fail("already checked out");
    context.emit(CheckedOut.getDefaultInstance());
    return Empty.getDefaultInstance();
  }

  @CommandHandler
  public Empty checkoutAndNote(CartRequest request, CommandContext context) {
    SetRequest note =
        SetRequest.newBuilder()
            .setKey("cart-" + request.getCartId())
            .setValue("checked out")
            .build();
    context.effect(set.createCall(note), true);
    return checkout(request, context);
  }

  @CommandHandler
  public Empty addItemThenFail(AddItemRequest request, CommandContext context) {
    addItem(request, context);
    throw context.fail("failed after the event");
  }

  @CommandHandler
  public Empty crash() {
    throw new IllegalStateException("cart crashed");
  }

  @EventHandler
  public void itemAdded(ItemAdded event) {
    items.merge(event.getItem().getProductId(), event.getItem(), CartEntity::added);
  }

  private static Item added(Item known, Item more) {
    return known.toBuilder().setQuantity(known.getQuantity() + more.getQuantity()).build();
  }

  @EventHandler
  public void itemRemoved(ItemRemoved event) {
    items.remove(event.getProductId());
  }

  @EventHandler
  public void checkedOut(CheckedOut event) {
    checkedOut = true;
  }

  @Snapshot
  public CartState snapshot() {
    return CartState.newBuilder().addAllItems(items.values()).setCheckedOut(checkedOut).build();
  }

  @SnapshotHandler
  public void load(CartState snapshot) {
    items.clear();
    snapshot.getItemsList().forEach(item -> items.put(item.getProductId(), item));
    checkedOut = snapshot.getCheckedOut();
  }
}
