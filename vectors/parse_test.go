package vectors

import (
	"strings"
	"testing"
	"testing/fstest"
)

const (
	goodHead = "expect: success\npurpose: attribute\napp: shop\nnow: 1\ncomment: good\n"
	goodFile = goodHead + "reads: {\"jti\":\"x\",\"name\":\"cart\"}\nvalue: [\"a: b\"]\n\ntext\n"
)

func TestParse(t *testing.T) {
	v, err := parse("good", goodFile)
	if err != nil || v.Claims == nil || v.Claims.Name != "cart" || string(v.Value) != `["a: b"]` || v.Binary || v.Text != "text" {
		t.Errorf("parse = %+v, %v", v, err)
	}
	v, err = parse("bytes", strings.Replace(goodFile, `value: ["a: b"]`, "bytes:", 1))
	if err != nil || v.Value == nil || len(v.Value) != 0 || !v.Binary {
		t.Errorf("no bytes: parse = %+v, %v", v, err)
	}
}

// A file that is not understood must not count as a vector that passed.
func TestParseRefuses(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(goodFile, old, new, 1) }
	for name, file := range map[string]string{
		"no body":                 goodHead,
		"no line feed at the end": strings.TrimSuffix(goodFile, "\n"),
		"an unknown line":         replace("comment:", "remark:"),
		"a line twice":            replace("app: shop\n", "app: shop\napp: shop\n"),
		"a line without a colon":  replace("app: shop\n", "app shop\n"),
		"no expectation":          replace("expect: success\n", ""),
		"no purpose":              replace("purpose: attribute\n", ""),
		"another purpose":         replace("attribute", "slot"),
		"no time":                 replace("now: 1\n", ""),
		"a time that is none":     replace("now: 1", "now: noon"),
		"nothing to read":         goodHead + "\ntext\n",
		"no value":                replace("value: [\"a: b\"]\n", ""),
		"value and bytes":         replace("value:", "bytes: AA\nvalue:"),
		"bytes not base64url":     replace(`value: ["a: b"]`, "bytes: AB"),
		"claims that are none":    replace(`{"jti"`, `["jti"`),
		"unknown claims":          replace(`"jti"`, `"jwt"`),
		"something behind them":   replace(`"cart"}`, `"cart"}{}`),
		"stale, but not true":     replace("comment:", "stale: false\ncomment:"),
		"refused, but stale":      strings.Replace(goodHead, "success\n", "auth\nstale: true\n", 1) + "\ntext\n",
		"refused, but read":       replace("success", "malformed"),
		"a manifest with a value": replace("attribute", "manifest"),
	} {
		if file == goodFile {
			t.Fatalf("%s changed nothing", name)
		}
		if v, err := parse(name, file); err == nil {
			t.Errorf("%s: %+v", name, v)
		}
		if all, err := all(fstest.MapFS{"a.txt": {Data: []byte(goodFile)}, "b.txt": {Data: []byte(file)}}); err == nil || all != nil {
			t.Errorf("%s, among others: %d vectors", name, len(all))
		}
	}
	if all, err := all(fstest.MapFS{"README.md": {}}); err == nil || all != nil {
		t.Errorf("no vectors: %v, %v", all, err)
	}
}
