# Everything here needs make and Python 3.13, and does its own set-up: once, by the stamps below.

PYTHON := python3.13
UV := $(or $(shell command -v uv),.local/venv/uv/bin/uv)
VENV := .venv/bin
DEV := .venv/installed
STACK := $(DEV) .local/venv/ministack/installed .local/venv/sam/installed
DYNAMODB := .local/dynamodb/installed

export UV_PYTHON_DOWNLOADS := never
export SAM_CLI_TELEMETRY := 0
unexport PYTHONDONTWRITEBYTECODE # the SAM CLI starts in 1 s compiled, in 3 s not

.DEFAULT_GOAL := help
.PHONY: help check format test conformance test-slow bench build cost size serve logs token demo mails plans-diff plans-apply plans-move adopt redrive reconcile setup lock clean

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

check: $(STACK) ## format, lint, types, template
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/basedpyright
	AWS_DEFAULT_REGION=eu-west-1 .local/venv/sam/bin/sam validate --lint

format: $(DEV) ## write the code as `check` wants it
	$(VENV)/ruff format
	$(VENV)/ruff check --fix

test: $(STACK) $(DYNAMODB) ## all tests but the slow ones; those of the local stack share one of it
	$(VENV)/pytest --numprocesses 2 --dist loadgroup --ignore tests/slow $(ARGS)

conformance: $(STACK) $(DYNAMODB) ## what we ask of the store holds of moto, MiniStack's DynamoDB and DynamoDB Local
	$(VENV)/pytest --durations 5 tests/conformance tests/races/test_usage.py $(ARGS)

test-slow: $(STACK) $(DYNAMODB) ## histories in every order, deaths at every call, bursts: each takes a minute or more
	$(VENV)/pytest --numprocesses 2 --dist loadgroup --timeout 600 tests/slow $(ARGS)

bench: $(STACK) $(DYNAMODB) ## what it takes, beside the naive way; fails if a bound is broken: [PARTS="usage growth"] [ARGS=--seed=2]
	@$(VENV)/python -m bench $(call said,PARTS) $(ARGS)

build: $(STACK) ## what is deployed to AWS: `sam build`, compiled and without what no function uses: [ARCH=x86_64] [ROOTS=all]
	PATH="$(CURDIR)/.local/venv/sam/bin:$$PATH" sam build $(if $(ARCH),--parameter-overrides Arch=$(ARCH))
	@$(VENV)/python -m local.artifacts $(call said,ROOTS,--roots)

size: $(STACK) ## how large that is, by package
	@$(VENV)/python -m local.artifacts --sizes

cost: $(DEV) ## what a month comes to at AWS: [CUSTOMERS=1000] [EVENTS=1000] [CHECKS=1000], of each customer; [BATCH=25]
	@$(VENV)/python -m bench.bill $(call said,CUSTOMERS,--customers) $(call said,EVENTS,--events) \
		$(call said,CHECKS,--checks) $(call said,BATCH,--batch)

serve: $(STACK) ## the local stack, until Ctrl-C
	@$(VENV)/python -m local.serve

logs: $(DEV) ## follow what the functions of `make serve` log
	@$(VENV)/python -m local.logs

token: $(DEV) ## a token for `make serve`: CUSTOMER=ada [SCOPE=billing/service]
	@$(VENV)/python -m local.token $(CUSTOMER) $(SCOPE:%=--scope %)

demo: $(STACK) ## a customer's life on a fresh local stack, told step by step
	@$(VENV)/python -m local.demo

mails: $(DEV) ## every mail that may be sent, with sample data: build/mails/*.html and *.txt
	@$(VENV)/python -m local.mails

plans-diff: $(DEV) ## what plans.yaml would change at URL=https://...
	@$(CATALOGUE) diff $(call said,PLANS,--file)

plans-apply: $(DEV) ## make it so: URL=... TOKEN=...
	@$(CATALOGUE) apply $(call said,PLANS,--file)

plans-move: $(DEV) ## a cohort to the version in force: URL=... TOKEN=... PLAN=pro FROM=1 [EFFECTIVE=now] [APPLY=1]
	@$(CATALOGUE) move $(call said,PLAN) $(call said,FROM) $(call said,EFFECTIVE,--effective) $(call flag,APPLY,--apply)

adopt: $(DEV) ## link an existing Stripe account: URL=... TOKEN=... [CUSTOMERS=map.csv] [PRICES=prices.yaml] [APPLY=1]
	@$(ADOPTION)

redrive: $(DEV) ## failed webhook events are tried again: URL=... TOKEN=... [TYPE=invoice.paid] [SINCE=2026-11-23T00:00:00Z]
	@$(REACHED) $(VENV)/python -m local.redrive $(call said,TYPE,--type) $(call said,SINCE,--since)

reconcile: $(DEV) ## our records against Stripe's: URL=... TOKEN=... [APPLY=1] [RUN=...]
	@$(REACHED) $(VENV)/python -m local.reconcile $(call flag,APPLY,--apply) $(call said,RUN,--run)

setup: $(STACK) $(DYNAMODB) ## only what the others do first

lock: $(UV) ## pin and hash anew what pyproject.toml asks for; UPGRADE=1 for newer ones
	$(call lock,layer,layers/vendor/requirements.txt)
	$(call lock,dev,requirements-dev.txt)
	$(call lock,ministack,local/requirements-ministack.txt)
	$(call lock,sam,local/requirements-sam.txt)
	$(call lock,dynamodb,local/requirements-dynamodb.txt)

# What make's command line says, never what the environment happens to hold under such a name; after its option.
said = $(if $(filter command,$(origin $(1))),$(2) $($(1)))
flag = $(if $(filter 1,$(call said,$(1))),$(2))
REACHED = $(if $(call said,URL),TOLLGATE_URL='$(URL)') $(if $(call said,TOKEN),TOLLGATE_TOKEN='$(TOKEN)')
CATALOGUE = $(REACHED) $(VENV)/python -m local.plans
ADOPTION = $(REACHED) $(VENV)/python -m local.adopt $(call said,CUSTOMERS,--customers) $(call said,MATCH,--match) \
	$(call said,PRICES,--prices) $(call flag,MIGRATE,--migrate) $(call flag,APPLY,--apply)

clean: ## remove all of it
	rm -rf .venv .local .aws-sam build .pytest_cache .ruff_cache .hypothesis

.venv/installed: requirements-dev.txt | $(UV)
	$(install)

.local/venv/%/installed: local/requirements-%.txt | $(UV)
	$(install)

# DynamoDB Local comes in a package of npm's, which holds it against the hash that the registry tells: so we do, too.
.local/dynamodb/installed: local/dynamodb.sha512 | .local/venv/dynamodb/installed
	rm -rf $(@D) && mkdir -p $(@D)
	.local/venv/dynamodb/bin/npm pack --silent --pack-destination $(@D) amplify-dynamodb-simulator@2.9.30 > /dev/null
	cd $(@D) && sha512sum --check --quiet $(CURDIR)/$<
	cd $(@D) && tar --extract --file *.tgz --strip-components 2 package/emulator && rm *.tgz
	touch $@

.local/venv/uv/bin/uv:
	$(PYTHON) -m venv .local/venv/uv
	.local/venv/uv/bin/pip install --quiet --disable-pip-version-check uv

define install
$(UV) venv --quiet --clear --python 3.13 $(@D)
$(UV) pip sync --quiet --require-hashes --python $(@D) $<
touch $@
endef

lock = $(UV) pip compile --quiet --universal --python-version 3.13 --generate-hashes --no-header --no-emit-index-url \
	$(if $(UPGRADE),--upgrade) --group $(1) --output-file $(2)
