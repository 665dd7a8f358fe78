// Package gorillastore keeps the sessions of github.com/gorilla/sessions in the
// Sealed Blob session of the same request, each in the attribute of its name: a
// program goes on with that API, and its sessions outlive their server.
//
//	store := gorillastore.New(rules) // the policy declares "cart"
//	cart, err := store.Get(r, "cart")
//
// Values are encoded with encoding/gob, as gorilla's own stores do, so that they
// come back with their types; register types of your own with gob.Register. What
// is decoded is what a node with the keyring has sealed, never text of a client.
package gorillastore

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/sessions"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/session"
)

// ErrUnread says that a session can't be saved because reading it had failed:
// its content would replace what is there.
var ErrUnread = errors.New("gorillastore: the session was not read")

// Store implements sessions.Store. It is safe for concurrent use.
type Store struct {
	// Options are given to new sessions. MaxAge alone counts, in seconds: above
	// zero it ends a session after its last Save, below zero Save deletes it,
	// zero leaves it to the policy, whose shorter life counts in any case. No
	// cookie is set; the cookie is that of session.Manager.
	Options sessions.Options
	rules   *policy.Policy
}

var _ sessions.Store = (*Store)(nil)

// New makes a store of the attributes that the policy declares.
func New(rules *policy.Policy) *Store { return &Store{rules: rules} }

// unread is the ID of a session that stands for one that could not be read.
const unread = "unread"

// record is an attribute's value.
type record struct {
	Expires *time.Time `json:"expires,omitempty"`
	Values  []byte     `json:"values"` // gob
}

// Get returns the request's session of that name, which it reads once. The
// errors are those of New.
func (st *Store) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(st, name)
}

// New reads the session of that name, or makes one if there is none. The errors
// are session.ErrNoSession outside session.Manager.Middleware, one that wraps
// policy.ErrNotAllowed for a name that the policy does not declare or that is
// once-only, those of session.Session.Get, and those of decoding. A session is
// returned with the error too, as gorilla demands, but only to be deleted: Save
// refuses it with [ErrUnread].
func (st *Store) New(r *http.Request, name string) (*sessions.Session, error) {
	s := sessions.NewSession(st, name)
	options := st.Options
	s.Options = &options
	values, err := st.read(r, name)
	if s.IsNew = values == nil; !s.IsNew {
		s.Values = values
	}
	if err != nil {
		s.ID = unread
	}
	return s, err
}

// Save stores the session, or deletes it if its MaxAge is below zero. Call it
// before the response has begun. The errors are session.ErrNoSession, [ErrUnread],
// those of encoding and those of session.Session.Set and Delete; nothing is
// changed then.
//
// Not promised: that a session that was deleted is gone for who copied the sealed set before.
// He comes back with it, unless the attribute's rule says rollback drop or refuse, or the
// handler calls session.Session.Logout too.
func (st *Store) Save(r *http.Request, _ http.ResponseWriter, s *sessions.Session) error {
	ours, err := st.session(r, s.Name())
	switch {
	case err != nil:
		return err
	case s.Options.MaxAge < 0:
		return ours.Delete(r.Context(), s.Name())
	case s.ID == unread:
		return ErrUnread
	}
	var rec record
	if s.Options.MaxAge > 0 {
		end := time.Now().Add(time.Duration(s.Options.MaxAge) * time.Second).UTC()
		rec.Expires = &end
	}
	var encoded bytes.Buffer
	if err := gob.NewEncoder(&encoded).Encode(s.Values); err != nil {
		return fmt.Errorf("gorillastore: encoding %s: %w", s.Name(), err)
	}
	rec.Values = encoded.Bytes()
	return ours.Set(r.Context(), s.Name(), rec)
}

// read decodes the session of that name; nil if there is none.
func (st *Store) read(r *http.Request, name string) (map[any]any, error) {
	ours, err := st.session(r, name)
	if err != nil {
		return nil, err
	}
	var rec record
	switch err := ours.Get(name, &rec); {
	case errors.Is(err, session.ErrNoAttribute):
		return nil, nil
	case err != nil:
		return nil, err
	case rec.Expires != nil && !time.Now().Before(*rec.Expires):
		return nil, nil
	}
	values := map[any]any{}
	if err := gob.NewDecoder(bytes.NewReader(rec.Values)).Decode(&values); err != nil {
		return nil, fmt.Errorf("gorillastore: decoding %s: %w", name, err)
	}
	return values, nil
}

// session is the one of ours that carries the session of that name.
func (st *Store) session(r *http.Request, name string) (*session.Session, error) {
	s := session.FromContext(r.Context())
	if s == nil {
		return nil, session.ErrNoSession
	}
	if rule, known := st.rules.Rule(name); !known || rule.Once {
		return nil, fmt.Errorf("%w: no attribute %.64q for a session, or it is once-only", policy.ErrNotAllowed, name)
	}
	return s, nil
}
