package peers;

import java.util.Base64;
import kalix.javasdk.Metadata;

/** Metadata as a reply. */
public final class Headers {
  private Headers() {}

  public static HeaderList of(Metadata metadata) {
    HeaderList.Builder headers = HeaderList.newBuilder();
    for (Metadata.MetadataEntry entry : metadata) {
      headers.addHeaders(Header.newBuilder().setKey(entry.getKey()).setValue(value(entry)));
    }
    return headers.build();
  }

  private static String value(Metadata.MetadataEntry entry) {
    if (entry.isText()) return entry.getValue();
    byte[] bytes = new byte[entry.getBinaryValue().remaining()];
    entry.getBinaryValue().duplicate().get(bytes);
    return Base64.getEncoder().encodeToString(bytes);
  }
}
