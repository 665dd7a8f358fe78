package seal

import (
	"bytes"

	jose "github.com/go-jose/go-jose/v4"
)

// ContentKeyJWK returns the content key of one envelope as a JWK (RFC 7517; its
// "alg" is the enc, as in RFC 7520 §5.6), so
// that any JOSE tool can open it without being given the ring. The key opens
// and makes every envelope of the same purpose, scope and salt: one session's,
// until its node or its key changes. It is a secret; print it to whom you would
// show that session.
//
// It returns the errors of [Opener.Attribute], also if text does not open.
func (r *Ring) ContentKeyJWK(scope Scope, p Purpose, text string) ([]byte, error) {
	o := &Opener{ring: r, scope: scope}
	defer o.Wipe()
	keys, err := o.find(text)
	if err != nil {
		return nil, err
	}
	content, err := keys.key(p)
	if err != nil {
		return nil, err
	}
	if _, err := content.appendOpen(nil, keys.head, text); err != nil {
		return nil, err
	}
	jwk := jose.JSONWebKey{Key: bytes.Clone(content.key), KeyID: keys.head.kid, Algorithm: string(keys.ring.enc), Use: "enc"}
	return jwk.MarshalJSON()
}
