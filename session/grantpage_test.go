package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// page serves the links of reset and counts its effects.
func page(t testing.TB) (text string, s *spy, used *[]string, ask func(method string, header http.Header, target, form string) *httptest.ResponseRecorder) {
	t.Helper()
	_, s, m := granting(t)
	used = &[]string{}
	p := &session.GrantPage[string]{Manager: m, Right: reset, Use: func(_ http.ResponseWriter, _ *http.Request, who string) { *used = append(*used, who) }}
	return issue(t, m), s, used, func(method string, header http.Header, target, form string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "https://shop.example/reset"+target, strings.NewReader(form))
		if form != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for name := range header {
			r.Header.Set(name, header.Get(name))
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		return w
	}
}

var ownPage = http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://shop.example"}}

func TestFollowingALinkSpendsNothing(t *testing.T) {
	text, spy, used, ask := page(t)
	link := "?" + url.Values{session.GrantField: {text}}.Encode()
	for _, method := range []string{"GET", "HEAD", "GET"} {
		for _, header := range []http.Header{{}, {"Sec-Purpose": {"prefetch"}}, {"Sec-Fetch-Site": {"cross-site"}}} {
			w := ask(method, header, link, "")
			if w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Referrer-Policy") != "same-origin" ||
				!strings.Contains(w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'") {
				t.Errorf("%s %v: %d %v", method, header, w.Code, w.Header())
			}
			if !strings.Contains(w.Body.String(), `<form method="post" action="?"><input type="hidden" name="grant" value="`+text+`">`) {
				t.Errorf("%s: no form: %s", method, w.Body)
			}
		}
	}
	if len(spy.claims) != 0 || len(*used) != 0 {
		t.Fatalf("%d claims, %d effects", len(spy.claims), len(*used))
	}
	form := url.Values{session.GrantField: {text}}.Encode()
	if w := ask("POST", ownPage, "?", form); w.Code != 200 || len(*used) != 1 || (*used)[0] != "ada" {
		t.Fatalf("POST: %d %s, effects %v", w.Code, w.Body, *used)
	}
	for range 3 {
		if w := ask("POST", ownPage, "?", form); w.Code != http.StatusConflict || strings.TrimSpace(w.Body.String()) != "already used" {
			t.Errorf("POST again: %d %s", w.Code, w.Body)
		}
	}
	if w := ask("GET", nil, link, ""); w.Code != http.StatusConflict {
		t.Errorf("the link of a spent grant: %d", w.Code)
	}
	if len(*used) != 1 {
		t.Errorf("%d effects", len(*used))
	}
}

func TestGrantPageRefuses(t *testing.T) {
	text, spy, used, ask := page(t)
	form := url.Values{session.GrantField: {text}}.Encode()
	with := func(name, value string) http.Header {
		h := ownPage.Clone()
		h.Set(name, value)
		return h
	}
	for name, try := range map[string]struct {
		method       string
		header       http.Header
		target, form string
		want         int
	}{
		"in the URL alone":      {"POST", ownPage, "?" + form, "", 400},
		"in a form of JSON":     {"POST", with("Content-Type", "application/json"), "", `{"grant":"` + text + `"}`, 400},
		"twice":                 {"POST", ownPage, "", form + "&" + form, 400},
		"too large":             {"POST", ownPage, "", form + "&x=" + strings.Repeat("x", 40_000), 400},
		"from another site":     {"POST", http.Header{"Sec-Fetch-Site": {"cross-site"}}, "", form, 403},
		"from a sister":         {"POST", http.Header{"Sec-Fetch-Site": {"same-site"}}, "", form, 403},
		"from another origin":   {"POST", http.Header{"Origin": {"https://evil.example"}}, "", form, 403},
		"from nowhere":          {"POST", http.Header{"Origin": {"null"}}, "", form, 403},
		"in early data":         {"POST", with("Early-Data", "1"), "", form, 425},
		"by another method":     {"PUT", ownPage, "", form, 405},
		"a link without it":     {"GET", nil, "", "", 400},
		"a link with two":       {"GET", nil, "?" + form + "&" + form, "", 400},
		"a link to what is not": {"GET", nil, "?grant=x", "", 400},
		"changed":               {"POST", ownPage, "", strings.Replace(form, text[300:], flipped(text[300:301])+text[301:], 1), 401},
	} {
		if w := ask(try.method, try.header, try.target, try.form); w.Code != try.want || w.Body.Len() > 100 {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, try.want)
		}
	}
	if len(spy.claims) != 0 || len(*used) != 0 {
		t.Errorf("%d claims, %d effects", len(spy.claims), len(*used))
	}
	if w := ask("POST", ownPage, "", form); w.Code != 200 || len(*used) != 1 {
		t.Errorf("after all that: %d %s", w.Code, w.Body)
	}
}

// deafOnce writes the first claim and loses its answer.
type deafOnce struct {
	replay.Store
	asked int
}

func (d *deafOnce) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	d.asked++
	outcome, err := d.Store.Claim(ctx, owner, rights...)
	if d.asked == 1 {
		return replay.Lost, errors.New("the answer was lost")
	}
	return outcome, err
}

func TestGrantPageAsksAgainAfterALostAnswer(t *testing.T) {
	c := newCluster(t).with(grantPolicy)
	c.store = &deafOnce{Store: c.store}
	m, used := c.node(), 0
	p := &session.GrantPage[string]{Manager: m, Right: reset, Use: func(http.ResponseWriter, *http.Request, string) { used++ }}
	form := url.Values{session.GrantField: {issue(t, m)}}.Encode()
	for _, want := range []int{200, 409} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if w.Code != want || used != 1 {
			t.Errorf("%d %s, want %d; %d effects", w.Code, w.Body, want, used)
		}
	}
}

func TestGrantPagesOfTheApplication(t *testing.T) {
	_, _, m := granting(t)
	text := issue(t, m)
	p := &session.GrantPage[string]{
		Manager: m, Right: reset,
		Show: func(w http.ResponseWriter, _ *http.Request, who, grant string) {
			if grant != text {
				t.Errorf("shown %s", grant)
			}
			_, _ = w.Write([]byte("really, " + who + "?"))
		},
		Use:     func(http.ResponseWriter, *http.Request, string) {},
		Refused: func(w http.ResponseWriter, _ *http.Request, err error) { w.WriteHeader(418) },
	}
	for target, want := range map[string]string{"?grant=" + text: "really, ada?", "?grant=y": ""} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest("GET", "/"+target, nil))
		if w.Body.String() != want || (want == "") != (w.Code == 418) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}
