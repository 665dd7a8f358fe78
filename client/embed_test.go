package client_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/sealedblob/sealedblob/client"
)

// What Go embeds and what npm publishes are the same files.
func TestFilesAreThePublishedOnes(t *testing.T) {
	data, err := os.ReadFile("package.json")
	if err != nil {
		t.Fatal(err)
	}
	var pkg struct {
		Files []string `json:"files"`
	}
	if err := json.Unmarshal(data, &pkg); err != nil {
		t.Fatal(err)
	}
	embedded, err := fs.Glob(client.Files, "*")
	if err != nil {
		t.Fatal(err)
	}
	if len(embedded) == 0 || !slices.Contains(embedded, "index.js") {
		t.Fatalf("embedded files = %v, want index.js among them", embedded)
	}
	slices.Sort(pkg.Files)
	if !slices.Equal(embedded, pkg.Files) {
		t.Errorf("embedded files = %v, want those of package.json %v", embedded, pkg.Files)
	}
}
