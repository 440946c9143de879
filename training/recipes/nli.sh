#!/usr/bin/env bash
# A softmax bi-encoder and a cross-encoder on the same 12,000 pairs: one epoch, seed 0.
source "$(dirname "$0")/common.sh"
dev=$data/snli/dev.jsonl.gz
options=(--data "$(captions)" --dev "$dev" --sample 12000 --seed 0 --max-length 64)
run nli-bi bi-encoder "${options[@]}" --concatenation "u,v,|u-v|,u*v" --hidden 256 --lr 1e-4
run nli-cross cross-encoder "${options[@]}" --lr 1e-4
pgsbert evaluate nli "$out/nli-bi" "$out/nli-cross" --data "$dev"
