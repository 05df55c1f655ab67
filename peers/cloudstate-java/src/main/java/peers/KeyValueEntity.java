package peers;

import com.google.protobuf.Empty;
import io.cloudstate.javasupport.ServiceCallRef;
import io.cloudstate.javasupport.eventsourced.CommandContext;
import io.cloudstate.javasupport.eventsourced.CommandHandler;
import io.cloudstate.javasupport.eventsourced.EventHandler;
import io.cloudstate.javasupport.eventsourced.EventSourcedEntity;
import io.cloudstate.javasupport.eventsourced.EventSourcedEntityCreationContext;

/** KeyValue: event sourced, because the SDK has no value entities. */
@EventSourcedEntity(persistenceId = "key-value")
public final class KeyValueEntity {
  private final ServiceCallRef<SetRequest> set;
  private final ServiceCallRef<KeyRequest> get;
  private Value value = Value.getDefaultInstance();

  public KeyValueEntity(EventSourcedEntityCreationContext context) {
    set = context.serviceCallFactory().lookup("peers.KeyValue", "Set", SetRequest.class);
    get = context.serviceCallFactory().lookup("peers.KeyValue", "Get", KeyRequest.class);
  }

  @CommandHandler
  public Empty set(SetRequest request, CommandContext context) {
    context.emit(ValueSet.newBuilder().setValue(request.getValue()).build());
    return Empty.getDefaultInstance();
  }

  @CommandHandler
  public Value get() {
    return value;
  }

  @CommandHandler
  public Empty delete(KeyRequest request, CommandContext context) {
    context.emit(ValueDeleted.getDefaultInstance());
    return Empty.getDefaultInstance();
  }

  @CommandHandler
  public Empty fail(KeyFailRequest request, CommandContext context) {
    throw context.fail(request.getDescription());
  }

  @CommandHandler
  public Empty setThenFail(SetRequest request, CommandContext context) {
    set(request, context);
    throw context.fail("failed after the update");
  }

  @CommandHandler
  public Empty crash() {
    throw new IllegalStateException("value crashed");
  }

  @CommandHandler
  public Empty setAndCopy(SetRequest request, CommandContext context) {
    context.effect(set.createCall(withSuffix(request, ".sync")), true);
    context.effect(set.createCall(withSuffix(request, ".async")), false);
    return set(request, context);
  }

  private static SetRequest withSuffix(SetRequest request, String suffix) {
    return request.toBuilder().setKey(request.getKey() + suffix).build();
  }

  @CommandHandler
  public void getOther(KeyPairRequest request, CommandContext context) {
    context.forward(get.createCall(KeyRequest.newBuilder().setKey(request.getOther()).build()));
  }

  @CommandHandler
  public Value slow(KeySlowRequest request) throws InterruptedException {
    Thread.sleep(request.getMillis());
    return value;
  }

  @EventHandler
  public void valueSet(ValueSet event) {
    value = Value.newBuilder().setValue(event.getValue()).setFound(true).build();
  }

  @EventHandler
  public void valueDeleted(ValueDeleted event) {
    value = Value.getDefaultInstance();
  }
}
