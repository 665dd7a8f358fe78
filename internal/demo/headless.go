package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/internal/shop"
	"github.com/sealedblob/sealedblob/session"
)

// storeAhead is how far ahead the epoch of a store lies that was just made.
const storeAhead = 6 * time.Second

// Headless runs the whole story against real node processes and prints one
// PASS line for each step, with the node and the reason. program is the blobctl
// binary, and flags are more of its nodes' own. It returns an error at the first step
// that did not happen.
func Headless(ctx context.Context, program string, out io.Writer, flags ...string) error {
	const loginTTL = 4 * time.Second
	c, err := startCluster(ctx, program, loginTTL, flags...)
	if err != nil {
		return err
	}
	defer c.close()
	f := newFront(c)
	server := httptest.NewServer(f)
	defer server.Close()
	st := &story{cluster: c, front: f, base: server.URL, loginTTL: loginTTL, ada: newVisitor(server.URL)}
	defer st.end(ctx)
	for _, s := range st.steps() {
		node, reason, err := s.run(ctx)
		if err == nil && (node == "" || reason == "") {
			err = errors.New("the step did not say where and why")
		}
		if err != nil {
			fmt.Fprintf(out, "FAIL  %s: %v\n", s.name, err)
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if _, err := fmt.Fprintf(out, "PASS  %s  [%s: %s]\n", s.name, node, reason); err != nil {
			return err
		}
	}
	return nil
}

type story struct {
	cluster  *cluster
	front    *front
	base     string
	loginTTL time.Duration
	ada      *visitor
	mallory  *visitor
	older    sessionext.Held // Ada's set before her last change
}

type step struct {
	name string
	run  func(ctx context.Context) (node, reason string, err error)
}

func (st *story) steps() []step {
	return []step{
		{"session restored on another node after kill -9", st.killed},
		{"page reload keeps the session", st.reloaded},
		{"expired login dropped while the cart goes on", st.expired},
		{"ticket bought once", st.bought},
		{"captured ticket refused on another node", st.captured},
		{"flipped bit refused", st.spoiled(func() (sessionext.Held, error) { return flipBit(st.held()) }, "seal: authentication failed")},
		{"two generations mixed refused", st.spoiled(func() (sessionext.Held, error) { return mix(st.held(), st.older) }, "of another generation")},
		{"an attribute left out refused", st.spoiled(func() (sessionext.Held, error) { return leaveOut(st.held()) }, "the manifest lists")},
		{"blobs of another session refused", st.spoiled(st.foreign, "another session")},
		{"the untouched set still restores", st.untouched},
		{"logged-out set refused", st.loggedOut},
	}
}

func (st *story) end(ctx context.Context) {
	st.ada.leave(ctx)
	if st.mallory != nil {
		st.mallory.leave(ctx)
	}
}

func (st *story) held() sessionext.Held {
	held, _ := st.ada.keeper.Held()
	return held
}

// fill logs in, fills the cart and reserves a ticket, and waits for the blobs.
func (st *story) fill(ctx context.Context, v *visitor, user string) error {
	for path, body := range map[string]any{
		"/api/login": map[string]string{"user": user}, "/api/cart": map[string]string{"item": "Programme for " + user}, "/api/ticket": nil,
	} {
		if _, err := v.do(ctx, "POST", path, body); err != nil {
			return err
		}
	}
	if err := v.connect(ctx); err != nil {
		return err
	}
	_, err := v.waitSet(ctx, 3, sessionext.Held{})
	return err
}

// killCurrent kills the node in use and starts it again when its visitors have
// had to go elsewhere.
func (st *story) killCurrent() (killed *node, restart func(context.Context) error, err error) {
	killed, i := st.front.node()
	err = killed.kill()
	st.front.next(i)
	return killed, func(ctx context.Context) error { return st.cluster.start(ctx, killed) }, err
}

func (st *story) killed(ctx context.Context) (string, string, error) {
	if err := st.fill(ctx, st.ada, "ada"); err != nil {
		return "", "", err
	}
	dead, after, err := st.failOver(ctx)
	if err != nil {
		return "", "", err
	}
	return after.Node, fmt.Sprintf("%s is dead; session %s goes on at %s with %s", dead.name, after.Session, after.Version, value(after, "cart")), nil
}

// failOver kills the node in use, checks that Ada's session goes on elsewhere,
// and starts the dead node again.
func (st *story) failOver(ctx context.Context) (dead *node, after shop.State, err error) {
	before, err := st.ada.do(ctx, "GET", "/api/state", nil)
	if err != nil {
		return nil, after, err
	}
	dead, restart, err := st.killCurrent()
	if err != nil {
		return nil, after, err
	}
	if after, err = st.restored(ctx, before, dead); err != nil {
		return nil, after, err
	}
	return dead, after, restart(ctx)
}

// restored checks that the session of before goes on, elsewhere, from the blobs.
func (st *story) restored(ctx context.Context, before shop.State, dead *node) (shop.State, error) {
	if _, err := st.ada.wait(ctx, "the restore", func(_ sessionext.Held, r sessionext.Reply) bool { return r.State == sessionext.StateRestored }); err != nil {
		return shop.State{}, err
	}
	after, err := st.ada.do(ctx, "GET", "/api/state", nil)
	if err != nil {
		return after, err
	}
	if after.Node == dead.name || after.Session != before.Session || value(after, "cart") == "" || value(after, "cart") != value(before, "cart") {
		return after, fmt.Errorf("before: %s %s %s; after: %s %s %s", before.Node, before.Session, value(before, "cart"), after.Node, after.Session, value(after, "cart"))
	}
	shown, _ := session.ParseVersion(after.Version) // perhaps of before the new node's first seal
	_, err = st.ada.wait(ctx, "the new set", func(h sessionext.Held, _ sessionext.Reply) bool { return !h.Version.Less(shown) })
	return after, err
}

func (st *story) reloaded(ctx context.Context) (string, string, error) {
	before, err := st.ada.do(ctx, "GET", "/api/state", nil)
	if err != nil {
		return "", "", err
	}
	if err := st.ada.reload(ctx); err != nil {
		return "", "", err
	}
	after, err := st.ada.do(ctx, "GET", "/api/state", nil)
	if err != nil {
		return "", "", err
	}
	reply := st.ada.keeper.Last()
	if reply.State != sessionext.StateNone || reply.Gen == "" || after.Session != before.Session || value(after, "cart") != value(before, "cart") || st.held().Manifest == "" {
		return "", "", fmt.Errorf("the handshake was answered %+v, session %s, cart %s", reply, after.Session, value(after, "cart"))
	}
	return after.Node, fmt.Sprintf("the new page joined session %s at %s, nothing had to be restored", after.Session, reply.Gen), nil
}

func (st *story) expired(ctx context.Context) (string, string, error) {
	// A fresh login, whose end nobody but the next node will notice.
	before := st.held()
	if _, err := st.ada.do(ctx, "POST", "/api/login", map[string]string{"user": "ada"}); err != nil {
		return "", "", err
	}
	if _, err := st.ada.waitSet(ctx, 3, before); err != nil {
		return "", "", err
	}
	state, err := st.ada.do(ctx, "GET", "/api/state", nil)
	if err != nil || value(state, "login") != "ada" {
		return "", "", fmt.Errorf("login is %q: %w", value(state, "login"), err)
	}
	st.ada.leave(ctx)
	dead, restart, err := st.killCurrent()
	if err != nil {
		return "", "", err
	}
	select {
	case <-time.After(st.loginTTL + storeAhead + 2*time.Second): // it is dated at the store's epoch, if that is ahead
	case <-ctx.Done():
		return "", "", ctx.Err()
	}
	node, _ := st.front.node()
	mark := node.log.mark()
	if err := st.ada.reload(ctx); err != nil {
		return "", "", err
	}
	after, err := st.restored(ctx, state, dead)
	if err != nil {
		return "", "", err
	}
	line, found := node.log.since(mark, "session restored")
	if !found || len(st.ada.keeper.Last().Dropped) != 1 || value(after, "login") != "" {
		return "", "", fmt.Errorf("dropped %v, login %q", line.Dropped, value(after, "login"))
	}
	return after.Node, fmt.Sprintf("%s; cart %s", strings.Join(line.Dropped, "; "), value(after, "cart")), restart(ctx)
}

func (st *story) bought(ctx context.Context) (string, string, error) {
	first, err := st.ada.call(ctx, st.base, "POST", "/api/buy", nil)
	if err != nil || first.status != http.StatusOK {
		return "", "", fmt.Errorf("buying answered %d %s: %w", first.status, first.Error, err)
	}
	second, err := st.ada.call(ctx, st.base, "POST", "/api/buy", nil)
	if err != nil || second.status != http.StatusConflict {
		return "", "", fmt.Errorf("buying again answered %d %s: %w", second.status, second.Error, err)
	}
	return first.State.Node, fmt.Sprintf("bought %s; the second try: %d %s", first.Result, second.status, second.Error), nil
}

// captured: Mallory copies his set, buys, and presents the copy elsewhere. He
// never acknowledged anything, so that only the spent right stops him.
func (st *story) captured(ctx context.Context) (string, string, error) {
	st.mallory = newVisitor(st.base)
	st.mallory.sly = true
	if err := st.fill(ctx, st.mallory, "mallory"); err != nil {
		return "", "", err
	}
	copied, _ := st.mallory.keeper.Held()
	bought, err := st.mallory.call(ctx, st.base, "POST", "/api/buy", nil)
	if err != nil || bought.status != http.StatusOK {
		return "", "", fmt.Errorf("buying answered %d: %w", bought.status, err)
	}
	other := st.front.other()
	got, reply, err := present(ctx, st.mallory.http, nil, other, copied)
	if err != nil {
		return "", "", err
	}
	address, _ := other.address()
	again, err := st.mallory.call(ctx, address, "POST", "/api/buy", nil)
	if err != nil {
		return "", "", err
	}
	if reply.State != sessionext.StateRestored || len(reply.Dropped) != 1 || !strings.Contains(got.Reason, "ticket: replay: already spent") || again.status != http.StatusConflict {
		return "", "", fmt.Errorf("%+v, dropped %v; buying there answered %d", got, reply.Dropped, again.status)
	}
	return got.Node, fmt.Sprintf("%s; buying there: %d %s", got.Reason, again.status, again.Error), nil
}

// spoiled presents a set to another node and insists on a refusal for reason.
func (st *story) spoiled(make func() (sessionext.Held, error), reason string) func(context.Context) (string, string, error) {
	return func(ctx context.Context) (string, string, error) {
		if err := st.twoGenerations(ctx); err != nil {
			return "", "", err
		}
		set, err := make()
		if err != nil {
			return "", "", err
		}
		return st.refused(ctx, st.front.other(), set, reason)
	}
}

func (st *story) refused(ctx context.Context, n *node, set sessionext.Held, reason string) (string, string, error) {
	got, _, err := present(ctx, st.ada.http, nil, n, set)
	if err != nil {
		return "", "", err
	}
	if got.State != sessionext.StateRefused || !strings.Contains(got.Reason, reason) {
		return "", "", fmt.Errorf("%+v, want a refusal for %q", got, reason)
	}
	return got.Node, got.Reason, nil
}

// twoGenerations makes sure that Ada has an older and a newer set.
func (st *story) twoGenerations(ctx context.Context) error {
	if st.older.Manifest != "" {
		return nil
	}
	st.older = st.held()
	if _, err := st.ada.do(ctx, "POST", "/api/cart", map[string]string{"item": "Poster"}); err != nil {
		return err
	}
	_, err := st.ada.waitSet(ctx, len(st.older.Blobs), st.older)
	return err
}

// foreign is Mallory's set; it comes with Ada's cookie.
func (st *story) foreign() (sessionext.Held, error) {
	held, ok := st.mallory.keeper.Held()
	if !ok {
		return held, errors.New("mallory holds nothing")
	}
	return held, nil
}

// untouched shows that the refusals above refused the change, not the set.
func (st *story) untouched(ctx context.Context) (string, string, error) {
	dead, after, err := st.failOver(ctx)
	if err != nil {
		return "", "", err
	}
	return after.Node, fmt.Sprintf("restored after %s died too, cart %s", dead.name, value(after, "cart")), nil
}

func (st *story) loggedOut(ctx context.Context) (string, string, error) {
	set, cookies := st.held(), st.ada.cookies()
	if len(set.Blobs) == 0 || len(cookies) == 0 {
		return "", "", errors.New("no set or no cookie to misuse")
	}
	if _, err := st.ada.do(ctx, "POST", "/api/logout", nil); err != nil {
		return "", "", err
	}
	var nodes, reason string
	for _, n := range st.cluster.nodes {
		got, _, err := present(ctx, http.DefaultClient, cookies, n, set) // the cookie as it was
		if err != nil {
			return "", "", err
		}
		if got.State != sessionext.StateRefused || !strings.Contains(got.Reason, session.ErrRevoked.Error()) {
			return "", "", fmt.Errorf("%+v, want a refusal", got)
		}
		nodes, reason = nodes+" "+got.Node, got.Reason
	}
	return strings.TrimSpace(nodes), reason, nil
}
