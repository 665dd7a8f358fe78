package redisstore

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// errURL says nothing of the URL, which may hold a password.
var errURL = errors.New("replay/redisstore: want redis://[user[:password]@]host[:port][/database][?name=NAME], or rediss:// for TLS")

// ParseURL reads the server, account and name of a store from a URL:
//
//	redis://[user[:password]@]host[:port][/database][?name=NAME]
//
// With rediss:// it is TLS 1.2 or later, with the system's roots. The port is 6379 if
// none is given. The error never repeats any of the text.
func ParseURL(text string) (Config, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Opaque != "" || u.Hostname() == "" || u.Fragment != "" {
		return Config{}, errURL
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(query) > 1 || len(query) == 1 && len(query["name"]) != 1 {
		return Config{}, errURL
	}
	cfg := Config{Name: query.Get("name")}
	if len(query) == 1 && !nameForm.MatchString(cfg.Name) {
		return Config{}, errURL
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	cfg.Client = rueidis.ClientOption{InitAddress: []string{net.JoinHostPort(u.Hostname(), port)}, Username: u.User.Username()}
	cfg.Client.Password, _ = u.User.Password()
	if database := strings.TrimPrefix(u.Path, "/"); database != "" {
		if cfg.Client.SelectDB, err = strconv.Atoi(database); err != nil || cfg.Client.SelectDB < 0 {
			return Config{}, errURL
		}
	}
	if u.Scheme == "rediss" {
		cfg.Client.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
	}
	return cfg, nil
}
