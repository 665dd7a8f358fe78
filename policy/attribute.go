package policy

import "time"

// Declaration declares one attribute to [New]: an [Attribute], an
// [OnceAttribute], or a [Rule] where the value's type does not matter.
type Declaration interface {
	declared() Rule
}

func (r Rule) declared() Rule { return r }

// Attribute declares an attribute whose values are of type T, encoded as JSON.
// Make it with [Attr] and keep it in a package-level variable: it is the key by
// which the attribute is read and set, so that a mistyped name or a wrong type
// does not compile.
type Attribute[T any] struct{ rule Rule }

// OnceAttribute declares a right of type T, which is spent at most once. Make it
// with [Once]. It is a type of its own, so that taking anything else does not
// compile.
type OnceAttribute[T any] struct{ rule Rule }

// Typed is an [Attribute] or an [OnceAttribute] of values of type T, for what
// can be done with both.
type Typed[T any] interface {
	Declaration
	Name() string
	holds(T)
}

// Attr declares an attribute:
//
//	var Cart = policy.Attr[[]Item]("cart", policy.TTL(time.Hour), policy.MaxBytes(4<<10))
//
// What is wrong with its rule is told by [New].
func Attr[T any](name string, options ...Option) Attribute[T] {
	return Attribute[T]{rule(Rule{Name: name}, options)}
}

// Once declares a once-only attribute. It needs a [TTL] of at most 24 hours:
//
//	var Ticket = policy.Once[Seat]("ticket", policy.TTL(10*time.Minute))
func Once[T any](name string, options ...Option) OnceAttribute[T] {
	return OnceAttribute[T]{rule(Rule{Name: name, Once: true}, options)}
}

func rule(r Rule, options []Option) Rule {
	for _, o := range options {
		o.apply(&r)
	}
	return r
}

// Name is the attribute's name in files and seals.
func (a Attribute[T]) Name() string { return a.rule.Name }

// Name is the attribute's name in files and seals.
func (a OnceAttribute[T]) Name() string { return a.rule.Name }

func (a Attribute[T]) declared() Rule     { return a.rule }
func (a OnceAttribute[T]) declared() Rule { return a.rule }

func (a Attribute[T]) holds(T)     {}
func (a OnceAttribute[T]) holds(T) {}

// Option is one member of a rule: [TTL], [Idle], [Absolute], [Required],
// [OnExpiry], [MaxBytes], or a constant such as [RollbackRefuse],
// [BurnOnRestore], [StoreDownDrop], [AuthorityServer] or [BindingKey].
type Option interface {
	apply(*Rule)
}

// TTL is [Rule].TTL as an option.
type TTL time.Duration

// Idle is [Rule].Idle as an option.
type Idle time.Duration

// Absolute is [Rule].Absolute as an option.
type Absolute time.Duration

// Required is [Rule].Required as an option.
type Required bool

// OnExpiry is [Rule].OnExpiry as an option.
type OnExpiry Action

// MaxBytes is [Rule].MaxBytes as an option.
type MaxBytes int

func (o TTL) apply(r *Rule)       { r.TTL = time.Duration(o) }
func (o Idle) apply(r *Rule)      { r.Idle = time.Duration(o) }
func (o Absolute) apply(r *Rule)  { r.Absolute = time.Duration(o) }
func (o Required) apply(r *Rule)  { r.Required = bool(o) }
func (o OnExpiry) apply(r *Rule)  { r.OnExpiry = Action(o) }
func (o MaxBytes) apply(r *Rule)  { r.MaxBytes = int(o) }
func (o Burn) apply(r *Rule)      { r.Burn = o }
func (o Rollback) apply(r *Rule)  { r.Rollback = o }
func (o StoreDown) apply(r *Rule) { r.StoreDown = o }
func (o Authority) apply(r *Rule) { r.Authority = o }
func (o Pad) apply(r *Rule)       { r.Pad = o }
func (o Binding) apply(r *Rule)   { r.Binding = o }
