# Every task of the project. `make` alone lists them. Check is the default; a target that changes files says so.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
UV := .cache/uv/bin/uv
PATHS := agent api apps bootstrap client contract generator images operations tests tools webui
GROUPS := generator agent api client webui-tiny compositions local packages emulator scanner train uv

# Each environment is a folder whose stamp is newer than the lock it was installed from.
LOCAL := .venv-local/bin/.installed
EMULATOR := .venv-emulator/bin/.installed
SCANNER := .venv-scanner/bin/.installed
CLIENT := .venv-client/bin/.installed
DEV := .venv/bin/.installed

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: export PROMPT := $(PROMPT)
demo: $(LOCAL) $(EMULATOR) ## Run the whole service on this machine and draw a picture (ONCE=1: stop after it; PROMPT=…: another)
	@exec .venv-local/bin/python -m bootstrap.local $(if $(ONCE),--once)

.PHONY: client
client: $(CLIENT) ## Install the command `darkroom` into .venv-client
	@VIRTUAL_ENV=.venv-client $(UV) pip install --quiet --no-deps --reinstall-package darkroom .
	@echo "Try: .venv-client/bin/darkroom run \"a red circle\" -o out.png"

.PHONY: test
test: $(DEV) $(EMULATOR) $(SCANNER) lint types check tools ## Run lint, types, drift checks and the fast tests
	.venv/bin/python -m pytest -n 2 --dist worksteal

.PHONY: bootstrap
bootstrap: $(DEV) ## Make CLUSTER on AWS and hand it over to git (YES=1: do not ask; DRY_RUN=1: only show)
	@[ -n "$(CLUSTER)" ] || { echo "Say which cluster: make bootstrap CLUSTER=production"; exit 2; }
	@exec .venv/bin/python -m bootstrap.eks up "$(CLUSTER)" $(if $(YES),--yes) $(if $(DRY_RUN),--dry-run)

.PHONY: teardown
teardown: $(DEV) ## Take CLUSTER away, from its claims to its VPC (YES=1, DRY_RUN=1; DELETE_PICTURES=1: the output bucket, too)
	@[ -n "$(CLUSTER)" ] || { echo "Say which cluster: make teardown CLUSTER=production"; exit 2; }
	@exec .venv/bin/python -m bootstrap.eks down "$(CLUSTER)" $(if $(YES),--yes) $(if $(DRY_RUN),--dry-run) \
	  $(if $(DELETE_PICTURES),--delete-pictures)

.PHONY: models upload-model redrive dead-letters purge-dead-letters snapshot
models: $(DEV) ## List what each runtime of CLUSTER can load, and what is missing
	@exec .venv/bin/python -m operations models "$(CLUSTER)"

upload-model: $(DEV) ## Bring FILE to CLUSTER's model bucket (KIND=Lora: another folder than Stable-diffusion)
	@exec .venv/bin/python -m operations upload-model "$(CLUSTER)" "$(FILE)" $(if $(KIND),--kind "$(KIND)")

dead-letters: $(DEV) ## List the jobs of RUNTIME in CLUSTER that failed for good, and why
	@exec .venv/bin/python -m operations redrive "$(CLUSTER)" "$(RUNTIME)"

redrive: $(DEV) ## Give the dead letters of RUNTIME in CLUSTER back to it
	@exec .venv/bin/python -m operations redrive "$(CLUSTER)" "$(RUNTIME)" --action redrive

purge-dead-letters: $(DEV) ## Delete the dead letters of RUNTIME in CLUSTER (YES=1: do not ask)
	@exec .venv/bin/python -m operations redrive "$(CLUSTER)" "$(RUNTIME)" --action purge $(if $(YES),--yes)

snapshot: $(DEV) ## Make a snapshot with CLUSTER's images (IMAGES="a b", SIZE=80 GiB, ARCHITECTURE=arm64; WRITE=1: into its config; REPLACE=1: after a killed run)
	@exec .venv/bin/python -m operations snapshot "$(CLUSTER)" $(foreach image,$(IMAGES),--image "$(image)") \
	  $(if $(SIZE),--size $(SIZE)) $(if $(ARCHITECTURE),--architecture $(ARCHITECTURE)) $(if $(WRITE),--write) \
	  $(if $(REPLACE),--replace)

.PHONY: lint
lint: $(DEV) ## Check style
	.venv/bin/python -m ruff check $(PATHS)
	.venv/bin/python -m ruff format --check --quiet $(PATHS)

.PHONY: types
types: $(DEV) ## Check types, strictly
	.venv/bin/python -m mypy $(PATHS)

.PHONY: check
check: $(DEV) ## Fail when a generated file differs from its source
	.venv/bin/python -m api.openapi --check
	.venv/bin/python generator/render.py --check

.PHONY: tools
tools: $(DEV) ## Set up the tools that the tests run, outside the repository (once, minutes)
	@.venv/bin/python -m tools || echo "Tests that need them will not run."

.PHONY: diff
diff: $(DEV) ## Show what `make render` would change
	.venv/bin/python generator/render.py --diff

.PHONY: render
render: $(DEV) ## Write the generated files (changes files)
	.venv/bin/python -m api.openapi
	.venv/bin/python generator/render.py

.PHONY: fix
fix: $(DEV) ## Mend style where it can be done mechanically (changes files)
	.venv/bin/python -m ruff check --fix $(PATHS)
	.venv/bin/python -m ruff format $(PATHS)

.PHONY: bench
bench: $(DEV) $(EMULATOR) ## Measure speed
	.venv/bin/python -m pytest -m bench -s tests

.PHONY: e2e
e2e: $(DEV) $(EMULATOR) ## Have the real control plane reconcile this repository (as root, on Debian; builds it once)
	.venv/bin/python -m pytest -m e2e -s tests/e2e

.PHONY: cluster cluster-down
cluster: $(DEV) $(EMULATOR) ## Bring a cluster of one node up on this machine, to look around in (as root, on Debian)
	@.venv/bin/python -m tests.e2e.cluster up
cluster-down: $(DEV) ## Take it down
	@.venv/bin/python -m tests.e2e.cluster down

.PHONY: chart
chart: $(DEV) ## Package runtimes/chart into .cache/charts
	@helm=$$(.venv/bin/python -m tools helm) && rm -rf .cache/charts && "$$helm" package runtimes/chart --destination .cache/charts

.PHONY: publish publish-chart
publish: publish-images publish-chart ## Push the images and the chart to REGISTRY=<registry>/<path>
publish-chart: chart ## Push the chart to REGISTRY=<registry>/<path>, below charts/
	@[ -n "$(REGISTRY)" ] || { echo "Say where to: make publish REGISTRY=123456789012.dkr.ecr.us-west-2.amazonaws.com/darkroom"; exit 2; }
	@helm=$$(.venv/bin/python -m tools helm) && "$$helm" push .cache/charts/*.tgz "oci://$(REGISTRY)/charts"

# Images are built from these folders' Dockerfiles; those with CUDA for amd64 alone.
ONLY ?= agent api webui/tiny webui/sdwebui webui/comfyui
VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
SOURCE ?= $(shell git config --get remote.origin.url || echo unknown)
IMAGE_METADATA ?= .cache/images
build = docker buildx build $(1) --file $$folder/Dockerfile --tag $(or $(REGISTRY),darkroom)/$$(basename $$folder):$(VERSION) \
  --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) --build-arg SOURCE=$(SOURCE) .

.PHONY: images
images: ## Build the container images for this machine (ONLY="agent api": some of them)
	for folder in $(ONLY); do $(call build,--load); done

.PHONY: publish-images
publish-images: $(DEV) ## Build the images for every architecture and push them to REGISTRY=<registry>/<path>
	.venv/bin/python -m images create "$(REGISTRY)"
	mkdir -p $(IMAGE_METADATA)
	for folder in $(ONLY); do \
	  platforms=$$([[ $$folder =~ (sdwebui|comfyui)$$ ]] && echo linux/amd64 || echo linux/amd64,linux/arm64); \
	  $(call build,--push --sbom=true --provenance=mode=max --platform $$platforms \
	    --metadata-file $(IMAGE_METADATA)/$$(basename $$folder).json); \
	done

.PHONY: pin
pin: $(DEV) ## Write published images' digests into CLUSTER's config (REGISTRY=…; changes files)
	.venv/bin/python -m images pin "$(REGISTRY)" clusters/$(CLUSTER)/config.yaml $(IMAGE_METADATA)

.PHONY: lock
lock: $(UV) ## Compile pyproject.toml's groups into requirements/ (changes files)
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --group dev -o requirements/dev.txt
	for group in $(GROUPS); do \
	  constraint=$$([[ $$group =~ ^(emulator|scanner)$$ ]] || echo "--constraint requirements/dev.txt"); \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    $$constraint --group $$group -o requirements/$$group.txt; \
	done

.PHONY: clean
clean: ## Remove environments and caches
	rm -rf .venv .venv-* .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .run

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Darkroom needs Python 3.11 or newer, this is %d.%d: run `make PYTHON=python3.12 …`" % sys.version_info[:2])'
	$(PYTHON) -m venv .cache/uv
	.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

define environment
$(1)/bin/.installed: requirements/$(2).txt $(UV)
	@echo "Installing requirements/$(2).txt into $(1)"
	@[ -x $(1)/bin/python ] || $(UV) venv --quiet --python $(PYTHON) $(1)
	@VIRTUAL_ENV=$(1) $(UV) pip sync --quiet --require-hashes $$<
	@touch $$@
endef
$(eval $(call environment,.venv,dev))
$(eval $(call environment,.venv-local,local))
$(eval $(call environment,.venv-emulator,emulator))
$(eval $(call environment,.venv-scanner,scanner))
$(eval $(call environment,.venv-client,client))
