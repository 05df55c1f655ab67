package peers;

import io.cloudstate.javasupport.CloudState;

/** The function: the domain that all peers share, as far as the Cloudstate Java support reaches. */
public final class Main {
  public static void main(String[] arguments) throws Exception {
    new CloudState()
        .registerEventSourcedEntity(
            CartEntity.class,
            CartProto.getDescriptor().findServiceByName("Cart"),
            CartProto.getDescriptor(),
            KeyValueProto.getDescriptor())
        .registerEventSourcedEntity(
            KeyValueEntity.class,
            KeyValueProto.getDescriptor().findServiceByName("KeyValue"),
            KeyValueProto.getDescriptor())
        .registerCrdtEntity(
            LikesEntity.class,
            CrdtsProto.getDescriptor().findServiceByName("Likes"),
            CrdtsProto.getDescriptor())
        .registerCrdtEntity(
            TagsEntity.class,
            CrdtsProto.getDescriptor().findServiceByName("Tags"),
            CrdtsProto.getDescriptor())
        .start()
        .toCompletableFuture()
        .get();
  }
}
