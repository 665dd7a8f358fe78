package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"aidanwoods.dev/go-paseto"
	"github.com/fernet/fernet-go"
	"github.com/go-jose/go-jose/v4"
	"github.com/gorilla/securecookie"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwe"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

const lifetime = time.Hour

var errRefused = errors.New("refused")

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// peers makes the limit and every peer, each with a key of its own.
func peers() ([]system, error) {
	var out []system
	for _, build := range []func() ([]system, error){limit, goJose, jwx, secureCookie, fernetToken, tink, pasetoLocal} {
		list, err := build()
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// limit is what the standard library can do at best: AES-256-GCM with a random
// 96-bit IV and base64url, in buffers that are used again. No format, no claims.
func limit() ([]system, error) {
	block, err := aes.NewCipher(random(32))
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	encoding := base64.RawURLEncoding.Strict()
	var raw, text, plain []byte
	seal := func(in []byte) ([]byte, error) {
		if cap(raw) < gcm.NonceSize()+len(in)+gcm.Overhead() {
			raw = make([]byte, gcm.NonceSize()+len(in)+gcm.Overhead())
		}
		iv := raw[:gcm.NonceSize()]
		rand.Read(iv)
		sealed := gcm.Seal(iv, iv, in, nil)
		text = encoding.AppendEncode(text[:0], sealed)
		return text, nil
	}
	open := func(in []byte) ([]byte, error) {
		var err error
		if plain, err = encoding.AppendDecode(plain[:0], in); err != nil || len(plain) < gcm.NonceSize() {
			return nil, errRefused
		}
		iv, sealed := plain[:gcm.NonceSize()], plain[gcm.NonceSize():]
		return gcm.Open(sealed[:0], iv, sealed, nil)
	}
	return []system{entry("limit", false, seal, open)}, nil
}

var (
	joseAlgs = []jose.KeyAlgorithm{jose.DIRECT}
	joseEncs = []jose.ContentEncryption{jose.A256GCM}
)

// goJose is a compact JWE with dir and A256GCM, as our envelope is: with the
// header that costs least, with a key ID in it as ours has, and with claims.
func goJose() ([]system, error) {
	seal, open, err := joseWith("")
	if err != nil {
		return nil, err
	}
	sealKid, openKid, err := joseWith("k1")
	if err != nil {
		return nil, err
	}
	return []system{
		entry("go-jose", false, seal, open),
		entry("go-jose+kid", false, sealKid, openKid),
		withClaims("go-jose+exp", seal, open),
	}, nil
}

func joseWith(kid string) (func([]byte) (string, error), func(string) ([]byte, error), error) {
	key := random(32)
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: key, KeyID: kid}, nil)
	if err != nil {
		return nil, nil, err
	}
	seal := func(plain []byte) (string, error) {
		object, err := encrypter.Encrypt(plain)
		if err != nil {
			return "", err
		}
		return object.CompactSerialize()
	}
	open := func(text string) ([]byte, error) {
		object, err := jose.ParseEncryptedCompact(text, joseAlgs, joseEncs)
		if err != nil {
			return nil, err
		}
		return object.Decrypt(key)
	}
	return seal, open, nil
}

// claims are encoded by encoding/json and judged by hand. The libraries' own
// packages for claims cost more.
type claims struct {
	ID       string          `json:"jti"`
	IssuedAt int64           `json:"iat"`
	Expires  int64           `json:"exp"`
	Value    json.RawMessage `json:"val"`
}

func encodeClaims(plain []byte) ([]byte, error) {
	now := time.Now().Unix()
	return json.Marshal(&claims{base64.RawURLEncoding.EncodeToString(random(16)), now, now + int64(lifetime/time.Second), plain})
}

func decodeClaims(text []byte) ([]byte, error) {
	var c claims
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	if time.Now().Unix() >= c.Expires {
		return nil, errRefused
	}
	return c.Value, nil
}

// withClaims seals claims in place of the bare value.
func withClaims[S, O text](name string, seal func([]byte) (S, error), open func(O) ([]byte, error)) system {
	return entry(name, true, func(plain []byte) (none S, err error) {
		text, err := encodeClaims(plain)
		if err != nil {
			return none, err
		}
		return seal(text)
	}, func(text O) ([]byte, error) {
		plain, err := open(text)
		if err != nil {
			return nil, err
		}
		return decodeClaims(plain)
	})
}

func jwx() ([]system, error) {
	key := jwe.WithKey(jwa.DIRECT(), random(32))
	gcm := jwe.WithContentEncryption(jwa.A256GCM())
	seal := func(plain []byte) ([]byte, error) { return jwe.Encrypt(plain, key, gcm) }
	open := func(text []byte) ([]byte, error) { return jwe.Decrypt(text, key) }
	return []system{entry("jwx", false, seal, open), withClaims("jwx+exp", seal, open)}, nil
}

// secureCookie encrypts (AES-256-CTR) and authenticates (HMAC-SHA-256) bytes as
// they are, which is its fastest mode.
func secureCookie() ([]system, error) {
	codec := securecookie.New(random(32), random(32))
	codec.SetSerializer(securecookie.NopEncoder{}).MaxAge(int(lifetime / time.Second)).MaxLength(0)
	var scratch []byte
	seal := func(plain []byte) (string, error) {
		scratch = append(scratch[:0], plain...) // it encrypts in place
		return codec.Encode("cart", scratch)
	}
	open := func(text string) ([]byte, error) {
		var value []byte
		err := codec.Decode("cart", text, &value)
		return value, err
	}
	return []system{entry("securecookie", true, seal, open)}, nil
}

func fernetToken() ([]system, error) {
	var key fernet.Key
	if err := key.Generate(); err != nil {
		return nil, err
	}
	keys := []*fernet.Key{&key}
	seal := func(plain []byte) ([]byte, error) { return fernet.EncryptAndSign(plain, &key) }
	open := func(text []byte) ([]byte, error) {
		if plain := fernet.VerifyAndDecrypt(text, lifetime, keys); plain != nil {
			return plain, nil
		}
		return nil, errRefused
	}
	return []system{entry("fernet", true, seal, open)}, nil
}

// tink is its AEAD with a key prefix, and base64url in buffers that are used again.
func tink() ([]system, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, err
	}
	encoding := base64.RawURLEncoding.Strict()
	var text, raw []byte
	seal := func(plain []byte) ([]byte, error) {
		sealed, err := primitive.Encrypt(plain, nil)
		if err != nil {
			return nil, err
		}
		text = encoding.AppendEncode(text[:0], sealed)
		return text, nil
	}
	open := func(in []byte) ([]byte, error) {
		var err error
		if raw, err = encoding.AppendDecode(raw[:0], in); err != nil {
			return nil, err
		}
		return primitive.Decrypt(raw, nil)
	}
	return []system{entry("tink", false, seal, open)}, nil
}

func pasetoLocal() ([]system, error) {
	key := paseto.NewV4SymmetricKey()
	parser := paseto.NewParser() // refuses what is expired
	seal := func(plain []byte) (string, error) {
		now := time.Now()
		token := paseto.NewToken()
		token.SetJti(base64.RawURLEncoding.EncodeToString(random(16)))
		token.SetIssuedAt(now)
		token.SetExpiration(now.Add(lifetime))
		if err := token.Set("val", json.RawMessage(plain)); err != nil {
			return "", err
		}
		return token.V4Encrypt(key, nil), nil
	}
	open := func(text string) ([]byte, error) {
		token, err := parser.ParseV4Local(key, text, nil)
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := token.Get("val", &value); err != nil {
			return nil, fmt.Errorf("val: %w", err)
		}
		return value, nil
	}
	return []system{entry("paseto", true, seal, open)}, nil
}
