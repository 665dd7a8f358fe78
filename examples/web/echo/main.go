// Echo is examples/nethttp with github.com/labstack/echo: sessions.Middleware in
// echo's wrapper, and handlers that return errors.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sealedblob/sealedblob/client"
	"github.com/sealedblob/sealedblob/examples/cart"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay/filestore"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	flag.Parse()
	ctx := context.Background()
	sessions := must(session.New(ctx, session.Config{
		App:      "echo",
		Keys:     must(seal.LoadRing(".echo/keys")), // blobctl keyring init --dir .echo/keys
		Policy:   must(policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}, cart.Cart)),
		Store:    must(filestore.Open(".echo/replay", filestore.Config{})), // shared by the servers of this host
		Observer: session.NewAudit(slog.Default()),
	}))
	go sessions.Run(ctx)
	log.Printf("open http://%s/", *listen)
	server := &http.Server{Addr: *listen, Handler: routes(sessions), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func routes(sessions *session.Manager) http.Handler {
	e := echo.New()
	e.Use(echo.WrapMiddleware(http.NewCrossOriginProtection().Handler))
	e.Any(session.RestorePath, echo.WrapHandler(sessions.RestoreHandler())) // outside the group: its session is not here yet
	e.GET("/sealedblob/*", echo.WrapHandler(http.StripPrefix("/sealedblob/", http.FileServerFS(client.Files))))
	e.GET("/", func(c echo.Context) error { return c.HTMLBlob(http.StatusOK, cart.Page) })
	with := echo.WrapMiddleware(sessions.Middleware)
	e.GET("/cart", show, with)
	e.POST("/cart", add, with)
	e.POST("/login", login, with)
	e.POST("/logout", logout, with)
	return e
}

func show(c echo.Context) error {
	ctx := c.Request().Context()
	items, err := session.Get(ctx, cart.Cart)
	if err != nil && !errors.Is(err, session.ErrNoAttribute) {
		return refusal(err)
	}
	return c.JSON(http.StatusOK, map[string]any{"subject": session.FromContext(ctx).Subject(), "cart": append([]string{}, items...)})
}

func add(c echo.Context) error {
	item := c.FormValue("item")
	err := session.Update(c.Request().Context(), cart.Cart, func(items []string) ([]string, error) { return append(items, item), nil })
	if err != nil {
		return refusal(err)
	}
	return c.NoContent(http.StatusOK)
}

var errPassword = echo.NewHTTPError(http.StatusForbidden, "wrong password")

func login(c echo.Context) error {
	ctx := c.Request().Context()
	check := func(context.Context) error {
		if c.FormValue("password") != "tea" { // your own check of credentials
			return errPassword
		}
		return nil
	}
	switch _, err := session.FromContext(ctx).Login(ctx, c.FormValue("name"), check); {
	case errors.Is(err, errPassword):
		return errPassword
	case err != nil:
		return refusal(err)
	}
	return c.NoContent(http.StatusOK)
}

func logout(c echo.Context) error {
	ctx := c.Request().Context()
	if err := session.FromContext(ctx).Logout(ctx); err != nil {
		return refusal(err)
	}
	return c.NoContent(http.StatusOK)
}

// refusal has a status that fits and says nothing of the reason.
func refusal(err error) error { return echo.NewHTTPError(session.HTTPStatus(err)) }

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
