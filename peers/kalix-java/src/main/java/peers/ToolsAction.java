package peers;

import akka.NotUsed;
import akka.stream.javadsl.Source;
import com.google.protobuf.Empty;
import io.grpc.Status;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
import kalix.javasdk.Metadata;
import kalix.javasdk.SideEffect;
import kalix.javasdk.action.ActionCreationContext;

/** Tools: an action in every shape of call. */
public final class ToolsAction extends AbstractToolsAction {
  private final ActionCreationContext context;

  public ToolsAction(ActionCreationContext context) {
    this.context = context;
  }

  private static Number number(long value) {
    return Number.newBuilder().setValue(value).build();
  }

  private static Text text(String text) {
    return Text.newBuilder().setText(text).build();
  }

  private SideEffect setEffect(String key, String value, boolean synchronous) {
    SetRequest request = SetRequest.newBuilder().setKey(key).setValue(value).build();
    return SideEffect.of(components().keyValue().set(request), synchronous);
  }

  @Override
  public Effect<Number> add(Pair pair) {
    return effects().reply(number(pair.getLeft() + pair.getRight()));
  }

  @Override
  public Effect<Number> sum(Source<Number, NotUsed> numbers) {
    CompletionStage<Number> total =
        numbers
            .runFold(0L, (sum, number) -> sum + number.getValue(), context.materializer())
            .thenApply(ToolsAction::number);
    return effects().asyncReply(total);
  }

  @Override
  public Source<Effect<Number>, NotUsed> count(Number number) {
    return Source.fromJavaStream(() -> LongStream.rangeClosed(1, number.getValue()).boxed())
        .map(value -> effects().reply(number(value)));
  }

  @Override
  public Source<Effect<Text>, NotUsed> echo(Source<Text, NotUsed> texts) {
    return texts.map(text -> effects().reply(text(text.getText())));
  }

  @Override
  public Source<Effect<Number>, NotUsed> countThenFail(Number number) {
    return count(number).concat(Source.single(effects().error("failed after counting")));
  }

  @Override
  public Effect<Empty> addItemVia(ForwardAddItem request) {
    AddItemRequest forwarded =
        AddItemRequest.newBuilder()
            .setCartId(request.getCartId())
            .setProductId(request.getProductId())
            .setName(request.getName())
            .setQuantity(request.getQuantity())
            .build();
    return effects().forward(components().cart().addItem(forwarded));
  }

  @Override
  public Effect<Value> getVia(ForwardGet request) {
    KeyRequest forwarded = KeyRequest.newBuilder().setKey(request.getKey()).build();
    return effects().forward(components().keyValue().get(forwarded));
  }

  @Override
  public Effect<Value> getByClient(ForwardGet request) {
    KeyRequest forwarded = KeyRequest.newBuilder().setKey(request.getKey()).build();
    return effects().asyncReply(components().keyValue().get(forwarded).execute());
  }

  @Override
  public Effect<Text> remember(RememberRequest request) {
    return effects()
        .reply(text("remembered " + request.getKey()))
        .addSideEffect(setEffect(request.getKey(), request.getValue(), request.getSynchronous()));
  }

  @Override
  public Effect<Text> rememberTwice(RememberRequest request) {
    return effects()
        .reply(text("remembered " + request.getKey()))
        .addSideEffect(
            setEffect(request.getKey() + ".sync", request.getValue(), true),
            setEffect(request.getKey() + ".async", request.getValue(), false));
  }

  @Override
  public Effect<Text> failAndRemember(RememberRequest request) {
    return effects()
        .<Text>error("failed with an effect")
        .addSideEffect(setEffect(request.getKey(), request.getValue(), true));
  }

  @Override
  public Effect<Text> fail(FailRequest request) {
    if (request.getCode() == 0) return effects().error(request.getDescription());
    Status.Code code = Status.fromCodeValue(request.getCode()).getCode();
    return effects().error(request.getDescription(), code);
  }

  @Override
  public Effect<Text> crash(Empty request) {
    throw new IllegalStateException("tools crashed");
  }

  @Override
  public Effect<HeaderList> getHeaders(Empty request) {
    HeaderList headers = Headers.of(actionContext().metadata());
    return effects().reply(headers, Metadata.EMPTY.add("x-peer-reply", "seen"));
  }

  @Override
  public Effect<Text> slow(SlowRequest request) {
    Text reply = text("slept " + request.getMillis() + " ms");
    return effects()
        .asyncReply(
            CompletableFuture.supplyAsync(
                () -> reply,
                CompletableFuture.delayedExecutor(request.getMillis(), TimeUnit.MILLISECONDS)));
  }

  @Override
  public Effect<Text> open(Empty request) {
    return effects().reply(text("open"));
  }

  @Override
  public Effect<Text> restricted(Empty request) {
    return effects().reply(text("restricted"));
  }
}
