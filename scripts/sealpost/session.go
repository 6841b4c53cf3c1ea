package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// session is one run of the command: its correlation id, and the log that
// keeps the causes of its failures, once it is open.
type session struct {
	id      string
	log     *slog.Logger
	logPath string
	close   func() error
}

type sessionKey struct{}

// newSession returns a session and the context that carries it.
func newSession(ctx context.Context) (context.Context, *session) {
	s := &session{id: audit.NewID(clock.Real().Now()), close: func() error { return nil }}
	return context.WithValue(telemetry.WithCorrelation(ctx, s.id), sessionKey{}, s), s
}

func sessionOf(ctx context.Context) *session {
	s, _ := ctx.Value(sessionKey{}).(*session) // set in run, before any command
	return s
}

// openLog opens the session's log. It stays open until the session's end, so
// that it has the cause even of a failure to open the rest.
func (s *session) openLog(path string, level slog.Level) error {
	log, closeLog, err := openLog(path, level)
	if err != nil {
		return err
	}
	s.log, s.logPath, s.close = log, path, closeLog
	return nil
}

// problem describes a failure to the user of the command, and keeps its cause
// in the log.
func (s *session) problem(ctx context.Context, cmd *cobra.Command, err error) httpx.Problem {
	p := httpx.ProblemOf(err, s.id)
	if s.log != nil {
		s.log.WarnContext(ctx, "the command failed", "error", err)
	}
	if ctx.Err() != nil {
		p.Detail, p.Remediation = "interrupted", []fault.Remedy{{Action: "Run it again: it goes on from where it stopped."}}
		return p
	}
	p.Remediation = advise(cmd, s, p)
	return p
}

// advise puts the command line's words in the place of a code's general remedy
// where that speaks to callers of the API or of what this command does not use.
func advise(cmd *cobra.Command, s *session, p httpx.Problem) []fault.Remedy {
	particular, general := split(p.Code, p.Remediation)
	again := ""
	if p.RetryAfter > 0 {
		again = fmt.Sprintf("Run it again in %s.", time.Duration(p.RetryAfter)*time.Second)
	}
	own, known := general, true
	switch p.Code {
	case fault.UsageInvalid, fault.ConfigInvalid:
		if len(particular) > 0 {
			own = ""
		}
	case fault.SyncInProgress, fault.RateLimitExhausted, fault.RequestThrottled:
		own = cmp.Or(again, "Run it again later.")
	case fault.ProjectNotFound:
		if cmd.Name() == "status" {
			own = "Sync first, which registers the project, or name the directory that has its state with --state-dir."
		}
	case fault.SourceMissing:
		if usesEnvFile(cmd) {
			own = "Add it to the env file, or correct the manifest."
		}
	case fault.ValueEmpty:
		if usesEnvFile(cmd) {
			own = "Give it a value in the env file; GitHub does not keep empty secrets usefully."
		}
	case fault.ContainerOwned:
		if cmd.Flags().Lookup("env-file") != nil {
			own = "Give the manifest the id of that project, or keep this one's state apart with another --state-dir; there, what the other has written shows as conflicts."
		}
	case fault.Unreachable, fault.UpstreamFailed, fault.GitHubUnavailable, fault.SourceUnavailable:
		own = "Run it again later."
	case fault.InternalError:
		own = fmt.Sprintf("Report this with the correlation id %s.", s.id)
		if s.logPath != "" {
			own = fmt.Sprintf("Report this with the correlation id %s: %s has the cause under it.", s.id, s.logPath)
		}
	default:
		known = false
	}
	if !known && again != "" {
		particular = append(particular, fault.Remedy{Action: again})
	}
	if own != "" {
		particular = append(particular, fault.Remedy{Action: own})
	}
	return once(particular)
}

// split returns the particular remedies and the code's general one, which is
// the last if it is there.
func split(code fault.Code, steps []fault.Remedy) (particular []fault.Remedy, general string) {
	entry, _ := fault.Lookup(code)
	if n := len(steps); n > 0 && steps[n-1] == (fault.Remedy{Action: entry.Remedy}) {
		return append(particular, steps[:n-1]...), entry.Remedy
	}
	return append(particular, steps...), ""
}

// usesEnvFile reports whether the command was given an env file.
func usesEnvFile(cmd *cobra.Command) bool {
	flag := cmd.Flags().Lookup("env-file")
	return flag != nil && flag.Value.String() != ""
}
