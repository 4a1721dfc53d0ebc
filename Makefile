# What a person or a build machine runs. `make help` lists it.

GO          ?= go
FUZZTIME    ?= 10s
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
PLATFORMS   := darwin/arm64 windows/amd64
# All but what only measures and shows.
PRODUCT     := ./cafs/... ./cmd/... ./discovery/... ./internal/... ./node/... ./protocol/... ./shuffle/...

.PHONY: help build test race fuzz fuzz-short lint platforms demo check bench bench-peers bench-compare sim soak

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

build: ## the program, as bin/swarmsync
	$(GO) build -o bin/ ./cmd/...

test: ## all tests
	$(GO) test ./...

race: ## the tests under the race detector, but for those of examples and benchmarks
	$(GO) test -short -race $(PRODUCT)

fuzz: ## every fuzz target for FUZZTIME
	GO="$(GO)" FUZZTIME=$(FUZZTIME) .ci/fuzz

fuzz-short:
	GO="$(GO)" FUZZTIME=5000x .ci/fuzz

lint: ## formatting, vet, staticcheck, go.mod
	@unformatted=$$($(GO) run $(GOFUMPT) -l .); test -z "$$unformatted" || { echo "run gofumpt -w on: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff

# No file is for macOS alone, so that vet for Windows sees all that differs.
platforms: ## build for the other platforms, and vet for one of them
	@for p in $(PLATFORMS); do echo "build for $$p"; \
		GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/... || exit 1; done
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 $(GO) vet $(PRODUCT)

demo: build ## the main job on real data: three nodes, one root hash, and a changed version
	$(GO) run ./test/demo -bin bin/swarmsync

bench: build ## measure beside other tools; W=cold,delta for some of the workloads, BENCHFLAGS=… for more (see docs/performance.md)
	$(GO) build -o bin/bench ./test/bench
	bin/bench -w "$(W)" -docs docs/performance.md $(BENCHFLAGS)

sim: ## simulate all swarms, SEED=N for those of an earlier run; brings docs/performance.md up to date
	mkdir -p bench/results && rm -f bench/results/sim.json
	$(GO) test ./node -run '^TestSimulation$$' -count=1 -v -timeout 3h -seed=$(or $(SEED),0) -sim $(CURDIR)/bench/results/sim.json; \
		failed=$$?; $(GO) run ./test/bench/simulated -results bench/results/sim.json -docs docs/performance.md && exit $$failed

soak: ## kill 100 processes at random times, and look for what is lost
	$(GO) test ./cmd/swarmsync -run '^TestCrash$$' -count=1 -v -timeout 1h -crashes 100

bench-peers: ## install the tools that bench compares with
	GO="$(GO)" test/bench/install-peers

bench-compare: ## micro-benchmarks of the work tree beside those of REF
	@test -n "$(REF)" || { echo "say REF=COMMIT, and perhaps BENCH=REGEXP"; exit 2; }
	GO="$(GO)" test/bench/compare "$(REF)" "$(BENCH)"

check: build lint platforms test race fuzz-short demo ## what .ci/run runs
