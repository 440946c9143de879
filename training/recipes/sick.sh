#!/usr/bin/env bash
# A softmax bi-encoder and a cross-encoder on SICK: one epoch, seed 0.
source "$(dirname "$0")/common.sh"
dev=$data/sick/dev.jsonl
options=(--data "$data/sick/train.jsonl" --dev "$dev" --seed 0 --max-length 64)
run sick-bi bi-encoder "${options[@]}" --concatenation "u,v,|u-v|,u*v" --hidden 256 --lr 1e-4
run sick-cross cross-encoder "${options[@]}" --lr 2e-4
pgsbert evaluate nli "$out/sick-bi" "$out/sick-cross" --data "$dev"
