package secretmanagerd_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// A remote at a unix socket lists the secrets and changes the states of their
// versions, and the socket is gone with its endpoint.
func TestRemoteAtASocket(t *testing.T) {
	t.Parallel()
	server, err := secretmanagerd.New(secretmanagerd.Config{})
	check(t, err)
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	check(t, err)
	endpoint := server.Serve(listener)
	remote, err := secretmanagerd.NewRemote(endpoint.Dial)
	check(t, err)
	t.Cleanup(func() { check(t, remote.Close()) })

	const more = 101 // than a page holds
	for i := range more {
		_, err := server.SetSecret(project, fmt.Sprintf("s-%03d", i), secret.NewValue("v"), nil)
		check(t, err)
	}
	_, err = server.AddVersion(project, "s-007", secret.NewValue("w"))
	check(t, err)
	list := func() []secretmanagerd.Listed {
		t.Helper()
		all, err := remote.List(t.Context(), project)
		check(t, err)
		if len(all) != more || all[0].ID != "s-000" || all[more-1].ID != "s-100" {
			t.Fatalf("%d secrets: %v", len(all), all)
		}
		return all
	}
	seven := list()[7]
	if seven.Newest != (secret.SourceVersion{Number: 2, State: secret.Enabled}) || time.Since(seven.CreatedAt) > time.Minute {
		t.Errorf("got %+v", seven)
	}
	source := secret.Source{Project: project, Secret: "s-007"}
	for _, state := range []secret.VersionState{secret.Disabled, secret.Enabled, secret.Destroyed} {
		if err := remote.SetState(t.Context(), source, 2, state); err != nil || list()[7].Newest.State != state {
			t.Errorf("%s: %v, and it is %s", state, err, list()[7].Newest.State)
		}
	}
	if err := remote.SetState(t.Context(), source, 2, secret.Enabled); !errors.Is(err, fault.SourceDestroyed) {
		t.Errorf("enable a destroyed version: %v", err)
	}
	if err := remote.SetState(t.Context(), source, 3, secret.Enabled); !errors.Is(err, fault.NotFound) {
		t.Errorf("enable a version that is not there: %v", err)
	}
	if _, err := remote.List(t.Context(), "no/project"); !errors.Is(err, fault.NotFound) {
		t.Errorf("list what is no project: %v", err)
	}
	endpoint.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := remote.List(t.Context(), project); !errors.Is(err, fault.Unavailable) {
		t.Errorf("after the end: %v", err)
	}
}
