package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// What a terminal may act on is escaped, and the value stays the same.
func TestEscapeJSON(t *testing.T) {
	for _, value := range []string{`{"a":["tea",1.5,null]}`, "\"é 漢 😀\"", "\"\u009b31m \u202e \u2028 \u200b \u00ad \U000e0001\""} {
		out := escapeJSON([]byte(value))
		var before, after any
		if json.Unmarshal([]byte(value), &before) != nil || json.Unmarshal(out, &after) != nil || !reflect.DeepEqual(before, after) {
			t.Errorf("%q became %q", value, out)
		}
		if strings.ContainsAny(string(out), "\u009b\u202e\u2028\u200b\u00ad\U000e0001") {
			t.Errorf("%q is printed as it is", out)
		}
	}
}
