package main

import (
	"testing"

	"github.com/sealedblob/sealedblob/examples/cart"
	"github.com/sealedblob/sealedblob/internal/nodes"
)

func TestVisit(t *testing.T) { nodes.VisitShop(t, cart.Cart, routes) }
