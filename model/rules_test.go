package model

// rule is one mechanism of the protocol. Each, taken out, must break a property:
// variants in model_test.go.
type rule string

// The store's rules.
const (
	fenceInSet     rule = "a set carries the fence under which it was sealed"
	cleanRetry     rule = "an attempt wins again only while nothing was protected or acknowledged"
	fenceOnChange  rule = "protected changes and Take check the fence"
	takeLeavesMark rule = "Take leaves the watermark alone"
	strictAsked    rule = "a set behind the watermark is refused where the policy says so"
	behindIsKept   rule = "an attempt that wins again is told again that its set is behind the watermark"
	revokedRefuses rule = "a session that was logged out restores nowhere"
	cutRefuses     rule = "a login from before a logout everywhere restores nowhere"
	takeClaims     rule = "Take claims its right in the store"
	ownerToken     rule = "a Take is repeated with the same owner token"
)

// The nodes' rules.
const (
	protectFirst  rule = "the store knows of a protected change before anybody sees it"
	withholds     rule = "what is behind the watermark is withheld where the policy says so"
	ackedOnly     rule = "the floor is what was acknowledged, not what was pushed"
	everyClient   rule = "the floor is what every connected client acknowledged"
	drainWaits    rule = "a node that drains waits for every client"
	drainStores   rule = "a node that drains stores the floor before it lets go"
	spentLeft     rule = "a restore leaves a spent right out"
	doubtKept     rule = "a right whose Take was not answered is kept for its owner's repetition"
	joinAsks      rule = "a node asks the store before it tells a presented set that the session lives here"
	loginAfterCut rule = "a login's time is after the cut"
)

// The browser's rules.
const (
	tokenKept   rule = "an episode that was not answered is repeated with the same token"
	setKept     rule = "an episode presents the set that it began with"
	episodeOpen rule = "an episode ends with the first set of a later fence, not with the answer"
	newestWins  rule = "a push that is not newer is ignored"
)

// machine is the protocol at some bounds, perhaps without one of its rules.
type machine struct {
	nodes   int   // servers
	tabs    int   // of one browser
	apart   bool  // each tab keeps a record of its own
	fences  uint8 // restores that are granted
	gens    uint8 // generations sealed under one fence, besides that of the restore
	values  uint8 // protected changes
	strict  bool  // rollback: refuse; else drop
	ticket  bool  // there is a once-only attribute
	logout  bool
	seconds uint8 // above 0: the user logs in again and ends all his logins
	late    bool  // a handshake may arrive after its repetition was answered
	drain   bool
	thief   bool
	broken  rule
	asked   map[question]reply
}

func (m *machine) without(r rule) bool { return m.broken == r }
