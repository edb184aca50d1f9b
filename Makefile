# Punctual: `make demo` shows a migration, `make test` runs every test. Both install what they need.

CARGO ?= cargo
PUNCTUAL = target/release/punctual

.PHONY: help setup guests build demo test bench check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## install the system packages and fetch QEMU and kernel packages into the cache
	@sh setup/packages.sh

guests: setup ## build the test guests and say where everything is
	@$(CARGO) run --quiet --package punctual-images

build: ## build the command
	$(CARGO) build --release --package punctual-cli

demo: setup build ## move a Linux guest between two hosts on this machine
	$(PUNCTUAL) demo

test: setup ## run every test
	$(CARGO) test --workspace --no-fail-fast

bench: setup build ## compare with QEMU's own migration (takes long)
	$(PUNCTUAL) bench

check: ## format, lints, tidiness
	$(CARGO) xtask check

clean: ## remove what was built
	$(CARGO) clean
