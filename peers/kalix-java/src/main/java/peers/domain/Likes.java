package peers.domain;

import com.google.protobuf.Empty;
import kalix.javasdk.replicatedentity.ReplicatedCounter;
import kalix.javasdk.replicatedentity.ReplicatedEntityContext;
import peers.LikeRequest;
import peers.LikesReply;
import peers.LikesRequest;

/** Likes: a replicated counter. */
public final class Likes extends AbstractLikes {
  public Likes(ReplicatedEntityContext context) {}

  private static LikesReply reply(ReplicatedCounter likes) {
    return LikesReply.newBuilder().setLikes(likes.getValue()).build();
  }

  @Override
  public Effect<LikesReply> like(ReplicatedCounter likes, LikeRequest request) {
    ReplicatedCounter updated = likes.increment(request.getAmount());
    return effects().update(updated).thenReply(reply(updated));
  }

  @Override
  public Effect<LikesReply> getLikes(ReplicatedCounter likes, LikesRequest request) {
    return effects().reply(reply(likes));
  }

  @Override
  public Effect<Empty> forget(ReplicatedCounter likes, LikesRequest request) {
    return effects().delete().thenReply(Empty.getDefaultInstance());
  }
}
