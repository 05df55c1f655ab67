package peers.domain;

import io.grpc.Status;
import kalix.javasdk.valueentity.ValueEntityContext;
import peers.OpenTicketRequest;
import peers.TicketReply;
import peers.TicketRequest;
import peers.TicketState;

/** Ticket: a value entity with a generated key that deletes itself, and with a passivation option. */
public final class Ticket extends AbstractTicket {
  private final String ticketId;

  public Ticket(ValueEntityContext context) {
    ticketId = context.entityId();
  }

  @Override
  public TicketState emptyState() {
    return TicketState.getDefaultInstance();
  }

  private TicketReply reply(int usesLeft) {
    return TicketReply.newBuilder().setTicketId(ticketId).setUsesLeft(usesLeft).build();
  }

  @Override
  public Effect<TicketReply> open(TicketState state, OpenTicketRequest request) {
    return effects()
        .updateState(TicketState.newBuilder().setUsesLeft(request.getUses()).build())
        .thenReply(reply(request.getUses()));
  }

  @Override
  public Effect<TicketReply> use(TicketState state, TicketRequest request) {
    if (state.getUsesLeft() == 0) return effects().error("no such ticket", Status.Code.NOT_FOUND);
    int usesLeft = state.getUsesLeft() - 1;
    if (usesLeft == 0) return effects().deleteEntity().thenReply(reply(0));
    return effects()
        .updateState(TicketState.newBuilder().setUsesLeft(usesLeft).build())
        .thenReply(reply(usesLeft));
  }
}
