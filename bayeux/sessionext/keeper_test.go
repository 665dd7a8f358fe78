package sessionext_test

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/session"
)

// bench drives a keeper by messages alone.
type bench struct {
	t *testing.T
	k *sessionext.Keeper
}

func newBench(t *testing.T) *bench { return &bench{t, sessionext.NewKeeper()} }

// sends is what the keeper adds to a message on channel.
func (b *bench) sends(channel string) (r sessionext.Request, present bool) {
	b.t.Helper()
	m := &bayeux.Message{Channel: channel}
	if !b.k.Outgoing(m) {
		b.t.Fatalf("a message on %s was stopped", channel)
	}
	present, err := m.DecodeExt(sessionext.ExtName, &r)
	must(b.t, err)
	return r, present
}

// shakes sends a handshake and gives it an answer.
func (b *bench) shakes(reply sessionext.Reply) sessionext.Request {
	b.t.Helper()
	r, _ := b.sends(bayeux.MetaHandshake)
	b.answers(reply)
	return r
}

func (b *bench) answers(reply sessionext.Reply) {
	b.t.Helper()
	m := &bayeux.Message{Channel: bayeux.MetaHandshake}
	must(b.t, m.SetExt(sessionext.ExtName, reply))
	b.k.Incoming(m)
}

func (b *bench) pushed(u any) (reachesApplication bool) {
	b.t.Helper()
	raw, err := json.Marshal(u)
	must(b.t, err)
	return b.k.Incoming(&bayeux.Message{Channel: sessionext.Channel, Data: raw})
}

func (b *bench) holds(what, gen string, blobs map[string]string) {
	b.t.Helper()
	held, ok := b.k.Held()
	if gen == "" {
		if ok {
			b.t.Errorf("%s: it holds %s", what, session.FormatVersion(held.Version))
		}
		return
	}
	if !ok || session.FormatVersion(held.Version) != gen || held.Manifest != "m"+gen || !maps.Equal(held.Blobs, blobs) {
		b.t.Errorf("%s: it holds %+v, %t; want %s with %v", what, held, ok, gen, blobs)
	}
}

type set = map[string]string

func full(gen string, blobs set) sessionext.Update {
	return sessionext.Update{V: 1, Gen: gen, Manifest: "m" + gen, Set: blobs}
}

var fresh = sessionext.Reply{V: 1, State: sessionext.StateNone, Gen: "0.1"}

// Each push by itself, on a keeper that holds 0.5 with blobs a and b.
func TestKeeperAndThePush(t *testing.T) {
	old := set{"a": "1", "b": "2"}
	for name, test := range map[string]struct {
		push  any
		gen   string
		blobs set
	}{
		"a newer set replaces all":       {full("0.6", set{"c": "3"}), "0.6", set{"c": "3"}},
		"a newer fence, a lower number":  {full("1.1", set{"c": "3"}), "1.1", set{"c": "3"}},
		"a difference to this set":       {sessionext.Update{V: 1, Gen: "0.6", Base: "0.5", Manifest: "m0.6", Set: set{"b": "3", "c": "4"}, Del: []string{"a"}}, "0.6", set{"b": "3", "c": "4"}},
		"a difference to another set":    {sessionext.Update{V: 1, Gen: "0.7", Base: "0.6", Manifest: "m0.7", Set: set{"c": "4"}}, "0.5", old},
		"an older set":                   {full("0.4", set{"c": "3"}), "0.5", old},
		"the same version, another set":  {full("0.5", set{"c": "3"}), "0.5", old},
		"an older fence, a higher one":   {full("0.4", set{"c": "3"}), "0.5", old},
		"another protocol":               {sessionext.Update{V: 2, Gen: "0.6", Manifest: "m0.6"}, "0.5", old},
		"no version":                     {sessionext.Update{V: 1, Manifest: "m"}, "0.5", old},
		"a version of another spelling":  {sessionext.Update{V: 1, Gen: "0.06", Manifest: "m0.6"}, "0.5", old},
		"an unknown member":              {map[string]any{"v": 1, "gen": "0.6", "manifest": "m0.6", "x": 1}, "0.5", old},
		"not an object":                  {1, "0.5", old},
		"the end":                        {sessionext.Update{V: 1, Gen: "0.5", End: true}, "", nil},
		"the end, later":                 {sessionext.Update{V: 1, Gen: "0.9", End: true}, "", nil},
		"the end, of a copy left behind": {sessionext.Update{V: 1, Gen: "0.4", End: true}, "0.5", old},
		"the end, without a version":     {sessionext.Update{V: 1, End: true}, "0.5", old},
	} {
		b := newBench(t)
		b.shakes(fresh)
		b.pushed(full("0.5", old))
		b.holds("before "+name, "0.5", old)
		if b.pushed(test.push) {
			t.Errorf("%s: reached the application", name)
		}
		b.holds(name, test.gen, test.blobs)
	}
}

// Between a handshake and its answer nothing that is pushed counts: it may be
// of the server before.
func TestKeeperWaitsForTheAnswer(t *testing.T) {
	b := newBench(t)
	b.pushed(full("0.1", set{"a": "1"}))
	b.holds("before any handshake", "", nil)
	b.shakes(fresh)
	b.pushed(full("0.1", set{"a": "1"}))
	b.holds("answered", "0.1", set{"a": "1"})
	b.sends(bayeux.MetaHandshake)
	b.pushed(full("0.2", set{"a": "2"}))
	b.pushed(sessionext.Update{V: 1, Gen: "0.9", End: true})
	b.holds("shaking hands again", "0.1", set{"a": "1"})
}

// A handshake presents the set; the attempt token and the very set stay until
// there is an answer other than "retry".
func TestKeeperEpisode(t *testing.T) {
	b := newBench(t)
	if r := b.shakes(fresh); r.Manifest != "" || r.Attempt != "" || len(r.Blobs) != 0 || r.Gen != "" || r.V != 1 {
		t.Errorf("with nothing to present: %+v", r)
	}
	b.pushed(full("0.1", set{"a": "1"}))
	first, _ := b.sends(bayeux.MetaHandshake)
	if first.Manifest != "m0.1" || !maps.Equal(first.Blobs, set{"a": "1"}) || len(first.Attempt) != 22 || first.Gen != "" {
		t.Errorf("presented %+v", first)
	}
	again, _ := b.sends(bayeux.MetaHandshake) // no answer came
	b.answers(sessionext.Reply{V: 1, State: sessionext.StateRetry})
	third := b.shakes(sessionext.Reply{V: 1, State: sessionext.StateRestored, Gen: "1.2"})
	if again.Attempt != first.Attempt || third.Attempt != first.Attempt || third.Manifest != first.Manifest {
		t.Errorf("attempts %s, %s, %s; want one", first.Attempt, again.Attempt, third.Attempt)
	}
	b.holds("after the restore", "0.1", set{"a": "1"})
	// The node may die before its first push: only the same attempt wins again.
	if again := b.shakes(sessionext.Reply{V: 1, State: sessionext.StateNone, Gen: "1.2"}); again.Attempt != first.Attempt || again.Manifest != first.Manifest {
		t.Errorf("before the push it presents %s by %s, want %s by %s", again.Manifest, again.Attempt, first.Manifest, first.Attempt)
	}
	b.shakes(sessionext.Reply{V: 1, State: sessionext.StateRestored}) // and gone again before it was joined
	b.pushed(full("0.9", set{"a": "9"}))                              // the old node is still heard
	if again := b.shakes(sessionext.Reply{V: 1, State: sessionext.StateRestored, Gen: "2.2"}); again.Attempt != first.Attempt || again.Manifest != first.Manifest {
		t.Errorf("after a push of the old fence it presents %s by %s", again.Manifest, again.Attempt)
	}
	b.pushed(full("2.3", set{"a": "2"}))
	next := b.shakes(sessionext.Reply{V: 1, State: sessionext.StateNone, Gen: "2.3"})
	if next.Attempt == first.Attempt || next.Attempt == "" || next.Manifest != "m2.3" {
		t.Errorf("the next episode presents %s by %q", next.Manifest, next.Attempt)
	}
	if last, _ := b.sends(bayeux.MetaHandshake); last.Attempt == next.Attempt {
		t.Error("a session that had not moved left the episode open")
	}
	b.k.Put(sessionext.Held{Version: session.Version{Gen: 7}, Manifest: "m0.7"})
	if next, _ := b.sends(bayeux.MetaHandshake); next.Manifest != "m0.7" {
		t.Errorf("after Put it presents %s", next.Manifest)
	}
}

// A refused set is dropped, and only the one that was refused.
func TestKeeperAndTheRefusal(t *testing.T) {
	refused := sessionext.Reply{V: 1, State: sessionext.StateRefused}
	elsewhere := refused
	elsewhere.Gen = "4.1" // the session lives here all the same, under a later fence
	b := newBench(t)
	for _, reply := range []sessionext.Reply{elsewhere, refused} {
		b.shakes(fresh)
		b.pushed(full("0.1", set{"a": "1"}))
		b.shakes(reply)
		b.holds("the refused set", "", nil)
		if r, _ := b.sends(bayeux.MetaHandshake); r.Manifest != "" || r.Attempt != "" {
			t.Errorf("presented again: %+v", r)
		}
	}
	b.k.Put(sessionext.Held{Version: session.Version{Gen: 3}, Manifest: "m0.3"})
	b.answers(refused) // to the handshake before
	b.holds("a set that was not presented", "0.3", nil)
}

// Where the server knows no session for what is held, its new session's set
// counts although its number is lower.
func TestKeeperStartsOver(t *testing.T) {
	for name, test := range map[string]struct {
		reply sessionext.Reply
		push  sessionext.Update
		gen   string
	}{
		"no session":                {sessionext.Reply{V: 1, State: sessionext.StateNone}, full("0.1", set{"n": "1"}), "0.1"},
		"no session, a difference":  {sessionext.Reply{V: 1, State: sessionext.StateNone}, sessionext.Update{V: 1, Gen: "0.1", Base: "0.0", Manifest: "m0.1"}, "4.4"},
		"the session lives there":   {sessionext.Reply{V: 1, State: sessionext.StateNone, Gen: "4.4"}, full("0.1", set{"n": "1"}), "4.4"},
		"restored, an older number": {sessionext.Reply{V: 1, State: sessionext.StateRestored, Gen: "5.5"}, full("0.1", set{"n": "1"}), "4.4"},
	} {
		b := newBench(t)
		b.k.Put(sessionext.Held{Version: session.Version{Fence: 4, Gen: 4}, Manifest: "m4.4", Blobs: set{"n": "1"}})
		b.shakes(test.reply)
		b.pushed(test.push)
		b.holds(name, test.gen, set{"n": "1"})
	}
}

// Each connect says what is held; other messages carry nothing.
func TestKeeperSaysWhatItHolds(t *testing.T) {
	b := newBench(t)
	if r, present := b.sends(bayeux.MetaConnect); !present || r.V != 1 || r.Gen != "" || r.Manifest != "" {
		t.Errorf("with nothing held: %+v, %t", r, present)
	}
	b.shakes(fresh)
	b.pushed(full("2.3", set{"a": "1"}))
	if r, present := b.sends(bayeux.MetaConnect); !present || r.Gen != "2.3" || r.Manifest != "" || r.Attempt != "" || len(r.Blobs) != 0 {
		t.Errorf("a connect carries %+v, %t", r, present)
	}
	for _, channel := range []string{"/chat", bayeux.MetaSubscribe, sessionext.Channel} {
		if r, present := b.sends(channel); present {
			t.Errorf("%s carries %+v", channel, r)
		}
	}
	yes := true
	if !b.k.Incoming(&bayeux.Message{Channel: sessionext.Channel, Successful: &yes}) {
		t.Error("the answer to a publication was kept from the application")
	}
	if !b.k.Incoming(&bayeux.Message{Channel: "/chat"}) {
		t.Error("another channel's message was kept from the application")
	}
	held, _ := b.k.Held()
	held.Blobs["a"] = "spoilt"
	b.holds("after its copy was changed", "2.3", set{"a": "1"})
}

// A push without a version is none, also for a keeper that holds nothing.
func TestKeeperTakesNoSetWithoutAVersion(t *testing.T) {
	for _, gen := range []string{"", "1", "0.01", "x"} {
		b := newBench(t)
		b.shakes(fresh)
		b.pushed(full(gen, set{"a": "1"}))
		b.holds("gen "+gen, "", nil)
	}
}

// The set of a renewed session replaces what was held of its former ID.
func TestKeeperFollowsARenewal(t *testing.T) {
	b := newBench(t)
	b.shakes(fresh)
	b.pushed(full("2.5", set{"a": "old"}))
	b.shakes(sessionext.Reply{V: 1, State: sessionext.StateRestored, Gen: "3.5"})
	renewed := full("0.6", set{"a": "new"})
	b.pushed(renewed)
	b.holds("nothing was renewed", "2.5", set{"a": "old"})
	renewed.Over = "2.4"
	b.pushed(renewed)
	b.holds("an older one was renewed", "2.5", set{"a": "old"})
	renewed.Over, renewed.Base = "3.5", "2.5"
	b.pushed(renewed)
	b.holds("a delta renews nothing", "2.5", set{"a": "old"})
	renewed.Base = ""
	b.pushed(renewed)
	b.holds("renewed", "0.6", set{"a": "new"})
	b.pushed(full("1.9", set{"a": "newest"}))
	renewed.Gen = "0.8"
	b.pushed(renewed)
	b.holds("what a node pushes that the new ID has left", "1.9", set{"a": "newest"})
	if next := b.shakes(sessionext.Reply{V: 1, State: sessionext.StateRetry}); next.Blobs["a"] != "newest" {
		t.Errorf("the next handshake presents %v", next.Blobs)
	}
}
