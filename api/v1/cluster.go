package v1

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxClusterHosts bounds how many hosts an address of a cluster names.
const maxClusterHosts = 64

// ClusterAddress is what the key cluster says, taken apart.
type ClusterAddress struct {
	// TLS is set for rediss://.
	TLS bool
	// Hosts are host:port, at least one.
	Hosts []string
	// User and Password log in to Redis.
	User     string
	Password Secret
	Database int
	// MasterSet makes the hosts Sentinels, which tell where the master of that name is.
	MasterSet string
	// SentinelUser and SentinelPassword log in to the Sentinels.
	SentinelUser     string
	SentinelPassword Secret
}

// ParseClusterAddress takes the address of a Redis apart. No error shows it, for it may hold a password.
func ParseClusterAddress(text Secret) (ClusterAddress, error) {
	var a ClusterAddress
	scheme, rest, found := strings.Cut(string(text), "://")
	if a.TLS = scheme == "rediss"; !found || scheme != "redis" && !a.TLS {
		return a, errors.New("has not the scheme redis or rediss; write redis://host:6379")
	}
	if strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }) {
		return a, errors.New("holds a space or a #, which are written %20 and %23 in a URL")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if err := a.login(authority[:i]); err != nil {
			return a, err
		}
		authority = authority[i+1:]
	}
	for host := range strings.SplitSeq(authority, ",") {
		if err := a.host(host); err != nil {
			return a, err
		}
	}
	if err := a.database(database); err != nil {
		return a, err
	}
	return a, a.query(query)
}

func (a *ClusterAddress) login(text string) error {
	user, password, _ := strings.Cut(text, ":")
	user, err := url.PathUnescape(user)
	password, err2 := url.PathUnescape(password)
	if err != nil || err2 != nil || strings.Contains(text, "@") {
		return errors.New("has a user or password that is not percent-encoded; write %40 for @, %2F for / and %25 for %")
	}
	a.User, a.Password = user, Secret(password)
	return nil
}

const redisPort = "6379"

func (a *ClusterAddress) host(text string) error {
	host, port := text, redisPort
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	} else if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		host = text[1 : len(text)-1]
	}
	literal := strings.Contains(host, ":") // an IPv6 address
	switch {
	case host == "" || port == "" || !validPort(port) || literal && net.ParseIP(host) == nil || !literal && strings.ContainsAny(host, "[]%@/"):
		return errors.New("has a host that is not host or host:port; write redis://host:6379, and %2F for a / in a password")
	case len(a.Hosts) == maxClusterHosts:
		return errors.New("names more than " + strconv.Itoa(maxClusterHosts) + " hosts; a few are enough, the others are found through them")
	}
	if address := net.JoinHostPort(host, port); !slices.Contains(a.Hosts, address) {
		a.Hosts = append(a.Hosts, address)
	}
	return nil
}

func (a *ClusterAddress) database(text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("has a path that is not the number of a database; write redis://host:6379/0")
	}
	a.Database = int(n)
	return nil
}

func (a *ClusterAddress) query(text string) error {
	values, err := url.ParseQuery(text)
	if err != nil {
		return errors.New("has a query that is not percent-encoded")
	}
	for key, list := range values {
		if key == "addr" {
			for _, host := range list {
				if err := a.host(host); err != nil {
					return err
				}
			}
			continue
		}
		if len(list) != 1 || list[0] == "" {
			return errors.New("has a parameter that is empty or there twice")
		}
		switch key {
		case "master_set":
			a.MasterSet = list[0]
		case "sentinel_user":
			a.SentinelUser = list[0]
		case "sentinel_password":
			a.SentinelPassword = Secret(list[0])
		default:
			return errors.New("has a parameter that is not one of addr, master_set, sentinel_user, sentinel_password")
		}
	}
	switch several := len(a.Hosts) > 1; {
	case a.MasterSet == "" && (a.SentinelUser != "" || a.SentinelPassword != ""):
		return errors.New("has a login for Sentinels but no master_set, which makes the hosts Sentinels")
	case several && a.MasterSet == "" && a.Database != 0:
		return errors.New("names a database of a Redis Cluster, which has only 0")
	}
	return nil
}

func (k *checker) cluster(text Secret) {
	if text == "" {
		return
	}
	if _, err := ParseClusterAddress(text); err != nil {
		k.fail("cluster", "%v", err)
	}
}
