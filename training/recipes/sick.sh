#!/usr/bin/env bash
# A softmax bi-encoder and a cross-encoder on SICK: one epoch, seed 0.
source "$(dirname "$0")/common.sh"
dev=$data/sick/dev.jsonl
options=(--data "$data/sick/train.jsonl" --dev "$dev" --seed 0 --max-length 64 --lr 1e-4 --head-lr 1e-3)
run sick-bi bi-encoder "${options[@]}" --concatenation "u,v,|u-v|,u*v" --hidden 256
run sick-cross cross-encoder "${options[@]}"
pgsbert evaluate nli "$out/sick-bi" "$out/sick-cross" --data "$dev"
