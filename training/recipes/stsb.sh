#!/usr/bin/env bash
# One epoch of CoSENT on STS Benchmark train, seed 0.
source "$(dirname "$0")/common.sh"
run stsb bi-encoder --objective cosent --data "$data/stsb/train.jsonl" --dev "$data/stsb/dev.jsonl" \
    --score-range 0,5 --max-length 128 --lr 5e-5 --seed 0
pgsbert evaluate sts all-MiniLM-L6-v2 "$out/stsb" --data "$data/stsb/dev.jsonl"
