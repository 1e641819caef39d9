# What you can do here: `make` lists it.
.DEFAULT_GOAL := help
.PHONY: help run build test race leaks rolling orphans lint fix bench fuzz generate clean

GO       ?= go
FILE     ?= examples/quickstart.yaml
FUZZTIME ?= 10s

# A binary without C runs anywhere; the race detector needs a C compiler.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath
LINT  := $(GO) tool -modfile=tools/go.mod golangci-lint

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, then serve the quickstart (FILE=examples/npm.yaml for another file)
	bin/toolcrib serve $(FILE)

build: ## build bin/toolcrib
	$(BUILD) -o bin/toolcrib ./cmd/toolcrib

test: leaks rolling orphans ## vet and test everything with the race detector, also against the real parts (needs npm, redis-server, Prometheus, python3, chromium and a C compiler)

race: # the longest packages come first: the others fill the time in which those wait
	@./test/prepare
	$(GO) vet ./...
	CGO_ENABLED=1 $(GO) test -vet=off -race -timeout 20m ./test/system ./test/real ./cli ./...

# At full size, which the race detector makes too dear. They wait for most of their time: --jobs has them run side by side.
leaks rolling orphans: race

leaks:
	$(GO) test -run 'TestNothingStays|TestCrowdListens|TestNoInstanceStays' ./test/system

rolling:
	$(GO) test -run TestRollingRestart ./test/system

orphans:
	$(GO) test -run TestNoOrphansOfMany ./test/real

ifneq ($(filter test,$(MAKECMDGOALS)),)
lint: race # what it needs is compiled then: at the same time it would be compiled twice
endif

# Nice: it takes the time that tests beside it leave.
lint: ## run golangci-lint (the first run compiles it, which takes minutes)
	nice -n 19 $(LINT) run

fix: ## format, and mend what the linters can mend themselves
	$(LINT) run --fix

bench: ## measure the gateway against bare proxies in one run
	$(GO) run ./test/bench

fuzz: ## run each fuzz target for FUZZTIME (10s)
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed -E 's|/[^/]*:func | |' | sort -u | \
	while read -r dir target; do \
		echo "$$dir $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" || exit 1; \
	done

generate: ## write the generated files and documents anew
	$(GO) generate ./...
	$(GO) test ./cli -run TestReference -update

clean: ## remove what was built
	rm -rf bin
