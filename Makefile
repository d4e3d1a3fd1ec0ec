# `make help` lists what can be done. Everything is written in Rust; this file only names it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The cluster that everything works on. Two names are two clusters, side by side.
export CLUSTER_NAME ?= daap
# node, k3d or existing; auto takes k3d where a Docker engine answers, and a node elsewhere.
export CLUSTER_PROVIDER ?= auto
# Where `make images` pushes to, and what it calls the images.
export IMAGE_REGISTRY ?=
export IMAGE_TAG ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/daap
CARGO := cargo
# Always the whole workspace: a part of it would have other features of shared dependencies, and compile them again.
CLUSTER := $(CARGO) run --quiet --bin cluster --
# It starts the program above, so both are built.
INSTALLATION := $(CARGO) build --quiet --workspace --bins && $(CARGO) run --quiet --bin installation --

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY_ROOT := $(CACHE)/cargo-tools-deny-$(CARGO_DENY_VERSION)
CARGO_DENY := $(CARGO_DENY_ROOT)/bin/cargo-deny

# Runs the second argument and prints how long it took, under the name of the first.
define stage
@began=$$SECONDS; printf '==> %s\n' '$(1)'; status=0; ( $(2) ) || status=$$?; \
	printf '<== %-24s %5d s%s\n' '$(1)' $$((SECONDS - began)) "$$([ $$status = 0 ] || echo '  FAILED')"; exit $$status
endef

.PHONY: help
help: ## Lists what can be done.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column --table --separator '|'

## A running service

.PHONY: up down cluster-up cnpg-install cluster-down
up: ## Brings up a cluster with DAAP in it, and a first database.
	$(INSTALLATION) up

down: ## Takes the cluster down, and all that `make up` left.
	$(INSTALLATION) down

cluster-up: ## Brings up the cluster only.
	$(CLUSTER) up

cnpg-install: ## Installs CloudNativePG and the Barman Cloud plugin in the cluster.
	$(CLUSTER) cnpg-install

cluster-down: ## Takes the cluster down.
	$(CLUSTER) down

.PHONY: images
images: ## Builds the images with Docker, and pushes them to IMAGE_REGISTRY.
ifeq ($(IMAGE_REGISTRY),)
	@echo 'Set IMAGE_REGISTRY, such as IMAGE_REGISTRY=registry.example.com/daap' >&2; exit 2
else
	for package in daap-controller daap-facade; do \
		docker build --target "$$package" --tag "$(IMAGE_REGISTRY)/$$package:$(IMAGE_TAG)" . && \
		docker push "$(IMAGE_REGISTRY)/$$package:$(IMAGE_TAG)" || exit 1; \
	done
endif

## Generated files

.PHONY: crds openapi
crds: ## Writes manifests/crds from the types in crds/src.
	$(CARGO) run --quiet --bin crdgen -- manifests/crds

openapi: ## Writes manifests/openapi.json from the types in facade/src.
	$(CARGO) run --quiet --bin daap-facade -- openapi > manifests/openapi.json.new
	mv manifests/openapi.json.new manifests/openapi.json

## Tests

.PHONY: check check-format check-lints check-dependencies check-units
check: check-format check-lints check-dependencies check-units ## Runs the fast checks: format, lints, dependencies, unit tests.

check-format:
	$(call stage,format,$(CARGO) fmt --all --check)

check-lints:
	$(call stage,lints,$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings)

# Generated files are compared with what would be generated, in unit tests of their packages.
check-units:
	$(call stage,unit tests,$(CARGO) test --locked --quiet --workspace --lib --bins)
	$(call stage,examples in comments,$(CARGO) test --locked --quiet --workspace --doc)

# Advisories are a target of their own: their database comes from a Git host that is not always within reach, and it
# changes without a change here.
check-dependencies: $(CARGO_DENY)
	$(call stage,dependencies,$(CARGO_DENY) --locked --workspace check --hide-inclusion-graph bans licenses sources)

.PHONY: advisories
advisories: $(CARGO_DENY) ## Looks for known weaknesses of dependencies. Downloads a database.
	$(CARGO_DENY) --locked --workspace check advisories

# The tool's own build is no part of the project's.
$(CARGO_DENY):
	$(call stage,build cargo-deny,env --unset=CARGO_TARGET_DIR $(CARGO) install --quiet --locked --root $(CARGO_DENY_ROOT) --version $(CARGO_DENY_VERSION) cargo-deny)

.PHONY: test test-programs check-contract test-integration
test: check test-programs check-contract test-integration ## Runs every test. Needs nothing that was started before.

.PHONY: campaign bench
campaign: ## Runs the quota's races many more times than `make test` does, CAMPAIGN_RUNS says how often, and every crash of operations.
	$(call stage,campaign,CAMPAIGN_RUNS=$(or $(CAMPAIGN_RUNS),64) $(CARGO) test --locked --workspace --test it -- --nocapture quota::campaign survives_crashes)

bench: ## Measures how fast databases are admitted, and how fast the REST API answers.
	$(call stage,benchmark of admission,$(CARGO) bench --locked --workspace --bench admission)
	$(call stage,benchmark of REST,$(CARGO) bench --locked --workspace --bench rest)

test-programs:
	$(call stage,programs and images,$(CLUSTER) build)

check-contract: ## Holds the contract of the REST API against linters, a tester, and generated clients.
	$(call stage,contract,$(CARGO) test --locked --workspace --test it -- contract::)

# The test of the product takes longest and mostly waits for a node, so it runs beside the others from the beginning. Those
# of the quota race for a decision that has a deadline, so they run by themselves.
IT := $(CARGO) test --locked --workspace --test it
test-integration:
	$(call stage,tests beside a node,$(IT) --no-run; { $(IT) -- product:: & }; product=$$!; others=0; $(IT) -- --skip contract:: --skip product:: --skip quota:: || others=$$?; wait $$product && exit $$others)
	$(call stage,races for the quota,$(IT) -- quota::)
