import java.io.IOException;
import java.net.URI;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.cometd.bayeux.BinaryData;
import org.cometd.bayeux.Channel;
import org.cometd.bayeux.Message;
import org.cometd.bayeux.client.ClientSession;
import org.cometd.bayeux.client.ClientSessionChannel;
import org.cometd.client.BayeuxClient;
import org.cometd.client.ext.AckExtension;
import org.cometd.client.ext.BinaryExtension;
import org.cometd.client.ext.TimestampClientExtension;
import org.cometd.client.ext.TimesyncClientExtension;
import org.cometd.client.http.jetty.JettyHttpClientTransport;
import org.cometd.client.transport.ClientTransport;
import org.cometd.client.websocket.jakarta.WebSocketTransport;
import org.eclipse.jetty.client.HttpClient;
import org.eclipse.jetty.ee10.websocket.jakarta.client.JakartaWebSocketClientContainerProvider;

/** What CometD's client for Java does with a server: CONTROL URL TRANSPORT. */
public final class Client {
    private static final long PATIENCE = 20_000; // ms, for anything
    private static final java.net.http.HttpClient HTTP = java.net.http.HttpClient.newHttpClient();

    private final String control;
    private final String transport;
    private final BayeuxClient client;
    private final TimesyncClientExtension timesync = new TimesyncClientExtension();
    private final Map<String, BlockingQueue<Object>> got = new ConcurrentHashMap<>();
    private final List<Message> incoming = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        int code = 1;
        try {
            new Client(args[0], args[1], args[2]).run();
            code = 0;
        } catch (Throwable error) {
            error.printStackTrace();
        }
        System.exit(code); // Jetty's threads would go on
    }

    private Client(String control, String url, String transport) throws Exception {
        this.control = control;
        this.transport = transport;
        this.client = new BayeuxClient(url, newTransport(transport));
        client.setOption(BayeuxClient.BACKOFF_INCREMENT_OPTION, 200L);
        client.setOption(BayeuxClient.MAX_BACKOFF_OPTION, 1000L);
        client.addExtension(new Watch());
        client.addExtension(new AckExtension());
        client.addExtension(new TimestampClientExtension());
        client.addExtension(timesync);
        client.addExtension(new BinaryExtension());
        // A new session has none of the old one's subscriptions.
        client.getChannel(Channel.META_HANDSHAKE).addListener((ClientSessionChannel.MessageListener) (channel, message) -> {
            if (message.isSuccessful()) {
                client.getChannel("/peers/down").subscribe(this::take);
            }
        });
        client.getChannel("/service/echo").addListener((ClientSessionChannel.MessageListener) this::take);
    }

    private static ClientTransport newTransport(String name) throws Exception {
        if (name.equals("websocket")) {
            return new WebSocketTransport(null, null, JakartaWebSocketClientContainerProvider.getContainer(null));
        }
        HttpClient http = new HttpClient();
        http.start();
        return new JettyHttpClientTransport(null, http);
    }

    private void run() throws Exception {
        handshake();
        messages();
        extensions();
        idle();
        fails("forget");
        fails("restart");
        check(client.disconnect(PATIENCE), "disconnect");
        sessions("0");
        step("disconnect");
    }

    private void handshake() throws Exception {
        check(client.handshake(PATIENCE) == BayeuxClient.State.CONNECTED || client.waitFor(PATIENCE, BayeuxClient.State.CONNECTED), "connected");
        until("a connect", () -> last(Channel.META_CONNECT) != null);
        same("transport", client.getTransport().getName(), transport);
        step("handshake");
    }

    private void messages() throws Exception {
        ClientSessionChannel room = client.getChannel("/peers/room");
        ClientSessionChannel.MessageListener inRoom = this::take;
        check(subscribe("/peers/room", inRoom).isSuccessful(), "subscribe");
        ask("/publish?channel=/peers/room", "{\"n\":1,\"text\":\"zażółć ✓\",\"list\":[null,{}]}");
        Map<String, Object> text = asMap(next("/peers/room"));
        same("text", text.get("text"), "zażółć ✓");
        same("n", ((Number)text.get("n")).intValue(), 1);
        step("receive");

        check(publish("/peers/up", "up").isSuccessful(), "publish");
        same("answer", next("/peers/down"), "up");
        step("publish");

        // Two subscriptions cover /peers/wild/a: each listener is called once.
        BlockingQueue<Object> deep = new LinkedBlockingQueue<>();
        subscribe("/peers/wild/*", this::take);
        subscribe("/peers/wild/**", (channel, message) -> deep.add(message.getData()));
        ask("/publish?channel=/peers/wild/a", "\"1\"");
        ask("/publish?channel=/peers/wild/a/b", "\"2\"");
        same("deep", poll("deep", deep), "1");
        same("deep", poll("deep", deep), "2");
        same("wild", next("/peers/wild/a"), "1");
        check(deep.isEmpty() && queue("/peers/wild/a").isEmpty() && queue("/peers/wild/a/b").isEmpty(), "each once");
        step("wildcard");

        client.batch(() -> {
            client.getChannel("/peers/batch").subscribe(this::take);
            IntStream.range(0, 5).forEach(i -> client.getChannel("/peers/batch").publish("" + i));
        });
        for (int i = 0; i < 5; i++) {
            same("batch", next("/peers/batch"), "" + i);
        }
        step("batch");

        Message no = subscribe("/denied/a", this::take);
        check(!no.isSuccessful() && ((String)no.get(Message.ERROR_FIELD)).startsWith("403:"), "denied subscription: " + no);
        no = publish("/denied/a", "1");
        check(!no.isSuccessful() && ((String)no.get(Message.ERROR_FIELD)).startsWith("403:"), "denied message: " + no);
        step("refused");

        CompletableFuture<Message> left = new CompletableFuture<>();
        room.unsubscribe(inRoom, left::complete);
        check(left.get(PATIENCE, TimeUnit.MILLISECONDS).isSuccessful(), "unsubscribe");
        ask("/publish?channel=/peers/room", "\"too late\"");
        ask("/publish?channel=/peers/down", "\"marker\"");
        same("marker", next("/peers/down"), "marker");
        check(last("/peers/room").getData() instanceof Map, "room on the wire");
        step("unsubscribe");

        client.getChannel("/service/echo").publish("echo");
        same("service", next("/service/echo"), "echo");
        step("service");
    }

    private void extensions() throws Exception {
        String stamp = (String)last(Channel.META_CONNECT).get(Message.TIMESTAMP_FIELD);
        Duration age = Duration.between(LocalDateTime.parse(stamp).toInstant(ZoneOffset.UTC), java.time.Instant.now());
        check(age.abs().toSeconds() < 60, "timestamp " + stamp);
        step("timestamp");

        synchronized (incoming) {
            check(incoming.stream().anyMatch(m -> m.getExt() != null && m.getExt().get("timesync") != null), "no timesync");
        }
        // One clock: what is left is the time on the way.
        check(Math.abs(timesync.getOffset()) < 500, "time offset " + timesync.getOffset());
        step("timesync");

        String id = client.getId();
        ask("/lose?channel=/peers/down", "\"lost once\"");
        ask("/publish?channel=/peers/down", "\"after it\"");
        same("first", next("/peers/down"), "lost once");
        same("second", next("/peers/down"), "after it");
        check(queue("/peers/down").isEmpty(), "once");
        same("clientId", client.getId(), id);
        step("ack");

        byte[] bytes = new byte[259];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte)i;
        }
        subscribe("/peers/binary/down", this::take);
        client.getChannel("/peers/binary/up").publish(new BinaryData(bytes, true, Map.of("name", "bytes")));
        BinaryData back = (BinaryData)next("/peers/binary/down");
        byte[] reversed = new byte[bytes.length];
        for (int i = 0; i < bytes.length; i++) {
            reversed[i] = bytes[bytes.length - 1 - i];
        }
        check(back.asByteBuffer().equals(ByteBuffer.wrap(reversed)) && back.isLast() && "bytes".equals(back.getMetaData().get("name")), "bytes");
        step("binary");
    }

    /** Another client says nothing, and is told to go. */
    private void idle() throws Exception {
        BayeuxClient idle = new BayeuxClient(client.getURL(), newTransport(transport));
        idle.addExtension(new ClientSession.Extension() {
            @Override
            public boolean sendMeta(ClientSession session, Message.Mutable message) {
                if (Channel.META_HANDSHAKE.equals(message.getChannel())) {
                    message.getExt(true).put("idle", true);
                }
                return true;
            }
        });
        check(idle.handshake(PATIENCE) == BayeuxClient.State.CONNECTED || idle.waitFor(PATIENCE, BayeuxClient.State.CONNECTED), "idle client connected");
        check(idle.waitFor(PATIENCE, BayeuxClient.State.DISCONNECTED), "the end of an idle client");
        step("activity");
    }

    /** The server forgets, or dies and comes back. */
    private void fails(String how) throws Exception {
        String before = client.getId();
        synchronized (incoming) {
            incoming.clear();
        }
        ask("/" + how, "");
        until("a new session after " + how, () -> client.isConnected() && !Objects.equals(client.getId(), before));
        synchronized (incoming) {
            check(incoming.stream().anyMatch(m -> Channel.META_CONNECT.equals(m.getChannel()) && !m.isSuccessful()
                    && m.get(Message.ERROR_FIELD) instanceof String error && error.startsWith("402:")
                    && "handshake".equals(m.getAdvice().get(Message.RECONNECT_FIELD))), "no refusal after " + how);
        }
        // Until something comes back: the subscription may be on its way.
        queue("/peers/down").clear();
        for (int i = 0; i < 100 && queue("/peers/down").isEmpty(); i++) {
            client.getChannel("/peers/up").publish(how);
            TimeUnit.MILLISECONDS.sleep(100);
        }
        same("answer", next("/peers/down"), how);
        sessions("1");
        step(how);
    }

    private final class Watch implements ClientSession.Extension {
        @Override
        public boolean rcv(ClientSession session, Message.Mutable message) {
            return note(message);
        }

        @Override
        public boolean rcvMeta(ClientSession session, Message.Mutable message) {
            return note(message);
        }

        private boolean note(Message message) {
            synchronized (incoming) {
                incoming.add(message);
            }
            return true;
        }
    }

    private Message last(String channel) {
        synchronized (incoming) {
            return incoming.stream().filter(m -> channel.equals(m.getChannel())).reduce((a, b) -> b).orElse(null);
        }
    }

    private void take(ClientSessionChannel channel, Message message) {
        queue(message.getChannel()).add(message.getData());
    }

    private BlockingQueue<Object> queue(String channel) {
        return got.computeIfAbsent(channel, name -> new LinkedBlockingQueue<>());
    }

    private Object next(String channel) throws Exception {
        return poll(channel, queue(channel));
    }

    private static Object poll(String what, BlockingQueue<Object> queue) throws Exception {
        Object data = queue.poll(PATIENCE, TimeUnit.MILLISECONDS);
        check(data != null, "nothing came: " + what);
        return data;
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> asMap(Object data) {
        return (Map<String, Object>)data;
    }

    private Message subscribe(String channel, ClientSessionChannel.MessageListener listener) throws Exception {
        CompletableFuture<Message> reply = new CompletableFuture<>();
        client.getChannel(channel).subscribe(listener, reply::complete);
        return reply.get(PATIENCE, TimeUnit.MILLISECONDS);
    }

    private Message publish(String channel, Object data) throws Exception {
        CompletableFuture<Message> reply = new CompletableFuture<>();
        client.getChannel(channel).publish(data, reply::complete);
        return reply.get(PATIENCE, TimeUnit.MILLISECONDS);
    }

    private void step(String name) throws Exception {
        ask("/step/" + name, "");
    }

    private void sessions(String want) throws Exception {
        String have = "";
        for (long end = System.currentTimeMillis() + PATIENCE; System.currentTimeMillis() < end; TimeUnit.MILLISECONDS.sleep(50)) {
            have = ask("/sessions", "");
            if (have.equals(want)) {
                return;
            }
        }
        check(false, "the server has " + have + " sessions, want " + want);
    }

    /** Has the host do something. */
    private String ask(String path, String body) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(control + path)).timeout(Duration.ofMillis(PATIENCE)).POST(HttpRequest.BodyPublishers.ofString(body)).build();
        HttpResponse<String> response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
        check(response.statusCode() == 200, path + ": " + response.body());
        return response.body();
    }

    private static void until(String what, BooleanSupplier done) throws InterruptedException {
        for (long end = System.currentTimeMillis() + PATIENCE; !done.getAsBoolean(); TimeUnit.MILLISECONDS.sleep(10)) {
            check(System.currentTimeMillis() < end, "waited too long for " + what);
        }
    }

    private static void same(String what, Object got, Object want) {
        check(Objects.equals(got, want), what + ": " + got + ", want " + want);
    }

    private static void check(boolean ok, String what) {
        if (!ok) {
            throw new IllegalStateException(what);
        }
    }
}
