package session

import (
	"strconv"
	"strings"

	"github.com/sealedblob/sealedblob/replay"
)

// Version says which of two sets of a session is newer. Its text is
// "fence.generation".
type Version = replay.Version

// Owner is a caller's own random attempt token: repeat an operation whose
// answer was lost with the same one.
type Owner = replay.Owner

// FormatVersion writes v as on the wire: "fence.generation", both decimal.
func FormatVersion(v Version) string {
	return strconv.FormatUint(v.Fence, 10) + "." + strconv.FormatUint(v.Gen, 10)
}

// ParseVersion reads the one spelling of a version, which [FormatVersion] writes; ok is
// false for any other text.
func ParseVersion(text string) (v Version, ok bool) {
	if len(text) > 41 {
		return Version{}, false
	}
	fence, gen, _ := strings.Cut(text, ".")
	f, err1 := strconv.ParseUint(fence, 10, 64)
	g, err2 := strconv.ParseUint(gen, 10, 64)
	v = Version{Fence: f, Gen: g}
	if err1 != nil || err2 != nil || FormatVersion(v) != text {
		return Version{}, false
	}
	return v, true
}
