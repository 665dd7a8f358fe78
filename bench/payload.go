package main

import (
	"bytes"
	"fmt"
)

// payload is a JSON object of exactly n bytes, n ≥ 64, such as a session
// attribute may have: some short members and a text that fills it up.
func payload(n int) []byte {
	const end = `"}`
	b := []byte(`{"items":[`)
	for i := 0; len(b)+64 < n/2; i++ {
		b = fmt.Appendf(b, `{"sku":"A-%04d","count":%d,"price":%d.%02d},`, 1000+i, i%7+1, 10+i%90, i%100)
	}
	b = append(bytes.TrimSuffix(b, []byte(",")), `],"note":"`...)
	for words := "two seats by the aisle "; len(b)+len(end) < n; {
		b = append(b, words[len(b)%len(words)])
	}
	return append(b, end...)
}
