// Package fuzz holds the fuzz targets, all through the public API and seeded
// from the vectors. ci/fuzz.sh lists them and fails if there are none.
package fuzz
