package sessionext

import (
	"strings"

	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// presentable reports whether a server reads a handshake with this set. One that it does
// not read it can't refuse either, and the client would present it for ever.
func (h *Held) presentable() bool {
	if len(h.Blobs) > seal.MaxEntries || !isEnvelope(h.Manifest) {
		return false
	}
	total := len(h.Manifest)
	for slot, envelope := range h.Blobs {
		if !isEnvelope(slot) || !isEnvelope(envelope) {
			return false
		}
		total += len(slot) + len(envelope)
	}
	return total <= session.MaxHandshake
}

// isEnvelope reports whether s has an envelope's length and characters, which JSON does
// not make longer. A slot has these too.
func isEnvelope(s string) bool {
	return len(s) <= seal.MaxEnvelope && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-.", r)
	})
}
