package main

import "path/filepath"

// meeting is one client against one server over one transport.
type meeting struct {
	client, server string
	transport      string
	clientArgv     []string // CONTROL URL TRANSPORT follow
	serverArgv     []string // PORT ORIGIN follow
	steps          []string // what the client must report, in this order
}

func (m meeting) name() string { return m.client + " to " + m.server + " over " + m.transport }

// anyTransport leaves the choice to our client: a WebSocket, or else long-polling.
const anyTransport = "any transport"

// Every client takes these; the two at the end name what it has besides.
var (
	first = []string{"handshake", "receive", "publish", "wildcard", "batch", "refused", "unsubscribe"}
	last  = []string{"forget", "restart", "disconnect"}
)

func steps(besides ...string) []string {
	all := append([]string(nil), first...)
	all = append(all, besides...)
	return append(all, last...)
}

// meetings lists all. The least that may be found is part of the table: a peer
// that is left out is an edit of this function.
func meetings(self, java string) []meeting {
	classpath := filepath.Join(java, "classes") + ":" + filepath.Join(java, "lib", "*")
	// Short lives: a small heap and the quick compiler alone.
	jvm := []string{"java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", classpath}
	node := func(script string, args ...string) []string {
		return append([]string{"node", filepath.Join("test", "peers", "node", script)}, args...)
	}
	javaClient, javaServer := append(jvm[:len(jvm):len(jvm)], "Client"), append(jvm[:len(jvm):len(jvm)], "Server")
	ours := []string{self, "server"}
	ourClient := func(besides ...string) []string { return append([]string{self, "client"}, besides...) }

	cometd := steps("service", "timestamp", "timesync", "ack", "binary")
	cometdPage := steps("service", "timestamp", "timesync", "ack", "binary", "reload")
	cometdJava := steps("service", "timestamp", "timesync", "ack", "binary")
	return []meeting{
		{"CometD JavaScript", "ours", "long-polling", node("cometd-client.js"), ours, cometd},
		{"CometD JavaScript", "ours", "websocket", node("cometd-client.js"), ours, cometd},
		{"CometD in Chromium", "ours", "long-polling", node("chromium.js", "cometd-page.html"), ours, cometdPage},
		{"CometD in Chromium", "ours", "websocket", node("chromium.js", "cometd-page.html"), ours, cometdPage},
		{"CometD in Chromium", "ours", "callback-polling", node("chromium.js", "cometd-page.html"), ours, cometdPage},
		{"CometD Java", "ours", "long-polling", javaClient, ours, cometdJava},
		{"CometD Java", "ours", "websocket", javaClient, ours, cometdJava},
		{"Faye", "ours", "long-polling", node("faye-client.js"), ours, steps()},
		{"Faye", "ours", "websocket", node("faye-client.js"), ours, steps()},
		{"Faye in Chromium", "ours", "callback-polling", node("chromium.js", "faye-page.html"), ours, steps()},
		{"our client", "CometD Java", "long-polling", ourClient("service", "ack"), javaServer, steps("service", "ack")},
		{"our client", "CometD Java", "websocket", ourClient("service", "ack"), javaServer, steps("service", "ack")},
		{"our client", "CometD Node.js", "long-polling", ourClient("service", "ack"), node("cometd-server.js"), steps("service", "ack")},
		{"our client", "CometD Node.js", anyTransport, ourClient("service", "ack"), node("cometd-server.js"), steps("service", "ack")},
		{"our client", "Faye", "long-polling", ourClient(), node("faye-server.js"), steps()},
		{"our client", "Faye", "websocket", ourClient(), node("faye-server.js"), steps()},
		{"our client", "ours", "long-polling", ourClient("service", "ack"), ours, steps("service", "ack")},
		{"our client", "ours", "websocket", ourClient("service", "ack"), ours, steps("service", "ack")},
	}
}
