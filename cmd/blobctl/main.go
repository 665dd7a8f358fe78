// Blobctl makes keyrings, inspects and verifies sealed blobs, and runs nodes.
// Its contract with scripts is in docs/blobctl.md.
package main

import (
	"context"
	"os"
)

func main() { os.Exit(execute(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
