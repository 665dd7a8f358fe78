package main

import (
	"path/filepath"
	"slices"
	"strings"
)

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

// extensions are the steps that show CometD's extensions.
var extensions = []string{"timestamp", "timesync", "ack", "binary", "activity", "reload"}

// table is what README.md says of the meetings: a yes is a step that a meeting must
// report.
func table(all []meeting) string {
	rows := "| client | server | transport | " + strings.Join(extensions, " | ") + " |\n" + strings.Repeat("|---", 3+len(extensions)) + "|\n"
	for _, m := range all {
		rows += "| " + m.client + " | " + m.server + " | " + m.transport + " |"
		for _, e := range extensions {
			cell := " |"
			if slices.Contains(m.steps, e) {
				cell = " yes |"
			}
			rows += cell
		}
		rows += "\n"
	}
	return rows
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
	ours, parking := []string{self, "server"}, []string{self, "server", "park"}
	ourClient := func(besides ...string) []string { return append([]string{self, "client"}, besides...) }

	every := []string{"service", "timestamp", "timesync", "ack", "binary", "activity"}
	cometd := steps("service", "timestamp", "timesync", "ack", "binary", "reload", "activity")
	return []meeting{
		{"CometD JavaScript", "ours", "long-polling", node("cometd-client.js"), ours, cometd},
		{"CometD JavaScript", "ours", "websocket", node("cometd-client.js"), ours, cometd},
		{"CometD in Chromium", "ours", "long-polling", node("chromium.js", "cometd-page.html"), ours, cometd},
		{"CometD in Chromium", "ours", "websocket", node("chromium.js", "cometd-page.html"), ours, cometd},
		{"CometD in Chromium", "ours", "callback-polling", node("chromium.js", "cometd-page.html"), ours, cometd},
		{"CometD Java", "ours", "long-polling", javaClient, ours, steps(every...)},
		{"CometD Java", "ours", "websocket", javaClient, ours, steps(every...)},
		{"Faye", "ours", "long-polling", node("faye-client.js"), ours, steps()},
		{"Faye", "ours", "websocket", node("faye-client.js"), ours, steps()},
		{"Faye in Chromium", "ours", "long-polling", node("chromium.js", "faye-page.html"), ours, steps()},
		{"Faye in Chromium", "ours", "websocket", node("chromium.js", "faye-page.html"), ours, steps()},
		{"Faye in Chromium", "ours", "callback-polling", node("chromium.js", "faye-page.html"), ours, steps()},
		{"CometD JavaScript", "ours, parking", "long-polling", node("cometd-client.js"), parking, cometd},
		{"CometD in Chromium", "ours, parking", "callback-polling", node("chromium.js", "cometd-page.html"), parking, cometd},
		{"CometD Java", "ours, parking", "long-polling", javaClient, parking, steps(every...)},
		{"Faye", "ours, parking", "long-polling", node("faye-client.js"), parking, steps()},
		{"our client", "ours, parking", "long-polling", ourClient(every...), parking, steps(every...)},
		{"our client", "CometD Java", "long-polling", ourClient(every...), javaServer, steps(every...)},
		{"our client", "CometD Java", "websocket", ourClient(every...), javaServer, steps(every...)},
		{"our client", "CometD Node.js", "long-polling", ourClient("service", "ack"), node("cometd-server.js"), steps("service", "ack")},
		{"our client", "CometD Node.js", anyTransport, ourClient("service", "ack"), node("cometd-server.js"), steps("service", "ack")},
		{"our client", "Faye", "long-polling", ourClient(), node("faye-server.js"), steps()},
		{"our client", "Faye", "websocket", ourClient(), node("faye-server.js"), steps()},
		{"our client", "ours", "long-polling", ourClient(every...), ours, steps(every...)},
		{"our client", "ours", "websocket", ourClient(every...), ours, steps(every...)},
	}
}
