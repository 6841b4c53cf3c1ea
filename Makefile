# Every target that people call has a line of help behind `##`.

GO ?= go
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# How long `make fuzz` gives each fuzz target.
FUZZTIME ?= 20s
# How much `make proof` tries: full takes some ten minutes, ci one and a half.
PROOFSIZE ?= full
# Further flags for the bench: make bench BENCHFLAGS=--real
BENCHFLAGS ?=
# Further flags for go test: make test TESTFLAGS='-run Lease'
TESTFLAGS ?=

# The linter is pinned: a newer one finds other things. The one on the machine
# is taken if it is this one, else it is built into .bin.
LINT_VERSION := 2.15.0
LINT_OWN := .bin/golangci-lint-$(LINT_VERSION)
LINT = $(firstword $(foreach l,golangci-lint $(shell $(GO) env GOPATH)/bin/golangci-lint,\
	$(if $(filter $(LINT_VERSION),$(shell $(l) version --short 2>/dev/null)),$(l))) $(LINT_OWN))

# Runs a command with the Firestore and Pub/Sub emulators, where the Google Cloud
# CLI has them, and says how many tests had one: at least one of a full run.
EMULATED = $(GO) run ./scripts/emulators $(if $(TESTFLAGS),,-at-least 1) --
# Runs go test, prints what failed and what was skipped, and counts.
TESTSUM = $(GO) run ./scripts/testsum

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: ## run the whole system on this machine, with a demo project
	$(GO) run ./scripts/sealpost serve --demo

.PHONY: test
test: ## run every test but the long proofs, with the emulators
	$(EMULATED) $(TESTSUM) $(TESTFLAGS) ./...

.PHONY: test-race
test-race: ## the same under the race detector, but for the canaries: they look for leaks
	$(EMULATED) bash -c '$(TESTSUM) -race $(TESTFLAGS) $$($(GO) list ./... | grep -v /test/canary$$) && $(TESTSUM) ./test/canary'

.PHONY: lint
lint: lint-format lint-module lint-code ## check format, go.mod, vet and lint

.PHONY: lint-format lint-module lint-code
lint-format:
	@unformatted="$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go'))"; \
	if [[ -n "$$unformatted" ]]; then printf 'not formatted by gofmt:\n%s\n' "$$unformatted"; exit 1; fi

lint-module:
	$(GO) mod tidy -diff

lint-code: $(if $(filter $(LINT_OWN),$(LINT)),$(LINT_OWN))
	$(GO) vet ./...
	$(LINT) run --allow-parallel-runners ./...

$(LINT_OWN):
	mkdir -p .bin
	GOBIN=$(CURDIR)/.bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(LINT_VERSION)
	mv .bin/golangci-lint $@

.PHONY: ci
ci: ## all that CI runs
	$(MAKE) lint
	$(MAKE) test-race
	$(MAKE) proof PROOFSIZE=ci

.PHONY: proof
proof: ## kill, pause and interrupt it, and let GitHub fail: PROOFSIZE is full or ci
	$(GO) run ./test/proof --size $(PROOFSIZE)

.PHONY: bench
bench: ## measure against computed limits: BENCHFLAGS='--row first-sync'
	$(GO) run ./test/bench $(BENCHFLAGS)

# Coverage of a whole server is never twice the same, so that the minimizer
# would take all the time: it gets ten tries.
.PHONY: fuzz
fuzz: ## fuzz each fuzz target for FUZZTIME
	@$(GO) list ./... | while read -r package; do \
	  { $(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz' || true; } | while read -r target; do \
	    echo "$$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$package" </dev/null; \
	  done; \
	done

.PHONY: package
package: ## make dist/<function>.zip for every function
	rm -rf dist
	$(GO) run ./scripts/package -out dist

.PHONY: generate
generate: ## write again what is generated; the tests check that it is up to date
	$(GO) run ./scripts/generate

.PHONY: clean
clean: ## remove what the other targets made, but not the local server's data
	rm -rf dist .bin
