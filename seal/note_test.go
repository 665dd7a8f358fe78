package seal

import (
	"errors"
	"path/filepath"
	"testing"
)

// Of two readers that come to know of a fork at once one notes its ring, and the
// other is told.
func TestNoteRefusesAFork(t *testing.T) {
	path := filepath.Join(t.TempDir(), SeenFile)
	mine, other := note{version: 2, digest: [32]byte{1}}, note{version: 2, digest: [32]byte{2}}
	if err := errors.Join(noteSeen(path, mine), noteSeen(path, mine)); err != nil {
		t.Fatal(err)
	}
	if err := noteSeen(path, other); !errors.Is(err, ErrRing) {
		t.Errorf("another ring of the version: %v", err)
	}
	if err := noteSeen(path, note{version: 1}); err != nil {
		t.Errorf("an older one, which is what others have gone on from: %v", err)
	}
	if seen, err := readSeen(path); err != nil || seen != mine {
		t.Errorf("noted %v, %v", seen, err)
	}
}
