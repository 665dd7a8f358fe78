package main

import (
	"net/http"
	"testing"

	"github.com/sealedblob/sealedblob/examples/cart"
	"github.com/sealedblob/sealedblob/internal/nodes"
	"github.com/sealedblob/sealedblob/session"
)

func TestVisit(t *testing.T) {
	nodes.VisitShop(t, cart.Cart, func(m *session.Manager) http.Handler { return around(m, existing()) })
}
