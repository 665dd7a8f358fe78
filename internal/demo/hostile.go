package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/seal"
)

// outcome is what a node did with a presented set. State is all that the
// client is told; Reason is from the node's log.
type outcome struct {
	Node   string `json:"node"`
	State  string `json:"state"`
	Reason string `json:"reason"`
}

// present shakes hands with one node, as anybody can who has the cookie and
// the blobs, with whatever set he likes.
func present(ctx context.Context, client *http.Client, cookies []*http.Cookie, n *node, set sessionext.Held) (outcome, sessionext.Reply, error) {
	address, up := n.address()
	if !up {
		return outcome{}, sessionext.Reply{}, errors.New("the node is down")
	}
	mark := n.log.mark()
	reply, err := handshake(ctx, client, cookies, address, sessionext.Request{V: 1, Attempt: seal.NewID().String(), Manifest: set.Manifest, Blobs: set.Blobs})
	if err != nil {
		return outcome{}, reply, err
	}
	line, found := n.log.since(mark, "restore refused", "session restored")
	if !found {
		return outcome{}, reply, fmt.Errorf("%s answered %q and logged nothing", n.name, reply.State)
	}
	out := outcome{Node: n.name, State: reply.State, Reason: line.Reason}
	if line.Msg == "session restored" {
		out.Reason = "restored"
		if len(line.Dropped) > 0 {
			out.Reason = "restored without " + strings.Join(line.Dropped, "; ")
		}
	}
	return out, reply, nil
}

func handshake(ctx context.Context, client *http.Client, cookies []*http.Cookie, address string, request sessionext.Request) (reply sessionext.Reply, err error) {
	body, err := json.Marshal([]any{map[string]any{
		"channel": "/meta/handshake", "version": "1.0", "id": "1", "supportedConnectionTypes": []string{"long-polling"},
		"ext": map[string]any{sessionext.ExtName: request},
	}})
	if err != nil {
		return reply, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/bayeux/handshake", bytes.NewReader(body))
	if err != nil {
		return reply, err
	}
	r.Header.Set("Content-Type", "application/json")
	for _, c := range cookies {
		r.AddCookie(c)
	}
	res, err := client.Do(r)
	if err != nil {
		return reply, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return reply, err
	}
	var messages []struct {
		Ext struct {
			Sealed sessionext.Reply `json:"sealed"`
		} `json:"ext"`
	}
	if err := json.Unmarshal(text, &messages); err != nil || len(messages) != 1 || messages[0].Ext.Sealed.State == "" {
		return reply, fmt.Errorf("the handshake was answered with %d %.80q", res.StatusCode, text)
	}
	return messages[0].Ext.Sealed, nil
}

// The ways to spoil a set.

// flipBit changes one bit of one envelope.
func flipBit(set sessionext.Held) (sessionext.Held, error) {
	slot, err := anySlot(set)
	if err != nil {
		return set, err
	}
	text := []byte(set.Blobs[slot])
	i := bytes.LastIndexByte(text[:bytes.LastIndexByte(text, '.')], '.') + 5 // inside the ciphertext
	if i+1 >= len(text) {
		return set, errors.New("no ciphertext")
	}
	if text[i] == 'A' {
		text[i] = 'B' // base64url: the last bit of six
	} else {
		text[i] = 'A'
	}
	return with(set, slot, string(text)), nil
}

// mix puts one older envelope into a newer set.
func mix(newer, older sessionext.Held) (sessionext.Held, error) {
	for _, slot := range slices.Sorted(maps.Keys(newer.Blobs)) {
		if old, both := older.Blobs[slot]; both && old != newer.Blobs[slot] {
			return with(newer, slot, old), nil
		}
	}
	return newer, errors.New("the two sets differ in no attribute")
}

// leaveOut drops one envelope.
func leaveOut(set sessionext.Held) (sessionext.Held, error) {
	slot, err := anySlot(set)
	if err != nil {
		return set, err
	}
	set.Blobs = maps.Clone(set.Blobs)
	delete(set.Blobs, slot)
	return set, nil
}

func anySlot(set sessionext.Held) (string, error) {
	if len(set.Blobs) == 0 {
		return "", errors.New("there are no blobs")
	}
	return slices.Sorted(maps.Keys(set.Blobs))[0], nil
}

func with(set sessionext.Held, slot, envelope string) sessionext.Held {
	set.Blobs = maps.Clone(set.Blobs)
	set.Blobs[slot] = envelope
	return set
}
