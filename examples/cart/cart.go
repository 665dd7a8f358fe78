// Package cart is what the examples nethttp and web/chi serve: plain handlers of
// net/http that use the session of the request, and a page that restores over
// plain HTTP, with no Bayeux connection.
package cart

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/session"
)

// Cart is the visitor's items.
var Cart = policy.Attr[[]string]("cart", policy.TTL(time.Hour))

// Page is the browser's side. It wants the client's modules at /sealedblob/.
//
//go:embed page.html
var Page []byte

// Index serves the page.
func Index(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(Page) }

// Show writes who is logged in, and the cart, as JSON.
func Show(w http.ResponseWriter, r *http.Request) {
	items, err := session.Get(r.Context(), Cart)
	if err != nil && !errors.Is(err, session.ErrNoAttribute) {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"subject": session.FromContext(r.Context()).Subject(), "cart": append([]string{}, items...)})
}

// Add puts the form's item into the cart.
func Add(w http.ResponseWriter, r *http.Request) {
	item := r.FormValue("item")
	err := session.Update(r.Context(), Cart, func(items []string) ([]string, error) { return append(items, item), nil })
	if err != nil {
		refuse(w, err)
	}
}

var errPassword = errors.New("wrong password")

// Login gives the session a new id, so that who planted the old one has nothing.
func Login(w http.ResponseWriter, r *http.Request) {
	check := func(context.Context) error {
		if r.FormValue("password") != "tea" { // your own check of credentials
			return errPassword
		}
		return nil
	}
	switch _, err := session.FromContext(r.Context()).Login(r.Context(), r.FormValue("name"), check); {
	case errors.Is(err, errPassword):
		http.Error(w, "wrong password", http.StatusForbidden)
	case err != nil:
		refuse(w, err)
	}
}

// Logout ends the session on every node.
func Logout(w http.ResponseWriter, r *http.Request) {
	if err := session.FromContext(r.Context()).Logout(r.Context()); err != nil {
		refuse(w, err)
	}
}

// refuse answers with a status that fits and says nothing of the reason.
func refuse(w http.ResponseWriter, err error) {
	status := session.HTTPStatus(err)
	http.Error(w, http.StatusText(status), status)
}
