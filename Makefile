# Punctual: `make demo` shows a migration, `make test` runs every test. Both install what they need.

CARGO ?= cargo
PUNCTUAL = target/release/punctual

.PHONY: help setup guests streaming build demo test bench check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

setup: ## install the system packages and fetch QEMU and kernel packages into the cache
	@sh setup/packages.sh

guests: setup ## build the test guests and say where everything is
	@$(CARGO) run --quiet --package punctual-images

streaming: setup ## build the disk of the streaming guests: VLC, redis and nginx (as root, once)
	@sh setup/streaming.sh

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
