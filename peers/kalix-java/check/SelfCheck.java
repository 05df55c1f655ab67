import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.EmptyProto;
import com.google.protobuf.TypeRegistry;

/** What ./selfcheck runs. */
final class SelfCheck {
  private static final FileDescriptor DISCOVERY =
      kalix.protocol.discovery.DiscoveryProto.javaDescriptor();
  private static final FileDescriptor ACTION = kalix.protocol.action.ActionProto.javaDescriptor();
  private static final FileDescriptor EVENT_SOURCED =
      kalix.protocol.event_sourced_entity.EventSourcedEntityProto.javaDescriptor();
  private static final FileDescriptor VALUE =
      kalix.protocol.value_entity.ValueEntityProto.javaDescriptor();
  private static final FileDescriptor REPLICATED =
      kalix.protocol.replicated_entity.ReplicatedEntityProto.javaDescriptor();

  private static final String PROXY_INFO =
      "protocol_major_version: 1 protocol_minor_version: 1 proxy_name: 'selfcheck'"
          + " internal_proxy_hostname: '127.0.0.1' proxy_port: 9000"
          + " supported_entity_types: 'kalix.component.action.Actions'"
          + " supported_entity_types: 'kalix.component.eventsourcedentity.EventSourcedEntities'"
          + " supported_entity_types: 'kalix.component.replicatedentity.ReplicatedEntities'"
          + " supported_entity_types: 'kalix.component.valueentity.ValueEntities'"
          + " supported_entity_types: 'kalix.component.view.Views'";

  public static void main(String[] arguments) throws Exception {
    TypeRegistry types =
        TypeRegistry.newBuilder()
            .add(EmptyProto.getDescriptor().getMessageTypes())
            .add(peers.CartProto.getDescriptor().getMessageTypes())
            .add(peers.KeyValueProto.getDescriptor().getMessageTypes())
            .add(peers.ToolsProto.getDescriptor().getMessageTypes())
            .add(peers.ExtrasProto.getDescriptor().getMessageTypes())
            .build();
    RawPeer.run(
        types,
        peer -> {
          discovery(peer);
          cart(peer);
          keyValue(peer);
          likes(peer);
          tools(peer);
        });
  }

  private static void discovery(RawPeer peer) throws Exception {
    String spec = peer.call(DISCOVERY, "Discovery", "Discover", PROXY_INFO);
    for (String name :
        new String[] {"Cart", "KeyValue", "Tools", "Ticket", "Likes", "ValuesByText"}) {
      RawPeer.expect(spec, "service_name: \"peers." + name + "\"");
    }
    RawPeer.expect(spec, "entity_type: \"cart\"", "entity_type: \"values-by-text\"");
  }

  private static String command(int id, String name, String payload) {
    return String.format(
        "command { entity_id: 'e' id: %d name: '%s' payload { [type.googleapis.com/peers.%s }}}",
        id, name, payload);
  }

  private static void cart(RawPeer peer) throws Exception {
    RawPeer.Stream stream = peer.stream(EVENT_SOURCED, "EventSourcedEntities", "Handle");
    stream.send("init { service_name: 'peers.Cart' entity_id: 'e' }");
    String item = "product_id: 'p' name: 'pen' quantity: ";
    String added = stream.exchange(command(1, "AddItem", "AddItemRequest] { " + item + "2"));
    RawPeer.expect(added, "command_id: 1", "[type.googleapis.com/peers.ItemAdded]", "quantity: 2");
    String refused = stream.exchange(command(2, "AddItem", "AddItemRequest] { " + item + "0"));
    RawPeer.expect(refused, "failure {", "description: \"quantity must be positive\"");
    String items = ("items { " + item + "2 } ").repeat(4);
    String batch = stream.exchange(command(3, "AddItems", "AddItemsRequest] { " + items));
    RawPeer.expect(batch, "snapshot {", "[type.googleapis.com/peers.CartState]", "quantity: 10");
    String noted = stream.exchange(command(4, "CheckoutAndNote", "CartRequest] { cart_id: 'e'"));
    RawPeer.expect(noted, "side_effects {", "synchronous: true", "key: \"cart-e\"");
    String discarded = stream.exchange(command(5, "Discard", "CartRequest] { cart_id: 'e'"));
    RawPeer.expect(discarded, "[type.googleapis.com/peers.CheckedOut]", "delete {");
    RawPeer.expect(stream.end(), "end");
  }

  private static void keyValue(RawPeer peer) throws Exception {
    RawPeer.Stream stream = peer.stream(VALUE, "ValueEntities", "Handle");
    stream.send("init { service_name: 'peers.KeyValue' entity_id: 'e' state {} }");
    String changed = stream.exchange(command(1, "Set", "SetRequest] { key: 'e' value: 'v'"));
    RawPeer.expect(changed, "update {", "[type.googleapis.com/peers.ValueState]");
    String found = stream.exchange(command(2, "Get", "KeyRequest] { key: 'e'"));
    RawPeer.expect(found, "value: \"v\"", "found: true");
    String other = stream.exchange(command(3, "GetOther", "KeyPairRequest] { key: 'e' other: 'o'"));
    RawPeer.expect(other, "forward {", "command_name: \"Get\"", "key: \"o\"");
    String copied = stream.exchange(command(4, "SetAndCopy", "SetRequest] { key: 'e' value: 'w'"));
    RawPeer.expect(copied, "side_effects {", "synchronous: true", "key: \"e.async\"");
    String deleted = stream.exchange(command(5, "Delete", "KeyRequest] { key: 'e'"));
    RawPeer.expect(deleted, "delete {");
    RawPeer.expect(stream.end(), "end");
  }

  private static void likes(RawPeer peer) throws Exception {
    RawPeer.Stream stream = peer.stream(REPLICATED, "ReplicatedEntities", "Handle");
    stream.send("init { service_name: 'peers.Likes' entity_id: 'e' }");
    String liked = stream.exchange(command(1, "Like", "LikeRequest] { topic: 'e' amount: 3"));
    RawPeer.expect(liked, "likes: 3", "counter {", "change: 3");
    RawPeer.expect(stream.end(), "end");
  }

  private static void tools(RawPeer peer) throws Exception {
    String pair = "payload { [type.googleapis.com/peers.Pair] { left: 20 right: 22 } }";
    String request = "service_name: 'peers.Tools' name: 'Add' " + pair;
    RawPeer.expect(peer.call(ACTION, "Actions", "HandleUnary", request), "value: 42");
    RawPeer.Stream stream = peer.stream(ACTION, "Actions", "HandleStreamed");
    stream.send("service_name: 'peers.Tools' name: 'Echo'");
    String text = "payload { [type.googleapis.com/peers.Text] { text: 'hello' } }";
    RawPeer.expect(stream.exchange(text), "text: \"hello\"");
    RawPeer.expect(stream.end(), "end");
  }
}
