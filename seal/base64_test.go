package seal

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"
)

var std64 = base64.RawURLEncoding.Strict()

// reference accepts what the standard library accepts and writes back alike.
func reference(text string) ([]byte, bool) {
	out, err := std64.DecodeString(text)
	return out, err == nil && std64.EncodeToString(out) == text
}

func TestBase64(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 600 {
		raw := make([]byte, n)
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		text := string(append64([]byte("x"), raw))[1:]
		if want := std64.EncodeToString(raw); text != want || len(text) != len64(n) || bytes64(len(text)) != n {
			t.Fatalf("%d bytes: %q, want %q", n, text, want)
		}
		got := make([]byte, n)
		if !decode64To(got, text) || !bytes.Equal(got, raw) {
			t.Fatalf("%d bytes: decoded %x, want %x", n, got, raw)
		}
		if n == 0 || n > 40 {
			continue
		}
		for i := range text { // every character at every place
			for c := range 256 {
				variant := text[:i] + string([]byte{byte(c)}) + text[i+1:]
				want, ok := reference(variant)
				got := make([]byte, bytes64(len(variant)))
				if accepted := decode64To(got, variant); accepted != ok || ok && !bytes.Equal(got, want) {
					t.Fatalf("%q: accepted %t, the reference says %t", variant, accepted, ok)
				}
			}
		}
	}
	if decode64To(nil, "A") {
		t.Error("one character is accepted")
	}
}

func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "A", "AA", "AAA", "AAAA", "AB", "AAB", "A\nAA", "AA==", "____----", "\x00\x00\x00\x00", "AAAAAAAAAAAAAAAA"} {
		f.Add(s)
	}
	for _, v := range allVectors(f) {
		for _, part := range strings.Split(v.Text, ".") {
			f.Add(part)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, ok := reference(text)
		got := make([]byte, bytes64(len(text)))
		if accepted := decode64To(got, text); accepted != ok {
			t.Fatalf("%q: accepted %t, the reference says %t", text, accepted, ok)
		}
		if ok && !bytes.Equal(got, want) {
			t.Fatalf("%q: %x, want %x", text, got, want)
		}
	})
}

func BenchmarkBase64(b *testing.B) {
	raw := make([]byte, 288)
	for i := range raw {
		raw[i] = byte(i * 7)
	}
	text := make([]byte, len64(len(raw)))
	encode64(text, raw)
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			encode64(text, raw)
		}
	})
	b.Run("encode-std", func(b *testing.B) {
		for b.Loop() {
			std64.Encode(text, raw)
		}
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			if !decode64To(raw, text) {
				b.Fatal()
			}
		}
	})
	b.Run("decode-std", func(b *testing.B) {
		for b.Loop() {
			if _, err := std64.Decode(raw, text); err != nil {
				b.Fatal(err)
			}
		}
	})
}
