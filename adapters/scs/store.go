// Package scsstore keeps the sessions of github.com/alexedwards/scs/v2 in one
// attribute of the Sealed Blob session of the same request: a program goes on
// with the API of scs, and its sessions outlive their server.
//
//	store, err := scsstore.New(rules, "scs") // "scs" is an attribute of the policy
//	manager := scs.New()
//	manager.Store, manager.ErrorFunc = store, scsstore.ErrorFunc
//	handler := sessions.Middleware(manager.LoadAndSave(mux)) // scs inside ours
package scsstore

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/session"
)

// Store implements scs.CtxStore. It is safe for concurrent use.
//
// One session of ours holds one session of scs: a commit under another token
// takes its place. The attribute's rule limits what scs asks for: the shorter
// life counts, and max_bytes. It is not an scs.IterableStore: sessions are on
// other nodes and with clients, and no node knows them all.
//
// Not promised: that Destroy logs out who copied cookies or the sealed set before. He comes
// back with what they hold, unless the attribute's rule says rollback drop or refuse,
// or the handler calls session.Session.Logout too.
type Store struct{ attribute string }

var _ scs.CtxStore = (*Store)(nil)

// New makes a store of an attribute that the policy declares and that is not
// once-only.
func New(rules *policy.Policy, attribute string) (*Store, error) {
	rule, known := rules.Rule(attribute)
	switch {
	case !known:
		return nil, fmt.Errorf("scsstore: the policy declares no attribute %q", attribute)
	case rule.Once:
		return nil, fmt.Errorf("scsstore: %s is once-only", attribute)
	}
	return &Store{attribute}, nil
}

// record is the attribute's value.
type record struct {
	Token   string    `json:"token"` // a hash: who reads a set can't use the cookie
	Expires time.Time `json:"expires"`
	Data    []byte    `json:"data"` // of scs's codec
}

// of reports in constant time whether r was committed under token.
func (r *record) of(token string) bool {
	return subtle.ConstantTimeCompare([]byte(r.Token), []byte(hash(token))) == 1
}

func hash(token string) string {
	sum := sha256.Sum256([]byte("sealed-blob/scs\x00" + token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// FindCtx returns what was committed under token and has not expired. An error
// means that there may be a session: session.ErrNoSession, or those of
// session.Session.Get, with the session ended or moved.
func (st *Store) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	s := session.FromContext(ctx)
	if s == nil {
		return nil, false, session.ErrNoSession
	}
	var r record
	switch err := s.Get(st.attribute, &r); {
	case errors.Is(err, session.ErrNoAttribute):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case !r.of(token) || !time.Now().Before(r.Expires):
		return nil, false, nil
	}
	return r.Data, true, nil
}

// CommitCtx stores data under token until expiry. The errors are
// session.ErrNoSession and those of session.Session.Set; nothing is changed then.
func (st *Store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	s := session.FromContext(ctx)
	if s == nil {
		return session.ErrNoSession
	}
	return s.Set(ctx, st.attribute, record{hash(token), expiry.UTC(), data})
}

// DeleteCtx removes what was committed under token; it is no error if there is
// nothing. What it does not promise is said at [Store]. The errors are session.ErrNoSession and those of session.Session.Delete.
func (st *Store) DeleteCtx(ctx context.Context, token string) error {
	s := session.FromContext(ctx)
	if s == nil {
		return session.ErrNoSession
	}
	var r record
	switch err := s.Get(st.attribute, &r); {
	case errors.Is(err, session.ErrNoAttribute):
		return nil
	case err != nil:
		return err
	case !r.of(token):
		return nil
	}
	return s.Delete(ctx, st.attribute)
}

// Find returns session.ErrNoSession: without a context there is no session. scs calls
// FindCtx.
func (st *Store) Find(string) ([]byte, bool, error) { return nil, false, session.ErrNoSession }

// Commit returns session.ErrNoSession, as Find does.
func (st *Store) Commit(string, []byte, time.Time) error { return session.ErrNoSession }

// Delete returns session.ErrNoSession, as Find does.
func (st *Store) Delete(string) error { return session.ErrNoSession }

// ErrorFunc is for scs.SessionManager.ErrorFunc: it answers with the status of
// session.HTTPStatus and says nothing of the reason.
func ErrorFunc(w http.ResponseWriter, _ *http.Request, err error) {
	status := session.HTTPStatus(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, http.StatusText(status), status)
}
