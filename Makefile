# `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Packages that are tested under the race detector: all that do not compile
# Caddy. integration/ builds the real binary once and drives it from outside.
RACE := ./storage/... ./provider/... ./adapter/... ./page/...
REST := . ./caddymodule/... ./integration/...

.PHONY: help build run fuzz bench check test test-deps race flaky postgres rest demo-clean crash screenshots

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

build: ## compile the binary into ./nightlatch
	go build -o nightlatch .

run: ## start the demo (the same as: go run . run --config Caddyfile.example)
	go run . run --config Caddyfile.example

check: ## gofmt, go vet, staticcheck, import directions, tests that docs/ names
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "not gofmt-clean:"; echo "$$bad"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go test -count=1 ./integration/arch

test: test-deps race flaky postgres rest ## install what the tests need when it is missing, then run them all

race:
	go test -race -timeout 15m $(RACE)

# Packages whose tests open a store that the environment chooses. The engines'
# own tests bring theirs.
STORED = $(shell go list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' $(RACE) | \
	awk '/\/storage\/storagetest|\/provider\/providertest/ && $$1 !~ /\/storage\/(badger|postgres|storagetest)$$/ {print $$1}')

flaky: # the same on a store of which every third commit conflicts
	@[ -n "$(STORED)" ]
	STORAGETEST_FLAKY=3 go test -timeout 15m $(STORED)

postgres: # the same on PostgreSQL
	@[ -n "$(STORED)" ]
	STORAGETEST_ENGINE=postgres go test -timeout 15m $(STORED)

rest:
	go test -timeout 20m $(REST)

test-deps:
	@bash .ci/test-deps

# Seeds are in the testdata of each package, and run with every go test. The
# default counts executions, a few seconds of them: a time that ends on a busy
# machine is reported as a failure (context deadline exceeded). FUZZTIME=10m is fine.
FUZZTIME ?= 5000x
fuzz: ## fuzz what strangers send, FUZZTIME (5000x, or 30s) for each test
	@set -e; for file in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$file); do \
			echo "$$name in $$(dirname $$file)"; \
			go test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) ./$$(dirname $$file); \
		done; \
	done

bench: ## measure speed and memory against baselines, about 20 minutes on 2 cores (docs/performance.md)
	go run ./integration/bench $(BENCH)

screenshots: test-deps ## make docs/screenshots anew
	NIGHTLATCH_SCREENSHOTS=$(CURDIR)/docs/screenshots go test -count=1 ./integration -run '^(TestLook|TestGerman|TestJobsPage|TestAccountConsole|TestAdminConsole(People|Clients)?)$$'

crash: ## 2000 faults and kills between two processes; no grant may be lost (docs/reliability.md)
	go run ./integration/crash $(CRASH)

demo-clean: ## remove the demo's data folder
	rm -rf nightlatch-data
