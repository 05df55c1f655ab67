package peers;

import io.cloudstate.javasupport.crdt.CommandHandler;
import io.cloudstate.javasupport.crdt.CrdtCreationContext;
import io.cloudstate.javasupport.crdt.CrdtEntity;
import io.cloudstate.javasupport.crdt.ORSet;
import java.util.Optional;

/** Tags: a set. */
@CrdtEntity
public final class TagsEntity {
  private final ORSet<Tag> tags;

  public TagsEntity(Optional<ORSet<Tag>> known, CrdtCreationContext context) {
    tags = known.orElseGet(context::newORSet);
  }

  private TagsReply reply() {
    TagsReply.Builder reply = TagsReply.newBuilder();
    tags.stream().map(Tag::getTag).sorted().forEach(reply::addTags);
    return reply.build();
  }

  @CommandHandler
  public TagsReply addTag(TagRequest request) {
    tags.add(Tag.newBuilder().setTag(request.getTag()).build());
    return reply();
  }

  @CommandHandler
  public TagsReply removeTag(TagRequest request) {
    tags.remove(Tag.newBuilder().setTag(request.getTag()).build());
    return reply();
  }

  @CommandHandler
  public TagsReply getTags() {
    return reply();
  }
}
