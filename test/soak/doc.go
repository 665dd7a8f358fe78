//go:build linux

// Command soak holds thousands of idle Bayeux clients, then lets others come,
// publish, stall and vanish for a minute, and says whether the server's memory
// stayed flat and whether all of it came back once everybody had left.
//
//	soak                 10,000 clients: long polls, WebSockets, and both with churn
//	soak -quick          1,000 clients for a few seconds
//	soak -leak goroutine the server leaks on purpose, and soak has to notice
//
// The server is a process of its own, on loopback. It needs Linux for /proc.
package main
