import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.Descriptors.MethodDescriptor;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.TextFormat;
import com.google.protobuf.TypeRegistry;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.ServerSocket;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * What the self-checks of the Java peers share: starts the function and talks to it raw, in text
 * format, so that a check reads like the conversation it makes.
 */
final class RawPeer {
  /** How long an answer may take; the first one comes after the function has started. */
  private static final int ANSWER_SECONDS_MAX = 30;

  private final ManagedChannel channel;
  private final TypeRegistry types;

  interface Check {
    void run(RawPeer peer) throws Exception;
  }

  private RawPeer(ManagedChannel channel, TypeRegistry types) {
    this.channel = channel;
    this.types = types;
  }

  /** Runs {@code check} on a started function, and exits with its outcome. */
  static void run(TypeRegistry types, Check check) throws Exception {
    int port;
    try (ServerSocket probe = new ServerSocket(0)) {
      port = probe.getLocalPort();
    }
    ProcessBuilder start = new ProcessBuilder("./start").inheritIO();
    start.environment().putAll(Map.of("HOST", "127.0.0.1", "PORT", String.valueOf(port)));
    Process function = start.start();
    int code = 1;
    try {
      ManagedChannel channel =
          ManagedChannelBuilder.forAddress("127.0.0.1", port).usePlaintext().build();
      check.run(new RawPeer(channel, types));
      System.out.println("selfcheck: ok");
      code = 0;
    } catch (Exception | AssertionError error) {
      error.printStackTrace();
      System.err.println("selfcheck: failed");
    }
    function.destroyForcibly().waitFor();
    System.exit(code);
  }

  static void expect(String reply, String... parts) {
    for (String part : parts) {
      if (!reply.contains(part)) throw new AssertionError("no '" + part + "' in:\n" + reply);
    }
  }

  /** One unary call; the reply in text format. Waits for a function that still starts. */
  String call(FileDescriptor file, String service, String method, String request) throws Exception {
    Stream stream = stream(file, service, method);
    stream.send(request);
    stream.call.halfClose();
    return stream.next();
  }

  Stream stream(FileDescriptor file, String service, String method) {
    return new Stream(file.findServiceByName(service).findMethodByName(method));
  }

  /** One open call: sends, and hands out what comes back in order. */
  final class Stream extends ClientCall.Listener<DynamicMessage> {
    private final BlockingQueue<Object> received = new LinkedBlockingQueue<>();
    private final Descriptor input;
    private final ClientCall<DynamicMessage, DynamicMessage> call;

    private Stream(MethodDescriptor method) {
      input = method.getInputType();
      call = channel.newCall(grpcMethod(method), CallOptions.DEFAULT.withWaitForReady());
      call.start(this, new Metadata());
      call.request(Integer.MAX_VALUE);
    }

    void send(String message) throws Exception {
      call.sendMessage(parse(input, message));
    }

    String next() throws Exception {
      Object item = received.poll(ANSWER_SECONDS_MAX, TimeUnit.SECONDS);
      if (item == null) throw new AssertionError("no answer in " + ANSWER_SECONDS_MAX + " s");
      if (item instanceof DynamicMessage) return print((DynamicMessage) item);
      if (((Status) item).isOk()) return "end";
      throw new AssertionError(item);
    }

    String exchange(String message) throws Exception {
      send(message);
      return next();
    }

    String end() throws Exception {
      call.halfClose();
      return next();
    }

    @Override
    public void onMessage(DynamicMessage message) {
      received.add(message);
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      received.add(status);
    }
  }

  private DynamicMessage parse(Descriptor type, String text) throws Exception {
    DynamicMessage.Builder message = DynamicMessage.newBuilder(type);
    TextFormat.Parser.newBuilder().setTypeRegistry(types).build().merge(text, message);
    return message.build();
  }

  private String print(DynamicMessage message) {
    return TextFormat.printer().usingTypeRegistry(types).printToString(message);
  }

  private static io.grpc.MethodDescriptor<DynamicMessage, DynamicMessage> grpcMethod(
      MethodDescriptor method) {
    return io.grpc.MethodDescriptor.<DynamicMessage, DynamicMessage>newBuilder()
        .setType(
            method.isClientStreaming()
                ? io.grpc.MethodDescriptor.MethodType.BIDI_STREAMING
                : io.grpc.MethodDescriptor.MethodType.UNARY)
        .setFullMethodName(method.getService().getFullName() + "/" + method.getName())
        .setRequestMarshaller(new Marshaller(method.getInputType()))
        .setResponseMarshaller(new Marshaller(method.getOutputType()))
        .build();
  }

  private static final class Marshaller
      implements io.grpc.MethodDescriptor.Marshaller<DynamicMessage> {
    private final Descriptor type;

    private Marshaller(Descriptor type) {
      this.type = type;
    }

    @Override
    public InputStream stream(DynamicMessage message) {
      return new ByteArrayInputStream(message.toByteArray());
    }

    @Override
    public DynamicMessage parse(InputStream bytes) {
      try {
        return DynamicMessage.parseFrom(type, bytes);
      } catch (IOException error) {
        throw Status.INTERNAL.withCause(error).asRuntimeException();
      }
    }
  }
}
