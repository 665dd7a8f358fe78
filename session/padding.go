package session

import (
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
)

// padding is the [seal.Claims] Pad that r asks for: 0 for the value's own
// bucket, or that of the largest JSON value which r allows.
func padding(r policy.Rule) int {
	if r.Pad == policy.PadMax {
		return seal.PadFor(r.MaxBytes)
	}
	return 0
}
