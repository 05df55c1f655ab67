package peers;

import com.google.protobuf.Empty;
import io.cloudstate.javasupport.crdt.CommandContext;
import io.cloudstate.javasupport.crdt.CommandHandler;
import io.cloudstate.javasupport.crdt.CrdtCreationContext;
import io.cloudstate.javasupport.crdt.CrdtEntity;
import io.cloudstate.javasupport.crdt.PNCounter;
import io.cloudstate.javasupport.crdt.StreamedCommandContext;
import java.util.Optional;

/** Likes: a counter. */
@CrdtEntity
public final class LikesEntity {
  private final PNCounter likes;

  public LikesEntity(Optional<PNCounter> known, CrdtCreationContext context) {
    likes = known.orElseGet(context::newPNCounter);
  }

  private LikesReply reply() {
    return LikesReply.newBuilder().setLikes(likes.getValue()).build();
  }

  @CommandHandler
  public LikesReply like(LikeRequest request) {
    likes.increment(request.getAmount());
    return reply();
  }

  @CommandHandler
  public LikesReply getLikes() {
    return reply();
  }

  @CommandHandler
  public LikesReply watch(LikesRequest request, StreamedCommandContext<LikesReply> context) {
    if (context.isStreamed()) context.onChange(subscription -> Optional.of(reply()));
    return reply();
  }

  @CommandHandler
  public Empty forget(LikesRequest request, CommandContext context) {
    context.delete();
    return Empty.getDefaultInstance();
  }
}
