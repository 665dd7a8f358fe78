package session

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
)

// A proof of possession is a JWS in compact serialization (RFC 7515 §7.1) with
// ES256, in the shape of RFC 9449. But for the signature it has one spelling, so
// that nothing is parsed: what is expected is written and compared
// (docs/SPEC.md §10.2). The key stands in it as RFC 7638 §3.2 hashes it.
const (
	proofHead  = `{"alg":"ES256","jwk":`
	proofTail  = `,"typ":"sealed-proof+jwt"}`
	jwkHead    = `{"crv":"P-256","kty":"EC","x":"`
	jwkMiddle  = `","y":"`
	jwkTail    = `"}`
	claimsHead = `{"nonce":"`

	coordinate = 32      // bytes of x and y, and of each half of a signature
	maxProof   = 2 << 10 // bytes of a proof's text

	// proofLife is how long after its making a challenge may be presented signed.
	proofLife = 60 * time.Second
)

// ErrProofRequired says that the client must prove the session's key, and brought
// no proof or one over a challenge that is too old. Presenting the same with a
// proof over a fresh challenge may succeed. [Outward] maps it to [ErrUnavailable].
var ErrProofRequired = errors.New("session: a proof of the session's key is required")

// Prove makes the proof for the repetition of a request that was answered with a
// challenge ([WireReply]): the client's side, for programs in Go. Attempt and
// manifest are those of the [WireRequest] that is repeated, empty if it presents
// no set. The key must be on P-256; the session is bound to it from the first
// proof on. The proof is good for this request alone, and for at most a minute.
func Prove(key *ecdsa.PrivateKey, challenge, attempt, manifest string) (string, error) {
	point, err := key.PublicKey.Bytes()
	if err != nil || key.Curve != elliptic.P256() {
		return "", errors.New("session: the key is not on P-256")
	}
	text := signedText(jwk(point), challenge, about(attempt, manifest))
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	var signature [2 * coordinate]byte
	r.FillBytes(signature[:coordinate])
	s.FillBytes(signature[coordinate:])
	return text + "." + text64(signature[:]), nil
}

// proven returns the thumbprint of the key that text proves for a request about
// session ID. Errors wrap [ErrProofRequired], policy.ErrBinding, or
// [ErrUnavailable] if we could not tell.
func (m *Manager) proven(ring *seal.Ring, now time.Time, id seal.ID, text, about string) (thumbprint string, err error) {
	if text == "" {
		return "", ErrProofRequired
	}
	jwk, challenge, err := readProof(text, about)
	if err != nil {
		return "", fmt.Errorf("%w: %w", policy.ErrBinding, err)
	}
	made, err := ring.ChallengeTime(m.scope, id, challenge)
	age := now.Sub(made)
	switch {
	case errors.Is(err, seal.ErrUnknownKey): // made before the key was retired
		return "", ErrProofRequired
	case err != nil:
		return "", fmt.Errorf("%w: the proof's challenge: %v", policy.ErrBinding, err)
	case age < -m.cfg.Policy.Session().Leeway || age >= proofLife:
		return "", ErrProofRequired
	}
	sum := sha256.Sum256([]byte(jwk))
	return text64(sum[:]), nil
}

var errProof = errors.New("session: no proof of this request")

// readProof checks everything of a proof but its challenge, which it returns
// with the key.
func readProof(text, about string) (jwkText, challenge string, err error) {
	if len(text) > maxProof {
		return "", "", errProof
	}
	parts := strings.SplitN(text, ".", 4)
	if len(parts) != 3 {
		return "", "", errProof
	}
	header, ok1 := bytes64(parts[0])
	claims, ok2 := bytes64(parts[1])
	signature, ok3 := bytes64(parts[2])
	if !ok1 || !ok2 || !ok3 || len(signature) != 2*coordinate || len(claims) < len(claimsHead)+seal.ChallengeLen {
		return "", "", errProof
	}
	point, ok := pointOf(string(header))
	if !ok {
		return "", "", errProof
	}
	jwkText, challenge = jwk(point), string(claims[len(claimsHead):][:seal.ChallengeLen])
	signed := signedText(jwkText, challenge, about)
	if signed != parts[0]+"."+parts[1] {
		return "", "", errProof
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil { // not on the curve
		return "", "", errProof
	}
	digest := sha256.Sum256([]byte(signed))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:coordinate]), new(big.Int).SetBytes(signature[coordinate:])) {
		return "", "", errProof
	}
	return jwkText, challenge, nil
}

// signedText is the header and the claims of a proof.
func signedText(jwk, challenge, about string) string {
	return text64([]byte(proofHead+jwk+proofTail)) + "." + text64([]byte(claimsHead+challenge+about))
}

// about is the end of the claims: what the proof is for. A set is named by its
// manifest's digest, which stands for all of it.
func about(attempt, manifest string) string {
	if attempt == "" && manifest == "" {
		return `"}`
	}
	sum := sha256.Sum256([]byte(manifest))
	return `","attempt":"` + attempt + `","set":"` + text64(sum[:]) + `"}`
}

// jwk is the key as a JWK, in the one spelling that RFC 7638 hashes.
func jwk(point []byte) string {
	return jwkHead + text64(point[1:1+coordinate]) + jwkMiddle + text64(point[1+coordinate:]) + jwkTail
}

// pointOf finds the coordinates in a proof's header, as an uncompressed point
// (SEC 1 §2.3.3). It compares nothing else.
func pointOf(header string) (point []byte, ok bool) {
	const length = (coordinate*8 + 5) / 6
	xAt := len(proofHead + jwkHead)
	yAt := xAt + length + len(jwkMiddle)
	if len(header) < yAt+length {
		return nil, false
	}
	x, ok1 := bytes64(header[xAt:][:length])
	y, ok2 := bytes64(header[yAt:][:length])
	return append(append([]byte{4}, x...), y...), ok1 && ok2
}

func text64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// bytes64 decodes base64url in its canonical form alone.
func bytes64(text string) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return raw, err == nil && text64(raw) == text // the decoder skips line breaks
}
