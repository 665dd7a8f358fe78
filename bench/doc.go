// Command bench measures sealing, opening and restoring side by side with the
// libraries that people would use instead, in one run and with the same
// payloads. The method and the results are in docs/performance.md.
//
//	go run . [-only seal] [-json results.json]
//
// It is a module of its own, so that the peers are no dependencies of ours.
package main
