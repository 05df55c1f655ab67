package peers;

import java.time.Duration;
import java.util.Set;
import kalix.javasdk.Kalix;
import kalix.javasdk.PassivationStrategy;
import kalix.javasdk.action.ActionOptions;
import kalix.javasdk.eventsourcedentity.EventSourcedEntityOptions;
import kalix.javasdk.valueentity.ValueEntityOptions;
import peers.domain.Cart;
import peers.domain.CartProvider;
import peers.domain.KeyValue;
import peers.domain.KeyValueProvider;
import peers.domain.Likes;
import peers.domain.LikesProvider;
import peers.domain.Ticket;
import peers.domain.TicketProvider;

/** The function: the domain that all peers share, and what only Kalix has. */
public final class Main {
  private static final Set<String> HEADERS = Set.of("x-peer-one", "x-peer-two");

  public static void main(String[] arguments) throws Exception {
    new Kalix()
        .register(
            CartProvider.of(Cart::new)
                .withOptions(EventSourcedEntityOptions.defaults().withSnapshotEvery(5)))
        .register(
            KeyValueProvider.of(KeyValue::new)
                .withOptions(ValueEntityOptions.defaults().withForwardHeaders(HEADERS)))
        .register(
            ToolsActionProvider.of(ToolsAction::new)
                .withOptions(ActionOptions.defaults().withForwardHeaders(HEADERS)))
        .register(
            TicketProvider.of(Ticket::new)
                .withOptions(
                    ValueEntityOptions.defaults()
                        .withPassivationStrategy(
                            PassivationStrategy.timeout(Duration.ofMillis(300)))))
        .register(LikesProvider.of(Likes::new))
        .register(ValuesByTextViewProvider.of(ValuesByTextView::new).withViewId("values-by-text"))
        .start()
        .toCompletableFuture()
        .get();
  }
}
