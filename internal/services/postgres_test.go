package services

import (
	"os"
	"path/filepath"
	"testing"
)

// A PostgreSQL in PATH is used instead of an installed one: ci/postgres_versions.sh
// would otherwise test the same one again and again.
func TestPostgresInPath(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "postgres")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	if command := postgres(t, "postgres"); command[len(command)-1] != program {
		t.Errorf("the command is %q, want %s", command, program)
	}
}
