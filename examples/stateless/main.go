// Stateless keeps a visitor's cart in sealed cookies and nothing on the server,
// and hands out a voucher by a link that works once. Start it as often as you
// like, behind one address: nobody notices which one answers.
package main

import (
	"context"
	"flag"
	"fmt"
	"html"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay/filestore"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

var (
	cart    = policy.Attr[[]string]("cart", policy.TTL(time.Hour))
	voucher = policy.Once[string]("voucher", policy.TTL(10*time.Minute))
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	flag.Parse()
	sessions := must(session.NewStateless(context.Background(), session.StatelessConfig{
		Config: session.Config{
			App:    "stateless",
			Keys:   must(seal.LoadRing(".stateless/keys")), // blobctl keyring init --dir .stateless/keys
			Policy: must(policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}, cart, voucher)),
			Store:  must(filestore.Open(".stateless/replay", filestore.Config{})),
			Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		},
		CheckEvery: time.Minute, // so late may a logout reach a copied cookie
	}))
	shop := shop{sessions.Manager()}
	http.Handle("POST /add", sessions.Middleware(http.HandlerFunc(shop.add)))
	http.HandleFunc("POST /invite", shop.invite)
	http.Handle("/voucher", sessions.Middleware(&session.GrantPage[string]{Manager: shop.manager, Right: voucher, Use: shop.redeem}))
	log.Printf("curl -c jar -b jar -d item=tea http://%s/add", *listen)
	server := &http.Server{Addr: *listen, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

type shop struct{ manager *session.Manager }

// add puts an item into the cart and shows it.
func (shop) add(w http.ResponseWriter, r *http.Request) { put(w, r, r.FormValue("item")) }

// invite makes a link for an e-mail.
func (s shop) invite(w http.ResponseWriter, r *http.Request) {
	text, err := session.IssueGrant(r.Context(), s.manager, voucher, "a free tea", 0)
	if err != nil {
		http.Error(w, "try again", session.HTTPStatus(err))
		return
	}
	fmt.Fprintf(w, "http://%s/voucher?%s\n", r.Host, url.Values{session.GrantField: {text}}.Encode())
}

// redeem runs once for each link, when its form was sent.
func (shop) redeem(w http.ResponseWriter, r *http.Request, what string) { put(w, r, what) }

func put(w http.ResponseWriter, r *http.Request, item string) {
	var now []string
	if err := session.Update(r.Context(), cart, func(items []string) ([]string, error) {
		now = append(items, item)
		return now, nil
	}); err != nil {
		http.Error(w, "try again", session.HTTPStatus(err))
		return
	}
	fmt.Fprintln(w, html.EscapeString(strings.Join(now, ", ")))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
