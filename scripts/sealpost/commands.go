package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/provisioning"
	"github.com/sealpost/sealpost/shared/syncer"
)

// plain reports whether the flag asks for no colours. NO_COLOR is honoured by
// the library that paints.
func plain(cmd *cobra.Command) bool {
	off, err := cmd.Flags().GetBool("no-color")
	return err == nil && off
}

func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print the result as JSON, in the form of the API")
}

func planCommand() *cobra.Command {
	var f projectFlags
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a sync would change, and its price",
		Long: `Show what a sync would change, target by target with the reason, and its price:
requests, points of GitHub's rate limit, and how long it would take.

Nothing is written at GitHub. Exit code 4 tells of conflicts or invalid targets.`,
		Example: `  sealpost plan -f sealpost.yaml --env-file .env
  sealpost plan --scope actions --scope environment:production --env-file .env
  sealpost plan --prune --json | jq '.summary'`,
		Args: noArguments,
	}
	f.registerSync(cmd)
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withProject(cmd, f, resolve, func(w *workspace, req syncer.Request) error {
			req.DryRun = true
			result, err := w.engine.Sync(cmd.Context(), req)
			if err != nil {
				return err
			}
			if err := printResult(cmd, w, *asJSON, result); err != nil {
				return err
			}
			if err := outage(result); err != nil {
				return err
			}
			if result.Summary.Conflicts+result.Summary.Failed > 0 {
				return outcome(exitFindings)
			}
			return nil
		})
	}
	return cmd
}

func syncCommand() *cobra.Command {
	var f projectFlags
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Bring every copy level with its source",
		Long: `Bring every copy level with its source. What did not change is not written; what
Sealpost did not write is left alone unless --force takes it over; nothing is
deleted without --prune.

An interrupt (Ctrl-C) starts nothing new, waits for what is under way, and says
what is done and what is not. The next sync goes on from there.

The ledger in the state directory is the proof of what Sealpost wrote: two
machines with two state directories are two ledgers, and see each other's
secrets as conflicts.`,
		Example: `  sealpost sync -f sealpost.yaml --env-file .env
  sealpost sync --env-file .env --secret STRIPE_KEY --pace fast
  sealpost sync --env-file .env --github-url https://github.acme.example --pace off
  sealpost sync --env-file .env --prune --max-deletions 12`,
		Args: noArguments,
	}
	f.registerSync(cmd)
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withProject(cmd, f, apply, func(w *workspace, req syncer.Request) error {
			bar := newBar(cmd.ErrOrStderr())
			req.Progress = bar.update
			result, err := w.engine.Sync(cmd.Context(), req)
			bar.stop()
			if err != nil && len(result.Results) == 0 {
				return err
			}
			if printErr := printResult(cmd, w, *asJSON, result); printErr != nil {
				return printErr
			}
			if cmd.Context().Err() != nil {
				if !*asJSON {
					newScreen(cmd.ErrOrStderr(), plain(cmd)).interrupted(result)
				}
				return outcome(exitInterrupted)
			}
			if err == nil {
				err = result.Refusal()
			}
			if err != nil {
				return err
			}
			return outcomeOf(result)
		})
	}
	return cmd
}

// outage returns why a plan could not see all that it needs. What it does not
// know is no finding.
func outage(r syncer.Result) error {
	for _, i := range r.Results {
		if unseen(i) {
			return fault.New(i.Code, "%s: %s", i.Target(), i.Reason)
		}
	}
	return nil
}

// unseen reports whether nothing could be planned for a target because somebody
// did not answer.
func unseen(i syncer.Item) bool {
	entry, _ := fault.Lookup(i.Code)
	switch entry.Kind {
	case fault.Unavailable, fault.Upstream, fault.Deadline, fault.Exhausted:
		return i.Action == plan.Invalid
	}
	return false
}

// outcomeOf is the exit code of a sync that ran to its end.
func outcomeOf(r syncer.Result) error {
	switch r.Status {
	case syncer.StatusPartial:
		return outcome(exitPartial)
	case syncer.StatusFailed:
		if allDenied(r.Results) {
			return outcome(exitDenied)
		}
		return outcome(exitFailed)
	}
	return nil
}

// allDenied reports whether everything that failed did for lack of a permission.
func allDenied(items []syncer.Item) bool {
	denied := false
	for _, i := range items {
		if i.Code == "" || i.Action == plan.Excluded {
			continue
		}
		entry, _ := fault.Lookup(i.Code)
		if entry.Kind != fault.Denied {
			return false
		}
		denied = true
	}
	return denied
}

func statusCommand() *cobra.Command {
	var f projectFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how each copy stands, by the ledger",
		Long: `Show how each copy stands by the ledger and the last sync. It asks neither GitHub
nor the source: what was changed there meanwhile shows in a plan.

Exit code 4 tells of failed targets or conflicts.`,
		Example: `  sealpost status -f sealpost.yaml
  sealpost status --json | jq '.counts'`,
		Args: noArguments,
	}
	f.register(cmd)
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(nil)
		if err != nil {
			return err
		}
		if err := f.findState(cmd.Context()); err != nil {
			return err
		}
		w, err := openState(cmd.Context(), f, c)
		if err != nil {
			return err
		}
		defer w.close()
		p, err := project.Get(cmd.Context(), w.store, w.manifest.Project)
		if err != nil {
			return err
		}
		report, err := syncer.StatusOf(cmd.Context(), w.store, p)
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(cmd.OutOrStdout(), report)
		} else {
			newScreen(cmd.OutOrStdout(), plain(cmd)).report(report)
		}
		if err == nil && report.Counts.Failed+report.Counts.Conflicts > 0 {
			return outcome(exitFindings)
		}
		return err
	}
	return cmd
}

// withProject opens the workspace, finds the project and calls do.
func withProject(cmd *cobra.Command, f projectFlags, find func(context.Context, *workspace) (project.Project, error), do func(*workspace, syncer.Request) error) error {
	req, err := f.request()
	if err != nil {
		return err
	}
	req.CorrelationID = sessionOf(cmd.Context()).id
	cmd.SetContext(pace.ToldOfQuota(cmd.Context())) // nobody sits and waits for an hour
	w, err := open(cmd.Context(), f)
	if err != nil {
		return err
	}
	defer w.close()
	if req.Project, err = find(cmd.Context(), w); err != nil {
		return err
	}
	return do(w, req)
}

// apply stores the project as the manifest has it.
func apply(ctx context.Context, w *workspace) (project.Project, error) {
	p, _, err := w.registrar.Apply(ctx, w.manifest, provisioning.Caller{Actor: actor()})
	return p, err
}

// printResult prints what a plan or a sync came to, in the words of the command.
func printResult(cmd *cobra.Command, w *workspace, asJSON bool, result syncer.Result) error {
	result.Warnings = append(result.Warnings, w.warnings...)
	for i, item := range result.Results {
		problem := httpx.Problem{Code: item.Code, Remediation: item.Remediation}
		result.Results[i].Remediation = advise(cmd, sessionOf(cmd.Context()), problem)
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), result)
	}
	s := newScreen(cmd.OutOrStdout(), plain(cmd))
	s.result(result)
	if len(w.manifest.Mappings()) == 0 {
		s.printf("The manifest names no secrets: list them under secrets, or under an environment's.\n")
	}
	return nil
}
