// Package client holds the browser's side: the very ES modules that the npm package sealedblob publishes.
//
// A server that wants no build step serves [Files] and lets its pages import index.js:
//
//	http.Handle("/sealedblob/", http.StripPrefix("/sealedblob/", http.FileServerFS(client.Files)))
//
// The modules import each other by relative paths and nothing else.
package client

import "embed"

// Files holds the ES modules, index.js first of all.
//
//go:embed *.js
var Files embed.FS
