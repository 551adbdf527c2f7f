# Everything a user or CI runs. `make help` lists the targets.
#
#   FLAVOR=auto|cpu|cuda   which libtorch `make setup` brings (auto: cuda when an NVIDIA device is visible)
#   CORPUS=FILE            raw text for `make data` and `make train` instead of the sample corpus
#   CONFIG=FILE            configuration of `make train` and `make rules`; without it, `make train CORPUS=FILE` writes data/FILE.toml
#   HOURS=H                how long that run trains (five minutes if not given)
#   RUN_DIR=DIR            folder of `make train`'s run
#   SCALE=mini|paper       size of the runs of `make table1` to `table4`: configs/paper/mini or configs/paper/large
#   SEEDS="1 2"            seeds of `make study`; its SCALE is cpu, and its CORPUS is fetched where none is given
#   TASKS="..."            what `make table1` to `table4` fine-tune on, from GLUE=DIR and SQUAD=DIR with FINETUNE_ARGS="..."
#   ARGS="..."             more arguments for the program of the target, e.g. make train ARGS="--set train.steps=500"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

FLAVOR ?= auto
CORPUS ?=
CONFIG ?= configs/quickstart.toml
HOURS ?= 0.0833
ARGS ?=
PYTHON ?= python3

# A corpus of your own has its own shards and its own run.
$(if $(word 2,$(CORPUS)),$(error CORPUS must be one path without spaces, got `$(CORPUS)`))
CORPUS_NAME := $(notdir $(CORPUS))
DATA := data/$(or $(CORPUS_NAME),sample)
# Without a configuration, one is written for the corpus.
OWN := $(and $(CORPUS),$(filter file,$(origin CONFIG)))
RULES := fixed adaptive multi_step
RULES_DIR := runs/rules-$(basename $(notdir $(CONFIG)))$(addprefix -,$(CORPUS_NAME))
# The paper's checks are every 1000 of 500,000 steps; runs of minutes look more often, at correlations still near 1. Runs of one
# picture have the same length.
RULES_ARGS ?= --set train.steps=2000 --set sharing.check_every=20 --set sharing.threshold=0.95 --set sharing.monitor=true
RUN_DIR ?= runs/$(if $(OWN),,$(basename $(notdir $(CONFIG)))$(if $(CORPUS),-))$(CORPUS_NAME)
# 30,522 is BERT's; a corpus of less than 100 MB on disk has too few words for it.
VOCAB_SIZE ?= $(if $(CORPUS),$(shell du -Lsm "$(CORPUS)" | awk '{ print $$1 < 100 ? 8192 : 30522 }'),4096)
# One in twenty of the sample's chapters is enough held-out text to measure on.
VALID_FRACTION ?= $(if $(CORPUS),0.02,0.05)

FUZZ ?= $(notdir $(wildcard fuzz/corpus/*))
FUZZ_SECONDS ?= 600

SCALE ?= mini
# An empty TASKS pre-trains only; what is not set is for the script to choose, by the scale.
given = $(if $(filter undefined,$(origin $(1))),,--$(2)="$($(1))")
TABLE_ARGS = --scale "$(SCALE)" $(if $(CORPUS),--corpus "$(CORPUS)") $(call given,GLUE,glue) $(call given,SQUAD,squad) \
	$(call given,TASKS,tasks) $(call given,FINETUNE_ARGS,finetune-args) $(ARGS)

MDBOOK := 0.5.4
CARGO_DENY := 0.20.2

SEEDS ?= 1 2 3 4 5 6
STUDY_SCALE := $(if $(filter file,$(origin SCALE)),cpu,$(SCALE))

UNTIE := target/release/untie
DEV := .venv-dev/bin

.PHONY: help setup build wheel check-wheel docker-check data train rules table1 table2 table3 table4 theory bench probe-cost \
	loader-speed untying-updates study scale-out test check-aarch64 sanitize kills flips fuzz check fmt docs book parity tensorboard ptx gpu-check clean

help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-15s %s\n", $$1, $$2 }'
	@sed -n '3,12s/^#/ /p' $(firstword $(MAKEFILE_LIST))

setup: ## Bring libtorch into .venv (downloads 0.54 GB for cpu, 2.5 GB for cuda; once)
	@command -v $(PYTHON) >/dev/null || { echo "error: \`$(PYTHON)\` is not on the PATH" >&2; \
		echo "hint: install it: Debian packages python3 and python3-venv" >&2; exit 1; }
	@$(PYTHON) scripts/libtorch.py --flavour $(FLAVOR)

build: setup ## Compile the trainer
	@[ -e $(UNTIE) ] || echo "build: compiles the trainer and its packages: about 16 minutes of CPU time, once"
	cargo build --locked --release

wheel check-wheel: FLAVOR := cuda
wheel: build ## Pack the programs as a wheel for pip, target/wheel/untie_bert-*.whl
	cargo build --locked --release --package untie --package untie-data
	@$(PYTHON) scripts/make_wheel.py

check-wheel: wheel ## Install the wheel into fresh environments beside PyPI's torch and use it (downloads 2.5 GB, ARGS=--light less)
	@$(PYTHON) scripts/check_wheel.py "$${CARGO_TARGET_DIR:-target}"/wheel/*.whl $(ARGS)

docker-check: ## Build the image of docker/Dockerfile with Docker or Podman and use it: FLAVOR=cpu (the default) or cuda
	@FLAVOR=$(FLAVOR) scripts/docker_check.sh

data: build ## Make token shards in data/ from the sample corpus, or from CORPUS
	@corpus="$(CORPUS)"; \
	[ -n "$$corpus" ] || corpus=$$($(PYTHON) scripts/sample_corpus.py); \
	$(UNTIE) prepare --input "$$corpus" --out $(DATA) --vocab-size $(VOCAB_SIZE) --valid-fraction $(VALID_FRACTION)

# The configuration and the two commands of `untie new`, once; then the first of the two, which makes the shards.
own_data = mkdir -p data; [ -s $(DATA).sh ] || \
		{ $(UNTIE) new "$(CORPUS_NAME)" --text "$(CORPUS)" --hours $(HOURS) --out data > $(DATA).sh.new; mv $(DATA).sh.new $(DATA).sh; }; \
	eval "$$(head -n 1 $(DATA).sh)"

train: ## Set up everything and train a model: tied, untied, finished, exported
	@$(MAKE) --no-print-directory build; built=$$SECONDS; \
	$(if $(OWN),$(own_data),$(MAKE) --no-print-directory data); prepared=$$SECONDS; \
	$(UNTIE) train $(if $(OWN),--config $(DATA).toml,--config $(CONFIG) $(if $(CORPUS),--set data.dir=$(DATA))) \
		--run-dir $(RUN_DIR) --resume $(ARGS); \
	echo "times              set-up $$built s, data $$((prepared - built)) s, training and export $$((SECONDS - prepared)) s"; \
	echo "try                $(UNTIE) fill-mask --model $(RUN_DIR)/export \"$(if $(CORPUS),a sentence of your text with one [MASK],and the [MASK] said unto moses, go in unto pharaoh.)\""

rules: data ## Train CONFIG under each untying rule, on the data of `make data`, and draw the runs in one picture
	@for rule in $(RULES); do \
		$(UNTIE) train --config $(CONFIG) --set data.dir=$(DATA) --set sharing.rule=$$rule $(RULES_ARGS) \
			--run-dir $(RULES_DIR)/$$rule --resume $(ARGS); \
	done; \
	$(UNTIE) plot --runs $(addprefix $(RULES_DIR)/,$(RULES)) --out $(RULES_DIR)/rules.svg $(RULES_DIR)/rules.png

table1: ## Pre-train and fine-tune the missing runs of the paper's table 1, and print it: SCALE, CORPUS, TASKS (also table2 to table4)
table1 table2 table3 table4: build
	@$(PYTHON) scripts/paper_table.py --untie $(UNTIE) --table $(@:table%=%) $(TABLE_ARGS)

study: build ## Train the arms of docs/study/protocol.md over SEEDS, measure and report them (an hour of a core for T/2; ARGS=--quick a few minutes)
	@$(PYTHON) scripts/study.py all --untie $(UNTIE) --scale "$(STUDY_SCALE)" --seeds $(SEEDS) $(if $(CORPUS),--corpus "$(CORPUS)") $(ARGS)

theory: build ## Measure the paper's deep linear network against its bounds
	$(UNTIE) theory $(ARGS)

bench: data .venv-dev/ready ## Compare time, memory and utilisation of steps with transformers (sets up .venv-dev; about an hour, with ARGS=--quick less)
	$(DEV)/python scripts/bench.py --out runs/bench/performance.json $(ARGS)

probe-cost: setup ## Compare time and memory of a step with and without a check of gradient correlations
	cargo run --locked --release --example probe_cost -- $(ARGS)

loader-speed: data ## Samples and tokens a second of the data loader, on the data of `make data`
	cargo run --locked --release --example loader_speed -- --data $(DATA) $(ARGS)

untying-updates: setup ## Sizes of the updates after untying: moments carried or reset, mean or sum of gradients
	cargo run --locked --release --example untying_updates -- $(ARGS)

scale-out: data ## Bytes and step times of two processes, each in its own network, with fast and slow cables (Linux namespaces; ten minutes)
	$(PYTHON) scripts/scale_out.py --untie $(UNTIE) $(ARGS)

test: setup ## Run the tests; those of the CPU's kernels at the levels DEFAULT, AVX2 and the CPU's best
	@failed=0; \
	cargo test --locked --release --workspace --no-fail-fast || failed=1; \
	for level in default $$(! grep -qw avx512f /proc/cpuinfo || echo avx2); do \
		echo "the tests of kernels with ATEN_CPU_CAPABILITY=$$level"; \
		ATEN_CPU_CAPABILITY=$$level cargo test --locked --release --no-fail-fast --test kernels -- --skip cuda || failed=1; \
	done; \
	exit $$failed

check-aarch64: ## Run each kernel of csrc/kernels for 64-bit ARM under QEMU and compare with this machine (Debian: g++-aarch64-linux-gnu qemu-user-static)
	@scripts/check_aarch64.sh

sanitize: ## Run each kernel of csrc/kernels at each level over odd sizes under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/sanitize.sh

kills: setup ## Kill runs 100 times, a third of the times during a save, and compare with runs that were not killed; kill one of two processes 20 times
	UNTIE_KILLS=100 cargo test --locked --release --test train kills -- --nocapture
	UNTIE_RANK_KILLS=20 cargo test --locked --release --test parallel -- --nocapture killed

flips: setup ## Flip 1,000 single bits of a checkpoint and of shards: each must be found
	UNTIE_FLIPS=1000 cargo test --locked --release --test train flips -- --nocapture

fuzz: setup ## Fuzz the parsers of untrusted input for FUZZ_SECONDS each; FUZZ="..." chooses some (cargo-fuzz, nightly Rust)
	@command -v cargo-fuzz >/dev/null || { echo "error: \`cargo-fuzz\` is not on the PATH" >&2; \
		echo "hint: rustup toolchain install nightly && cargo install cargo-fuzz" >&2; exit 1; }
	@for target in $(FUZZ); do \
		mkdir -p fuzz/work/$$target; \
		LD_LIBRARY_PATH=$${LIBTORCH:-$(CURDIR)/.venv/libtorch}/lib OMP_NUM_THREADS=1 cargo +nightly fuzz run --fuzz-dir fuzz $$target \
			fuzz/work/$$target fuzz/corpus/$$target -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096 -max_len=65536 \
			$$([ $$target = compressed ] && echo -detect_leaks=0); \
	done

check: setup ## Formatting, clippy, documentation and licences, without warnings (compiles cargo-deny once: 2 minutes of CPU time)
	cargo fmt --all --check
	cargo clippy --locked --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --release --workspace --no-deps
	@command -v cargo-deny >/dev/null || [ -x target/tools/bin/cargo-deny ] || CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug \
		--root target/tools cargo-deny --version $(CARGO_DENY)
	PATH="$$PATH:target/tools/bin" cargo-deny --locked check bans licenses sources

fmt: ## Format the code
	cargo fmt --all

docs: setup ## Build and open the API documentation
	cargo doc --locked --release --workspace --no-deps --open

book: ## Build the pages of docs/ as a book in target/book/html (compiles mdBook once, unless it is on the PATH: 3 minutes of CPU time)
	@command -v mdbook >/dev/null || [ -x target/tools/bin/mdbook ] || cargo install --locked --root target/tools mdbook \
		--version $(MDBOOK) --no-default-features --features search
	@$(PYTHON) scripts/book.py
	@PATH="$$PATH:target/tools/bin" mdbook build
	@echo "open               target/book/html/index.html"

parity: build .venv-dev/ready ## Compare with transformers, torch.optim and TensorBoard (sets up .venv-dev, about 3 GB)
	$(DEV)/python scripts/parity.py
	$(DEV)/python scripts/check_dashboard.py --untie $(UNTIE)

tensorboard: .venv-dev/ready ## Show the runs in TensorBoard on port 6006 (sets up .venv-dev)
	$(DEV)/tensorboard --logdir runs

ptx: FLAVOR := cuda
ptx: build .venv-dev/ready ## Print registers and spills of the compiled CUDA kernels and run their PTX on the CPU, without a GPU (sets up .venv-dev)
	$(PYTHON) scripts/kernel_table.py
	$(DEV)/python tests/cuda_kernels/test_ptx.py

gpu-check: FLAVOR := cuda
gpu-check: data ## Train a short run on an NVIDIA GPU and on the CPU and compare them
	$(PYTHON) scripts/gpu_check.py --untie $(UNTIE) --out docs/gpu.json $(ARGS)

.venv-dev/ready: scripts/dev-requirements.txt
	$(PYTHON) -m venv .venv-dev
	$(DEV)/pip install --quiet --requirement scripts/dev-requirements.txt
	touch $@

clean: ## Remove build output; keeps libtorch, data and runs
	cargo clean
