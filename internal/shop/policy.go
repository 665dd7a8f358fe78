package shop

// PolicyFile is the shop's policy, with the times of the documentation.
const PolicyFile = `{
  "version": 1,
  "session": {"idle": "30m", "absolute": "12h"},
  "attributes": {
    "login":  {"ttl": "60s", "on_expiry": "drop"},
    "cart":   {"ttl": "1h"},
    "ticket": {"ttl": "10m", "once": true}
  }
}
`
