package peers.domain;

import com.google.protobuf.Empty;
import io.grpc.Status;
import kalix.javasdk.SideEffect;
import kalix.javasdk.valueentity.ValueEntityContext;
import peers.HeaderList;
import peers.Headers;
import peers.KeyFailRequest;
import peers.KeyPairRequest;
import peers.KeyRequest;
import peers.KeySlowRequest;
import peers.SetRequest;
import peers.Value;
import peers.ValueState;

/** KeyValue: a value entity. */
public final class KeyValue extends AbstractKeyValue {
  public KeyValue(ValueEntityContext context) {}

  @Override
  public ValueState emptyState() {
    return ValueState.getDefaultInstance();
  }

  private static Value reply(ValueState state) {
    return Value.newBuilder().setValue(state.getValue()).setFound(state.getFound()).build();
  }

  private static ValueState updated(SetRequest request) {
    return ValueState.newBuilder().setValue(request.getValue()).setFound(true).build();
  }

  @Override
  public Effect<Empty> set(ValueState state, SetRequest request) {
    return effects().updateState(updated(request)).thenReply(Empty.getDefaultInstance());
  }

  @Override
  public Effect<Value> get(ValueState state, KeyRequest request) {
    return effects().reply(reply(state));
  }

  @Override
  public Effect<Empty> delete(ValueState state, KeyRequest request) {
    return effects().deleteEntity().thenReply(Empty.getDefaultInstance());
  }

  @Override
  public Effect<Empty> fail(ValueState state, KeyFailRequest request) {
    if (request.getCode() == 0) return effects().error(request.getDescription());
    Status.Code code = Status.fromCodeValue(request.getCode()).getCode();
    return effects().error(request.getDescription(), code);
  }

  @Override
  public Effect<Empty> setThenFail(ValueState state, SetRequest request) {
    return effects().error("failed after the update");
  }

  @Override
  public Effect<Empty> crash(ValueState state, KeyRequest request) {
    throw new IllegalStateException("value crashed");
  }

  @Override
  public Effect<Empty> setAndCopy(ValueState state, SetRequest request) {
    return effects()
        .updateState(updated(request))
        .thenReply(Empty.getDefaultInstance())
        .addSideEffects(
            SideEffect.of(components().keyValue().set(withSuffix(request, ".sync")), true),
            SideEffect.of(components().keyValue().set(withSuffix(request, ".async")), false));
  }

  private static SetRequest withSuffix(SetRequest request, String suffix) {
    return request.toBuilder().setKey(request.getKey() + suffix).build();
  }

  @Override
  public Effect<Value> getOther(ValueState state, KeyPairRequest request) {
    KeyRequest other = KeyRequest.newBuilder().setKey(request.getOther()).build();
    return effects().forward(components().keyValue().get(other));
  }

  @Override
  public Effect<HeaderList> getHeaders(ValueState state, KeyRequest request) {
    return effects().reply(Headers.of(commandContext().metadata()));
  }

  @Override
  public Effect<Value> slow(ValueState state, KeySlowRequest request) {
    try {
      Thread.sleep(request.getMillis());
    } catch (InterruptedException interrupted) {
      throw new IllegalStateException(interrupted);
    }
    return effects().reply(reply(state));
  }
}
