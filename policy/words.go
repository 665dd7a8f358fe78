package policy

// Action is what a rule asks for when an attribute can't be restored.
type Action uint8

// The actions. The zero Action drops the attribute and lets the session go on.
const (
	Drop Action = iota
	Refuse
)

// Burn says when a once-only attribute is spent.
type Burn uint8

// The times to burn. BurnOnUse leaves it to the program, which takes the right
// when it acts on it. BurnOnRestore spends it in the restore itself, for the
// attempt that restores: the value comes to one node, once, whether it is used
// there or not.
const (
	BurnOnUse Burn = iota
	BurnOnRestore
)

// Rollback says what a set is worth that is older than a protected change: a
// change of any attribute whose rule is not RollbackAllow.
type Rollback uint8

// RollbackAllow lets an older value come back until its time is up, as without
// a store. RollbackDrop leaves the attribute out of an older set and lets the
// rest go on. RollbackRefuse refuses the older set, whether or not the
// attribute is in it: it may be older than the attribute.
const (
	RollbackAllow Rollback = iota
	RollbackDrop
	RollbackRefuse
)

// StoreDown says what becomes of an attribute of which the store can't tell,
// because it is older than the store's memory. A store that gives no answer can't
// tell about the session either; then the whole set is to be tried again.
type StoreDown uint8

// StoreDownRefuse refuses the set, which may be tried again. StoreDownDrop
// leaves the attribute out: it is not worth waiting for. Neither lets in what
// the store has not spoken about.
const (
	StoreDownRefuse StoreDown = iota
	StoreDownDrop
)

// Authority says who keeps an attribute when the server is gone.
type Authority uint8

// AuthorityClient is the usual case: the attribute is sealed and the client
// carries it. AuthorityServer keeps it in the server's memory alone: it is
// never sealed, it does not move with its session, and a sealed one is refused.
// It is for what must be read anew after a restore, such as roles.
const (
	AuthorityClient Authority = iota
	AuthorityServer
)

// Pad says how much of a value's length its envelope shows.
type Pad uint8

// PadBucket shows the length's bucket: 32 bytes wide at first, then an eighth or
// less of the length. PadMax shows nothing: the envelope is as long as one of
// max_bytes.
const (
	PadBucket Pad = iota
	PadMax
)

// Binding says what the presenter of a set must prove.
type Binding uint8

// BindingCookie wants the session cookie that every set needs. BindingKey wants
// a proof of possession of the session's key as well; without one the set is
// refused.
const (
	BindingCookie Binding = iota
	BindingKey
)

// The words of a policy file, by value.
var (
	actions    = []string{"drop", "refuse"}
	burns      = []string{"use", "restore"}
	rollbacks  = []string{"allow", "drop", "refuse"}
	storeDowns = []string{"refuse", "drop"}
	authority  = []string{"client", "server"}
	pads       = []string{"bucket", "max"}
	bindings   = []string{"cookie", "key"}
)

// String returns the word of a policy file.
func (a Action) String() string { return word(actions, uint8(a)) }

// String returns the word of a policy file.
func (b Burn) String() string { return word(burns, uint8(b)) }

// String returns the word of a policy file.
func (r Rollback) String() string { return word(rollbacks, uint8(r)) }

// String returns the word of a policy file.
func (s StoreDown) String() string { return word(storeDowns, uint8(s)) }

// String returns the word of a policy file.
func (a Authority) String() string { return word(authority, uint8(a)) }

// String returns the word of a policy file.
func (p Pad) String() string { return word(pads, uint8(p)) }

// String returns the word of a policy file.
func (b Binding) String() string { return word(bindings, uint8(b)) }

func word(words []string, i uint8) string {
	if int(i) < len(words) {
		return words[i]
	}
	return "unknown"
}
