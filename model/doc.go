// Package model holds the exhaustive check of the protocol by which a session
// moves between nodes (docs/model.md). It is all tests: go test ./model.
package model
