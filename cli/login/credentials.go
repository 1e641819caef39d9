package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/toolcrib/toolcrib/internal/files"
)

// Credential is what opens one gateway: an API key, or the tokens of a login.
type Credential struct {
	Key string `json:"key,omitempty"`

	Issuer             string    `json:"issuer,omitempty"`
	Resource           string    `json:"resource,omitempty"`
	TokenEndpoint      string    `json:"tokenEndpoint,omitempty"`
	RevocationEndpoint string    `json:"revocationEndpoint,omitempty"`
	ClientID           string    `json:"clientID,omitempty"`
	ClientSecret       string    `json:"clientSecret,omitempty"`
	AuthMethod         string    `json:"authMethod,omitempty"` // at the token endpoint; empty for none
	Scopes             []string  `json:"scopes,omitempty"`
	AccessToken        string    `json:"accessToken,omitempty"`
	RefreshToken       string    `json:"refreshToken,omitempty"`
	Expires            time.Time `json:"expires,omitzero"`
}

// Token is what is sent as Authorization: Bearer.
func (c *Credential) Token() string {
	if c.Key != "" {
		return c.Key
	}
	return c.AccessToken
}

// File keeps credentials by the origin of the gateway. It is for its owner only.
type File struct{ Path string }

// Default is the file of this user: $XDG_CONFIG_HOME/toolcrib/credentials.json, else below ~/.config.
func Default() (*File, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // as the specification of these folders has it
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("no place for credentials: %w; set XDG_CONFIG_HOME", err)
		}
		dir = filepath.Join(home, ".config")
	}
	return &File{Path: filepath.Join(dir, "toolcrib", "credentials.json")}, nil
}

const (
	fileMost = 4 << 20
	lockTime = 30 * time.Second
	// early is how long before its end a token is replaced.
	early = time.Minute
)

type contents struct {
	Gateways map[string]*Credential `json:"gateways"`
}

func (f *File) read() (*contents, error) {
	c := &contents{}
	file, err := os.Open(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &contents{Gateways: map[string]*Credential{}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 %s, and log in again if they could", f.Path, info.Mode().Perm(), f.Path)
	}
	b, err := io.ReadAll(io.LimitReader(file, fileMost))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("%s is not a file of credentials; remove it and log in again", f.Path)
	}
	if c.Gateways == nil {
		c.Gateways = map[string]*Credential{}
	}
	return c, nil
}

func (f *File) write(c *contents) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return files.Replace(f.Path, append(b, '\n'), 0o600)
}

// change changes the file, one process at a time.
func (f *File) change(ctx context.Context, do func(*contents) error) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return err
	}
	unlock, err := lock(ctx, f.Path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	c, err := f.read()
	if err != nil {
		return err
	}
	if err := do(c); err != nil {
		return err
	}
	return f.write(c)
}

func lock(ctx context.Context, path string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return files.Lock(ctx, file)
}

// Put keeps the credential of a gateway.
func (f *File) Put(ctx context.Context, origin string, c *Credential) error {
	return f.change(ctx, func(all *contents) error {
		all.Gateways[origin] = c
		return nil
	})
}

// Remove forgets the credential of a gateway, and tells its authorization server where there is one. It reports whether there
// was any; an error then is that of the authorization server, and the credential is forgotten all the same.
func (f *File) Remove(ctx context.Context, client *http.Client, origin string) (bool, error) {
	var was *Credential
	if err := f.change(ctx, func(all *contents) error {
		was = all.Gateways[origin]
		delete(all.Gateways, origin)
		return nil
	}); err != nil || was == nil {
		return false, err
	}
	return true, was.revoke(ctx, client)
}

// Origins are the gateways that there are credentials for.
func (f *File) Origins() ([]string, error) {
	all, err := f.read()
	if err != nil {
		return nil, err
	}
	origins := make([]string, 0, len(all.Gateways))
	for origin := range all.Gateways {
		origins = append(origins, origin)
	}
	return origins, nil
}

// Get is the credential of a gateway, nil where there is none. A token that is about to end is replaced first, by one process
// for all: most authorization servers take a refresh token only once.
func (f *File) Get(ctx context.Context, client *http.Client, origin string) (*Credential, error) {
	all, err := f.read()
	if err != nil {
		return nil, err
	}
	c := all.Gateways[origin]
	if c == nil || !c.ending() {
		return c, nil
	}
	err = f.change(ctx, func(all *contents) error {
		if c = all.Gateways[origin]; c == nil || !c.ending() {
			return nil
		}
		return c.refresh(ctx, client)
	})
	if err != nil && c != nil && time.Now().Before(c.Expires) && !errors.Is(err, errLogin) {
		return c, nil // it is good yet
	}
	return c, err
}

func (c *Credential) ending() bool {
	return c.Key == "" && !c.Expires.IsZero() && time.Now().Add(early).After(c.Expires)
}
