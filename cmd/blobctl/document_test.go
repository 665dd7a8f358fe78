package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// document is docs/blobctl.md, which says what scripts rely on.
func document(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/blobctl.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every command and flag is in the document.
func TestDocumentHasEveryFlag(t *testing.T) {
	text, commands, flags := document(t), 0, 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Runnable() && !cmd.HasSubCommands() {
			commands++
			if !strings.Contains(text, cmd.Name()) {
				t.Errorf("%s is not documented", cmd.CommandPath())
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			flags++
			if !regexp.MustCompile("--" + f.Name + `\b[^-]`).MatchString(text) {
				t.Errorf("%s --%s is not documented", cmd.CommandPath(), f.Name)
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
	if commands < 20 || flags < 50 {
		t.Errorf("%d commands and %d flags were looked at", commands, flags)
	}
}

// random is what each run of an example has otherwise.
var random = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "TIME"},
	{regexp.MustCompile(`\b(session|salt) [A-Za-z0-9_-]{22}`), "$1 ID"},
	{regexp.MustCompile(`\bkey [A-Za-z0-9_-]{8}`), "key KEY"},
	{regexp.MustCompile(`(?m)^[A-Za-z0-9_-]{8}  primary`), "KEY  primary"},
}

func withoutRandom(text string) string {
	for _, r := range random {
		text = r.what.ReplaceAllString(text, r.as)
	}
	return text
}

// The examples run as they are printed, each block in a folder of its own, and
// print what is printed there. What "cat" shows is in the folder.
func TestDocumentedExamplesRun(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(document(t), -1)
	if len(blocks) < 2 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, block := range blocks {
		dir, code := t.TempDir(), ""
		steps := strings.Split("\n"+strings.ReplaceAll(block[1], "\\\n", ""), "\n$ ")[1:]
		if len(steps) < 4 {
			t.Errorf("an example of %d commands", len(steps))
		}
		for _, step := range steps {
			command, want, _ := strings.Cut(step, "\n")
			if want != "" && !strings.HasSuffix(want, "\n") {
				want += "\n"
			}
			if file, ok := strings.CutPrefix(command, "cat "); ok {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(want), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out []byte
			if command == "echo $?" {
				out = []byte(code + "\n")
			} else {
				cmd := exec.Command("sh", "-c", command)
				cmd.Dir = dir
				out, _ = cmd.CombinedOutput()
				code = strconv.Itoa(cmd.ProcessState.ExitCode())
			}
			if got, want := withoutRandom(string(out)), withoutRandom(want); got != want {
				t.Errorf("$ %s\n%swant\n%s", command, got, want)
			}
		}
	}
}

// Every member of every result is in the document's section on JSON.
func TestDocumentHasEveryMember(t *testing.T) {
	_, section, _ := strings.Cut(document(t), "\n## JSON\n")
	section, _, _ = strings.Cut(section, "\n## ")
	const script = `
blobctl keyring init --dir keys --json
blobctl keyring recipients --dir keys --json
echo '{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"ticket":{"ttl":"10m","once":true}}}' > policy.json
echo '{"more":1}' > bad.json
echo 1 | blobctl seal --keyring keys --policy policy.json --app shop --session new --name ticket --replay file:spent --json
echo 1 | blobctl seal --keyring keys --policy policy.json --app shop --session new --name ticket --replay file:spent > blob
blobctl verify --keyring keys --policy policy.json --app shop --replay file:spent --json blob
blobctl open --keyring keys --policy policy.json --app shop --reveal --json blob
echo 1 | blobctl seal --keyring keys --policy policy.json --app shop --session new --name ticket --binary |
	blobctl open --keyring keys --policy policy.json --app shop --reveal --json
blobctl take --keyring keys --policy policy.json --app shop --replay file:spent --json blob
blobctl take --keyring keys --policy policy.json --app shop --replay file:spent --json blob
blobctl keyring export --dir keys --app shop --json blob
blobctl inspect --json blob
blobctl policy check --json policy.json
blobctl policy check --json bad.json
blobctl policy explain --json policy.json
blobctl replay status --json file:spent
blobctl replay raise-epoch --json file:spent
`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = t.TempDir()
	out, err := cmd.Output() // on standard error is what was refused
	if err != nil {
		t.Fatal(err)
	}
	commands, looked := map[string]bool{}, map[string]bool{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for dec.More() {
		var object map[string]any
		if err := dec.Decode(&object); err != nil {
			t.Fatal(err)
		}
		command, _ := object["command"].(string)
		commands[command] = true
		if _, ok := object["jwk"]; ok {
			object["jwk"] = nil // its members are RFC 7517's
		}
		members(object, looked)
	}
	if len(commands) < 12 || len(looked) < 40 {
		t.Errorf("%d commands, %d members", len(commands), len(looked))
	}
	for name := range looked {
		if !strings.Contains(section, "`"+name+"`") {
			t.Errorf("member %s is not documented", name)
		}
	}
}

// members notes the names of all members in v.
func members(v any, in map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			in[name] = true
			members(value, in)
		}
	case []any:
		for _, value := range v {
			members(value, in)
		}
	}
}
