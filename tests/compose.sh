#!/usr/bin/env bash
# Runs the compose deployment for real: trains through the published port, kills a worker in mid-job, stops
# everything in mid-job and starts it again. Takes a few minutes; needs Docker with compose, bash 4.4, curl and python3.
# It has a project name, port, passwords and images of its own and removes them at the end.
set -euo pipefail

step() { printf '%s  %s\n' "$(date +%T)" "$*"; }

fail() {
  reason=$*
  printf 'FAILED: %s\n' "$reason" >&2
  exit 1
}

shopt -s inherit_errexit 2>/dev/null || fail "this is bash $BASH_VERSION; 4.4 or later is needed"
for tool in docker curl python3; do
  command -v "$tool" >/dev/null || fail "$tool is not installed"
done
docker compose version >/dev/null 2>&1 || fail "docker compose is not installed"
docker info >/dev/null 2>&1 || fail "no Docker engine answers: $(docker info 2>&1 | tail -n 1)"
cd "$(dirname "$0")/.."

project=annealer-test-$$
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port

# The same spec every time: whatever happens to a job, its weights are the same to the bit.
epochs=30
spec='{
  "name": "compose test", "dataset": "mnist5k", "epochs": '$epochs',
  "network": {"kind": "convnet", "channels": [16, 32]},
  "schedule": {"kind": "snapshot_cycles", "learning_rate": 0.1, "cycles": 2},
  "ensemble": {"kind": "snapshots", "last": 2}
}'

# A fresh .env. The environment, the checkout's own .env and override file stay out of it, but for how to build.
# One thread: threads that wait for each other crawl on a busy machine.
unset POSTGRES_PASSWORD REDIS_PASSWORD "${!ANNEALER_@}"
secret() { python3 -c 'import secrets; print(secrets.token_hex(24))'; }
key=$(python3 -c 'import secrets; print("ann", secrets.token_hex(4), secrets.token_hex(16), sep="_")')
token=$(secret)
scratch=$(mktemp -d)
settings=$scratch/env
{
  sed -e "s/^POSTGRES_PASSWORD=$/&$(secret)/" -e "s/^REDIS_PASSWORD=$/&$(secret)/" .env.example |
    grep -v '^ANNEALER_FIRST_KEY=$'
  printf '%s\n' "ANNEALER_FIRST_KEY=$key" "ANNEALER_PORT=$port" "ANNEALER_TAG=$project" ANNEALER_WORKER_THREADS=1 \
    ANNEALER_WORKER_METRICS_PORT=9400 "ANNEALER_WORKER_METRICS_TOKEN=$token"
  grep -s '^PIP_' .env || true
} >"$settings"

compose() { docker compose --project-name "$project" --env-file "$settings" --file docker-compose.yml "$@"; }

quietly() { "$@" >"$scratch/output" 2>&1 || { cat "$scratch/output" >&2; fail "$*"; }; }

# mine COMMAND…: what the engine has of this run.
mine() { docker "$@" --quiet --filter "label=com.docker.compose.project=$project"; }

clean_up() {
  local code=$? left
  trap - EXIT
  settings=$scratch/env
  if [ "$code" != 0 ]; then
    compose ps --all || true
    compose logs --no-color --tail 60 || true
  fi
  compose down --volumes --remove-orphans >"$scratch/output" 2>&1 || cat "$scratch/output" >&2
  docker image rm "annealer-api:$project" "annealer-worker:$project" >"$scratch/output" 2>&1 || true
  left=$(mine ps --all; mine volume ls; mine network ls; docker image ls --quiet --filter "reference=*:$project")
  rm -rf "$scratch"
  [ -z "$left" ] || fail "this is left behind: $left"
  # Again, where the logs end.
  [ "$code" = 0 ] || printf 'FAILED: %s\n' "${reason:-see above the logs}" >&2
  exit "$code"
}

now() { python3 -c 'import time; print(time.time())'; }

# since TIME: seconds.
since() { python3 -c 'import sys, time; print(round(time.time() - float(sys.argv[1]), 1))' "$1"; }

# json EXPRESSION: a Python expression about the JSON `answer` on standard input.
json() {
  python3 -c '
import datetime, json, sys
seconds = lambda text: datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
answer = json.loads(sys.stdin.read() or sys.exit(1))
print(eval(sys.argv[1]))' "$1"
}

# with_key ARGUMENT…: curl with the key, which stays out of the process list.
with_key() { curl --silent --show-error --config <(printf 'header = "Authorization: Bearer %s"\n' "$key") "$@"; }

get() { with_key --fail --max-time 30 "$url$1"; }

# status_of ADDRESS: what is answered without a key.
status_of() { curl --silent --output /dev/null --write-out '%{http_code}' --max-time 30 "$1"; }

# ask PATH EXPRESSION
ask() { get "$1" | json "$2"; }

# until_true SECONDS PATH EXPRESSION: ask until the expression holds of the answer.
until_true() {
  local deadline=$((SECONDS + $1))
  until [ "$(ask "$2" "$3")" = True ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "not within $1 s: $3, of $2: $(get "$2")"
    sleep 0.3
  done
}

submit() {
  with_key --fail --header 'Content-Type: application/json' --data "$spec" "$url/v1/jobs" |
    json 'answer["id"]'
}

until_in_mid_job() {
  until_true 120 "/v1/jobs/$1" 'answer["status"] == "running" and answer["progress"]["epoch"] >= 3'
}

# succeeds JOB ATTEMPTS: wait for the end, and see what must be true of every job at its end.
succeeds() {
  until_true 600 "/v1/jobs/$1" 'answer["status"] in ("succeeded", "failed", "cancelled")'
  [ "$(ask "/v1/jobs/$1" 'answer["status"], answer["attempt"]')" = "('succeeded', $2)" ] ||
    fail "$1 did not succeed at attempt $2: $(get "/v1/jobs/$1")"
  [ "$(ask "/v1/jobs/$1/metrics" '[row["epoch"] for row in answer["epochs"]]')" = "$(
    python3 -c "print(list(range(1, $epochs + 1)))"
  )" ] || fail "$1 has not every epoch exactly once: $(get "/v1/jobs/$1/metrics")"
}

# weights JOB: the hash of each snapshot's file as it is downloaded.
weights() {
  local path paths
  paths=$(ask "/v1/jobs/$1/snapshots" '" ".join(one["weights"] for one in answer["items"])')
  for path in $paths; do
    get "$path" | python3 -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
  done
}

# facts JOB: what must outlive a restart.
facts() {
  get "/v1/jobs/$1"
  get "/v1/jobs/$1/events"
  get "/v1/jobs/$1/metrics"
  get "/v1/jobs/$1/ensemble"
  get "/v1/jobs/$1/snapshots"
  weights "$1"
}

kinds() { ask "/v1/jobs/$1/events" '" ".join(one["kind"] for one in answer["items"])'; }

# host_of JOB: the container that took the job up last.
host_of() {
  ask "/v1/jobs/$1/events" \
    '[one["data"]["host"] for one in answer["items"] if one["kind"] in ("started", "resumed")][-1]'
}

# took JOB: seconds from its first start to its end.
took() { ask "/v1/jobs/$1" 'round(seconds(answer["finished_at"]) - seconds(answer["started_at"]), 1)'; }

# ports_of SERVICE: what of it is published to the host.
ports_of() {
  docker ps --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1" \
    --format '{{.Ports}}' | { grep -e '->' || true; }
}

# user_of SERVICE: whom its first process runs as.
user_of() { compose exec -T "$1" cat /proc/1/status | awk '$1 == "Uid:" { print $2 }'; }

size_of() { docker image inspect --format '{{.Size}}' "$1:$project" | awk '{ printf "%.0f MB", $1 / 1e6 }'; }

# figures_of_a_worker TOKEN: as a Prometheus in the deployment's network reads them.
figures_of_a_worker() {
  compose exec -T --env "TOKEN=$1" api python -c '
import os
from urllib.request import Request, urlopen
headers = {"Authorization": "Bearer " + os.environ["TOKEN"]}
print(urlopen(Request("http://worker:9400/metrics", headers=headers), timeout=10).read().decode())'
}

# all_healthy COUNT
all_healthy() {
  local count
  count=$(mine ps --filter health=healthy | wc -l)
  [ "$count" -eq "$1" ] || fail "$count containers are healthy, not $1"
}

# refuses_without VARIABLE ENV_FILE: nothing starts, and what is missing is said.
refuses_without() {
  local settings=$2
  ! compose up --wait >"$scratch/output" 2>&1 || fail "it starts without $1"
  grep -q "$1 is missing a value: set it in .env" "$scratch/output" || fail "without $1: $(cat "$scratch/output")"
}

trap clean_up EXIT
trap 'reason=interrupted; exit 130' INT TERM

step "starting without passwords, which must fail"
refuses_without _PASSWORD /dev/null
refuses_without _PASSWORD .env.example
for password in POSTGRES_PASSWORD REDIS_PASSWORD; do
  grep -v "^$password=" "$settings" >"$scratch/incomplete"
  refuses_without "$password" "$scratch/incomplete"
done

step "building the images"
began=$(now)
quietly compose build
step "built in $(since "$began") s, cache included: api $(size_of annealer-api), worker $(size_of annealer-worker)"

step "starting for the first time without a first key, which must fail"
grep -v '^ANNEALER_FIRST_KEY=' "$settings" >"$scratch/keyless"
(
  settings=$scratch/keyless
  ! compose up --wait --wait-timeout 300 >"$scratch/output" 2>&1 || fail "it starts without a key"
  compose logs migrate >"$scratch/logs" 2>&1
  grep -q 'ANNEALER_FIRST_KEY is not set' "$scratch/logs" || fail "why is not said: $(cat "$scratch/logs")"
)

step "starting everything, with two workers, at $url"
began=$(now)
quietly compose up --build --wait --wait-timeout 300 --scale worker=2
step "up and healthy after $(since "$began") s"
all_healthy 6
until_true 30 /v1/workers 'sum(one["alive"] for one in answer["items"]) == 2'

step "looking at what runs"
[ "$(status_of "$url/v1/jobs"), $(status_of "$url/readyz")" = "401, 200" ] || fail "it asks for no key"
grep -v '^ANNEALER_FIRST_KEY=' "$settings" >"$scratch/later" && mv "$scratch/later" "$settings"
for service in api worker prediction; do
  [ "$(user_of "$service")" = 10001 ] || fail "$service runs as user $(user_of "$service")"
done
for service in postgres redis; do
  [ "$(user_of "$service")" != 0 ] || fail "$service runs as root"
done
compose exec -T api python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is not None)' ||
  fail "the api image holds torch"
[ "$(ports_of api)" = "127.0.0.1:$port->8400/tcp" ] || fail "the api is published as $(ports_of api)"
for service in worker prediction postgres redis; do
  [ -z "$(ports_of "$service")" ] || fail "$service is published: $(ports_of "$service")"
done

figures_of_a_worker "$token" >"$scratch/output"
grep -q '^annealer_worker_slots{state="free"} 1' "$scratch/output" || fail "a worker tells no figures"
! figures_of_a_worker another >"$scratch/output" 2>&1 || fail "a worker tells its figures to everybody"

calm=$(submit)
step "a job in peace: $calm"
succeeds "$calm" 1
expected=$(weights "$calm")
[ "$(wc -l <<<"$expected")" -eq 2 ] || fail "there are not two snapshots: $expected"
[ "$(ask "/v1/jobs/$calm/snapshots" '"\n".join(one["sha256"] for one in answer["items"])')" = "$expected" ] ||
  fail "the downloaded snapshots are not those that the API tells of"
[ "$(ask "/v1/jobs/$calm/events" '[one["data"].get("threads") for one in answer["items"]].count("1")')" = 1 ] ||
  fail "the worker knows nothing of .env: $(get "/v1/jobs/$calm/events")"
step "succeeded, $epochs epochs in $(took "$calm") s"

killed=$(submit)
until_in_mid_job "$killed"
victim=$(host_of "$killed")
step "killing container $victim in the middle of $killed"
began=$(now)
quietly docker kill "$victim"
succeeds "$killed" 2
rescuer=$(host_of "$killed")
[ "$rescuer" != "$victim" ] || fail "the killed worker finished the job"
found=$(weights "$killed")
[ "$found" = "$expected" ] || fail "the weights differ: $found instead of $expected"
[[ $(ask "/v1/jobs/$killed/events" '[one["message"] for one in answer["items"]]') == *"has ended without finishing"* ]] ||
  fail "nobody saw that the worker had died: $(get "/v1/jobs/$killed/events")"
idle=$(ask "/v1/jobs/$killed/events" \
  'round([seconds(one["created_at"]) for one in answer["items"] if one["kind"] == "resumed"][-1] - '"$began"', 1)')
step "container $rescuer resumed it $idle s after the kill and finished it, in $(took "$killed") s altogether;" \
  "every epoch once, the same weights to the bit"

for job in "$calm" "$killed"; do facts "$job" >"$scratch/$job"; done
drained=$(submit)
until_in_mid_job "$drained"
step "taking everything down in the middle of $drained"
began=$(now)
quietly compose down
lasted=$(since "$began")
[ "${lasted%.*}" -lt 30 ] || fail "it took $lasted s"
step "down after $lasted s; starting again"
began=$(now)
quietly compose up --wait --wait-timeout 300
step "up and healthy after $(since "$began") s"
all_healthy 5
for job in "$calm" "$killed"; do
  facts "$job" | cmp - "$scratch/$job" || fail "$job is not what it was"
done
step "jobs, events, metrics and weights are still there"
succeeds "$drained" 2
[[ $(kinds "$drained") == *"released resumed"* ]] || fail "$drained was not handed back: $(kinds "$drained")"
found=$(weights "$drained")
[ "$found" = "$expected" ] || fail "the weights differ: $found instead of $expected"
step "the interrupted job went on by itself, in $(took "$drained") s altogether; the same weights to the bit"

compose logs --no-color >"$scratch/logs"
! grep -q "${key##*_}" "$scratch/logs" || fail "the key is in a log"

step "everything held; removing it"
