// Command bench measures sealing, opening and restoring, and the claims of once-only
// rights, side by side with the libraries and stores that people would use instead,
// in one run and with the same payloads. The method and the results are in docs/performance.md.
//
//	go run . [-only seal] [-json results.json]
//
// It is a module of its own, so that the peers are no dependencies of ours.
package main
