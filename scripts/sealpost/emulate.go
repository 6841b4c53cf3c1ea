package main

import (
	"errors"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
)

func emulateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "emulate", Short: "Run a stand-in of an external system on loopback", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(emulateGitHubCommand())
	return cmd
}

func emulateGitHubCommand() *cobra.Command {
	var address, token, state string
	var repositories []string
	var latency time.Duration
	var limits, control bool
	var scale float64
	cmd := &cobra.Command{
		Use:   "github",
		Short: "Run a stand-in of GitHub's REST API that opens every sealed box",
		Long: `Run a stand-in of GitHub's REST API on loopback, to try sealpost without an
account at GitHub. It has the repositories that are named, opens every sealed
value as GitHub does, and forgets everything when it stops, unless --state
names a file.`,
		Example: `  sealpost emulate github --repo acme/payments --token secret
  GITHUB_TOKEN=secret sealpost sync -f sealpost.yaml --env-file .env --github-url http://127.0.0.1:8090`,
		Args: noArguments,
	}
	flags := cmd.Flags()
	flags.StringVar(&address, "addr", "127.0.0.1:8090", "address on loopback; port 0 takes a free one")
	flags.StringSliceVar(&repositories, "repo", []string{"acme/payments"}, "owner/name[:environment[:environment…]] of a repository that exists")
	flags.StringVar(&token, "token", "emulated", "the token that it accepts")
	flags.StringVar(&state, "state", "", "file that keeps everything, values included")
	flags.DurationVar(&latency, "latency", 0, "how long each request takes")
	flags.BoolVar(&limits, "limits", false, "enforce GitHub's documented rate limits")
	flags.BoolVar(&control, "control", false, "serve /_control/, by which tests make faults and look at values")
	flags.Float64Var(&scale, "clock-scale", 1, "how many seconds pass for it in one second")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case token == "":
			return usage(cmd, "--token is empty: the stand-in would let nobody in")
		case !(scale > 0) || math.IsInf(scale, 0):
			return usage(cmd, "--clock-scale must be above 0")
		case latency < 0:
			return usage(cmd, "--latency is below 0")
		}
		world, err := emulatedWorld(repositories, token)
		if err != nil {
			return err
		}
		config := githubd.Config{
			Clock: clock.Scaled(scale), World: world, Control: control, StatePath: state,
			Settings: githubd.Settings{Latency: githubd.Duration(latency)},
		}
		if limits {
			config.Limits = githubd.DocumentedLimits()
		}
		hub, err := githubd.New(config)
		if err != nil {
			return err
		}
		return errors.Join(serveHub(cmd, address, hub), hub.Close())
	}
	return cmd
}

// emulatedWorld reads owner/name[:environment…] for each repository.
func emulatedWorld(repositories []string, token string) (githubd.World, error) {
	world := githubd.World{
		Users:  []githubd.User{{Login: "emulated"}},
		Tokens: []githubd.Token{{Token: token, Login: "emulated"}},
	}
	for _, text := range repositories {
		parts := strings.Split(text, ":")
		owner, name, ok := strings.Cut(parts[0], "/")
		if !ok || owner == "" || name == "" {
			return world, fault.New(fault.UsageInvalid, "--repo %q is not of the form owner/name[:environment…]", text)
		}
		world.Repositories = append(world.Repositories, githubd.Repository{Owner: owner, Name: name, Environments: parts[1:]})
	}
	return world, nil
}

func serveHub(cmd *cobra.Command, address string, hub http.Handler) error {
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return fault.New(fault.UsageInvalid, "--addr must be host:port on loopback")
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fault.New(fault.UsageInvalid, "the address %s is taken or cannot be used", address).WithCause(err)
	}
	server := &http.Server{Handler: local.BoundBody(cmd.Context(), hub, local.BodyTime), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	newScreen(cmd.OutOrStdout(), plain(cmd)).printf("GitHub's stand-in is at http://%s. Ctrl-C stops.\n", listener.Addr())
	<-cmd.Context().Done()
	_ = server.Close() // requests under way are a test's own to lose
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fault.Wrap(fault.Internal, "serve", err)
	}
	return nil
}
