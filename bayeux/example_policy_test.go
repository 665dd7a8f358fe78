package bayeux_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// exampleClient is a client of a new server, for the examples. Its end ends both.
func exampleClient(server *bayeux.Server, cfg bayeux.ClientConfig) (client *bayeux.Client, end func()) {
	front := httptest.NewServer(server)
	client, err := bayeux.NewClient(front.URL+"/bayeux", cfg)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	if err := client.Connect(ctx); err != nil {
		panic(err)
	}
	return client, func() { client.Close(ctx); cancel(); front.Close() }
}

func ignore(*bayeux.Message) {}

// readers may read everything but what is secret, and publish nothing.
type readers struct{ bayeux.DefaultPolicy }

func (readers) CanSubscribe(_ context.Context, _ *bayeux.ServerSession, channel string, _ *bayeux.Message) bool {
	// strings.HasPrefix(channel, "/secret/") would let a subscriber of /** through.
	return !bayeux.Overlaps("/secret/**", channel)
}

func (readers) CanPublish(context.Context, *bayeux.ServerSession, string, *bayeux.Message) bool {
	return false
}

func ExampleSecurityPolicy() {
	server, err := bayeux.NewServer(bayeux.Config{Policy: readers{}})
	if err != nil {
		panic(err)
	}
	client, end := exampleClient(server, bayeux.ClientConfig{})
	defer end()
	ctx := context.Background()
	for _, channel := range []string{"/news/*", "/secret/plans", "/**"} {
		fmt.Println(channel, client.Subscribe(ctx, channel, ignore))
	}
	fmt.Println(client.Publish(ctx, "/news/sport", "nil-nil"))
	// Output:
	// /news/* <nil>
	// /secret/plans bayeux: /meta/subscribe refused: "403:denied_by_security_policy:subscribe_denied"
	// /** bayeux: /meta/subscribe refused: "403:denied_by_security_policy:subscribe_denied"
	// bayeux: /news/sport refused: "403:denied_by_security_policy:publish_denied"
}

// An authorizer is in charge of the channels of a room; the rest is the policy's.
func ExampleServer_Authorize() {
	server, err := bayeux.NewServer(bayeux.Config{})
	if err != nil {
		panic(err)
	}
	server.Authorize("/room/**", bayeux.AuthorizerFunc(
		func(_ context.Context, op bayeux.Operation, _ string, from *bayeux.ServerSession, _ *bayeux.Message) bayeux.Verdict {
			if op == bayeux.OperationSubscribe || from.Attribute("user") == "ada" {
				return bayeux.Grant
			}
			return bayeux.Ignore // and nobody else grants
		}))
	client, end := exampleClient(server, bayeux.ClientConfig{})
	defer end()
	ctx := context.Background()
	fmt.Println(client.Publish(ctx, "/lobby", "hello"))
	fmt.Println(client.Publish(ctx, "/room/7", "hello"))
	server.Session(client.ID()).SetAttribute("user", "ada")
	fmt.Println(client.Publish(ctx, "/room/7", "hello"))
	// Output:
	// <nil>
	// bayeux: /room/7 refused: "403:denied_by_security_policy:create_denied"
	// <nil>
}

// Of a service call only the server hears, and only the caller of the answer.
func ExampleServer_HandleService() {
	server, err := bayeux.NewServer(bayeux.Config{})
	if err != nil {
		panic(err)
	}
	server.HandleService("/service/sum", func(_ context.Context, from *bayeux.ServerSession, m *bayeux.Message) {
		var numbers []int
		if m.DecodeData(&numbers) != nil {
			return
		}
		sum := 0
		for _, n := range numbers {
			sum += n
		}
		_ = from.Deliver("/service/sum", sum) // its error says that the client is gone
	})
	client, end := exampleClient(server, bayeux.ClientConfig{})
	defer end()
	ctx := context.Background()
	answer := make(chan int, 1)
	err = client.Subscribe(ctx, "/service/sum", func(m *bayeux.Message) {
		var sum int
		if m.DecodeData(&sum) == nil {
			answer <- sum
		}
	})
	if err != nil {
		panic(err)
	}
	if err := client.Publish(ctx, "/service/sum", []int{1, 2, 3}); err != nil {
		panic(err)
	}
	fmt.Println(<-answer)
	// Output: 6
}

// stamped says who published a message.
type stamped struct{}

func (stamped) Incoming(_ context.Context, from *bayeux.ServerSession, m *bayeux.Message) bool {
	if m.IsMeta() {
		return true
	}
	return m.SetExt("user", from.Attribute("user")) == nil
}

// Outgoing passes the stamp on: a broadcast has no ext of its own.
func (stamped) Outgoing(_ *bayeux.ServerSession, m *bayeux.Message) bool {
	if sent := m.Request(); sent != nil && !m.IsMeta() {
		return m.SetExt("user", sent.Ext["user"]) == nil
	}
	return true
}

// Handshake lets in whom the program's own login knows.
func (stamped) Handshake(_ context.Context, h *bayeux.Handshake) {
	user := userOf(h.HTTP)
	if user == "" {
		h.Refuse("403::login_first", bayeux.Advice{})
		return
	}
	h.Session.SetAttribute("user", user)
}

// userOf stands for the program's own check of a cookie or token.
func userOf(r *http.Request) string {
	if r.Header.Get("Authorization") == "Bearer of ada" {
		return "ada"
	}
	return ""
}

// An extension whose hook reads the user from the request of the handshake.
func ExampleExtension() {
	server, err := bayeux.NewServer(bayeux.Config{})
	if err != nil {
		panic(err)
	}
	server.AddExtension(stamped{})
	client, end := exampleClient(server, bayeux.ClientConfig{Header: http.Header{"Authorization": {"Bearer of ada"}}})
	defer end()
	ctx := context.Background()
	got := make(chan string, 1)
	err = client.Subscribe(ctx, "/chat", func(m *bayeux.Message) {
		var user string
		if present, err := m.DecodeExt("user", &user); present && err == nil {
			got <- user + ": " + string(m.Data)
		}
	})
	if err != nil {
		panic(err)
	}
	if err := client.Publish(ctx, "/chat", "hello"); err != nil {
		panic(err)
	}
	fmt.Println(<-got)
	// Output: ada: "hello"
}
