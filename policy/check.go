package policy

import "fmt"

const wantName = "is no name: want a lower-case letter, then up to 63 of [a-z0-9_.-]"

// fault is what is wrong with one member of a rule, and what would be right.
type fault struct {
	member, text string
	lacks        string // the member whose absence is wrong, if it is one's
}

func faultf(member, format string, args ...any) fault {
	return fault{member: member, text: fmt.Sprintf(format, args...)}
}

// malformed are the members that do not have the form, which only Go code can bring.
func malformed[R any](members []member[R], r R) (faults []fault) {
	for _, m := range members {
		if !m.valid(r) {
			faults = append(faults, faultf(m.name, "is %v: %s", m.show(r), m.want))
		}
	}
	return faults
}

func (p *Policy) checkSession(misread map[string]bool, problems *Problems) {
	for _, f := range p.session.faults() {
		if !misread[f.lacks] {
			problems.add(p.sessionFrom.of(f.member), "session", f.member, "%s", f.text)
		}
	}
}

// checkRules checks each rule, and all of them together.
func (p *Policy) checkRules(problems *Problems) {
	for _, name := range p.names {
		r := p.rules[name]
		for _, f := range r.faults(p.session) {
			if !r.misread[f.lacks] {
				problems.add(r.from.of(f.member), quoted(name), f.member, "%s", f.text)
			}
		}
	}
	if required := len(p.required); required > p.session.MaxAttributes {
		problems.add(p.sessionFrom.of("max_attributes"), "session", "max_attributes", "%d is less than the %d attributes that are required", p.session.MaxAttributes, required)
	}
}

func (s SessionRule) faults() []fault {
	faults := malformed(sessionMembers, s)
	if s.Idle == 0 {
		faults = append(faults, fault{"idle", `is missing: want a duration such as "30m"`, "idle"})
	}
	if s.Absolute == 0 {
		faults = append(faults, fault{"absolute", `is missing: want a duration such as "12h"`, "absolute"})
	}
	if s.Absolute > 0 && s.Idle > s.Absolute {
		faults = append(faults, faultf("idle", "%s is over the session's absolute %s: want at most that", short(s.Idle), short(s.Absolute)))
	}
	return faults
}

func (r Rule) faults(s SessionRule) []fault {
	faults := append(malformed(ruleMembers, r), r.timeFaults(s)...)
	if !validName(r.Name) {
		faults = append(faults, faultf("", wantName))
	}
	if r.Once {
		faults = append(faults, r.onceFaults()...)
	} else if r.Burn != BurnOnUse {
		faults = append(faults, fault{"burn", "only a once-only attribute is spent: say once, or leave it out", "once"})
	}
	if r.Required {
		faults = append(faults, r.requiredFaults()...)
	}
	if r.Authority == AuthorityServer {
		faults = append(faults, r.serverFaults()...)
	}
	return faults
}

func (r Rule) timeFaults(s SessionRule) (faults []fault) {
	for _, m := range ruleMembers[:3] { // ttl, idle, absolute
		if d := m.permits(r); m.given(r) && s.Absolute > 0 && d > int64(s.Absolute) {
			faults = append(faults, faultf(m.name, "%v outlives the session's absolute %s: want at most that", m.show(r), short(s.Absolute)))
		}
	}
	if r.Absolute > 0 && r.TTL > r.Absolute {
		faults = append(faults, faultf("ttl", "%s is over absolute %s: want at most that", short(r.TTL), short(r.Absolute)))
	}
	if r.Absolute > 0 && r.Idle > r.Absolute {
		faults = append(faults, faultf("idle", "%s is over absolute %s: want at most that", short(r.Idle), short(r.Absolute)))
	}
	if r.TTL > 0 && r.Idle > r.TTL {
		faults = append(faults, faultf("idle", "%s is over ttl %s: want at most that", short(r.Idle), short(r.TTL)))
	}
	return faults
}

func (r Rule) onceFaults() (faults []fault) {
	if r.TTL == 0 {
		text := fmt.Sprintf("needs a ttl of at most %s, for which the store remembers it", short(MaxOnceTTL))
		faults = append(faults, fault{"once", text, "ttl"})
	}
	if r.TTL > MaxOnceTTL {
		faults = append(faults, faultf("ttl", "%s is too long for a once-only attribute: want at most %s", short(r.TTL), short(MaxOnceTTL)))
	}
	if r.Idle > 0 {
		faults = append(faults, faultf("idle", "says nothing of a once-only attribute: its ttl is its only limit"))
	}
	if r.Absolute > 0 {
		faults = append(faults, faultf("absolute", "says nothing of a once-only attribute: its ttl is its only limit"))
	}
	if r.Required {
		faults = append(faults, faultf("required", "contradicts once: when it is spent, the session could not be restored"))
	}
	return faults
}

// requiredFaults: what is required can't be left out.
func (r Rule) requiredFaults() (faults []fault) {
	if r.OnExpiry == Drop && (r.TTL > 0 || r.Idle > 0 || r.Absolute > 0) {
		faults = append(faults, fault{"required", "contradicts on_expiry drop, since it can expire: say on_expiry refuse", "on_expiry"})
	}
	if r.Rollback == RollbackDrop {
		faults = append(faults, faultf("rollback", "drop contradicts required: want refuse or allow"))
	}
	if r.StoreDown == StoreDownDrop {
		faults = append(faults, faultf("store_down", "drop contradicts required: want refuse"))
	}
	return faults
}

// serverFaults: nobody brings back what stays on the server.
func (r Rule) serverFaults() (faults []fault) {
	for _, m := range ruleMembers {
		switch m.name {
		case "once", "required", "on_expiry", "rollback", "store_down", "pad", "binding":
			if m.given(r) {
				faults = append(faults, faultf(m.name, "is about what a client brings back; authority server never sends it"))
			}
		}
	}
	return faults
}
