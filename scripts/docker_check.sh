#!/bin/bash
# Builds the image and uses it as a user does; what `make docker-check` runs.
#
# In:   FLAVOR=cpu|cuda (auto: cpu); Docker, or Podman where no Docker runs. ENGINE names another command, e.g. ENGINE="podman --runtime runc".
#       BUILD_ARGS and RUN_ARGS are more arguments of `build` and `run`. The pages of docs/ are the text.
# Out:  one line for each step with its time; the exit code is 1 at the first step that does not do what it should. The image stays.
# Cost: cpu downloads 0.54 GB, cuda 2.5 GB, and each compiles for about 16 minutes of CPU time; a build after that takes its layers and caches.
set -euo pipefail
cd "$(dirname "$0")/.."

FLAVOR=${FLAVOR:-cpu}
[ "$FLAVOR" != auto ] || FLAVOR=cpu
image=untie:$FLAVOR
name=untie-check-$$

if [ -z "${ENGINE:-}" ]; then
	if docker info >/dev/null 2>&1; then ENGINE=docker; else ENGINE=podman; fi
fi
read -ra engine <<<"$ENGINE"
read -ra build_args <<<"${BUILD_ARGS:-}"
read -ra run_args <<<"${RUN_ARGS:-}"
if ! command -v "${engine[0]}" >/dev/null; then
	echo "error: neither a running Docker nor \`${engine[0]}\` is here" >&2
	echo "hint: install Docker, or Podman (Debian package podman)" >&2
	exit 1
fi

work=$(mktemp -d)
clean() {
	"${engine[@]}" rm --force "$name" >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap clean EXIT

step() { # NAME COMMAND..: the last line of what the command prints is the note
	local start=$SECONDS code
	set +e # not `||`, which would also ignore errors inside the function
	(set -e; "${@:2}") >"$work/log" 2>&1
	code=$?
	set -e
	if [ $code -ne 0 ]; then
		cat "$work/log"
		echo "error: $1: exit code $code" >&2
		exit 1
	fi
	printf '%-42s %5d s  %s\n' "$1" $((SECONDS - start)) "$(tail -n 1 "$work/log")"
}

# Another user than the one of the image, who may write nothing but the two mounted folders.
user=$(id -u):$(id -g)
[ "${user%%:*}" != 0 ] || user=4321:4321
container=(run "${run_args[@]}" --user "$user" --env OMP_NUM_THREADS=1 --volume "$work/data:/app/data" --volume "$work/runs:/app/runs"
	--volume "$work/files:/app/files:ro")
untie() { "${engine[@]}" "${container[@]}" --rm "$image" "$@"; }
inside() { "${engine[@]}" run "${run_args[@]}" --rm --entrypoint sh "$image" -c "$1"; } # as the user of the image

build() {
	"${engine[@]}" build "${build_args[@]}" --file docker/Dockerfile --build-arg "FLAVOR=$FLAVOR" --tag "$image" \
		--build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" .
}

size() {
	local bytes
	bytes=$("${engine[@]}" image inspect --format '{{.Size}}' "$image")
	[ "$FLAVOR" != cpu ] || [ "$bytes" -lt 900000000 ]
	awk "BEGIN { printf \"%.0f MB\\n\", $bytes / 1e6 }"
}

contents() {
	inside '! command -v python3 rustc cargo cc && ! find / -xdev "(" -name "*.rs" -o -name "*.cpp" -o -name "*.h" ")" | grep .'
	inside '[ "$(id -u)" = 1000 ] && touch data/file runs/file && ! touch configs/file && untie --version'
}

prepare() {
	untie prepare --input files/*.md --format text --out data/check --vocab-size 1000 --valid-fraction 0.1
	[ -e "$work/data/check/tokenizer.json" ]
}

train() { # RUN [launch ..]
	untie "${@:2}" train --config files/run.toml --run-dir "runs/$1"
	[ -e "$work/runs/$1/export/model.safetensors" ]
	[ "$(stat -c %u "$work/runs/$1/export")" = "${user%%:*}" ]
}

finetune() {
	untie finetune --task text-classification --model runs/one/export --data files/task --lr 1e-2 --epochs 5 --batch 8 --max-length 32 \
		--run-dir runs/task
	grep -q "best by dev/accuracy: 100.00" "$work/log"
	[ -e "$work/runs/task/best/model.safetensors" ]
}

stopped() { # RUN [launch ..]: SIGTERM to process 1
	"${engine[@]}" "${container[@]}" --detach --name "$name" "$image" "${@:2}" train --config files/run.toml --run-dir "runs/$1" \
		--set train.steps=10000000 --set checkpoint.every=10000000
	for _ in {1..120}; do
		[ "$(wc -l <"$work/runs/$1/metrics.jsonl" 2>/dev/null || echo 0)" -lt 3 ] || break
		sleep 1
	done
	"${engine[@]}" stop --time 60 "$name"
	"${engine[@]}" logs "$name"
	local code
	code=$("${engine[@]}" inspect --format '{{.State.ExitCode}}' "$name")
	"${engine[@]}" rm "$name"
	[ "$code" = 143 ]
	echo "exit code $code, saved: $(cd "$work/runs/$1/checkpoints" && echo step-*)"
	ls -d "$work/runs/$1"/checkpoints/step-* >/dev/null
}

mkdir -p "$work"/{data,runs,files/task}
cp docs/*.md "$work/files/"
cat >"$work/files/run.toml" <<'END'
model = { hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 2, intermediate_size = 64, max_position_embeddings = 32 }
data = { dir = "data/check", sequence_length = 32 }
train = { steps = 20, global_batch = 8, micro_batch = 4 }
optim = { lr = 1e-3 }
sharing = { untie_at = 0.5 }
checkpoint = { every = 10 }
END
for file in train dev; do
	{
		echo text,label
		for number in {1..32}; do printf '%s\n' "the gradient of layer $number,layers" "the file of shard $number,files"; done
	} >"$work/files/task/$file.csv"
done
chmod -R a+rX "$work"
[ "$(id -u)" != 0 ] || chown -R "$user" "$work/data" "$work/runs"

echo "engine: $ENGINE, flavour: $FLAVOR, user: $user"
step "build" build
step "size of the image" size
step "no Python, Rust or sources; not root" contents
step "untie prepare" prepare
step "untie train, 20 steps" train one
step "untie finetune, own CSV files" finetune
step "untie launch --nproc 2" train two launch --nproc 2 --
step "stop (SIGTERM)" stopped three
step "stop with two processes" stopped four launch --nproc 2 --
