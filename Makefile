# Everything a newcomer needs: `make demo` and `make test` on a Debian 12 with Rust on it. The work is done in scripts/.

.PHONY: help demo up test soak mutants oracle fuzz lint bench compose-check clean-demo

help:
	@echo "make demo           install what is missing, build, and play a push, a service, crashes and a batch task for real"
	@echo "make up             build and leave berth running on http://127.0.0.1:5000 (Ctrl-C ends it, containers run on)"
	@echo "make test           formatting, lints, unit, store and black-box tests on SQLite and on PostgreSQL, real Docker"
	@echo "make soak           thousands of seeds of the simulation (SEEDS=5000 SECS=3600), or one aloud (SEED=1234)"
	@echo "make mutants        break one rule after another, and see that the simulation notices each"
	@echo "make oracle         ask decide() and Cedar the same of random grants (SEEDS=5000), or one world aloud (SEED=1234); a long build"
	@echo "make fuzz           each fuzz target for a minute (SECS=60 TARGETS=\"route manifest\")"
	@echo "make lint           formatting and lints only"
	@echo "make bench          side by side with Debian's docker-registry and nginx, and the numbers that we promise"
	@echo "make compose-check  docker-compose.yml, started with images built here"
	@echo "make clean-demo     remove what a demo that was cut off left behind"

demo:
	scripts/demo

up:
	scripts/up

test:
	scripts/test

soak:
	scripts/soak

mutants:
	scripts/mutants

oracle:
	scripts/oracle

fuzz:
	scripts/fuzz

lint:
	scripts/test lint

bench:
	scripts/bench

compose-check:
	scripts/compose-check

clean-demo:
	scripts/demo --clean
