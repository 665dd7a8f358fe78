import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TimeZone;
import org.cometd.bayeux.BinaryData;
import org.cometd.bayeux.Promise;
import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.bayeux.server.ServerChannel;
import org.cometd.bayeux.server.ServerMessage;
import org.cometd.bayeux.server.ServerSession;
import org.cometd.server.BayeuxServerImpl;
import org.cometd.server.DefaultSecurityPolicy;
import org.cometd.server.ext.AcknowledgedMessagesExtension;
import org.cometd.server.ext.ActivityExtension;
import org.cometd.server.ext.BinaryExtension;
import org.cometd.server.ext.TimestampExtension;
import org.cometd.server.ext.TimesyncExtension;
import org.cometd.server.http.JSONHttpTransport;
import org.cometd.server.http.jakarta.CometDServlet;
import org.cometd.server.websocket.jetty.JettyWebSocketTransport;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Context;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.HotSwapHandler;
import org.eclipse.jetty.util.ajax.JSON;
import org.eclipse.jetty.websocket.server.WebSocketUpgradeHandler;

/** CometD's server for Java: PORT. It says "ready PORT", then answers each line of its standard input. */
public final class Server {
    /** How long a connect is held, in ms: a client of a forgotten session learns it soon. */
    private static final long HOLD = 2000;

    private final org.eclipse.jetty.server.Server jetty = new org.eclipse.jetty.server.Server();
    private final HotSwapHandler front = new HotSwapHandler();
    private BayeuxServerImpl bayeux;

    public static void main(String[] args) throws Exception {
        int code = 1;
        try {
            new Server().run(Integer.parseInt(args[0]));
            code = 0;
        } catch (Throwable error) {
            error.printStackTrace();
        }
        System.exit(code); // Jetty's threads would go on
    }

    private void run(int port) throws Exception {
        ServerConnector connector = new ServerConnector(jetty, 1, 1);
        connector.setHost("127.0.0.1");
        connector.setPort(port);
        jetty.addConnector(connector);
        jetty.setHandler(front);
        front.setHandler(newContext());
        jetty.start();
        System.out.println("ready " + connector.getLocalPort());
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ", 3);
            switch (words[0]) {
                case "publish" -> publish(words[1], new JSON().fromJSON(words[2]));
                case "forget" -> front.setHandler(newContext());
                case "sessions" -> { }
                default -> throw new IllegalArgumentException(words[0]);
            }
            System.out.println("done " + (words[0].equals("sessions") ? bayeux.getSessions().size() : ""));
        }
    }

    /** Returns a Bayeux server that knows nobody. */
    private ServletContextHandler newContext() {
        ServletContextHandler context = new ServletContextHandler("/");
        context.insertHandler(WebSocketUpgradeHandler.from(jetty, context));
        bayeux = new BayeuxServerImpl();
        bayeux.setOption(Context.class.getName(), context.getContext());
        ServletHolder holder = new ServletHolder(new CometDServlet() {
            private static final long serialVersionUID = 1;

            @Override
            protected BayeuxServer newBayeuxServer() {
                return bayeux;
            }
        });
        holder.setInitParameters(Map.of(
                "transports", JSONHttpTransport.class.getName() + "," + JettyWebSocketTransport.class.getName(),
                "cometdURLMapping", "/bayeux/*", "timeout", String.valueOf(HOLD)));
        holder.setAsyncSupported(true);
        holder.setInitOrder(1);
        context.addServlet(holder, "/bayeux/*");

        bayeux.addExtension(new TimestampExtension("yyyy-MM-dd'T'HH:mm:ss.SS", TimeZone.getTimeZone("UTC")));
        bayeux.addExtension(new TimesyncExtension());
        bayeux.addExtension(new BinaryExtension());
        bayeux.addExtension(new Idle());
        bayeux.addExtension(new AcknowledgedMessagesExtension());
        bayeux.setSecurityPolicy(new Policy());
        bayeux.createChannelIfAbsent("/peers/up", channel -> channel.setPersistent(true)).getReference()
                .addListener(new Listener((from, message) -> publish("/peers/down", message.getData())));
        bayeux.createChannelIfAbsent("/service/echo", channel -> channel.setPersistent(true)).getReference()
                .addListener(new Listener((from, message) -> from.deliver(null, "/service/echo", message.getData(), Promise.noop())));
        bayeux.createChannelIfAbsent("/peers/binary/up", channel -> channel.setPersistent(true)).getReference()
                .addListener(new Listener((from, message) -> publish("/peers/binary/down", reversed((BinaryData)message.getData()))));
        return context;
    }

    private void publish(String channel, Object data) {
        bayeux.createChannelIfAbsent(channel).getReference().publish(null, data, Promise.noop());
    }

    private static BinaryData reversed(BinaryData data) {
        byte[] bytes = data.asBytes();
        byte[] back = new byte[bytes.length];
        for (int i = 0; i < bytes.length; i++) {
            back[i] = bytes[bytes.length - 1 - i];
        }
        return new BinaryData(back, data.isLast(), data.getMetaData());
    }

    /** The activity extension for those who ask for it in their handshake. */
    private static final class Idle extends ActivityExtension {
        private Idle() {
            super(Activity.CLIENT, 1000);
        }

        @Override
        protected ServerSession.Extension newSessionExtension(ServerSession session, ServerMessage handshake) {
            boolean asked = handshake.getExt() != null && handshake.getExt().containsKey("idle");
            return asked ? super.newSessionExtension(session, handshake) : new ServerSession.Extension() { };
        }
    }

    private interface Handle {
        void on(ServerSession from, ServerMessage message);
    }

    private record Listener(Handle handle) implements ServerChannel.MessageListener {
        @Override
        public boolean onMessage(ServerSession from, ServerChannel channel, ServerMessage.Mutable message) {
            handle.on(from, message);
            return true;
        }
    }

    private static final class Policy extends DefaultSecurityPolicy {
        @Override
        public boolean canSubscribe(BayeuxServer server, ServerSession session, ServerChannel channel, ServerMessage message) {
            return !denied(channel) && super.canSubscribe(server, session, channel, message);
        }

        @Override
        public boolean canPublish(BayeuxServer server, ServerSession session, ServerChannel channel, ServerMessage message) {
            return !denied(channel) && super.canPublish(server, session, channel, message);
        }

        private static boolean denied(ServerChannel channel) {
            return channel.getId().startsWith("/denied/");
        }
    }
}
