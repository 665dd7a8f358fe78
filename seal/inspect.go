package seal

// UnverifiedEnvelope is what anybody can read off an envelope without a key.
// None of it is authenticated.
type UnverifiedEnvelope struct {
	Enc        Enc
	KeyID      string
	Salt       string // base64url
	Length     int    // of the text
	Ciphertext int    // bytes; the plaintext's length bucket, or one block more
}

// InspectUnverified reads an envelope's form without a key. It returns
// [ErrMalformed] if text is not in the one form that could be accepted. A Length
// over [MaxEnvelope] is accepted only where [Ring.WithMaxEnvelope] says so.
func InspectUnverified(text string) (UnverifiedEnvelope, error) {
	s, err := parseShape(text, MaxMaxEnvelope)
	if err != nil {
		return UnverifiedEnvelope{}, err
	}
	parts, _ := split(text)
	return UnverifiedEnvelope{s.enc, s.keyID, s.kid[keyIDLen+1:], len(text), bytes64(len(parts[3]))}, nil
}
