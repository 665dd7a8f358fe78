package session

import (
	"errors"
	"html/template"
	"net/http"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// GrantField names a grant's text in the query of a link, and in the form that
// spends it.
const GrantField = "grant"

// GrantPage serves the links of one right, so that none is spent by being
// followed: mail scanners, previews and prefetching browsers do that.
//
//   - GET and HEAD with ?grant=TEXT show what the grant is good for, with a form.
//     They spend nothing, however often they come.
//   - POST takes the text from the form alone, never from the URL, and spends it.
//     It is refused when it comes from a page of another origin (403) or in early
//     data that an attacker may repeat (425, RFC 8470 §5.2).
//
// Each POST is an owner of its own: when one has spent the grant and its answer
// was lost, the next is told that it is spent. What the link leads to is in the
// server's access log and the browser's history until it is spent: give it a
// short TTL. No response is cached, framed, or named to other sites as a Referer.
type GrantPage[T any] struct {
	Manager *Manager
	Right   policy.OnceAttribute[T]
	// Show answers GET. Its page must post text as [GrantField], with
	// <form method="post" action="?">. Nil: a page with nothing but a button.
	Show func(w http.ResponseWriter, r *http.Request, value T, text string)
	// Use acts on a POST whose grant has been spent for it; required. It runs at
	// most once for a grant. To spend in a transaction of the effect itself, call
	// [TakeGrant] in a handler of your own.
	Use func(w http.ResponseWriter, r *http.Request, value T)
	// Refused answers when the grant is no good, spent, or could not be judged.
	// Nil: one line of text with the status of [HTTPStatus].
	Refused func(w http.ResponseWriter, r *http.Request, err error)
}

// maxGrantForm is room for an envelope and a form around it, in bytes.
const maxGrantForm = 2 * seal.MaxEnvelope

// ServeHTTP implements http.Handler.
func (p *GrantPage[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer the form's Origin would be null
	h.Set("Content-Security-Policy", "frame-ancestors 'none'")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		p.show(w, r)
	case http.MethodPost:
		p.use(w, r)
	default:
		h.Set("Allow", "GET, HEAD, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

func (p *GrantPage[T]) show(w http.ResponseWriter, r *http.Request) {
	text, err := one(r.URL.Query()[GrantField])
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	value, err := ReadGrant(r.Context(), p.Manager, p.Right, text)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	if p.Show != nil {
		p.Show(w, r, value, text)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = button.Execute(w, text) // an envelope; what fails is the connection
}

var button = template.Must(template.New("").Parse(`<!doctype html><meta charset="utf-8"><title>Confirm</title>
<form method="post" action="?"><input type="hidden" name="` + GrantField + `" value="{{.}}"><button>Confirm</button></form>
`))

func (p *GrantPage[T]) use(w http.ResponseWriter, r *http.Request) {
	if http.NewCrossOriginProtection().Check(r) != nil {
		http.Error(w, "the form is of another origin", http.StatusForbidden)
		return
	}
	if r.Header.Get("Early-Data") != "" {
		http.Error(w, "too early", http.StatusTooEarly)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxGrantForm)
	if err := r.ParseForm(); err != nil {
		p.refuse(w, r, seal.ErrMalformed)
		return
	}
	text, err := one(r.PostForm[GrantField])
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	owner := replay.NewOwner()
	value, err := TakeGrant(r.Context(), p.Manager, p.Right, text, owner, nil)
	if errors.Is(Outward(err), ErrUnavailable) { // perhaps only the answer was lost
		value, err = TakeGrant(r.Context(), p.Manager, p.Right, text, owner, nil)
	}
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	p.Use(w, r, value)
}

func (p *GrantPage[T]) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p.Manager.log.Warn("grant refused", "right", p.Right.Name(), "outward", Outward(err).Error(), "reason", err.Error())
	if p.Refused != nil {
		p.Refused(w, r, err)
		return
	}
	text := Outward(err).Error()
	if errors.Is(err, replay.ErrReplayed) {
		text = "already used"
	}
	http.Error(w, text, HTTPStatus(err))
}

// one is the only value of a field.
func one(values []string) (string, error) {
	if len(values) != 1 {
		return "", seal.ErrMalformed
	}
	return values[0], nil
}
