import java.util.Map;
import org.cometd.bayeux.server.BayeuxServer;
import org.cometd.server.BayeuxServerImpl;
import org.cometd.server.http.JSONHttpTransport;
import org.cometd.server.http.jakarta.CometDServlet;
import org.cometd.server.websocket.jetty.JettyWebSocketTransport;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Context;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.websocket.server.WebSocketUpgradeHandler;

/** CometD's server for Java, with its defaults. It says "ready PORT" and ends with its standard input. */
public final class Fanout {
    public static void main(String[] args) throws Exception {
        Server jetty = new Server();
        ServerConnector connector = new ServerConnector(jetty);
        connector.setHost("127.0.0.1");
        connector.setAcceptQueueSize(4096);
        jetty.addConnector(connector);
        ServletContextHandler context = new ServletContextHandler("/");
        context.insertHandler(WebSocketUpgradeHandler.from(jetty, context));
        BayeuxServerImpl bayeux = new BayeuxServerImpl();
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
                "cometdURLMapping", "/bayeux/*"));
        holder.setAsyncSupported(true);
        holder.setInitOrder(1);
        context.addServlet(holder, "/bayeux/*");
        jetty.setHandler(context);
        jetty.start();
        System.out.println("ready " + connector.getLocalPort());
        while (System.in.read() >= 0) { }
        System.exit(0); // Jetty's threads would go on
    }
}
