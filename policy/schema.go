package policy

import _ "embed"

//go:embed schema.json
var schema string

// Schema is the JSON Schema (draft 2020-12) of policy files and overlays, for
// editors: name it in a file's "$schema". It describes the form; what
// contradicts each other is found by [Parse] alone.
func Schema() string { return schema }
