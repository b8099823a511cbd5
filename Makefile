# Thin on purpose: each target is one script, and CMake knows how to build.
#
#   make run [ARGS="-c my.toml"]   build the release and serve
#   make test                      everything: unit tests and end-to-end tests, with sanitizers
#   make help                      the rest
SHELL := /bin/bash
PREFIX ?= /usr/local
T ?= 60
MINUTES ?= 30
ARGS ?=
BUILD ?= pgo

.PHONY: help deps ranks run build test test-unit test-e2e test-fuzz test-apps test-memory test-threads bench bench-small soak sites lint format fuzz install pgo clean
.DEFAULT_GOAL := help

help:
	@echo 'make run         build the release and serve (ARGS="-c FILE" is passed on)'
	@echo 'make test        unit and end-to-end tests with sanitizers, fuzz targets; test-unit, test-e2e, test-fuzz: a part'
	@echo 'make test-memory every allocation is refused once, in all of it (up to an hour; RUNS=N)'
	@echo 'make test-apps   the real SillyTavern and a real browser (installs Chromium, Node.js and 500 MB of npm packages)'
	@echo 'make test-threads  several event loops under ThreadSanitizer'
	@echo 'make lint        formatting, clang-tidy, cppcheck, direction of includes'
	@echo 'make format      format all C sources'
	@echo 'make fuzz T=60   every fuzz target for T seconds'
	@echo 'make bench       how fast, how much memory, beside nginx and HAProxy (QUICK=1, PORTKEY=1: docs/performance.md)'
	@echo 'make soak MINUTES=30   random clients, faults and reloads (SOAK_BUILD=release, SOAK_SEED=…: docs/operations.md)'
	@echo 'make bench-small leases, requests that wait, a route beside nginx'
	@echo 'make ranks       what counts tokens exactly (made by make build as well, where npm is there)'
	@echo 'make sites       README.md: the table of sites, from what the adapters declare'
	@echo 'make build       the release alone: build/release/dragoman'
	@echo 'make pgo         the release, laid out by what it does most: build/pgo/dragoman (two builds)'
	@echo 'make install     what make pgo builds (BUILD=release: the plain release). PREFIX=/usr/local, DESTDIR is honoured'
	@echo 'make deps        install what Debian provides and is missing (the others do so for themselves)'
	@echo 'make clean       remove build/'

deps:
	@scripts/deps build test lint

build:
	@scripts/deps build
	@scripts/build release
	@scripts/ranks/build --if-possible

pgo:
	@scripts/deps build pgo
	@scripts/pgo
	@scripts/ranks/build --if-possible

ranks:
	@scripts/deps ranks
	@scripts/ranks/build

run: build
	@exec build/release/dragoman serve $(ARGS)

test:
	@scripts/test all

test-unit:
	@scripts/test unit

test-e2e:
	@scripts/test e2e

test-fuzz:
	@scripts/test fuzz

test-memory:
	@scripts/test-memory

test-apps:
	@scripts/test apps

test-threads:
	@scripts/test threads

bench:
	@scripts/bench

bench-small:
	@scripts/bench small

soak:
	@scripts/soak $(MINUTES)

sites:
	@scripts/deps build
	@scripts/sites-table

lint:
	@scripts/lint

format:
	@scripts/deps lint
	@git ls-files -z '*.c' '*.h' '*.cpp' | xargs -0 clang-format -i

fuzz:
	@scripts/fuzz $(T)

install: $(if $(filter release,$(BUILD)),build,pgo)
	DESTDIR='$(DESTDIR)' cmake --install 'build/$(BUILD)' --prefix '$(PREFIX)'
	install -D -m 644 gateway.toml.example '$(DESTDIR)$(PREFIX)/share/doc/dragoman/gateway.toml.example'

clean:
	rm -rf build
